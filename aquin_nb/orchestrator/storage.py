"""What the board needs of a database, and what it keeps there. `SqliteStorage` and `PostgresStorage` do it alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from ..errors import AquinError
from .envelope import Event
from .fold import Attempt

DATABASE_SCHEMA = 2


class StorageError(AquinError):
    """The board's database cannot be opened or read: damaged, of another version, or held by somebody else."""


class StorageBusy(AquinError):
    """The database cannot take events right now (full disk, restarting server); the sender keeps them and retries."""


class StorageFull(StorageBusy):
    """The same, for want of room on the disk."""


class Conflict(NamedTuple):
    """An event whose id or sequence belongs to another event already."""

    position: int  # in the batch, from 0
    id: str
    reason: str


@dataclass
class Outcome:
    """What became of one batch."""

    accepted: int = 0
    duplicates: int = 0  # those that change nothing: here already, or of a card that was deleted
    deleted: int = 0  # of the duplicates, those of a card that was deleted
    rejected: list[Conflict] = field(default_factory=list)
    next: dict[str, int] = field(default_factory=dict)  # per source, the last sequence before the first hole
    changed: set[tuple[str, str]] = field(default_factory=set)  # (room, card)
    head: int = 0  # cursor of the newest event once this is on disk


@dataclass
class Producer:
    """A process that sends events. Times are the server's, seconds since the epoch."""

    source: str
    contiguous: int = 0
    highest: int = 0
    seen: float = 0.0  # last event or heartbeat
    gone: float | None = None  # when its end was proven
    beat: float | None = None  # last heartbeat
    pid: int | None = None
    host: str | None = None
    kernel: str | None = None
    started_at: str | None = None
    born: str | None = None  # the process' start in clock ticks of its machine, which tells it from a later one
    pending: int | None = None  # events still waiting with the sender


class CardRow(NamedTuple):
    """A card and its attempts, oldest first."""

    room: str
    card: str
    last: int
    attempts: list[Attempt]


@dataclass
class TokenRow:
    """A token by its hash; the token itself is nowhere."""

    id: str
    hash: str
    scopes: str
    room: str | None
    created: float
    expires: float | None = None


class Usage(NamedTuple):
    """What a room holds."""

    events: int
    bytes: int


class Reader(Protocol):
    """Reads of what is committed; from any thread."""

    def head(self) -> int:
        """The cursor of the newest event, 0 at first."""
        ...

    def events(
        self, after: int, limit: int, *, room: str | None = None, card: str | None = None, kind: str | None = None
    ) -> list[tuple[int, bytes]]:
        """Events behind a cursor in the order they were kept, with their cursors."""
        ...

    def cursors(self, room: str, card: str, attempt: int, kind: str) -> list[int]:
        """Cursors of an attempt's events of one type, in order."""
        ...

    def bodies(self, cursors: Iterable[int]) -> dict[int, bytes]:
        """Events by cursor; those that retention removed are missing."""
        ...

    def cards(self, room: str | None, limit: int, *, before: int | None = None) -> list[tuple[int, CardRow]]:
        """Cards, the newest attempt first, with the cursor at which that attempt began (`before` pages on)."""
        ...

    def card(self, room: str, card: str) -> CardRow | None: ...

    def changed(self, room: str | None, after: int, limit: int) -> list[tuple[str, str, int]]:
        """(room, card, cursor) of cards that have events, or were deleted, behind a cursor; in that order."""
        ...

    def running(self) -> list[tuple[str, str, str]]:
        """(room, card, source) of every attempt without a result that is its card's newest."""
        ...

    def rooms(self) -> list[tuple[str, int]]:
        """Rooms with their number of cards."""
        ...

    def naming_blobs(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """As `events`, those that name a SHA-256 alone."""
        ...

    def usage(self) -> dict[str, Usage]:
        """What each room holds."""
        ...

    def producers(self, sources: Iterable[str] | None = None) -> dict[str, Producer]: ...

    def tokens(self) -> list[TokenRow]: ...

    def check(self) -> list[str]:
        """What is wrong with the database, in words; empty when nothing is."""
        ...


class Storage(Reader, Protocol):
    """All of it. One thread at a time may call what writes; what was written is on disk when the call returns."""

    blobs: Path

    def write(self, batches: Sequence[Sequence[Event]], now: float) -> list[Outcome]:
        """Keep several batches in one transaction.

        Raises:
            StorageBusy: nothing of it was kept; send again.
        """
        ...

    def beat(self, producer: Producer) -> None:
        """Keep a heartbeat: everything of `producer` but its sequences."""
        ...

    def put_token(self, token: TokenRow) -> None: ...

    def drop_token(self, token_id: str) -> bool: ...

    def delete(self, cursors: Sequence[int]) -> int:
        """Remove events whose sequences every sender knows to be kept; how many were removed."""
        ...

    def bury(self, room: str, card: str) -> int | None:
        """Delete a card for good: no event of an attempt up to its newest is kept from now on.

        Returns:
            the cursor of the deletion; None where there is no such card. `sweep` removes what it consisted of.
        """
        ...

    def sweep(self, limit: int) -> int:
        """Remove at most `limit` events of deleted cards; how many were removed, 0 when none is left."""
        ...

    def every(self, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """All events behind a cursor."""
        ...

    def snapshot(self, target: Path) -> None:
        """A copy of the database in a file."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Several writes, all or none."""
        ...

    def close(self) -> None: ...


def open_storage(place: str, *, writable: bool = True) -> Storage:
    """A database by path (SQLite) or `postgresql://` URL; a writable one is held against every other orchestrator.

    Raises:
        StorageError: it cannot be opened, is of a newer version, damaged, or served by another orchestrator.
    """
    if place.startswith(("postgresql://", "postgres://")):
        from .postgres import PostgresStorage

        return PostgresStorage(place, writable=writable)
    if "://" in place:
        scheme = place.split("://", 1)[0]
        raise StorageError(f"--db wants a path or a postgresql:// URL, not {scheme}://…")
    from .sqlite import SqliteStorage

    if "\0" in place:
        raise StorageError("--db cannot be opened: its path holds a NUL character.")
    return SqliteStorage(Path(place), writable=writable)
