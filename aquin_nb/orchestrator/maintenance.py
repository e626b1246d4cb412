"""Backup, retention, and the round trip of all events through a file."""

from __future__ import annotations

import math
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import orjson

from ..errors import AquinError
from ..files import whole_file
from .blobs import Blobs
from .envelope import MAX_BODY, MAX_EVENTS, parse_items
from .fold import Attempt
from .storage import Storage

POINTS: Final = 1000
"""About how many points retention leaves of a curve of more than twice as many: in each bucket the last, and the
smallest and the largest of each quantity."""
FULL: Final = 50_000
"""Newest points of a curve that are kept in full, however young it is."""
PART: Final = 5_000
DAYS: Final = 30.0
ATTEMPTS: Final = 20
_HASHES: Final = re.compile(r"(?=([0-9a-f]{64}))")


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


class Taken(NamedTuple):
    """What became of some imported events; `refused` are the places of those that are none, and why."""

    new: int
    known: int
    refused: list[tuple[int, str]]


def load(storage: Storage, lines: Iterator[bytes], name: str) -> tuple[int, int]:
    """Take exported events in; (new, already there). Importing twice changes nothing.

    Raises:
        AquinError: a line that is no event, named by its number; what came before it stays.
    """

    def take(items: list[Any]) -> Taken:
        events, refused = parse_items(items)
        if refused:
            return Taken(0, 0, [(one.position, one.reason) for one in refused])
        (outcome,) = storage.write([events], time.time())
        return Taken(outcome.accepted, outcome.duplicates, [(one.position, one.reason) for one in outcome.rejected])

    return load_by(take, lines, name)


def load_by(take: Callable[[list[Any]], Taken], lines: Iterator[bytes], name: str) -> tuple[int, int]:
    """As `load`, through something else that takes at most `MAX_EVENTS` events of `MAX_BODY` bytes at a time."""
    new = known = number = size = 0
    items: list[Any] = []
    numbers: list[int] = []

    def flush() -> None:
        nonlocal new, known, size
        taken = take(items)
        if taken.refused:
            place, reason = taken.refused[0]
            raise AquinError(f"{name}, line {numbers[place]}: {reason.rstrip('.')}.")
        new, known, size = new + taken.new, known + taken.known, 0
        items.clear()
        numbers.clear()

    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if items and size + len(line) > 0.9 * MAX_BODY:
            flush()
        try:
            items.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise AquinError(f"{name}, line {number}, is not JSON: {error}.") from None
        numbers.append(number)
        size += len(line)
        if len(items) == MAX_EVENTS:
            flush()
    if items:
        flush()
    return new, known


def collect_garbage(
    storage: Storage,
    *,
    days: float = DAYS,
    attempts: int = ATTEMPTS,
    dry_run: bool = False,
    delete: Callable[[Sequence[int]], int] | None = None,
    between: Callable[[], None] = lambda: None,
) -> Kept:
    """Thin what is old, and drop bytes that no event names.

    Of attempts that ended more than `days` ago, a curve keeps `POINTS` points and the card its newest snapshot; of
    attempts beyond the newest `attempts` of a card, only start and result stay. A curve of more than `FULL` points is
    thinned but for the newest of them, also while it grows. Starts, results and gaps always stay.

    Args:
        delete: removes events by cursor, where another thread than this one writes; returns how many.
        between: called now and then; what it raises ends the work.
    """
    delete = delete or storage.delete
    kept, limit = Kept(), time.time() - days * 86400
    before: int | None = None
    while rows := storage.cards(None, 200, before=before):
        before = rows[-1][0]
        for _, row in rows:
            between()
            for place, attempt in enumerate(reversed(row.attempts)):
                doomed: list[int] = []
                if attempt.ended and (place >= attempts or attempt.received < limit):
                    doomed = _superfluous(storage, row.room, row.card, attempt, folded=place >= attempts)
                elif attempt.events > FULL:
                    doomed = _beyond(storage, row.room, row.card, attempt)
                kept.events += len(doomed) if dry_run else delete(doomed) if doomed else 0
    _sweep_blobs(storage, kept, limit, dry_run, between)
    return kept


def _beyond(storage: Storage, room: str, card: str, attempt: Attempt) -> list[int]:
    progress = storage.cursors(room, card, attempt.number, "card.progress")
    old = progress[:-FULL]
    if len(old) <= 2 * POINTS:
        return []
    held = _telling(storage, old)
    return [cursor for cursor in old if cursor not in held]


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
    """The first, and in each bucket the last and the events with the least and the most of any quantity.

    A curve of millions of points is read in parts.
    """
    sample = _points(storage, cursors[:500])
    size = max(1, math.ceil(len(cursors) * (2 * len(_quantities(sample)) + 1) / POINTS))
    part = size * max(1, PART // size)
    held = {cursors[0]}
    for begin in range(0, len(cursors), part):
        points = _points(storage, cursors[begin : begin + part])
        names = _quantities(points)
        for first in range(begin, min(begin + part, len(cursors)), size):
            bucket = cursors[first : first + size]
            held.add(bucket[-1])
            for name in names:
                values = {cursor: points[cursor][name] for cursor in bucket if _finite(points[cursor].get(name))}
                if values:
                    held |= {min(values, key=values.__getitem__), max(values, key=values.__getitem__)}
            held |= set([cursor for cursor in bucket if _said(points[cursor])][:1])  # that a curve was NaN here
    return held


def _points(storage: Storage, cursors: Sequence[int]) -> dict[int, dict[str, Any]]:
    bodies = storage.bodies(cursors)
    return {cursor: _point(bodies[cursor]) if cursor in bodies else {} for cursor in cursors}


def _quantities(points: dict[int, dict[str, Any]]) -> set[str]:
    return {name for point in points.values() for name, value in point.items() if _finite(value)} - {"step", "tokens"}


def _point(body: bytes) -> dict[str, Any]:
    point = (orjson.loads(body).get("data") or {}).get("point")
    return point if isinstance(point, dict) else {}


def _said(point: dict[str, Any]) -> bool:
    return any(isinstance(value, str) for value in point.values())


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sweep_blobs(storage: Storage, kept: Kept, limit: float, dry_run: bool, between: Callable[[], None]) -> None:
    files = {path.name: path for path in Blobs(storage.blobs).all() if path.stat().st_mtime < limit}
    after = 0
    while files and (rows := storage.naming_blobs(after, 1000)):
        after = rows[-1][0]
        between()
        for _, body in rows:
            for name in _HASHES.findall(body.decode()):
                files.pop(name, None)
    for path in files.values():
        kept.blobs, kept.bytes = kept.blobs + 1, kept.bytes + path.stat().st_size
        if not dry_run:
            path.unlink(missing_ok=True)
