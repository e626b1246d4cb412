"""The terminal's words for the board: serve it, care for what it keeps. Heavy modules are imported when one runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import AquinError
from ..home import outbox_dir

Adopt = Callable[[Path, str, str], Callable[[], None]]
"""Begins to deliver what killed sessions left in a folder to a URL with a token; returns what ends that."""


def add_commands(commands: Any, adopt: Adopt) -> None:
    """Add `orchestrator` to the subparsers of `aquin-nb`.

    Args:
        adopt: who carries orphaned outboxes; the board itself only knows what it is sent.
    """
    orchestrator = commands.add_parser("orchestrator", help="the board: keep events of sessions and show their cards")
    verbs = orchestrator.add_subparsers(required=True, metavar="VERB")

    serve = _verb(
        verbs, "serve", "keep events and show cards in a browser, on this machine alone", partial(_serve, adopt=adopt)
    )
    serve.add_argument("--port", type=int, default=8600, help="of 127.0.0.1 (default: 8600; 0 takes a free one)")
    serve.add_argument("--json", action="store_true", help="the first line is {url, token, pid}")
    serve.add_argument("--socket", help="listen on this Unix socket too")
    serve.add_argument(
        "--adopt",
        metavar="DIR",
        help="deliver what killed sessions left in this folder of outboxes (default, with the default --db alone:"
        " $AQUIN_HOME/outbox)",
    )
    serve.add_argument(
        "--room-events", type=int, default=20_000_000, help="events that a room holds (default: 20 million)"
    )
    serve.add_argument("--room-bytes", type=int, default=10 << 30, help="bytes that a room's events take (10 GiB)")
    serve.add_argument("--allow-host", action="append", default=[], help="a name under which a proxy reaches it")

    backup = _verb(verbs, "backup", "copy the database and its blobs, also while it is served", _backup)
    backup.add_argument("target")

    gc = _verb(verbs, "gc", "thin old curves and drop bytes that nothing names", _gc)
    gc.add_argument("--days", type=float, default=30, help="attempts that ended earlier are thinned (default: 30)")
    gc.add_argument("--attempts", type=int, default=20, help="newest attempts of a card kept in full (default: 20)")
    gc.add_argument("--dry-run", action="store_true", help="only say what would go")

    _verb(verbs, "export", "write every event, one a line", _export).add_argument("target", help='a file, or "-"')
    load = _verb(verbs, "import", "take exported events in; what is there already stays", _import)
    load.add_argument("file")

    delete = _verb(verbs, "delete", "delete a card for good; what comes later of it is not kept", _delete)
    delete.add_argument("card", help="its id")
    delete.add_argument("--room", default="default", help="where it is (default: default)")

    bridge = _verb(verbs, "bridge", "pass on what jupyter-server-proxy sends; Jupyter starts it", _bridge)
    bridge.add_argument("--socket", required=True, help="the Unix socket to listen on")

    for verb in (gc, load, delete):
        verb.add_argument(
            "--url",
            help="of the board that serves the database (default: found, where --db is a path of this machine); token:"
            " AQUIN_NB_TOKEN",
        )


def _verb(verbs: Any, name: str, text: str, run: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text)
    parser.add_argument("--db", help="a path, or postgresql://… (default: $AQUIN_HOME/orchestrator/board.db)")
    parser.set_defaults(run=lambda args: _with_extra(run, args))
    return parser


def _with_extra(run: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    try:
        run(args)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("aquin_nb"):
            raise
        raise AquinError(f"The board needs {error.name}: pip install 'aquin-nb[orchestrator]'.") from error


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _open(args: argparse.Namespace, *, writable: bool) -> Any:
    from .find import default_database
    from .storage import open_storage

    return open_storage(args.db or str(default_database()), writable=writable)


def _serve(args: argparse.Namespace, adopt: Adopt) -> None:
    from .board import Limits
    from .serve import Running, first_line, serve

    if args.room_events < 1 or args.room_bytes < 1:
        raise AquinError("--room-events and --room-bytes want 1 or more.")
    named = _named_folder(args.adopt)
    endings: list[Callable[[], None]] = []

    def announce(running: Running) -> None:
        folder = named or (outbox_dir() if _is_default(args.db) else None)
        if folder is not None:
            endings.append(adopt(folder, running.url, running.token))
        if args.json:
            _say(first_line(running))
        else:
            _say(f"The board is at {running.url}/#code={running.code} (this address lets one browser in, once).")
            _say("Sessions reach it with the token in the file of mode 600 beside its database. Ctrl-C stops it.")

    try:
        serve(
            args.db, port=args.port, announce=announce, socket_path=args.socket, hosts=args.allow_host,
            limits=Limits(room_events=args.room_events, room_bytes=args.room_bytes),
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


def _backup(args: argparse.Namespace) -> None:
    from .maintenance import backup

    storage = _open(args, writable=False)
    try:
        _say(f"Copied to {backup(storage, Path(args.target))}.")
    finally:
        storage.close()


def _gc(args: argparse.Namespace) -> None:
    from ..files import human_bytes
    from .maintenance import Kept, collect_garbage
    from .remote import board_of

    if not 0 <= args.days <= 100_000 or args.attempts < 1:
        raise AquinError("--days wants 0 to 100,000, --attempts 1 or more.")
    how = {"days": args.days, "attempts": args.attempts, "dry_run": args.dry_run}
    if (board := board_of(args.db, args.url)) is not None:
        gone = Kept(**board.ask("POST", "/v1/gc", how))
    else:
        storage = _open(args, writable=True)
        try:
            gone = collect_garbage(storage, **how)
        finally:
            storage.close()
    verb = "would go" if args.dry_run else "are gone"
    _say(f"{gone.events:,} events and {gone.blobs:,} blobs ({human_bytes(gone.bytes)}) {verb}.")


def _export(args: argparse.Namespace) -> None:
    from .maintenance import export, export_to

    storage = _open(args, writable=False)
    try:
        if args.target == "-":
            export(storage, sys.stdout.buffer)
        else:
            _say(f"{export_to(storage, Path(args.target)):,} events written to {args.target}.")
    finally:
        storage.close()


def _import(args: argparse.Namespace) -> None:
    from .maintenance import Taken, load, load_by
    from .remote import board_of

    def send(items: list[Any]) -> Taken:
        assert board is not None
        told = board.ask("POST", "/v1/events", items)
        refused = [(one["index"], one["reason"]) for one in told["rejected"]]
        return Taken(told["accepted"], told["duplicates"], refused)

    try:
        stream = open(args.file, "rb")  # noqa: SIM115
    except OSError as error:
        raise AquinError(f"{args.file} cannot be read: {error.strerror}.") from None
    with stream:
        if (board := board_of(args.db, args.url)) is not None:
            new, known = load_by(send, iter(stream), args.file)
        else:
            storage = _open(args, writable=True)
            try:
                new, known = load(storage, iter(stream), args.file)
            finally:
                storage.close()
    _say(f"{new:,} events taken in, {known:,} were there already or are of deleted cards.")


def _delete(args: argparse.Namespace) -> None:
    from .remote import board_of

    if (board := board_of(args.db, args.url)) is not None:
        board.delete(args.card, args.room)
    else:
        storage = _open(args, writable=True)
        try:
            if storage.bury(args.room, args.card) is None:
                raise AquinError(f"There is no card {args.card} in the room {args.room}.")
            while storage.sweep(10_000):
                pass
        finally:
            storage.close()
    _say(f"The card {args.card} is deleted.")


def _bridge(args: argparse.Namespace) -> None:
    from .bridge import serve_bridge

    serve_bridge(Path(args.socket), None if args.db is None else Path(args.db))
