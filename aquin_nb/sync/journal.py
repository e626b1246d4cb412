"""Where one producer's events are kept: in its file, in room reserved for a full disk, in memory, or counted."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import apsw

from ..cards.events import LASTING, MAX_EVENT_BYTES, NOBODY, encode, slim
from .filesystem import advise
from .identity import Producer, Stamps
from .lease import Lease
from .ring import Kept, Reserve, Ring
from .spool import SUFFIX, Spool

SPILLED = 500
"""Events that go from memory to the disk at a time, once it takes them again."""

FULL = "the disk was full, and then the memory set aside for that"

Blobs = list[tuple[str, str, bytes]]


class Damaged(Exception):
    """The file can no longer be written to; a new one has to be begun."""


class Journal:
    """The events of one producer, numbered 1, 2, 3, ... without gaps.

    Attributes:
        problem: what is wrong with the disk, in a sentence.
        lost: events that are counted only.
    """

    def __init__(self, directory: Path, room: str, board: str = "") -> None:
        self.producer = Producer.here()
        self.path = directory / f"{self.producer.id}{SUFFIX}"
        self.lock = threading.RLock()  # a signal's handler may tell something while this thread does
        self.ring = Ring()
        self.sequence = self.lost = 0
        self.problem = ""
        self.dirty = False
        self.spool: Spool | None = None
        self._head = f'{{"specversion":"1.0","source":"{self.producer.source}","sequence":'
        self._stamps = Stamps()
        self._middle: dict[tuple[str, str, int], str] = {}
        self._room = room
        self._lease: Lease | None = None
        self._reserve = Reserve(self.path.with_suffix(".reserve"))
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lease = Lease.take(self.path.with_suffix(".lease"))
            self.spool = Spool.create(self.path, self.producer, board)
            if self.spool.remote:
                advise(directory, self.spool.remote)
            self._reserve.fill()
        except (OSError, apsw.Error) as error:
            self._degrade(error)

    def keep(self, type: str, subject: str, data: Any, attempt: int, attached: tuple[str, bytes] | None = None) -> int:
        """Keep an event; its number, or 0 when it is in memory or merely counted.

        Raises:
            Damaged: the file is; nothing was kept.
        """
        beside: Blobs = []
        if attached is not None:
            media_type, body = attached
            sha256 = hashlib.sha256(body).hexdigest()
            data = {**data, "sha256": sha256, "bytes": len(body), "media_type": media_type}
            beside = [(sha256, media_type, body)]
        tail, blobs = self._tail(type, subject, data, attempt)
        blobs = [*blobs, *beside]
        lasting = type in LASTING
        with self.lock:
            sequence = 0 if self.ring.active else self._append(tail, blobs)
            if not sequence:
                event = Kept(str(subject), attempt, lasting, tail)
                sequence = self._settle(event) if lasting else 0
                if not sequence and not self.ring.add(event):
                    self.lost += 1
        self.dirty = True
        if lasting and sequence:
            self.sync()
        return sequence

    def _tail(self, type: str, subject: str, data: Any, attempt: int) -> tuple[str, Blobs]:
        """An event's text after its number, and the blobs it refers to."""
        key = (type, subject, attempt)
        middle = self._middle.get(key)
        if middle is None:
            fields = {
                "type": (str(type) or "unnamed")[:200],
                "subject": (str(subject) or NOBODY)[:200],
                "room": self._room,
                "attempt": max(1, int(attempt)),
                "datacontenttype": "application/json",
            }
            middle = encode(fields)[1:-1]
            if len(self._middle) > 1000:
                self._middle.clear()
            self._middle[key] = middle
        said = encode(data if isinstance(data, Mapping) else {"value": data})
        blobs: Blobs = []
        room = MAX_EVENT_BYTES - 4 * len(middle) - 300
        if len(said) * 4 > room and len(said.encode("utf-8", "replace")) > room:
            said, blobs = _shortened(said, data, room)
        tail = f',{self._stamps.next()},{middle},"data":{said}}}'
        return tail if tail.isascii() else tail.encode("utf-8", "replace").decode(), blobs

    def _append(self, tail: str, blobs: Blobs) -> int:
        """Write one event to the file; 0 when that cannot be done now."""
        spool = self.spool
        assert spool is not None
        try:
            while True:
                sequence = self.sequence + 1
                try:
                    if blobs:
                        self._write(sequence, tail, blobs)
                    else:
                        spool.append(sequence, f"{self._head}{sequence}{tail}")
                    self.sequence = max(self.sequence, sequence)
                    return sequence
                except apsw.ConstraintError:  # a signal's handler told something at this very moment
                    self.sequence = max(sequence, spool.last())
        except (apsw.CorruptError, apsw.NotADBError) as error:
            raise Damaged(f"{self.path.name} is damaged ({error}); a new outbox was begun.") from error
        except apsw.Error as error:
            self._degrade(error)
            return 0
        except BaseException:  # an interrupt, which may have struck between the commit and our count
            with contextlib.suppress(apsw.Error):
                self.sequence = max(self.sequence, spool.last())
            raise

    def _write(self, sequence: int, tail: str, blobs: Blobs) -> None:
        assert self.spool is not None
        rows = [(sequence, f"{self._head}{sequence}{tail}")]
        self.spool.append_all(rows, [(sha, sequence, kind, blob) for sha, kind, blob in blobs])

    def _degrade(self, error: Exception) -> None:
        self.ring.active = True
        why = (isinstance(error, OSError) and error.strerror) or str(error)
        self.problem = (
            f"{self.path.parent} takes nothing ({why}); events are kept in memory, and what is not delivered ends with"
            " the process. Free or give room there, or set AQUIN_HOME to another folder."
        )

    def _settle(self, last: Kept) -> int:
        """Put what is in memory and a start or a result on the disk, the reserve being there for that; its number."""
        if self._spill(None, last):
            return self.sequence
        self._reserve.release()
        if self._spill(None, last):
            return self.sequence
        self.lost += self.ring.collapse()
        return self.sequence if self._spill(None, last) else 0

    def _spill(self, most: int | None, last: Kept | None = None) -> bool:
        """Write what is in memory to the file, all or nothing: the first `most` events, then gaps, and `last`."""
        ring, number = self.ring, self.sequence
        if self.spool is None:
            return False
        rows = [(sequence, f"{self._head}{sequence}{event.tail}") for sequence, event in ring.assigned.items()]
        waiting = list(ring.waiting)[:most]
        gaps = self._gaps(number + len(waiting)) if len(waiting) == len(ring.waiting) else []
        for event in [*waiting, *gaps, *([last] if last is not None else [])]:
            number += 1
            rows.append((number, f"{self._head}{number}{event.tail}"))
        try:
            self.spool.append_all(rows)
        except apsw.Error:
            return False
        self.sequence = number
        for sequence in list(ring.assigned):
            ring.drop(sequence)
        for _ in waiting:
            ring.shift()
        if gaps:
            ring.lost.clear()
        return True

    def _gaps(self, after: int) -> list[Kept]:
        """What was lost, as events: one a card, with its exact count."""
        found = []
        for (subject, attempt), lost in self.ring.lost.items():
            told = {"reason": FULL, "count": lost.count, "after": after, "first_time": lost.first_time,
                    "last_time": lost.last_time, "ranges": lost.ranges}  # fmt: skip
            found.append(Kept(subject, attempt, True, self._tail("sync.gap", subject, told, attempt)[0]))
            after += 1
        return found

    def recover(self) -> None:
        """Go back to the disk when it takes events again, the reserve first."""
        while self.ring.active and self.spool is not None:
            with self.lock:
                # Under the lock: the room that a result has just been given back is not ours to take again.
                if not self._reserve.fill() or not self._spill(SPILLED):
                    return
                if not len(self.ring) and not self.ring.lost:
                    self.ring.active, self.problem = False, ""

    def assign(self, most: int) -> list[tuple[int, str]]:
        """Events in memory, numbered now, because they have to go to the orchestrator from there."""
        with self.lock:
            ring = self.ring
            if not ring.waiting and ring.lost:
                for gap in self._gaps(self.sequence):
                    ring.add(gap)
                ring.lost.clear()
            while ring.waiting and len(ring.assigned) < most:
                self.sequence += 1
                ring.assign(self.sequence)
            return [(n, f"{self._head}{n}{event.tail}") for n, event in list(ring.assigned.items())[:most]]

    def forget(self, sequences: Iterable[int]) -> None:
        """These were confirmed."""
        with self.lock:
            if self.ring.assigned:
                for sequence in sequences:
                    self.ring.drop(sequence)

    def inherit(self, ring: Ring) -> None:
        """Take over what a damaged journal had in memory."""
        with self.lock:
            self.ring.waiting.extend(ring)
            self.ring.lost.update(ring.lost)
            self.ring.active = self.ring.active or len(self.ring) > 0 or bool(ring.lost)

    def told(self) -> int:
        """How many events there are or were, those that are counted only left out."""
        return self.sequence + len(self.ring.waiting)

    def sync(self) -> None:
        """Wait until the disk has everything."""
        if self.spool is None or not self.dirty:
            return
        self.dirty = False
        try:
            self.spool.sync()
        except OSError as error:
            self.problem = f"The disk did not confirm a write ({error}); events may not survive a power cut."

    def tend(self) -> None:
        """What `keep` leaves for later: a group fsync, a checkpoint, a look whether a full disk has room again."""
        self.sync()
        if self.spool is not None:
            with contextlib.suppress(apsw.Error, OSError):
                self.spool.checkpoint()
        self.recover()

    def close(self) -> None:
        """Put on disk what can be, and let go of the file; it goes too when nothing waits in it."""
        with self.lock, contextlib.suppress(apsw.Error, OSError):
            if self.ring.active:
                self._reserve.release()
                self._spill(None)
            if self.spool is not None:
                self.dirty = True
                self.sync()
                if self.spool.counts() == (0, 0):
                    self.spool.remove()
                    if self._lease is not None:
                        self._lease.release(remove=True)
                else:
                    self.spool.close()
        self.abandon()

    def abandon(self) -> None:
        """Let go of the file as it is: somebody else will deliver it."""
        with contextlib.suppress(OSError):
            self._reserve.remove()
        if self.spool is not None:
            with contextlib.suppress(apsw.Error, OSError):
                self.spool.close()
        if self._lease is not None:
            self._lease.release()

    def before_fork(self) -> None:
        """Hold every lock, SQLite's own among them, so that a child does not inherit one that is taken."""
        self.lock.acquire()
        if self.spool is not None:
            self.spool.lock.acquire()
            self.spool.reading.acquire()

    def after_fork_in_parent(self) -> None:
        if self.spool is not None:
            self.spool.reading.release()
            self.spool.lock.release()
        self.lock.release()

    def after_fork_in_child(self) -> None:
        """The parent's file is not ours to touch, not even to close."""
        if self.spool is not None:
            self.spool.disown()
        if self._lease is not None:
            self._lease.forget()


def _shortened(said: str, data: Any, room: int) -> tuple[str, Blobs]:
    """Data that is too large for an event: its card slimmed, or all of it as a blob."""
    if isinstance(data, Mapping) and isinstance(data.get("card"), Mapping):
        card, left = slim(data["card"])
        shorter = encode({**data, "card": card, "left_out": left})
        if len(shorter.encode("utf-8", "replace")) <= room:
            return shorter, []
    body = said.encode("utf-8", "replace")
    sha256 = hashlib.sha256(body).hexdigest()
    stub = encode({"external": {"sha256": sha256, "bytes": len(body), "media_type": "application/json"}})
    return stub, [(sha256, "application/json", body)]
