"""The history checker: what was told, what an orchestrator holds, and every way in which the two can disagree.

One judge for every run, whoever was killed in it: the outbox alone, the server, or both.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aquin_nb.cards.events import parse


@dataclass
class History:
    """A run as it was seen from both ends.

    told: (source, sequence) of each `log` that returned a number, with the data where the test knows it.
    stored: events in the order in which the orchestrator took them, as it gives them out.
    counted: events that `log` could not keep, to be found in `sync.gap`; None where the test did not count.
    """

    told: dict[tuple[str, int], Any] = field(default_factory=dict)
    stored: list[dict[str, Any]] = field(default_factory=list)
    counted: int | None = None

    def tell(self, source: str, sequence: int, data: Any = None) -> None:
        assert sequence > 0
        assert (source, sequence) not in self.told, f"{source} gave {sequence} twice"
        self.told[source, sequence] = data

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
        seen = Counter((event["source"], event["sequence"]) for event in self.stored)
        said += [f"duplicated: {key} is stored {count} times" for key, count in seen.items() if count > 1]
        said += [f"lost: {key} was told" for key in self.told if key not in seen]
        ids = Counter(event["id"] for event in self.stored)
        said += [f"duplicated: id {one}" for one, count in ids.items() if count > 1]
        latest: dict[tuple[str, str], int] = defaultdict(int)
        for event in self.stored:
            card = event["source"], event["subject"]
            if event["sequence"] < latest[card]:
                said.append(f"reordered: {card} had {latest[card]} before {event['sequence']}")
            latest[card] = max(latest[card], event["sequence"])
            known = self.told.get((event["source"], event["sequence"]))
            if known is not None and known != event["data"]:
                said.append(f"changed: {event['source']} {event['sequence']}")
            try:
                parse(event)
            except ValueError as error:
                said.append(f"malformed: {event['source']} {event['sequence']}: {error}")
        if not holes:
            for source in {key[0] for key in seen}:
                numbers = sorted(number for one, number in seen if one == source)
                if numbers != list(range(1, len(numbers) + 1)):
                    said.append(f"hole: {source} goes to {numbers[-1]} with {len(numbers)} events")
        if self.counted is not None:
            gaps = sum(event["data"]["count"] for event in self.stored if event["type"] == "sync.gap")
            if gaps != self.counted:
                said.append(f"miscounted: {self.counted} were not kept, gaps tell of {gaps}")
        return said

    def judge(self, **allowed: Any) -> None:
        said = self.violations(**allowed)
        assert not said, f"{len(said)} violations, among them:\n" + "\n".join(said[:10])
