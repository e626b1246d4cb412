"""The thread that delivers: this process' events first, then what killed ones left in the same folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..cards.events import MAX_BATCH_BYTES
from .adopt import Adoption
from .client import Client, Find
from .delivery import Delivery
from .feed import TRIM_SECONDS, SpoolFeed
from .journal import Journal
from .spool import Batch

BEAT_SECONDS = 10.0
ADOPT_SECONDS = 15.0
LINGER = 0.025
"""Seconds between two requests while little waits: less would only take the interpreter from the training."""

LITTLE = 100
"""Events; a request with fewer is followed by a pause, in which others gather."""


class OwnFeed(SpoolFeed):
    """The events of this process: those on disk, then those that only memory has."""

    def __init__(self, journal: Journal) -> None:
        assert journal.spool is not None
        super().__init__(journal.spool)
        self._journal = journal

    def next(self, events: int) -> Batch | None:
        found = super().next(events)
        if found is None and (found := _in_memory(self._journal, events)) is not None:
            # Between the two looks memory may have gone to the disk, and told on: that is older than what it has now.
            found = super().next(events) or found
        return found

    def taken(self, batch: Batch, rejected: dict[int, str]) -> None:
        self._journal.forget(batch.sequences())
        super().taken(batch, rejected)

    def bury(self, sequence: int, reason: str) -> bool:
        self._journal.forget([sequence])
        return super().bury(sequence, reason)


class MemoryFeed(SpoolFeed):
    """The events of a process that has no file: its folder cannot be written."""

    def __init__(self, journal: Journal) -> None:
        self.delivered = self.buried = self.refused_blobs = 0
        self._journal = journal

    def next(self, events: int) -> Batch | None:
        return _in_memory(self._journal, events)

    def look(self) -> None:
        """There is no backlog: memory is bounded."""

    def taken(self, batch: Batch, rejected: dict[int, str]) -> None:
        self._journal.forget(batch.sequences())
        self.delivered += batch.count - len(rejected)
        self.buried += len(rejected)

    def trim(self) -> None:
        """There is no file."""

    def bury(self, sequence: int, reason: str) -> bool:
        self._journal.forget([sequence])
        self.buried += 1
        return True

    def blobs(self, until: int) -> list[tuple[str, str, bytes]]:
        return []


def _in_memory(journal: Journal, events: int) -> Batch | None:
    rows: list[tuple[int, str]] = []
    size = 0
    if journal.ring.active:
        for sequence, body in journal.assign(events):
            size += len(body.encode()) + 1
            if size > MAX_BATCH_BYTES - 2:
                break
            rows.append((sequence, body))
    if not rows:
        return None
    return Batch(rows[0][0], rows[-1][0], len(rows), f"[{','.join(body for _, body in rows)}]")


class Sender:
    """Delivers a journal until it is stopped.

    Attributes:
        wake: set it when something was told.
    """

    def __init__(
        self,
        journal: Journal,
        url: str,
        token: str | None,
        tell: Callable[[str, dict[str, object]], object],
        find: Find | None = None,
    ) -> None:
        self.delivery = Delivery(Client(url, token))
        self._find, self._told = find, (url, token)
        self.feed: SpoolFeed = OwnFeed(journal) if journal.spool is not None else MemoryFeed(journal)
        self.wake = threading.Event()
        self._journal = journal
        self.adoption = Adoption(journal.path.parent, url, token, tell)
        self._next_beat = self._next_look = 0.0
        self._stopping = False
        self._poke = threading.Event()
        self._thread = threading.Thread(target=self._run, name="aquin-nb sync", daemon=True)
        self._thread.start()

    def hurry(self) -> None:
        """Try now what was to be tried later."""
        self.delivery.hurry()
        self._poke.set()
        self.wake.set()

    def stop(self, timeout: float) -> None:
        """End the thread, with a last word if the orchestrator listens; waits no longer than `timeout` seconds."""
        self._stopping = True
        self.adoption.stop()
        self._poke.set()
        self.wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._turn()
            except Exception as error:  # whatever it is, events go on being kept, and this is tried again
                self.delivery.problem = f"Delivery stumbled: {type(error).__name__}: {error}."
                self._poke.wait(1.0)
        self.feed.trim()
        if self.delivery.state == "connected":
            self._beat(alive=False)
        self.delivery.client.close()

    def _turn(self) -> None:
        self.wake.clear()
        delay = self.delivery.delay()
        if delay:
            self._poke.wait(delay)
            self._poke.clear()
            self._follow()
            return
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + BEAT_SECONDS
            if self._was_away(lambda: self._beat(alive=True)):
                return
        before = self.feed.delivered
        while not self._stopping and self._was_away(lambda: self.delivery.step(self.feed)) is False:
            if time.monotonic() >= self._next_beat:
                return
            before, done = self.feed.delivered, self.feed.delivered - before
            if done < LITTLE:
                self._poke.wait(LINGER)
                self._poke.clear()
        if self.delivery.failed or self._stopping:
            return
        if self.delivery.state == "connected" and now >= self._next_look:
            self._next_look = now + ADOPT_SECONDS
            self.adoption.begin()
        if not self.wake.wait(TRIM_SECONDS):
            self.feed.trim()
            self.wake.wait(max(0.0, min(self._next_beat, self._next_look or self._next_beat) - time.monotonic()))

    def _follow(self) -> None:
        """Speak to the orchestrator where it is now, if it was started again elsewhere."""
        found = self._find() if self._find is not None and not self._stopping else None
        if found is None or found == self._told:
            return
        self._told = found
        self.delivery.client.close()
        self.delivery.client = Client(*found)
        self.delivery.hurry()
        self.adoption.aim(*found)

    def _was_away(self, speak: Callable[[], bool]) -> bool:
        """Speak; False when that went well. A long backlog is noticed when it begins to."""
        before = self.delivery.state
        well = speak()
        if well and before != "connected" and self.delivery.state == "connected":
            self.feed.look()
        return not well

    def _beat(self, *, alive: bool) -> bool:
        producer = self._journal.producer
        pending = max(0, self._journal.told() - self.feed.delivered - self.feed.buried)
        fields = {"alive": alive, "pid": producer.pid, "host": producer.host, "started_at": producer.started_at,
                  "kernel": producer.kernel, "pending": pending}  # fmt: skip
        return self.delivery.beat(producer.id, fields)
