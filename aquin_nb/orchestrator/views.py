"""A card as the board shows it: its newest attempt in full, the older ones by how they ended."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from .fold import Attempt
from .liveness import contact
from .storage import CardRow, Producer, Reader


class Views:
    """Makes views from a database; holds nothing but the time this server began."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.since = time.time()

    def of(self, rows: Sequence[CardRow]) -> list[dict[str, Any]]:
        """Several cards with three queries."""
        wanted: set[int] = set()
        for row in rows:
            for attempt in row.attempts:
                wanted |= _pointed(attempt, whole=attempt is row.attempts[-1])
        bodies = self._reader.bodies(sorted(wanted))
        sources = {attempt.source for row in rows for attempt in row.attempts if attempt.source}
        producers = self._reader.producers(sorted(sources))
        told = {cursor: orjson.loads(body) for cursor, body in bodies.items()}
        return [self._view(row, told, producers) for row in rows]

    def one(self, room: str, card: str) -> dict[str, Any] | None:
        row = self._reader.card(room, card)
        return self.of([row])[0] if row else None

    def several(self, keys: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
        return self.of([row for key in keys if (row := self._reader.card(*key)) is not None])

    def _view(self, row: CardRow, told: dict[int, dict[str, Any]], producers: dict[str, Producer]) -> dict[str, Any]:
        attempts = [self._attempt(one, producers) for one in reversed(row.attempts)]
        newest = row.attempts[-1]
        data = {
            slot: told[pointer.cursor].get("data") or {}
            for slot in ("start", "progress", "snapshot", "result")
            if (pointer := getattr(newest, slot)) is not None and pointer.cursor in told
        }
        cards = [(getattr(newest, slot).order, data[slot]) for slot in data if isinstance(data[slot].get("card"), dict)]
        latest = max(cards, key=lambda pair: pair[0])[1] if cards else {}
        card = latest.get("card") or {}
        start, progress, result = data.get("start", {}), data.get("progress", {}), data.get("result", {})
        producer = producers.get(newest.source)
        return {
            "room": row.room,
            "id": row.card,
            "cursor": row.last,
            "begun": newest.first,
            "kind": _text(card.get("kind") or start.get("kind")),
            "name": _text(card.get("name") or start.get("name")),
            "tool": _text(start.get("tool") or result.get("tool")),
            **attempts[0],
            "session": _text(start.get("session")),
            "device": _text(start.get("device")) or (producer.host if producer else None) or "",
            "host": producer.host if producer else None,
            "pending": producer.pending if producer else None,
            "progress": progress.get("progress"),
            "point": progress.get("point"),
            "card": card or None,
            "left_out": latest.get("left_out") or [],
            "error": result.get("error"),
            "artifacts": [told[cursor].get("data") or {} for cursor in newest.artifacts if cursor in told],
            "attempts": attempts,
        }

    def _attempt(self, attempt: Attempt, producers: dict[str, Producer]) -> dict[str, Any]:
        producer = producers.get(attempt.source)
        ended = attempt.ended
        result = attempt.result if ended else None
        begun = attempt.start or attempt.snapshot or attempt.progress
        status = (result.status or "completed") if result else "running" if begun else "unknown"
        return {
            "attempt": attempt.number,
            "status": status,
            "contact": None if ended or not begun else contact(producer, time.time(), self.since),
            "last_contact": _when(max(attempt.received, producer.seen if producer else 0.0)),
            "invoked_at": begun.time if begun else None,
            "completed_at": result.time if result else None,
            "events": attempt.events,
            "lost": attempt.lost,
            "late": attempt.spoken,
        }


def _pointed(attempt: Attempt, *, whole: bool) -> set[int]:
    if not whole:
        return set()
    slots = (attempt.start, attempt.progress, attempt.snapshot, attempt.result)
    return {one.cursor for one in slots if one} | set(attempt.artifacts)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _when(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat() if seconds else None
