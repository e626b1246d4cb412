"""What can still be read of a damaged outbox: by SQLite row by row, and by looking for events in its raw bytes."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path

import apsw

from .spool import Batch, Spool

log = logging.getLogger("aquin_nb.sync")

_BEGIN = re.compile(rb'\{"specversion":"1\.0","source":"urn:aquin:([0-9a-f-]{36})","sequence":(\d{1,16}),')
_DECODER = json.JSONDecoder()


@dataclass
class Salvage:
    """Events of a damaged outbox by number, and how many could not be read at most; None where nobody knows."""

    rows: dict[int, str]
    lost: int | None


def salvage(path: Path) -> Salvage:
    """Read what can be read; `path` is left as it is."""
    carved = _carved(path)
    try:
        spool = Spool.open(path)
    except Exception as error:  # damage can look like anything
        log.info("%s does not open (%s): its events are read from its raw pages", path, error)
        return Salvage(carved, None)
    try:
        rows, unreadable = _rows(spool, max(carved, default=0))
        if unreadable is None:
            return Salvage(carved | rows, None)
        rows |= {sequence: carved[sequence] for sequence in unreadable if sequence in carved}
        return Salvage(rows, len(unreadable - set(rows)))
    finally:
        spool.close()


def _rows(spool: Spool, highest: int) -> tuple[dict[int, str], set[int] | None]:
    """Rows that SQLite can find, and numbers that it stumbles over; None when it finds its way to none."""
    rows: dict[int, str] = {}
    unreadable: set[int] = set()
    known = True
    try:
        highest = max(highest, spool.last())
    except apsw.Error:
        known = False  # nobody can say how far it went
    for sequence in range(1, highest + 1):
        try:
            body = spool.body(sequence)
            if body is not None:
                json.loads(body)
                rows[sequence] = body
        except (apsw.Error, ValueError):
            unreadable.add(sequence)
    return rows, unreadable if known and (rows or not unreadable) else None


def _carved(path: Path) -> dict[int, str]:
    """Whole events in the bytes of the file and its log. Some were delivered long ago, which does no harm."""
    found: dict[int, str] = {}
    for name in (path, Path(f"{path}-wal")):
        try:
            data = name.read_bytes()
        except OSError:
            continue
        for match in _BEGIN.finditer(data):
            if match[1].decode() != path.stem:
                continue
            text = data[match.start() : match.start() + 70_000].decode("utf-8", "replace")
            try:
                event, end = _DECODER.raw_decode(text)
            except ValueError:
                continue
            if isinstance(event, dict) and "\ufffd" not in text[:end]:
                found[int(match[2])] = text[:end]
    return found


class SalvagedFeed:
    """Salvaged events, delivered like those of a spool."""

    def __init__(self, rows: dict[int, str]) -> None:
        self._rows = dict(sorted(rows.items()))
        self.delivered = self.buried = self.refused_blobs = 0

    def next(self, events: int) -> Batch | None:
        some: list[int] = []
        size = 0
        for sequence, body in self._rows.items():
            size += len(body.encode()) + 1
            if len(some) == events or size > 1_000_000:
                break
            some.append(sequence)
        if not some:
            return None
        return Batch(some[0], some[-1], len(some), f"[{','.join(self._rows[one] for one in some)}]")

    def look(self) -> None:
        """They go in their order."""

    def taken(self, batch: Batch, rejected: dict[int, str]) -> None:
        for sequence in list(batch.sequences()):
            self._rows.pop(sequence, None)
        self.delivered += batch.count - len(rejected)
        self.buried += len(rejected)

    def trim(self) -> None:
        """The file is left as it is."""

    def bury(self, sequence: int, reason: str) -> bool:
        self._rows.pop(sequence, None)
        self.buried += 1
        return True

    def blobs(self, until: int) -> list[tuple[str, str, bytes]]:
        return []

    def blob_done(self, sha256: str, *, refused: bool) -> None:
        """There are none."""
