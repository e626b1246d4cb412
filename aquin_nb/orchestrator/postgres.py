"""The storage on PostgreSQL: the same tables in a database of a team's own; one orchestrator holds it at a time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

try:
    import psycopg
    from psycopg.errors import DiskFull, UniqueViolation
    from psycopg_pool import ConnectionPool, PoolTimeout
except ModuleNotFoundError as missing:
    from ..errors import AquinError

    raise AquinError("PostgreSQL needs psycopg: pip install 'aquin-nb[postgres]'.") from missing

from ..home import home
from .intake import Collision, Intake
from .migrations import POSTGRES
from .sql import Row, SqlStorage
from .storage import StorageBusy, StorageError, StorageFull

HOLD: Final = 0x6171756E  # an advisory lock of this number says that the database is served
PATIENCE: Final = 1.0  # seconds in which the server notices that whoever held it has been killed
PASSING = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)


class PostgresStorage(SqlStorage):
    """See `Storage`. Files beside it (blobs) lie under `$AQUIN_HOME/orchestrator`."""

    def __init__(self, url: str, *, writable: bool = True) -> None:
        self._url, self._writable = url, writable
        place = hashlib.sha256(_without_password(url).encode()).hexdigest()[:16]
        self.blobs = home() / "orchestrator" / place / "blobs"
        self._pool: ConnectionPool[psycopg.Connection[Row]] | None = None
        self._writer: psycopg.Connection[Row] | None = None
        self._intake = Intake(self)
        try:
            if writable:
                self._writer = self._hold()
                self.migrate(POSTGRES)
            self._pool = ConnectionPool(
                url, min_size=1, max_size=8, timeout=10, open=True, kwargs={"autocommit": True},
                check=ConnectionPool.check_connection,
            )  # fmt: skip
            self.refuse_newer(self.read("SELECT value FROM meta WHERE name = 'schema'"))
        except (psycopg.Error, PoolTimeout) as error:
            self.close()
            reason = " ".join(str(error).split()) or type(error).__name__
            raise StorageError(f"{_without_password(url)} cannot be opened as the board's database: {reason}") from None
        except BaseException:
            self.close()
            raise

    def _hold(self) -> psycopg.Connection[Row]:
        connection: psycopg.Connection[Row] = psycopg.connect(self._url, autocommit=True, connect_timeout=10)
        until = time.monotonic() + PATIENCE
        while not (held := _holds(connection)) and time.monotonic() < until:
            time.sleep(0.05)
        if not held:
            connection.close()
            raise StorageError(
                f"Another orchestrator serves {_without_password(self._url)}: use that one (gc, import and delete"
                " take its --url), stop it, or choose another --db."
            )
        connection.execute("SET synchronous_commit = on")  # an answer means: on disk, whatever the server's default is
        return connection

    def run(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        assert self._writable, "opened for reading"
        if self._writer is None:
            # The server was restarted, and the hold ended with the connection.
            try:
                self._writer = self._hold()
            except StorageError as error:
                raise StorageBusy(str(error)) from error
        cursor = self._writer.execute(sql.replace("?", "%s"), values)
        return cursor.fetchall() if cursor.description else []

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        assert self._pool is not None
        if any(isinstance(value, str) and "\0" in value for value in values):
            return []  # PostgreSQL keeps no such text, so nothing is equal to it
        try:
            with self._pool.connection() as connection:
                return connection.execute(sql.replace("?", "%s"), values).fetchall()
        except PASSING as error:
            raise StorageBusy(f"The database cannot be read right now: {str(error).strip()}.") from error

    def insert_events(self, rows: Sequence[Row]) -> None:
        assert self._writer is not None
        columns = "cursor, producer, sequence, id, card, attempt, type, received, body"
        try:
            with self._writer.cursor() as cursor, cursor.copy(f"COPY events ({columns}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        except UniqueViolation as error:
            raise Collision from error

    def translated(self, error: BaseException) -> BaseException:
        if isinstance(error, DiskFull):
            return StorageFull(
                "The database cannot be written right now: its disk is full. Free some space; nothing is lost."
            )
        if isinstance(error, PASSING):
            return StorageBusy(f"The database cannot be written right now: {str(error).strip()}.")
        return error

    def forget(self) -> None:
        self._intake.forget()
        if self._writer is not None:
            with suppress(psycopg.Error):
                self._writer.execute("ROLLBACK")
            if self._writer.broken or self._writer.closed:
                self._writer = None

    def check(self) -> list[str]:
        rows = self.read(
            "SELECT count(*) FROM events WHERE NOT EXISTS (SELECT 1 FROM producers WHERE ordinal = events.producer)"
        )
        return [f"{rows[0][0]} events are of no producer"] if rows[0][0] else []

    def snapshot(self, target: Path) -> None:
        raise StorageError("PostgreSQL is backed up with pg_dump; `aquin-nb orchestrator export` writes every event.")

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _holds(connection: psycopg.Connection[Row]) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (HOLD,)).fetchone()
    return row is not None and bool(row[0])


def _without_password(url: str) -> str:
    parts = psycopg.conninfo.conninfo_to_dict(url)
    user = f"{parts['user']}@" if parts.get("user") else ""
    port = f":{parts['port']}" if parts.get("port") else ""
    return f"postgresql://{user}{parts.get('host', 'localhost')}{port}/{parts.get('dbname', '')}"
