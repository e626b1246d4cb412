"""What is to be delivered next: the events of a spool in their order, and new cards beside a long backlog."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from typing import Protocol

import apsw

from ..cards.events import MAX_BATCH_BYTES
from .spool import Batch, Spool

LONG = 5000
"""Events that wait; from here on cards that came later are not made to wait behind them."""

END = 2**62
MANY = 100
TRIM_SECONDS = 0.5


class Feed(Protocol):
    """Events in the order in which they are to be delivered; see `SpoolFeed`."""

    delivered: int
    buried: int
    refused_blobs: int

    def next(self, events: int) -> Batch | None: ...
    def look(self) -> None: ...
    def taken(self, batch: Batch, rejected: dict[int, str]) -> None: ...
    def trim(self) -> None: ...
    def bury(self, sequence: int, reason: str) -> bool: ...
    def blobs(self, until: int) -> list[tuple[str, str, bytes]]: ...
    def blob_done(self, sha256: str, *, refused: bool) -> None: ...


class SpoolFeed:
    """The events of one spool, for one thread.

    `next` gives the same batch again until it was `taken`. A card's events are always in order. When much waits, as
    after a night without a network, events of other cards than those that wait are delivered in turn with it.
    """

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.delivered = self.buried = self.refused_blobs = 0
        self._cursor = 0
        self._backlog: tuple[int, str] | None = None  # its last sequence, its subjects as a JSON array
        self._live = 0
        self._turn = False
        self._sent: set[int] = set()  # confirmed, but still in the file because nothing can be written
        self._trimming: list[Sequence[int]] = []  # confirmed, and still in the file because there is no hurry
        self._next_trim = 0.0

    def next(self, events: int) -> Batch | None:
        """The next batch of at most `events`; None when nothing waits."""
        size = MAX_BATCH_BYTES - 2
        if self._backlog is not None:
            until, subjects = self._backlog
            new = self.spool.batch(self._live, END, events, size, subjects) if self._turn else None
            found = new or self.spool.batch(self._cursor, until, events, size)
            if found is not None:
                return found
            self.trim()  # what went past the backlog is behind the cursor again
            self._cursor, self._backlog = until, None
        return self.spool.batch(self._cursor, END, events, size)

    def look(self) -> None:
        """Notice a backlog; called when the orchestrator answers after it did not."""
        if self._backlog is None and self.spool.counts()[0] > LONG:
            until = self.spool.last()
            self._backlog, self._live = (until, json.dumps(self.spool.subjects(until))), until

    def taken(self, batch: Batch, rejected: dict[int, str]) -> None:
        """A batch was stored, but for the events whose place in it is in `rejected`, which are set aside."""
        sequences = batch.sequences()
        for at, reason in rejected.items():
            if 0 <= at < len(sequences) and not self.bury(sequences[at], reason):
                self.buried += 1  # it is behind the cursor, and will be refused again by whoever opens the file next
        gone = {sequences[at] for at in rejected if 0 <= at < len(sequences)}
        kept = [one for one in sequences if one not in gone] if gone else sequences
        self.delivered += len(kept) - len(self._sent.intersection(kept))
        self._trimming.append(kept)
        if len(kept) >= MANY or time.monotonic() >= self._next_trim:
            self.trim()
        self._passed(batch)

    def trim(self) -> None:
        """Remove from the file what was confirmed. Small batches wait for it, since whoever tells an event does too."""
        self._next_trim = time.monotonic() + TRIM_SECONDS
        while self._trimming:
            try:
                self.spool.trim(self._trimming[-1])
            except apsw.Error:  # nothing can be written now: all of it next time
                self._sent.update(*self._trimming)
                self._trimming = [sorted(self._sent)]
                return
            self._sent.difference_update(self._trimming.pop())

    def _passed(self, batch: Batch) -> None:
        if self._backlog is not None:
            if batch.first > self._backlog[0]:
                self._live, self._turn = batch.last, False
                return
            self._turn = True
        self._cursor = max(self._cursor, batch.last)

    def bury(self, sequence: int, reason: str) -> bool:
        """Set one event aside for good; it stays in the file. False when that cannot be written now."""
        try:
            self.spool.bury(sequence, reason)
        except apsw.Error:
            return False
        self.buried += 1
        return True

    def blobs(self, until: int) -> list[tuple[str, str, bytes]]:
        return self.spool.blobs(until)

    def blob_done(self, sha256: str, *, refused: bool) -> None:
        """A blob was stored, or never will be; then it stays in the file."""
        self.refused_blobs += refused
        with contextlib.suppress(apsw.Error):
            self.spool.blob_refused(sha256) if refused else self.spool.blob_sent(sha256)
