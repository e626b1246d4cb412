"""Any order of ingesting, crashing, thinning and reading: what was acknowledged is there once, as it was sent."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest
from history import History
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from senders import Sender, checked, uuid7

from aquin_nb.orchestrator import maintenance
from aquin_nb.orchestrator.maintenance import collect_garbage, export, load
from aquin_nb.orchestrator.storage import Storage, open_storage

EXAMPLES = int(os.environ.get("AQUIN_MACHINE_EXAMPLES", "15"))
DAY = 86400.0


class PowerCut(BaseException):
    """The process is gone in the middle of a transaction."""


class Machine(RuleBasedStateMachine):
    """The storage and a model of it: a dict of the events that were acknowledged, in their order.

    acked: the bytes of each acknowledged event by source and sequence. kept: by cursor, those not removed since.
    queues: what each sender has made and not yet had an answer for.
    """

    fresh: ClassVar[Callable[[], str]]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.place = type(self).fresh()
        self.storage: Storage = open_storage(self.place)
        self.acked: dict[tuple[str, int], bytes] = {}
        self.removed: set[tuple[str, int]] = set()
        self.order: list[bytes] = []
        self.cursor, self.followed = 0, list[bytes]()
        self.senders = [Sender(f"urn:aquin:01890000-0000-7000-8000-00000000000{n}") for n in range(3)]
        self.cards = [uuid7() for _ in range(3)]
        self.waiting: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.now = time.time() - 40 * DAY

    @initialize()
    def begin(self) -> None:
        assert self.storage.head() == 0

    # -- what senders do ------------------------------------------------------------------------------------------

    @rule(sender=st.integers(0, 2), card=st.integers(0, 2), attempt=st.integers(1, 4), many=st.integers(1, 12))
    def tell(self, sender: int, card: int, attempt: int, many: int) -> None:
        one, name = self.senders[sender], self.cards[card]
        for number in range(many):
            kind = (one.sequence + number) % 7
            if kind == 0:
                event = one.result(name, attempt=attempt)
            elif kind == 1:
                event = one.event("card.snapshot", name, {"card": {"kind": "saeTrain"}}, attempt=attempt)
            else:
                event = one.progress(name, one.sequence, attempt=attempt)
            self.waiting[one.source].append(event)

    def _write(self, *batches: list[dict[str, Any]]) -> None:
        """What the storage answers is what the model expects, event by event."""
        outcomes = self.storage.write([checked(batch) for batch in batches], self.now)
        for batch, outcome in zip(batches, outcomes, strict=True):
            new = duplicates = 0
            refused = []
            for position, event in enumerate(batch):
                key, body = (event["source"], event["sequence"]), orjson.dumps(event)
                held = self.acked.get(key)
                if held is None:
                    self.acked[key] = body
                    self.order.append(body)
                    new += 1
                elif held == body or key in self.removed:
                    duplicates += 1
                else:
                    refused.append(position)
            assert (outcome.accepted, outcome.duplicates) == (new, duplicates)
            assert [one.position for one in outcome.rejected] == refused
            for source, contiguous in outcome.next.items():
                known = {sequence for owner, sequence in self.acked if owner == source}
                assert contiguous == next(n for n in range(len(known) + 1) if n + 1 not in known)

    def _settled(self, batch: list[dict[str, Any]]) -> None:
        for event in batch:
            queue = self.waiting[event["source"]]
            if event in queue:
                queue.remove(event)

    @rule(sender=st.integers(0, 2), many=st.integers(1, 20))
    def deliver(self, sender: int, many: int) -> None:
        batch = self.waiting[self.senders[sender].source][:many]
        self._write(batch)
        self._settled(batch)

    @rule(many=st.integers(1, 20), seed=st.integers(0, 999))
    def deliver_several_in_one_transaction(self, many: int, seed: int) -> None:
        batches = [queue[:many] for queue in self.waiting.values()]
        random.Random(seed).shuffle(batches)
        self._write(*batches, *batches[:1])  # one of them twice
        for batch in batches:
            self._settled(batch)

    @rule(sender=st.integers(0, 2), seed=st.integers(0, 999))
    def deliver_reordered(self, sender: int, seed: int) -> None:
        batch = list(self.waiting[self.senders[sender].source])
        random.Random(seed).shuffle(batch)
        batch = batch[: len(batch) // 2 + 1]
        self._write(batch)
        self._settled(batch)

    @precondition(lambda self: self.acked)
    @rule(data=st.data(), many=st.integers(1, 10))
    def deliver_again(self, data: st.DataObject, many: int) -> None:
        """The acknowledgement was lost."""
        keys = data.draw(st.lists(st.sampled_from(sorted(self.acked)), min_size=1, max_size=many))
        self._write([json.loads(self.acked[key]) for key in keys])

    @precondition(lambda self: self.acked)
    @rule(data=st.data())
    def another_event_of_the_same_number(self, data: st.DataObject) -> None:
        """Somebody copied an outbox, and both copies went on."""
        key = data.draw(st.sampled_from(sorted(self.acked)))
        event = json.loads(self.acked[key])
        self._write([event | {"id": uuid7(), "data": {"point": {"step": -1}}}])

    # -- what happens to the server -------------------------------------------------------------------------------

    @rule()
    def reopen(self) -> None:
        self.storage.close()
        self.storage = open_storage(self.place)

    @rule(sender=st.integers(0, 2), committed=st.booleans())
    def crash_in_a_transaction(self, sender: int, committed: bool) -> None:
        """Killed before its commit, or after it and before the answer."""
        storage: Any = self.storage
        batch = self.waiting[self.senders[sender].source][:20]
        run = storage.run

        def cut(sql: str, values: Any = ()) -> Any:
            if sql == "COMMIT":
                if committed:
                    run(sql, values)
                raise PowerCut
            return run(sql, values)

        storage.run = cut
        with suppress(PowerCut):
            storage.write([checked(batch)], self.now)
        del storage.run
        self.reopen()
        if committed:
            for event in batch:
                key, body = (event["source"], event["sequence"]), orjson.dumps(event)
                if key not in self.acked:
                    self.acked[key] = body
                    self.order.append(body)

    @rule(days=st.integers(0, 30))
    def time_passes(self, days: int) -> None:
        self.now = min(self.now + days * DAY, time.time())

    @rule(attempts=st.integers(1, 3))
    def thin(self, attempts: int) -> None:
        """Retention takes points and snapshots only, and does what it said it would."""
        told = collect_garbage(self.storage, attempts=attempts, dry_run=True)
        before = dict(self.storage.every())
        done = collect_garbage(self.storage, attempts=attempts)
        after = dict(self.storage.every())
        assert after.items() <= before.items()
        assert done.events == len(before) - len(after) <= told.events
        for body in (body for cursor, body in before.items() if cursor not in after):
            event = json.loads(body)
            assert event["type"] in ("card.progress", "card.snapshot")
            self.removed.add((event["source"], event["sequence"]))
            self.order.remove(body)

    # -- what readers see -----------------------------------------------------------------------------------------

    @rule(limit=st.integers(1, 30))
    def follow(self, limit: int) -> None:
        """A reader with a cursor, over crashes and retention."""
        page = self.storage.events(self.cursor, limit)
        assert [cursor for cursor, _ in page] == sorted({cursor for cursor, _ in page})
        self.followed += [body for _, body in page]
        self.cursor = page[-1][0] if page else self.cursor

    @rule()
    def through_a_file_and_back(self) -> None:
        """Export, import into an empty database, export: the same bytes."""
        first, second = io.BytesIO(), io.BytesIO()
        export(self.storage, first)
        place = str(self.folder / f"{uuid7()}.db")
        copy = open_storage(place)
        lines = first.getvalue().splitlines(keepends=True)
        assert load(copy, iter(lines), "a file") == (len(lines), 0)
        export(copy, second)
        copy.close()
        assert first.getvalue() == second.getvalue()
        assert load(self.storage, iter(lines), "a file") == (0, len(lines))

    @invariant()
    def everything_acknowledged_is_there(self) -> None:
        assert [body for _, body in self.storage.every()] == self.order

    def teardown(self) -> None:
        try:
            for queue in self.waiting.values():
                self._write(list(queue))
            while self.cursor < self.storage.head():
                self.follow(1000)
            assert len(set(self.followed)) == len(self.followed)
            assert set(self.order) <= set(self.followed)
            history = History(stored=[json.loads(body) for _, body in self.storage.every()])
            for (source, sequence), body in self.acked.items():
                if (source, sequence) not in self.removed:
                    history.tell(source, sequence, json.loads(body)["data"])
            said = history.violations(holes=bool(self.removed))
            assert all(text.startswith("reordered") for text in said)  # the rules send out of order
            assert self.storage.check() == []
        finally:
            self.storage.close()
            shutil.rmtree(self.folder)


@pytest.fixture(params=["sqlite", "postgres"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Gives an empty database each time."""
    if request.param == "sqlite":
        yield lambda: str(tmp_path / f"{uuid7()}.db")
        return
    place = request.getfixturevalue("postgres")

    def emptied() -> str:
        import psycopg

        with psycopg.connect(place, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        return str(place)

    yield emptied


def test_whatever_happens_what_was_acknowledged_is_there_once(
    fresh: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "POINTS", 5)
    machine = type("OnThis", (Machine,), {"fresh": staticmethod(fresh)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
