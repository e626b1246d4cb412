"""What a card is, made of its events: for each attempt the newest start, progress, snapshot and result.

"Newest" goes by (source, sequence), never by a clock or by arrival, so that late, reordered and repeated deliveries end
in the same card. A source is a UUIDv7 and begins anew with each process, which orders the processes of one attempt.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from .envelope import Event

SLOTS = {"tool.start": "start", "card.progress": "progress", "card.snapshot": "snapshot", "tool.result": "result"}
ENDINGS = ("completed", "failed", "cancelled")


class Pointer(NamedTuple):
    """Where an event lies (`cursor`), what orders it, and the little that lists of attempts show of it."""

    source: str
    sequence: int
    cursor: int
    time: str
    status: str = ""

    @property
    def order(self) -> tuple[str, int]:
        return self.source, self.sequence


@dataclass
class Attempt:
    """One run of a card's cell."""

    number: int
    first: int  # cursor of its first event here
    last: int = 0
    received: float = 0.0  # server's clock at the last event, seconds since the epoch
    events: int = 0
    lost: int = 0  # events that the sender says it had to drop
    start: Pointer | None = None
    progress: Pointer | None = None
    snapshot: Pointer | None = None
    result: Pointer | None = None
    artifacts: list[int] = field(default_factory=list)

    def take(self, event: Event, cursor: int, now: float) -> None:
        """Count an event that was not here before."""
        self.last, self.received, self.events = max(self.last, cursor), now, self.events + 1
        slot = SLOTS.get(event.type)
        if slot is not None:
            status = str(event.data.get("status", "")) if slot == "result" else ""
            pointer = Pointer(event.source, event.sequence, cursor, event.time, status if status in ENDINGS else "")
            held: Pointer | None = getattr(self, slot)
            if held is None or held.order < pointer.order:
                setattr(self, slot, pointer)
        elif event.type == "card.artifact":
            self.artifacts = [*self.artifacts, cursor][-100:]
        elif event.type == "sync.gap":
            count = event.data.get("count")
            self.lost += count if isinstance(count, int) and count > 0 else 0

    @property
    def ended(self) -> bool:
        """A result, and no start after it."""
        return self.result is not None and (self.start is None or self.start.order < self.result.order)

    @property
    def source(self) -> str:
        """Who sent the newest of what is pointed at; "" for an attempt of other events only."""
        held = [one.order for one in (self.start, self.progress, self.snapshot, self.result) if one]
        return max(held)[0] if held else ""

    @property
    def spoken(self) -> bool:
        """Progress came after the result: it is kept, and shown as said too late."""
        return bool(self.ended and self.result and self.progress and self.progress.order > self.result.order)

    def dumped(self) -> bytes:
        """As JSON, for the database."""
        return orjson.dumps(self.__dict__, default=tuple)

    @classmethod
    def loaded(cls, text: str | bytes) -> Attempt:
        values: dict[str, Any] = orjson.loads(text)
        for slot in SLOTS.values():
            if values[slot] is not None:
                values[slot] = Pointer(*values[slot])
        return cls(**values)
