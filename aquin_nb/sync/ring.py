"""What is told while the disk takes nothing: a bounded memory, and an exact account of what did not fit into it."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .identity import now

RING_BYTES = 64 * 1024 * 1024
RESERVE_BYTES = 8 * 1024 * 1024
QUANTITIES = 32
"""Quantities of a card whose range a gap tells."""


@dataclass
class Lost:
    """What is known of a card's events that are gone."""

    count: int = 0
    first_time: str = ""
    last_time: str = ""
    ranges: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, data: Any) -> None:
        self.count += 1
        self.last_time = now()
        self.first_time = self.first_time or self.last_time
        point = data.get("point") if isinstance(data, Mapping) else None
        for name, value in point.items() if isinstance(point, Mapping) else ():
            if name not in self.ranges and len(self.ranges) >= QUANTITIES:
                continue
            seen = self.ranges.setdefault(name, {"min": None, "max": None, "last": None})
            seen["last"] = value
            if isinstance(value, int | float) and not isinstance(value, bool):
                seen["min"] = value if seen["min"] is None else min(value, seen["min"])
                seen["max"] = value if seen["max"] is None else max(value, seen["max"])


@dataclass(frozen=True)
class Kept:
    """An event in memory: its text after its number, which it gets when it leaves."""

    subject: str
    attempt: int
    lasting: bool
    tail: str

    @property
    def size(self) -> int:
        return len(self.tail) + 200


class Ring:
    """Events that are not on disk. Not thread-safe: its owner has a lock.

    `assigned` have a number already, because they are being sent; `waiting` have none. `lost` by subject and attempt.
    """

    def __init__(self) -> None:
        self.active = False
        self.assigned: dict[int, Kept] = {}
        self.waiting: deque[Kept] = deque()
        self.lost: dict[tuple[str, int], Lost] = {}
        self._size = 0

    def __len__(self) -> int:
        return len(self.assigned) + len(self.waiting)

    def add(self, event: Kept) -> bool:
        """Keep an event, or count it as lost: a start or a result always stays, progress while there is room."""
        if not event.lasting and self._size + event.size > RING_BYTES:
            self._lose(event)
            return False
        self.waiting.append(event)
        self._size += event.size
        return True

    def _lose(self, event: Kept) -> None:
        self.lost.setdefault((event.subject, event.attempt), Lost()).add(json.loads("{" + event.tail[1:])["data"])

    def collapse(self) -> int:
        """Give up the progress that waits, counting it; how much it was."""
        gone = [event for event in self.waiting if not event.lasting]
        for event in gone:
            self._lose(event)
        self.waiting = deque(event for event in self.waiting if event.lasting)
        self._size = sum(event.size for event in self)
        return len(gone)

    def __iter__(self) -> Iterator[Kept]:
        yield from self.assigned.values()
        yield from self.waiting

    def shift(self) -> None:
        """Forget the first one that waits: it is on disk."""
        self._size -= self.waiting.popleft().size

    def assign(self, sequence: int) -> Kept:
        """Give the first one that waits its number."""
        event = self.waiting.popleft()
        self.assigned[sequence] = event
        return event

    def drop(self, sequence: int) -> bool:
        """Forget an event that was confirmed, or that is on disk now."""
        event = self.assigned.pop(sequence, None)
        if event is None:
            return False
        self._size -= event.size
        return True


class Reserve:
    """Room on the disk that is given back when nothing else is left, so that a run can still say how it ended."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> bool:
        """Take the room; whether it is there."""
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        except OSError:
            return False
        try:
            if os.fstat(handle).st_size < RESERVE_BYTES:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(handle, 0, RESERVE_BYTES)
                else:
                    os.write(handle, bytes(RESERVE_BYTES))
        except OSError:
            os.ftruncate(handle, 0)  # what was taken so far is better used by others
            return False
        finally:
            os.close(handle)
        return True

    def release(self) -> None:
        try:
            os.truncate(self.path, 0)
        except OSError:
            return

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
