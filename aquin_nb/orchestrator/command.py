"""What the terminal asks of the board: serve it, care for what it keeps. Heavy modules are imported when one runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import AquinError
from ..home import outbox_dir

Adopt = Callable[[Path, str, str], Callable[[], None]]
"""Begins to deliver what killed sessions left in a folder to a URL with a token; returns what ends that."""


@contextlib.contextmanager
def _with_extra() -> Iterator[None]:
    """
    Raises:
        AquinError: something of the board is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("aquin_nb"):
            raise
        raise AquinError(f"The board needs {error.name}: pip install 'aquin-nb[orchestrator]'.") from error


@contextlib.contextmanager
def _open(db: str | None, *, writable: bool) -> Iterator[Any]:
    from .find import default_database

    with _with_extra():
        from .storage import open_storage

        storage = open_storage(db or str(default_database()), writable=writable)
    try:
        yield storage
    finally:
        storage.close()


@_with_extra()
def serve(
    db: str | None,
    *,
    port: int,
    say: Callable[[str], None],
    adopter: Adopt,
    adopt: str | None = None,
    json: bool = False,
    first_line: Callable[[dict[str, Any]], str] | None = None,
    socket: str | None = None,
    room_events: int = 20_000_000,
    room_bytes: int = 10 << 30,
    allow_host: Sequence[str] = (),
) -> None:
    """Serve a database until it is stopped.

    Args:
        say: called with each line for whoever started it.
        adopter: who carries orphaned outboxes; the board itself only knows what it is sent.
        adopt: the folder of outboxes; by default that of this home, where the database is this home's own.
        json: the first line is {url, token, pid}. first_line: makes it of them instead.

    Raises:
        AquinError: it cannot be served as asked.
    """
    from .board import Limits
    from .serve import Running
    from .serve import first_line as usual_line
    from .serve import serve as run

    if room_events < 1 or room_bytes < 1:
        raise AquinError("--room-events and --room-bytes want 1 or more.")
    named = _named_folder(adopt)
    endings: list[Callable[[], None]] = []

    def announce(running: Running) -> None:
        import json as text

        folder = named or (outbox_dir() if _is_default(db) else None)
        if folder is not None:
            endings.append(adopter(folder, running.url, running.token))
        if first_line is not None:
            say(first_line(text.loads(usual_line(running))))
        elif json:
            say(usual_line(running))
        else:
            say(f"The board is at {running.url}/#code={running.code} (this address lets one browser in, once).")
            say("Sessions reach it with the token in the file of mode 600 beside its database. Ctrl-C stops it.")

    try:
        run(
            db, port=port, announce=announce, socket_path=socket, hosts=list(allow_host),
            limits=Limits(room_events=room_events, room_bytes=room_bytes),
        )  # fmt: skip
    finally:
        for end in endings:
            end()


def _named_folder(adopt: str | None) -> Path | None:
    """
    Raises:
        AquinError: --adopt names no folder.
    """
    if adopt is None:
        return None
    folder = Path(adopt).expanduser()
    if not folder.is_dir():
        raise AquinError(f"{folder} is no folder; --adopt names the one that sessions' outboxes are in.")
    return folder


def _is_default(db: str | None) -> bool:
    """Whether a database that is being served is this home's own, by whatever name."""
    from .find import default_database

    default = default_database()
    return db is None or ("://" not in db and default.exists() and Path(db).expanduser().samefile(default))


def backup(db: str | None, target: str) -> Path:
    """Copy a database and its blobs to `target`; returns it."""
    with _open(db, writable=False) as storage, _with_extra():
        from .maintenance import backup

        return backup(storage, Path(target))


@_with_extra()
def gc(db: str | None, url: str | None, *, days: float, attempts: int, dry_run: bool) -> dict[str, int]:
    """Thin old curves; the events, blobs and bytes that are gone, or would go."""
    from .maintenance import Kept, collect_garbage
    from .remote import board_of

    if not 0 <= days <= 100_000 or attempts < 1:
        raise AquinError("--days wants 0 to 100,000, --attempts 1 or more.")
    how: dict[str, Any] = {"days": days, "attempts": attempts, "dry_run": dry_run}
    if (board := board_of(db, url)) is not None:
        gone = Kept(**board.ask("POST", "/v1/gc", how))
    else:
        with _open(db, writable=True) as storage:
            gone = collect_garbage(storage, **how)
    return {"events": gone.events, "blobs": gone.blobs, "bytes": gone.bytes}


def export(db: str | None, stream: BinaryIO) -> int:
    """Write every event to a stream, one a line; how many they are."""
    with _open(db, writable=False) as storage, _with_extra():
        from .maintenance import export

        return export(storage, stream)


def export_to(db: str | None, target: str) -> int:
    """Write every event to a file, one a line; how many they are."""
    with _open(db, writable=False) as storage, _with_extra():
        from .maintenance import export_to

        return export_to(storage, Path(target))


@_with_extra()
def load(db: str | None, url: str | None, file: str) -> tuple[int, int]:
    """Take exported events in; how many were new, and how many were not."""
    from .maintenance import Taken, load, load_by
    from .remote import board_of

    def send(items: list[Any]) -> Taken:
        assert board is not None
        told = board.ask("POST", "/v1/events", items)
        refused = [(one["index"], one["reason"]) for one in told["rejected"]]
        return Taken(told["accepted"], told["duplicates"], refused)

    try:
        stream = open(file, "rb")  # noqa: SIM115
    except OSError as error:
        raise AquinError(f"{file} cannot be read: {error.strerror}.") from None
    with stream:
        if (board := board_of(db, url)) is not None:
            return load_by(send, iter(stream), file)
        with _open(db, writable=True) as storage:
            return load(storage, iter(stream), file)


@_with_extra()
def delete(db: str | None, url: str | None, card: str, room: str) -> None:
    """Delete a card for good.

    Raises:
        AquinError: there is no such card.
    """
    from .remote import board_of

    if (board := board_of(db, url)) is not None:
        board.delete(card, room)
        return
    with _open(db, writable=True) as storage:
        if storage.bury(room, card) is None:
            raise AquinError(f"There is no card {card} in the room {room}.")
        while storage.sweep(10_000):
            pass


@_with_extra()
def bridge(db: str | None, socket: str) -> None:
    """Pass on what jupyter-server-proxy sends, until it is stopped."""
    from .bridge import serve_bridge

    serve_bridge(Path(socket), None if db is None else Path(db))
