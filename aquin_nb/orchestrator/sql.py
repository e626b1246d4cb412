"""The storage in SQL that SQLite and PostgreSQL both understand; the two drivers differ in a handful of methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from .envelope import Event
from .fold import Attempt
from .intake import Intake
from .storage import DATABASE_SCHEMA, CardRow, Outcome, Producer, StorageError, TokenRow, Usage

Row = tuple[Any, ...]
_BURIED = "\n"  # begins the room of a deleted card whose events are being removed
PRODUCER = "source, contiguous, highest, seen, gone, beat, pid, host, kernel, started_at, born, pending"


class SqlStorage(ABC):
    """Everything but connections. Placeholders are question marks."""

    blobs: Path

    @abstractmethod
    def run(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """On the writing connection."""

    @abstractmethod
    def read(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """On a connection of this thread's; sees what is committed."""

    @abstractmethod
    def insert_events(self, rows: Sequence[Row]) -> None:
        """(cursor, producer, sequence, id, card, attempt, type, received, body) each.

        Raises:
            Collision: an id or a sequence is there already.
        """

    @abstractmethod
    def translated(self, error: BaseException) -> BaseException:
        """A driver's error as one of ours where it is one that passes."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One durable commit, or nothing."""
        try:
            self.run(self.begin)
            yield
            self.run("COMMIT")
        except BaseException as error:
            self.forget()
            ours = self.translated(error)
            if ours is error:
                raise
            raise ours from error

    begin = "BEGIN"

    @abstractmethod
    def forget(self) -> None:
        """Roll back, and drop what was remembered of the database."""

    def migrate(self, migrations: Sequence[str]) -> None:
        """Bring the schema up to this version, one transaction a step.

        Raises:
            StorageError: the database was written by a newer version.
        """
        self.run("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        found = self.run("SELECT value FROM meta WHERE name = 'schema'")
        version = self.refuse_newer(found)
        for number, script in enumerate(migrations[version:], version + 1):
            with self.transaction():
                for statement in filter(str.strip, script.split(";")):
                    self.run(statement)
                self.run(
                    "INSERT INTO meta VALUES ('schema', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (str(number),),
                )

    @staticmethod
    def refuse_newer(found: Sequence[Row]) -> int:
        """The version of a schema that was read.

        Raises:
            StorageError: it is newer than ours.
        """
        version = int(found[0][0]) if found else 0
        if version > DATABASE_SCHEMA:
            raise StorageError(
                f"The database has schema {version}, and this version of aquin-nb knows {DATABASE_SCHEMA}:"
                " upgrade aquin-nb, or choose another --db. Nothing was changed."
            )
        return version

    # -- writing --------------------------------------------------------------------------------------------------

    def write(self, batches: Sequence[Sequence[Event]], now: float) -> list[Outcome]:
        return self._intake.write(batches, now)

    _intake: Intake

    def beat(self, producer: Producer) -> None:
        with self.transaction():
            self.run(
                f"INSERT INTO producers ({PRODUCER}) VALUES (?, 0, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (source) DO UPDATE SET seen = excluded.seen, gone = excluded.gone, beat = excluded.beat,"
                " pid = excluded.pid, host = excluded.host, kernel = excluded.kernel,"
                " started_at = excluded.started_at, born = excluded.born,"
                " pending = excluded.pending",
                (
                    producer.source, producer.seen, producer.gone, producer.beat, producer.pid, producer.host,
                    producer.kernel, producer.started_at, producer.born, producer.pending,
                ),
            )  # fmt: skip

    def put_token(self, token: TokenRow) -> None:
        with self.transaction():
            self.run(
                "INSERT INTO tokens (id, hash, scopes, room, created, expires) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT"
                " (id) DO UPDATE SET hash = excluded.hash, scopes = excluded.scopes, room = excluded.room,"
                " expires = excluded.expires",
                (token.id, token.hash, token.scopes, token.room, token.created, token.expires),
            )

    def drop_token(self, token_id: str) -> bool:
        with self.transaction():
            return bool(self.run("DELETE FROM tokens WHERE id = ? RETURNING id", (token_id,)))

    def delete(self, cursors: Sequence[int]) -> int:
        removed: dict[int, list[int]] = {}
        with self.transaction():
            for some in _pieces(cursors):
                sql = (
                    f"DELETE FROM events WHERE cursor IN ({_marks(some)}) AND sequence <= (SELECT contiguous FROM"
                    " producers WHERE producers.ordinal = events.producer) RETURNING card, octet_length(body)"
                )
                for card, size in self.run(sql, some):
                    removed.setdefault(card, []).append(size)
            for some in _pieces(list(removed)):
                sql = f"SELECT ordinal, room FROM cards WHERE ordinal IN ({_marks(some)})"
                for card, room in self.run(sql, some):
                    if not room.startswith(_BURIED):  # of a deleted card nothing is counted any more
                        self.use(room, -len(removed[card]), -sum(removed[card]))
        return sum(map(len, removed.values()))

    def use(self, room: str, events: int, size: int) -> None:
        """Count what a room holds, inside a transaction."""
        self.run(
            "INSERT INTO room_usage VALUES (?, ?, ?) ON CONFLICT (room) DO UPDATE SET"
            " events = room_usage.events + excluded.events, bytes = room_usage.bytes + excluded.bytes",
            (room, events, size),
        )

    def set_head(self, head: int) -> None:
        """Keep the newest cursor, inside a transaction."""
        self.run(
            "INSERT INTO meta VALUES ('head', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (str(head),)
        )

    def bury(self, room: str, card: str) -> int | None:
        with self.transaction():
            found = self.run("SELECT ordinal FROM cards WHERE room = ? AND name = ? AND name <> ''", (room, card))
            if not found:
                return None
            ((ordinal,),) = found
            ((newest,),) = self.run("SELECT max(attempt) FROM attempts WHERE card = ?", (ordinal,))
            ((count, size),) = self.run("SELECT count(*), sum(octet_length(body)) FROM events WHERE card = ?", found[0])
            cursor = self.head() + 1
            self.run(
                "INSERT INTO graves VALUES (?, ?, ?, ?) ON CONFLICT (room, name) DO UPDATE SET"
                " attempt = excluded.attempt, cursor = excluded.cursor",
                (room, card, newest, cursor),
            )
            self.use(room, -count, -(size or 0))
            self.run("DELETE FROM attempts WHERE card = ?", found[0])
            # Its number stays taken until all its events are gone, under a name that no card can have.
            self.run("UPDATE cards SET room = ?, name = '' WHERE ordinal = ?", (f"{_BURIED}{ordinal}", ordinal))
            self.set_head(cursor)
        self._intake.forget()
        return cursor

    def sweep(self, limit: int) -> int:
        with self.transaction():
            found = self.run("SELECT ordinal FROM cards WHERE name = '' AND room LIKE ? LIMIT 1", (f"{_BURIED}%",))
            if not found:
                return 0
            gone = self.run(
                "DELETE FROM events WHERE cursor IN (SELECT cursor FROM events WHERE card = ? ORDER BY cursor LIMIT ?)"
                " RETURNING producer, sequence",
                (found[0][0], limit),
            )
            if len(gone) < limit:
                self.run("DELETE FROM cards WHERE ordinal = ?", found[0])
            ends: dict[int, int] = dict(self.run("SELECT ordinal, contiguous FROM producers"))
            # Those behind a hole are remembered, or the hole would never close.
            self.settle([(producer, sequence) for producer, sequence in gone if sequence > ends[producer]])
        self._intake.forget()
        return max(1, len(gone))

    def settle(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Remember (producer, sequence) as done without an event, inside a transaction."""
        for pair in pairs:
            self.run("INSERT INTO passed VALUES (?, ?) ON CONFLICT DO NOTHING", pair)

    # -- reading --------------------------------------------------------------------------------------------------

    def head(self) -> int:
        found = self.read("SELECT value FROM meta WHERE name = 'head'")
        return int(found[0][0]) if found else 0

    def events(
        self, after: int, limit: int, *, room: str | None = None, card: str | None = None, kind: str | None = None
    ) -> list[tuple[int, bytes]]:
        where: list[str] = ["cursor > ?"]
        values: list[Any] = [after]
        for column, value in (("room", room), ("name", card), ("type", kind)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        join = "" if room is None and card is None else " JOIN cards ON cards.ordinal = events.card"
        rows = self.read(
            f"SELECT cursor, body FROM events{join} WHERE {' AND '.join(where)} ORDER BY cursor LIMIT ?",
            [*values, limit],
        )
        return [(cursor, body.encode()) for cursor, body in rows]

    def cursors(self, room: str, card: str, attempt: int, kind: str) -> list[int]:
        rows = self.read(
            "SELECT cursor FROM events JOIN cards ON cards.ordinal = events.card"
            " WHERE room = ? AND name = ? AND attempt = ? AND type = ? ORDER BY cursor",
            (room, card, attempt, kind),
        )
        return [row[0] for row in rows]

    def every(self, after: int = 0) -> Iterator[tuple[int, bytes]]:
        while rows := self.events(after, 1000):
            yield from rows
            after = rows[-1][0]

    def bodies(self, cursors: Iterable[int]) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for some in _pieces(list(cursors)):
            rows = self.read(f"SELECT cursor, body FROM events WHERE cursor IN ({_marks(some)})", some)
            found |= {cursor: body.encode() for cursor, body in rows}
        return found

    def cards(self, room: str | None, limit: int, *, before: int | None = None) -> list[tuple[int, CardRow]]:
        where: list[str] = ["name <> ''"]
        values: list[Any] = []
        if room is not None:
            where, values = [*where, "room = ?"], [room]
        if before is not None:
            where, values = [*where, "newest < ?"], [*values, before]
        rows = self.read(
            f"SELECT newest, ordinal, room, name, last FROM cards WHERE {' AND '.join(where)}"
            " ORDER BY newest DESC LIMIT ?",
            [*values, limit],
        )
        attempts = self._attempts([row[1] for row in rows])
        return [(newest, CardRow(room_, name, last, attempts[ordinal])) for newest, ordinal, room_, name, last in rows]

    def card(self, room: str, card: str) -> CardRow | None:
        rows = self.read("SELECT ordinal, last FROM cards WHERE room = ? AND name = ?", (room, card))
        return CardRow(room, card, rows[0][1], self._attempts([rows[0][0]])[rows[0][0]]) if rows else None

    def _attempts(self, ordinals: Sequence[int]) -> dict[int, list[Attempt]]:
        found: dict[int, list[Attempt]] = {ordinal: [] for ordinal in ordinals}
        for some in _pieces(ordinals):
            for ordinal, text in self.read(
                f"SELECT card, fold FROM attempts WHERE card IN ({_marks(some)}) ORDER BY card, attempt", some
            ):
                found[ordinal].append(Attempt.loaded(text))
        return found

    def changed(self, room: str | None, after: int, limit: int) -> list[tuple[str, str, int]]:
        narrow, values = ("", [after]) if room is None else ("room = ? AND ", [room, after])
        sql = (
            f"SELECT room, name, last FROM cards WHERE {narrow}last > ? AND name <> '' UNION ALL"
            f" SELECT room, name, cursor FROM graves WHERE {narrow}cursor > ? ORDER BY 3 LIMIT ?"
        )
        return [(row[0], row[1], row[2]) for row in self.read(sql, [*values, *values, limit])]

    def running(self) -> list[tuple[str, str, str]]:
        rows = self.read(
            "SELECT room, name, attempts.source FROM attempts JOIN cards ON cards.ordinal = attempts.card"
            " WHERE ended = 0 AND name <> '' AND attempts.first = cards.newest"
        )
        return [(row[0], row[1], row[2]) for row in rows]

    def rooms(self) -> list[tuple[str, int]]:
        rows = self.read("SELECT room, count(*) FROM cards WHERE name <> '' GROUP BY room ORDER BY room")
        return [(row[0], row[1]) for row in rows]

    def naming_blobs(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        sql = "SELECT cursor, body FROM events WHERE cursor > ? AND body LIKE ? ORDER BY cursor LIMIT ?"
        return [(cursor, body.encode()) for cursor, body in self.read(sql, (after, '%"sha256"%', limit))]

    def usage(self) -> dict[str, Usage]:
        return {row[0]: Usage(*row[1:]) for row in self.read("SELECT room, events, bytes FROM room_usage")}

    def producers(self, sources: Iterable[str] | None = None) -> dict[str, Producer]:
        if sources is None:
            rows = self.read(f"SELECT {PRODUCER} FROM producers")
        else:
            rows = []
            for some in _pieces(list(sources)):
                rows += self.read(f"SELECT {PRODUCER} FROM producers WHERE source IN ({_marks(some)})", some)
        return {row[0]: Producer(*row) for row in rows}

    def tokens(self) -> list[TokenRow]:
        return [TokenRow(*row) for row in self.read("SELECT id, hash, scopes, room, created, expires FROM tokens")]


def _pieces(values: Sequence[Any]) -> Iterator[list[Any]]:
    """At most 500 at a time: both databases limit the parameters of a statement."""
    left = iter(values)
    while some := list(islice(left, 500)):
        yield some


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))
