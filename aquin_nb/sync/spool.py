"""The events of one producer in one SQLite file, from the call that told them until somebody confirmed them."""

from __future__ import annotations

import ctypes
import json
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from .filesystem import network
from .identity import Producer, now

FORMAT = 2
"""Of the file; a higher one was written by a newer aquin-nb and is left alone. 2 says which board it is meant for."""

SUFFIX = ".outbox"
APPLICATION = 0x4171_6E42  # "AqnB": what `file` shows
PAGE = 2048
"""Bytes that a commit writes at least; half of SQLite's own choice holds a few points of a curve."""

WAL_PAGES = 2000
"""Pages of write-ahead log after which they are moved into the file."""

TRIMMED = 64
"""Rows deleted at a time: whoever tells an event meanwhile waits for no more."""

BESIDE = ("-journal", "-wal", "-shm", "")
"""What SQLite calls the files of an outbox, itself last."""

NEVER = 2**61
"""Added to the sequence of what is no longer to be sent."""

_OLDEST = (3, 51, 3)  # earlier ones can corrupt a file when a log is reset while another connection writes

_TABLES = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
CREATE TABLE about (name TEXT PRIMARY KEY, value ANY) STRICT;
CREATE TABLE event (sequence INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE dead (sequence INTEGER PRIMARY KEY, reason TEXT NOT NULL, at TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE blob (
  sha256 TEXT PRIMARY KEY, sequence INTEGER NOT NULL, media_type TEXT NOT NULL, body BLOB NOT NULL
) STRICT;
"""

_INSERT = "INSERT INTO event VALUES (?, ?)"
_BATCH = """
SELECT min(sequence), max(sequence), count(*), '[' || group_concat(body, ',' ORDER BY sequence) || ']' FROM (
  SELECT sequence, body, sum(octet_length(body) + 1) OVER (ORDER BY sequence) AS total FROM (
    SELECT sequence, body FROM event WHERE sequence > ? AND sequence <= ? {only} ORDER BY sequence LIMIT ?
  )
) WHERE total < ?
"""
_ANY = _BATCH.format(only="")
_OTHERS = _BATCH.format(only="AND body ->> '$.subject' NOT IN (SELECT value FROM json_each(?))")


class NewerFormat(Exception):
    """The file was written by a newer aquin-nb."""


@dataclass(frozen=True)
class Batch:
    """Events as they are sent: a JSON array in order, and which they are."""

    first: int
    last: int
    count: int
    body: str

    def sequences(self) -> Sequence[int]:
        if self.count == self.last - self.first + 1:
            return range(self.first, self.last + 1)
        return [event["sequence"] for event in json.loads(self.body)]


class Spool:
    """An open outbox file.

    One connection writes, under `lock`; another one reads and checkpoints, under `reading`, so that telling an event
    never waits for a reader. `fork` takes both, since a copied SQLite mutex would stay locked for ever.

    On a network file system nothing may be shared: one connection does both, and locks the file for as long as it is
    open. Every commit is an fsync there.

    Attributes:
        remote: the name of that file system, or ''.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.remote = path, network(path.parent)
        self.lock = self.reading = threading.RLock()
        self._wal = -1
        self._writer = self._reader = _connect(path, alone=bool(self.remote))
        if not self.remote:
            self.reading = threading.RLock()
            try:
                self._reader = _connect(path, alone=False)
                self._wal = os.open(f"{path}-wal", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            except BaseException:
                self._writer.close(True)
                raise
        self._telling = self._writer.cursor()  # one for all events: a new one for each takes a third of the time

    @classmethod
    def create(cls, path: Path, producer: Producer, board: str = "") -> Spool:
        """A new file for `producer`, meant for the board at an address or for any; it is on disk when this returns.

        Raises:
            OSError, apsw.Error: it cannot be written there.
        """
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))  # SQLite takes over the mode for its log
        spool = cls(path)
        with spool._writer:
            spool._writer.execute(_TABLES)
            spool._writer.executemany("INSERT INTO about VALUES (?, ?)", [*producer.fields().items(), ("board", board)])
        spool.sync()
        if os.name != "nt":
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return spool

    @classmethod
    def open(cls, path: Path) -> Spool:
        """A file that another process left.

        Raises:
            NewerFormat: of a newer aquin-nb. apsw.Error: damaged. LookupError: its owner died before it told anything.
        """
        spool = cls(path)
        try:
            version = spool._writer.pragma("user_version")
            if version == 0 and not spool._writer.execute("SELECT 1 FROM sqlite_schema").fetchall():
                raise LookupError(path.name)
            if version > FORMAT:
                raise NewerFormat(path.name)
        except BaseException:
            spool.close()
            raise
        return spool

    def last(self) -> int:
        """The highest number in the file."""
        with self.lock:
            return int(self._writer.execute("SELECT coalesce(max(sequence), 0) FROM event").get)

    def producer(self) -> Producer:
        """Its owner."""
        with self.lock:
            return Producer.read(dict(self._writer.execute("SELECT name, value FROM about").fetchall()))

    def board(self) -> str:
        """The address of the board that its events are meant for; empty for any board, as in files of format 1."""
        with self.lock:
            row = self._writer.execute("SELECT value FROM about WHERE name = 'board'").fetchone()
        return str(row[0]) if row is not None else ""

    def append(self, sequence: int, body: str) -> None:
        """Keep one event. It survives the process when this returns.

        Raises:
            apsw.Error: it could not be written, and nothing was.
        """
        with self.lock:
            self._telling.execute(_INSERT, (sequence, body))

    def append_all(self, events: Iterable[tuple[int, str]], blobs: Iterable[tuple[str, int, str, bytes]] = ()) -> None:
        """Keep several and the blobs they refer to, or none of them."""
        with self.lock, self._writer:
            self._writer.executemany(_INSERT, events)
            self._writer.executemany("INSERT OR IGNORE INTO blob VALUES (?, ?, ?, ?)", blobs)

    def sync(self) -> None:
        """Wait until the disk has what was kept so far; it survives a power cut then."""
        if self._wal >= 0:
            os.fdatasync(self._wal) if hasattr(os, "fdatasync") else os.fsync(self._wal)

    def checkpoint(self) -> None:
        """Move the log into the file when it has grown; nobody waits for it."""
        if self._wal >= 0 and os.fstat(self._wal).st_size > WAL_PAGES * PAGE:
            with self.reading:
                self._reader.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def batch(self, after: int, until: int, events: int, size: int, without: str | None = None) -> Batch | None:
        """The next events after a sequence, at most `events` and `size` bytes of them; None when there are none.

        `without`: a JSON array of subjects whose events are passed over.
        """
        with self.reading:
            if without is None:
                row = self._reader.execute(_ANY, (after, until, events, size)).get
            else:
                row = self._reader.execute(_OTHERS, (after, until, without, events, size)).get
        return Batch(*row) if row[2] else None

    def subjects(self, until: int) -> list[str]:
        """Subjects of the events up to a sequence."""
        with self.reading:
            rows = self._reader.execute("SELECT DISTINCT body ->> '$.subject' FROM event WHERE sequence <= ?", (until,))
            return [row[0] for row in rows]

    def blobs(self, until: int) -> list[tuple[str, str, bytes]]:
        """Hash, media type and bytes of what events up to a sequence refer to and nobody has yet."""
        with self.reading:
            found = self._reader.execute("SELECT sha256, media_type, body FROM blob WHERE sequence <= ?", (until,))
            return list(found)

    def blob_sent(self, sha256: str) -> None:
        with self.lock:
            self._writer.execute("DELETE FROM blob WHERE sha256 = ?", (sha256,))

    def blob_refused(self, sha256: str) -> None:
        """Set a blob aside that will never be taken; the event that names it goes on without it."""
        with self.lock:
            self._writer.execute("UPDATE blob SET sequence = sequence + ? WHERE sha256 = ?", (NEVER, sha256))

    def trim(self, sequences: Sequence[int]) -> None:
        """Forget events that somebody has confirmed."""
        for at in range(0, len(sequences), TRIMMED):
            some = sequences[at : at + TRIMMED]
            with self.lock:
                if isinstance(some, range):
                    self._writer.execute("DELETE FROM event WHERE sequence BETWEEN ? AND ?", (some[0], some[-1]))
                else:
                    self._writer.executemany("DELETE FROM event WHERE sequence = ?", [(one,) for one in some])

    def bury(self, sequence: int, reason: str) -> None:
        """Set aside an event that will never be taken, so that those behind it go on."""
        with self.lock, self._writer:
            self._writer.execute(
                "INSERT OR REPLACE INTO dead SELECT sequence, ?, ?, body FROM event WHERE sequence = ?",
                (reason, now(), sequence),
            )
            self._writer.execute("DELETE FROM event WHERE sequence = ?", (sequence,))

    def counts(self) -> tuple[int, int]:
        """Events that are waiting, and events and blobs that were set aside."""
        with self.reading:
            waiting = self._reader.execute("SELECT count(*) FROM event").get
            blobs = self._reader.execute("SELECT count(*) FROM blob WHERE sequence > ?", (NEVER,)).get
            return waiting, self._reader.execute("SELECT count(*) FROM dead").get + blobs

    def dead(self) -> list[tuple[int, str, str]]:
        """Sequence, reason and text of each event that was set aside."""
        with self.reading:
            return list(self._reader.execute("SELECT sequence, reason, body FROM dead ORDER BY sequence"))

    def body(self, sequence: int) -> str | None:
        """One event; for reading a damaged file bit by bit.

        Raises:
            apsw.Error: it lies on a damaged page.
        """
        with self.reading:
            found: str | None = self._reader.execute("SELECT body FROM event WHERE sequence = ?", (sequence,)).get
            return found

    def close(self) -> None:
        """Close the file; what waits in it stays."""
        with self.lock, self.reading:
            for connection in (self._reader, self._writer):
                try:
                    connection.close(True)
                except apsw.Error:
                    continue  # a full disk: the log stays beside the file, and whoever opens it reads both
            if self._wal >= 0:
                os.close(self._wal)
                self._wal = -1

    def remove(self) -> None:
        """Close it and delete it."""
        self.close()
        for suffix in BESIDE:
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    def disown(self) -> None:
        """In a forked child: never touch the parent's connections again, not even to close them."""
        for connection in (self._reader, self._writer, self._telling):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _connect(path: Path, *, alone: bool) -> Any:
    if tuple(map(int, apsw.sqlite_lib_version().split("."))) < _OLDEST:
        raise apsw.MisuseError(f"SQLite {apsw.sqlite_lib_version()} is too old; install apsw 3.51.3 or newer.")
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(1000)
        connection.pragma("page_size", PAGE)  # of a file that is being made
        if alone:
            connection.pragma("locking_mode", "exclusive")  # before the journal: then there is no memory to share
        connection.pragma("journal_mode", "delete" if alone else "wal")
        connection.pragma("synchronous", 1)  # NORMAL: a commit is in the file system's hands; `sync` does the rest
        connection.wal_autocheckpoint(20 * WAL_PAGES)  # only if nobody calls `checkpoint`
        connection.pragma("journal_size_limit", 4 * WAL_PAGES * PAGE)
    except BaseException:
        connection.close(True)
        raise
    return connection
