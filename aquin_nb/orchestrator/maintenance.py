"""Backup, retention, and the round trip of all events through a file."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from ..errors import AquinError
from ..files import whole_file
from .blobs import Blobs
from .envelope import MAX_EVENTS, parse_items
from .fold import Attempt
from .storage import Storage

POINTS: Final = 1000
"""About how many points retention leaves of a curve of more than twice as many: in each bucket the smallest and the
largest of each quantity."""


@dataclass
class Kept:
    """What retention would remove, or has removed."""

    events: int = 0
    blobs: int = 0
    bytes: int = 0


def backup(storage: Storage, target: Path) -> Path:
    """The database and its blobs, also while it is served: `target` and `target.blobs`.

    Raises:
        AquinError: `target` is there already, or the database is not SQLite's.
    """
    if target.exists():
        raise AquinError(f"{target} is there already; choose another name. Nothing was written.")
    storage.snapshot(target)
    copy = Blobs(target.with_name(target.name + ".blobs"))
    for path in Blobs(storage.blobs).all():
        place = copy.path(path.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)
    return target


def export(storage: Storage, stream: BinaryIO) -> int:
    """All events in their order, one JSON object a line; how many."""
    count = 0
    for count, (_, body) in enumerate(storage.every(), 1):  # noqa: B007
        stream.write(body + b"\n")
    return count


def export_to(storage: Storage, target: Path) -> int:
    """As `export`, into a file that appears whole or not at all."""
    with whole_file(target) as temporary, open(temporary, "wb") as stream:
        return export(storage, stream)


def load(storage: Storage, lines: Iterator[bytes], name: str) -> tuple[int, int]:
    """Take exported events in; (new, already there). Importing twice changes nothing.

    Raises:
        AquinError: a line that is no event, named by its number; what came before it stays.
    """
    new = known = number = 0
    items: list[Any] = []
    numbers: list[int] = []

    def flush() -> None:
        nonlocal new, known
        events, refused = parse_items(items)
        if refused:
            first = refused[0]
            raise AquinError(f"{name}, line {numbers[first.position]}: {first.reason}.")
        (outcome,) = storage.write([events], time.time())
        if outcome.rejected:
            first_bad = outcome.rejected[0]
            raise AquinError(f"{name}, line {numbers[first_bad.position]}: {first_bad.reason}")
        new, known = new + outcome.accepted, known + outcome.duplicates
        items.clear()
        numbers.clear()

    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            items.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise AquinError(f"{name}, line {number}, is not JSON: {error}.") from None
        numbers.append(number)
        if len(items) == MAX_EVENTS:
            flush()
    if items:
        flush()
    return new, known


def collect_garbage(storage: Storage, *, days: float = 30, attempts: int = 20, dry_run: bool = False) -> Kept:
    """Thin what is old, and drop bytes that no event names.

    Of attempts that ended more than `days` ago, a curve keeps `POINTS` points and the card its newest snapshot; of
    attempts beyond the newest `attempts` of a card, only start and result stay. Starts, results and gaps always stay.
    """
    kept, limit = Kept(), time.time() - days * 86400
    doomed: list[int] = []
    before: int | None = None
    while rows := storage.cards(None, 200, before=before):
        before = rows[-1][0]
        for _, row in rows:
            for place, attempt in enumerate(reversed(row.attempts)):
                folded = place >= attempts
                if attempt.ended and (folded or attempt.received < limit):
                    doomed += _superfluous(storage, row.room, row.card, attempt, folded)
    kept.events = len(doomed) if dry_run else storage.delete(doomed)
    _sweep_blobs(storage, kept, limit, dry_run)
    return kept


def _superfluous(storage: Storage, room: str, card: str, attempt: Attempt, folded: bool) -> list[int]:
    held = {one.cursor for one in (attempt.progress, attempt.snapshot) if one}
    snapshots = storage.cursors(room, card, attempt.number, "card.snapshot")
    progress = storage.cursors(room, card, attempt.number, "card.progress")
    if not folded and len(progress) > 2 * POINTS:
        held |= _telling(storage, progress)
    elif not folded:
        held |= set(progress)
    return [cursor for cursor in snapshots + progress if cursor not in held]


def _telling(storage: Storage, cursors: Sequence[int]) -> set[int]:
    """First and last, and in each bucket the events with the least and the most of any quantity."""
    bodies = storage.bodies(cursors)
    points = {cursor: _point(body) for cursor, body in bodies.items()}
    names = {name for point in points.values() for name, value in point.items() if _finite(value)} - {"step", "tokens"}
    size = max(1, math.ceil(len(cursors) * 2 * max(1, len(names)) / POINTS))
    held = {cursors[0], cursors[-1]}
    for begin in range(0, len(cursors), size):
        bucket = cursors[begin : begin + size]
        for name in names:
            values = {cursor: points[cursor][name] for cursor in bucket if _finite(points[cursor].get(name))}
            if values:
                held |= {min(values, key=values.__getitem__), max(values, key=values.__getitem__)}
        held |= {cursor for cursor in bucket if any(isinstance(value, str) for value in points[cursor].values())}
    return held


def _point(body: bytes) -> dict[str, Any]:
    point = (orjson.loads(body).get("data") or {}).get("point")
    return point if isinstance(point, dict) else {}


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sweep_blobs(storage: Storage, kept: Kept, limit: float, dry_run: bool) -> None:
    files = {path.name: path for path in Blobs(storage.blobs).all() if path.stat().st_mtime < limit}
    if files:
        for _, body in storage.every():
            if b'"sha256"' in body:
                text = body.decode()
                for name in [name for name in files if name in text]:
                    del files[name]
    for path in files.values():
        kept.blobs, kept.bytes = kept.blobs + 1, kept.bytes + path.stat().st_size
        if not dry_run:
            path.unlink()
