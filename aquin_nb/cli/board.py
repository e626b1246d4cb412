"""`orchestrator` and `sync`: the board, and what was told while none was reached."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ..orchestrator import command
from .invocation import Done, running
from .output import as_line, complain, completed, write
from .usage import UsageError
from .verb import BOARD, group, verb

app = group("The board: keep events of sessions and show their cards.")
Database = Annotated[
    str | None, typer.Option("--db", help="a path, or postgresql://… (default: $AQUIN_HOME/orchestrator/board.db)")
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="of the board that serves the database (default: found, where --db is a path of this machine); token:"
        " AQUIN_NB_TOKEN",
    ),
]


@verb(app, "serve", "aquin-nb orchestrator serve --port 8600")
def serve(
    db: Database = None,
    port: Annotated[int, typer.Option("--port", help="of 127.0.0.1; 0 takes a free one")] = 8600,
    json: Annotated[bool, typer.Option("--json", help="the first line is {url, token, pid}")] = False,
    socket: Annotated[str | None, typer.Option("--socket", help="listen on this Unix socket too")] = None,
    adopt: Annotated[
        str | None,
        typer.Option(
            "--adopt",
            metavar="DIR",
            help="deliver what killed sessions left in this folder of outboxes (default, with the default --db alone:"
            " $AQUIN_HOME/outbox)",
        ),
    ] = None,
    room_events: Annotated[int, typer.Option("--room-events", help="events that a room holds")] = 20_000_000,
    room_bytes: Annotated[int, typer.Option("--room-bytes", help="bytes that a room's events take")] = 10 << 30,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", help="a name under which a proxy reaches it; may be repeated")
    ] = None,
) -> Done:
    """Keep events and show cards in a browser, on this machine alone."""
    now = running()

    def say(text: str) -> None:
        write(text, now.out)

    def told(found: dict[str, object]) -> str:
        return as_line(completed("orchestrator serve", Done(data=found)) | {"status": "running"})

    command.serve(
        db, port=port, adopt=adopt, adopter=_adopt, say=say, first_line=told if now.json else None, json=json,
        socket=socket, room_events=room_events, room_bytes=room_bytes, allow_host=allow_host or [],
    )  # fmt: skip
    return Done(shown=True)


@verb(app, "backup", "aquin-nb orchestrator backup copy.db")
def backup(target: Annotated[str, typer.Argument(help="a file that is not there yet")], db: Database = None) -> Done:
    """Copy the database and its blobs, also while it is served."""
    place = command.backup(db, target)
    return Done(f"Copied to {place}.", place, path=str(place))


@verb(app, "gc", "aquin-nb orchestrator gc --days 30 --dry-run")
def gc(
    db: Database = None,
    days: Annotated[float, typer.Option("--days", help="attempts that ended earlier are thinned")] = 30,
    attempts: Annotated[int, typer.Option("--attempts", help="newest attempts of a card kept in full")] = 20,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False,
    url: Url = None,
) -> Done:
    """Thin old curves and drop bytes that nothing names."""
    from ..files import human_bytes

    gone = command.gc(db, url, days=days, attempts=attempts, dry_run=dry_run)
    verb_ = "would go" if dry_run else "are gone"
    said = f"{gone['events']:,} events and {gone['blobs']:,} blobs ({human_bytes(gone['bytes'])}) {verb_}."
    return Done(said, gone, data=gone | {"dry_run": dry_run})


@verb(app, "export", "aquin-nb orchestrator export events.jsonl")
def export(target: Annotated[str, typer.Argument(help="a file, or -")], db: Database = None) -> Done:
    """Write every event, one a line."""
    if target == "-":
        if running().json:
            raise UsageError(
                "export - writes the events to standard output, where --output-json has no room: name a file."
            )
        command.export(db, sys.stdout.buffer)
        return Done(shown=True)
    count = command.export_to(db, target)
    return Done(f"{count:,} events written to {target}.", count, path=target, data={"events": count})


@verb(app, "import", "aquin-nb orchestrator import events.jsonl")
def load(file: Annotated[str, typer.Argument(help="what export wrote")], db: Database = None, url: Url = None) -> Done:
    """Take exported events in; what is there already stays."""
    new, known = command.load(db, url, file)
    said = f"{new:,} events taken in, {known:,} were there already or are of deleted cards."
    return Done(said, new, data={"new": new, "known": known})


@verb(app, "delete", "aquin-nb orchestrator delete 4f1c… --room default")
def delete(
    card: Annotated[str, typer.Argument(help="its id")],
    db: Database = None,
    room: Annotated[str, typer.Option("--room", help="where it is")] = "default",
    url: Url = None,
) -> Done:
    """Delete a card for good; what comes later of it is not kept."""
    command.delete(db, url, card, room)
    return Done(f"The card {card} is deleted.", data={"deleted": card, "room": room})


@verb(app, "bridge", "aquin-nb orchestrator bridge --socket board.sock")
def bridge(
    socket: Annotated[str, typer.Option("--socket", help="the Unix socket to listen on")], db: Database = None
) -> Done:
    """Pass on what jupyter-server-proxy sends; Jupyter starts it."""
    command.bridge(db, socket)
    return Done(shown=True)


def add_sync(app: typer.Typer) -> None:
    """Add `sync` to the commands."""
    verb(app, "sync", "aquin-nb sync --wait 60", BOARD)(sync)


def sync(
    outbox: Annotated[
        str | None, typer.Option("--outbox", help="the folder of outboxes; default: $AQUIN_HOME/outbox")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            help="of the orchestrator; its token is read from AQUIN_NB_TOKEN. Default: the board of this machine",
        ),
    ] = None,
    wait: Annotated[float, typer.Option("--wait", metavar="SECONDS", help="give up after that long")] = 60.0,
) -> Done:
    """Deliver what sessions told while no orchestrator was reached."""
    from ..home import outbox_dir
    from ..sync.drain import drain, report

    folder, token = outbox or outbox_dir(), os.environ.get("AQUIN_NB_TOKEN")
    if url is None:
        from ..orchestrator.find import find

        board = find()
        if board is None:
            raise UsageError(
                "No board of this machine answers: `aquin-nb connect` starts one, or give the --url of another."
            )
        url, token = board.url, board.token
    found = drain(folder, url, token, wait, say=complain)
    said = report(found, folder)
    return Done(said, found, data={"delivered": found.delivered, "dead": found.dead, "url": url, "outbox": str(folder)})


def _adopt(folder: Path, url: str, token: str) -> Callable[[], None]:
    from ..sync.drain import adopt_while_serving

    return adopt_while_serving(folder, url, token)
