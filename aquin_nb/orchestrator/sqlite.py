"""The storage on SQLite: one file, one process that writes, WAL with a real fsync at each commit."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import apsw

from ..files import whole_file
from .find import serving_file
from .intake import Collision, Intake
from .migrations import SQLITE
from .sql import Row, SqlStorage
from .storage import StorageBusy, StorageError, StorageFull

OLDEST: Final = 3_051_003
"""SQLite before 3.51.3 can lose a write-ahead log that two connections reset at once."""
WAL_LIMIT: Final = 64 << 20
WAL_PAGES: Final = 8_000
"""Pages of log (32 MB) before they are moved into the database: pages that many batches change are moved once."""
PASSING = (apsw.FullError, apsw.BusyError, apsw.IOError, apsw.LockedError, apsw.ReadOnlyError, apsw.NoMemError,
           apsw.CantOpenError)  # fmt: skip
DAMAGED = (apsw.CorruptError, apsw.NotADBError)


class SqliteStorage(SqlStorage):
    """See `Storage`.

    Args:
        path: the database; made where it is missing.
        writable: hold it against every other orchestrator; otherwise it is only read, also while one serves it.
    """

    begin = "BEGIN IMMEDIATE"

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        if apsw.SQLITE_VERSION_NUMBER < OLDEST:
            raise StorageError(
                f"apsw brings SQLite {apsw.sqlite_lib_version()}; 3.51.3 or newer is needed: pip install --upgrade apsw"
            )
        self.path = path.expanduser().resolve()
        self.blobs = self.path.parent / f"{self.path.name}.blobs"
        self._local = threading.local()
        self._readers: list[apsw.Connection] = []
        self._guard = threading.Lock()
        self._lock: apsw.Connection | None = None
        self._writer: apsw.Connection | None = None
        if self.path.is_dir():
            raise StorageError(f"{self.path} is a folder; --db names a file, which is made where it is missing.")
        if not writable and not self.path.is_file():
            raise StorageError(f"There is no database at {self.path}.")
        try:
            if writable:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._lock = _hold(self.path)
                self.path.touch(mode=0o600, exist_ok=True)
                self._writer = self._connect(apsw.SQLITE_OPEN_READWRITE)
                self._writer.execute("PRAGMA journal_mode = WAL")
                self._writer.execute("PRAGMA synchronous = FULL")
                self._writer.execute("PRAGMA fullfsync = ON")
                self._writer.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
                self._writer.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
                self._intake = Intake(self)
                problems = self.check()
                if problems:
                    raise StorageError(
                        f"{self.path} is damaged ({problems[0]}); restore a backup. Nothing was changed."
                    )
                self.migrate(SQLITE)
            else:
                self.refuse_newer(self.read("SELECT value FROM meta WHERE name = 'schema'"))
        except (apsw.Error, OSError, StorageBusy) as error:
            self.close()
            raise StorageError(
                f"{self.path} cannot be opened as the board's database: {str(error).rstrip('.')}."
            ) from error
        except BaseException:
            self.close()
            raise

    def _connect(self, flags: int) -> apsw.Connection:
        connection = apsw.Connection(str(self.path), flags=flags)
        connection.set_busy_timeout(5000)
        return connection

    def run(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        assert self._writer is not None, "opened for reading"
        return self._writer.execute(sql, values).fetchall()

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        try:
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self._connect(apsw.SQLITE_OPEN_READONLY)
                with self._guard:
                    self._readers.append(connection)
            return connection.execute(sql, values).fetchall()
        except (*PASSING, *DAMAGED) as error:
            raise self.translated(error) from error

    def insert_events(self, rows: Sequence[Row]) -> None:
        assert self._writer is not None, "opened for reading"
        try:
            self._writer.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        except apsw.ConstraintError as error:
            raise Collision from error

    def translated(self, error: BaseException) -> BaseException:
        if isinstance(error, apsw.FullError):
            return StorageFull(
                "The database cannot be written right now: its disk is full. Free some space; nothing is lost."
            )
        if isinstance(error, PASSING):
            return StorageBusy(f"The database cannot be read or written right now: {error}.")
        if isinstance(error, DAMAGED):
            return StorageBusy(f"The database is damaged ({error}): stop the board and restore a backup.")
        return error

    def forget(self) -> None:
        self._intake.forget()
        if self._writer is not None and self._writer.in_transaction:
            with suppress(apsw.Error):
                self._writer.execute("ROLLBACK")

    def check(self) -> list[str]:
        connection = self._writer or self._connect(apsw.SQLITE_OPEN_READONLY)
        return [str(text) for (text,) in connection.execute("PRAGMA quick_check(5)") if text != "ok"]

    def snapshot(self, target: Path) -> None:
        with whole_file(target) as temporary, closing(apsw.Connection(str(temporary))) as copy:
            source = self._connect(apsw.SQLITE_OPEN_READONLY)
            with closing(source), copy.backup("main", source, "main") as work:
                while not work.done:
                    work.step(1000)
            copy.execute("PRAGMA journal_mode = DELETE")

    def close(self) -> None:
        """End all connections; the write-ahead log goes into the database and the hold is given up."""
        with self._guard:
            for reader in self._readers:
                reader.close()
            self._readers.clear()
        self._local = threading.local()
        if self._writer is not None:
            with suppress(apsw.Error):  # on a failing disk the log stays, and whoever opens the database reads both
                self._writer.close()
            self._writer = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _hold(path: Path) -> apsw.Connection:
    """An exclusive transaction on a database beside it: every system's own file locks, and gone with the process."""
    lock = apsw.Connection(str(path.with_name(path.name + ".lock")))
    try:
        lock.execute("PRAGMA journal_mode = MEMORY")
        lock.execute("BEGIN EXCLUSIVE")
    except apsw.BusyError:
        lock.close()
        raise StorageError(
            f"Another orchestrator serves {path}{_address(path)}: use that one, stop it, or choose another --db."
        ) from None
    return lock


def _address(path: Path) -> str:
    try:
        return f" at {json.loads(serving_file(path).read_text(encoding='utf-8'))['url']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # it is just starting, or is a command
