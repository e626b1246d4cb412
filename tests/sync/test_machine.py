"""Any order of telling, delivering, crashing, full disks and unkind answers: what was promised is there once."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from history import History
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from aquin_nb.sync import ring
from aquin_nb.sync.adopt import Adoption
from aquin_nb.sync.client import Answer
from aquin_nb.sync.delivery import Delivery
from aquin_nb.sync.journal import Journal
from aquin_nb.sync.sender import OwnFeed

CARDS = [f"01890000-0000-7000-8000-00000000000{i}" for i in range(3)]
TYPES = ["card.progress"] * 5 + ["tool.start", "tool.result", "card.snapshot"]


class Wire:
    """A client whose orchestrator is a list, and whose answers are chosen by the machine."""

    shown = "the wire"

    def __init__(self) -> None:
        self.stored: list[dict] = []
        self.keys: set[tuple[str, int]] = set()
        self.mood = "well"

    def send(self, batch, count):
        mood, self.mood = self.mood, "well"
        if mood == "down":
            return Answer("retry", "down")
        events = json.loads(batch)
        assert len(events) == count
        if mood == "too large" and count > 1:
            return Answer("too large")
        duplicates = 0
        for event in events if mood != "half" else events[: count // 2]:
            key = event["source"], event["sequence"]
            duplicates += key in self.keys
            if key not in self.keys:
                self.keys.add(key)
                self.stored.append(event)
        if mood in ("lost ack", "half"):
            return Answer("retry", "nobody heard")
        return Answer("taken", body={"accepted": count - duplicates, "duplicates": duplicates})

    def beat(self, producer, fields):
        return Answer("taken")

    def put_blob(self, sha256, media_type, body):
        return Answer("taken")

    def close(self):
        pass


class Machine(RuleBasedStateMachine):
    """The journal, its feed and its delivery without their threads, so that every run can be had again."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.wire, self.history, self.step, self.lost = Wire(), History(), 0, 0
        self.delivery = Delivery(self.wire)
        self.full = False

    @initialize()
    def begin(self):
        self.journal = Journal(self.folder, "default")
        self.feed = OwnFeed(self.journal)
        self.full = False

    @rule(type=st.sampled_from(TYPES), card=st.sampled_from(CARDS), many=st.integers(1, 30), size=st.integers(0, 900))
    def tell(self, type, card, many, size):
        for _ in range(many):
            self.step += 1
            data = {"point": {"step": self.step}, "pad": "x" * size}
            if type == "tool.result":
                data = {"status": "completed", "pad": "x" * size}
            sequence = self.journal.keep(type, card, data, 1)
            if sequence:
                self.history.tell(self.journal.producer.source, sequence, data)

    @rule(mood=st.sampled_from(["well", "well", "down", "lost ack", "half", "too large"]))
    def deliver(self, mood):
        self.wire.mood = mood
        self.delivery.step(self.feed)

    @precondition(lambda self: not self.full)
    @rule()
    def fill(self):
        writer = self.journal.spool._writer
        writer.pragma("max_page_count", writer.pragma("page_count"))
        self.full = True

    @precondition(lambda self: self.full)
    @rule()
    def free(self):
        self.journal.spool._writer.pragma("max_page_count", 1 << 30)
        self.full = False

    @rule()
    def tend(self):
        self.journal.tend()

    @rule()
    def look(self):
        self.feed.look()

    @rule()
    def crash(self):
        """SIGKILL: nothing is said any more, and the lease is free. What only memory had was never promised."""
        self.lost = None if self.lost is None or len(self.journal.ring) or self.journal.ring.lost else self.lost
        self.lost = None if self.lost is None else self.lost + self.journal.lost
        self.journal.abandon()
        self.begin()

    def teardown(self):
        try:
            if self.full:
                self.free()
            self.journal.tend()
            if self.lost is not None:
                self.history.counted = self.lost + self.journal.lost
            while self.feed.next(500) is not None:
                self.delivery.step(self.feed)
            assert self.journal.told() == self.feed.delivered
            self.journal.close()
            adoption = Adoption(self.folder, "http://127.0.0.1:1", None, lambda *_: None)
            for _ in range(10):
                report = adoption.drain(self.delivery, time.monotonic() + 5)
            assert (report.waiting, report.owned, report.problems) == (0, 0, [])
            self.history.stored = self.wire.stored
            self.history.judge(holes=self.lost is None)
        finally:
            shutil.rmtree(self.folder)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(ring, "RING_BYTES", 4_000)
    monkeypatch.setattr(ring, "RESERVE_BYTES", 64 * 1024)
    monkeypatch.setattr("aquin_nb.sync.feed.LONG", 40)


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
