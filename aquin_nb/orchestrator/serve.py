"""`aquin-nb orchestrator serve`: one process, one database, loopback only."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple

import uvicorn
from fastapi import FastAPI

from ..errors import AquinError
from ..files import write_json
from .app import create_app
from .board import Board, Limits
from .find import default_database, serving_file
from .sqlite import SqliteStorage
from .storage import Storage, open_storage
from .tokens import Grant, new_token, row_of, well_formed

HOST: Final = "127.0.0.1"
PORT: Final = 8600
UNSAFE: Final = {
    1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080,
}  # fmt: skip
"""Ports above 1023 that browsers refuse to open."""
STOP_SECONDS: Final = 2
"""How long a request that has begun may take when the server is to stop."""
FIRST_CODE_SECONDS: Final = 600.0  # a person has to find the terminal first


class Running(NamedTuple):
    """Where a server listens, and how it is entered.

    Attributes:
        code: good once, for the page: `url/#code=...`.
    """

    url: str
    token: str
    pid: int
    code: str


def serve(
    db: str | None = None,
    *,
    port: int = PORT,
    announce: Callable[[Running], None],
    socket_path: str | None = None,
    hosts: Sequence[str] = (),
    limits: Limits | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        db: path, or postgresql:// URL; default: `default_database()`.
        port: of 127.0.0.1; 0 takes a free one.
        announce: called once the server answers.
        socket_path: also listen on a Unix socket that only this user can open.
        hosts: names beside loopback's under which a proxy reaches it.

    Raises:
        AquinError: the port or socket is taken, the database is served already or cannot be opened.
    """
    place = db or str(default_database())
    sockets = [_listening(port)]
    storage: Storage | None = None
    app: FastAPI | None = None
    said: Path | None = None
    try:
        if socket_path is not None:
            sockets.append(_unix(Path(socket_path)))
        storage = open_storage(place)
        token = _token(storage)
        app = create_app(storage, hosts=hosts, limits=limits)
        url = f"http://{HOST}:{sockets[0].getsockname()[1]}"
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, proxy_headers=False, ws="none",
            timeout_keep_alive=75, timeout_graceful_shutdown=STOP_SECONDS, lifespan="on",
        )  # fmt: skip
        if isinstance(storage, SqliteStorage):
            said = serving_file(storage.path)

        def ready(code: str) -> None:
            if said is not None:
                write_json(said, {"url": url, "pid": os.getpid()})
            announce(Running(url, token, os.getpid(), code))

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # once it has stopped, it is only putting things away
        logging.getLogger("uvicorn.error").addFilter(lambda said: not said.getMessage().startswith("Cancel "))
        _Server(config, app, ready).run(sockets)
    finally:
        if app is not None:
            app.state.board.writer.close()
        for one in sockets:
            one.close()
        if socket_path is not None and len(sockets) > 1:
            Path(socket_path).unlink(missing_ok=True)
        if said is not None:
            said.unlink(missing_ok=True)
        if storage is not None:
            storage.close()


class _Server(uvicorn.Server):
    """Says when it answers, and ends its open streams when it is to stop."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._board: Board = app.state.board
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._loop = asyncio.get_running_loop()
            grant = Grant("start", frozenset({"read"}), None)
            self._ready(self._board.tokens.new_code(grant, FIRST_CODE_SECONDS))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()  # uvicorn would leave it out, and what waits must be written

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Asked for is not failed: uvicorn would raise the signal again once it has stopped.
        self.should_exit = True
        self.force_exit = self.force_exit or (self._board.bus.closing and sig == signal.SIGINT)
        self._loop.call_soon_threadsafe(self._board.bus.close)


def _listening(port: int) -> socket.socket:
    if port in UNSAFE:
        raise AquinError(f"Browsers refuse to open port {port}; choose another --port.")
    while True:
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if os.name != "nt":  # there it would let two servers share a port
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((HOST, port))
            one.listen(512)
        except (OSError, OverflowError) as error:
            one.close()
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                raise AquinError(
                    f"Port {port} is taken by another program; choose another --port, or 0 for a free one."
                ) from None
            reason = str(error).rstrip(".")
            raise AquinError(f"Port {port} cannot be opened: {reason}. Choose another --port.") from error
        if one.getsockname()[1] not in UNSAFE:
            return one
        one.close()


def _unix(path: Path) -> socket.socket:
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, suppress(ConnectionRefusedError):
                probe.connect(str(path))
                raise AquinError(f"{path} is served by another program; choose another --socket.")
            path.unlink()  # left by a server that was killed
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = os.umask(0o177)
        try:
            one.bind(str(path))
        finally:
            os.umask(mask)
        one.listen(512)
    except OSError as error:
        one.close()
        raise AquinError(f"The socket {path} cannot be opened: {error}.") from error
    except BaseException:
        one.close()
        raise
    return one


def _token(storage: Storage) -> str:
    """The owner's token: from AQUIN_NB_TOKEN, else the one of the last start, else a new one in a file of mode 600.

    It stays the same over restarts, so that sessions that are still running are let in again.
    """
    token = os.environ.get("AQUIN_NB_TOKEN", "").strip()
    if token and not well_formed(token):
        raise AquinError("AQUIN_NB_TOKEN is no token of an orchestrator; correct or unset it.")
    file = storage.blobs.with_suffix(".token") if storage.blobs.suffix else storage.blobs.parent / "token"
    if not token:
        with suppress(FileNotFoundError):
            token = file.read_text(encoding="ascii", errors="replace").strip()
        if not well_formed(token):
            token = new_token()
            _keep_secret(file, token)
    for row in storage.tokens():
        if row.expires is not None and row.expires < time.time():
            storage.drop_token(row.id)
    storage.put_token(row_of(token, ("ingest", "read", "admin"), None))
    return token


def _keep_secret(file: Path, token: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(token + "\n")


def first_line(running: Running) -> str:
    """What `--json` prints."""
    return json.dumps({"url": running.url, "token": running.token, "pid": running.pid})
