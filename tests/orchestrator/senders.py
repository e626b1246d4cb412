"""Events as sessions send them."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from typing import Any

from aquin_nb.orchestrator.envelope import Event, parse_items


def uuid7() -> str:
    """Time in the first 48 bits, then randomness."""
    stamp = int(datetime.now(UTC).timestamp() * 1000) << 80
    bits = stamp | int.from_bytes(os.urandom(10)) & ~(0xF << 76) & ~(0x3 << 62)
    return str(uuid.UUID(int=bits | 7 << 76 | 2 << 62))


class Sender:
    """A process that tells of its runs: numbers its events from 1."""

    def __init__(self, source: str | None = None, room: str = "default") -> None:
        self.source = source or f"urn:aquin:{uuid7()}"
        self.uuid = self.source.removeprefix("urn:aquin:")
        self.room, self.sequence = room, 0

    def event(self, type: str, card: str, data: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        self.sequence += 1
        return {
            "specversion": "1.0",
            "id": uuid7(),
            "source": self.source,
            "type": type,
            "subject": card,
            "time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "sequence": self.sequence,
            "room": self.room,
            "attempt": 1,
            "datacontenttype": "application/json",
            "data": data or {},
        } | more

    def start(self, card: str, name: str = "a run", kind: str = "saeTrain", **more: Any) -> dict[str, Any]:
        return self.event("tool.start", card, {"tool": "sae.train", "kind": kind, "name": name}, **more)

    def progress(self, card: str, step: int, **more: Any) -> dict[str, Any]:
        progress = {"stage": "training", "done": step, "total": 1000, "fraction": step / 1000}
        return self.event(
            "card.progress", card, {"progress": progress, "point": {"step": step, "fvu": 1 / (1 + step)}}, **more
        )

    def result(self, card: str, status: str = "completed", **more: Any) -> dict[str, Any]:
        return self.event("tool.result", card, {"status": status, "tool": "sae.train"}, **more)

    def run(self, card: str, points: int = 3, **more: Any) -> list[dict[str, Any]]:
        """A whole run: start, points, result."""
        first = self.start(card, **more)
        steps = [self.progress(card, step, **more) for step in range(1, points + 1)]
        return [first, *steps, self.result(card, **more)]


def checked(events: list[dict[str, Any]]) -> list[Event]:
    """As the server takes them; none may be refused."""
    good, refused = parse_items(events)
    assert not refused, refused
    return good
