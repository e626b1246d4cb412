"""The history checker: what was told, what an orchestrator holds, and every way in which the two can disagree.

One judge for every run, whoever was killed in it: the outbox alone, the server, or both.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from aquin_nb.cards.events import NOBODY, parse


def _mark(data: Any) -> bytes:
    """Data in eight bytes, so that millions of events fit into memory."""
    return blake2b(json.dumps(data, sort_keys=True).encode(), digest_size=8).digest()


@dataclass
class History:
    """A run as it was seen from both ends.

    told: (source, sequence) of each `log` that returned a number, with a mark of the data where the test knows it.
    stored: events in the order in which the orchestrator took them, as it gives them out; gone over once.
    cards: cards as the orchestrator shows them, all of those in `stored`; None where the test did not ask.
    counted: events that `log` could not keep, to be found in `sync.gap`; None where the test did not count.
    """

    told: dict[tuple[str, int], bytes | None] = field(default_factory=dict)
    stored: Iterable[dict[str, Any]] = field(default_factory=list)
    cards: list[dict[str, Any]] | None = None
    counted: int | None = None

    def tell(self, source: str, sequence: int, data: Any = None) -> None:
        assert sequence > 0
        assert (source, sequence) not in self.told, f"{source} gave {sequence} twice"
        self.told[source, sequence] = None if data is None else _mark(data)

    def read(self, lines: Iterable[str]) -> None:
        """What a writer printed after each call: source, sequence and the data as JSON, apart by tabs."""
        for line in lines:
            if not line.endswith("\n"):
                continue  # it was killed while it printed
            source, sequence, data = line.rstrip("\n").split("\t")
            if int(sequence):
                self.tell(source, int(sequence), json.loads(data))

    def violations(self, *, holes: bool = False) -> list[str]:
        """Everything that is wrong, a sentence each. `holes`: numbers may be missing that nobody was promised."""
        said: list[str] = []
        seen: Counter[tuple[str, int]] = Counter()
        ids: Counter[str] = Counter()
        latest: dict[tuple[str, str], int] = defaultdict(int)
        events: Counter[tuple[str, str, int]] = Counter()
        gaps = 0
        for event in self.stored:
            key, card = (event["source"], event["sequence"]), (event["source"], event["subject"])
            seen[key] += 1
            ids[event["id"]] += 1
            events[event.get("room", "default"), event["subject"], event.get("attempt", 1)] += 1
            if event["sequence"] < latest[card]:
                said.append(f"reordered: {card} had {latest[card]} before {event['sequence']}")
            latest[card] = max(latest[card], event["sequence"])
            known = self.told.get(key)
            if known is not None and known != _mark(event["data"]):
                said.append(f"changed: {event['source']} {event['sequence']}")
            if event["type"] == "sync.gap":
                gaps += event["data"]["count"]
            try:
                parse(event)
            except ValueError as error:
                said.append(f"malformed: {event['source']} {event['sequence']}: {error}")
        said += [f"duplicated: {key} is stored {count} times" for key, count in seen.items() if count > 1]
        said += [f"lost: {key} was told" for key in self.told if key not in seen]
        said += [f"duplicated: id {one}" for one, count in ids.items() if count > 1]
        if not holes:
            said += _holes(seen)
        if self.counted is not None and gaps != self.counted:
            said.append(f"miscounted: {self.counted} were not kept, gaps tell of {gaps}")
        if self.cards is not None:
            said += _misfolded(events, self.cards)
        return said

    def judge(self, **allowed: Any) -> None:
        said = self.violations(**allowed)
        assert not said, f"{len(said)} violations, among them:\n" + "\n".join(said[:10])


def _holes(seen: Iterable[tuple[str, int]]) -> list[str]:
    numbers: dict[str, set[int]] = defaultdict(set)
    for source, number in seen:
        numbers[source].add(number)
    return [
        f"hole: {source} goes to {max(held)} with {len(held)} events"
        for source, held in numbers.items()
        if max(held) != len(held)
    ]


def _misfolded(events: Counter[tuple[str, str, int]], cards: list[dict[str, Any]]) -> list[str]:
    """Cards that count other events than there are."""
    shown = {
        (card["room"], card["id"], attempt["attempt"]): attempt["events"]
        for card in cards
        for attempt in card["attempts"]
    }
    told = {key: count for key, count in events.items() if key[1] != NOBODY}
    return [
        f"misfolded: {key} shows {shown.get(key, 0)} of {told.get(key, 0)} events"
        for key in sorted(shown.keys() | told.keys())
        if shown.get(key) != told.get(key)
    ]
