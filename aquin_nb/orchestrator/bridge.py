"""The board under a Jupyter server's own address, by jupyter-server-proxy: on a JupyterHub, on Binder.

Jupyter starts `aquin-nb orchestrator bridge` on a Unix socket in a folder that its user alone can open, and lets nobody
near it who is not logged in. The bridge finds or starts the board of this machine and passes requests on to it. Whoever
asks for `enter` is sent to the page with a one-use code; no cookie and no token is in any address.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from .find import Board, find_or_start
from .remote import Remote

MAX_HEAD: Final = 64 * 1024


def setup() -> dict[str, Any]:
    """What jupyter-server-proxy asks of an entry point in `jupyter_serverproxy_servers`; there it is `aquin-nb`."""
    command = [sys.executable, "-m", "aquin_nb.cli", "orchestrator", "bridge", "--socket", "{unix_socket}"]
    icon = str(Path(__file__).parent / "page" / "board.svg")
    entry = {"title": "Board", "path_info": "aquin-nb/enter", "icon_path": icon}
    return {"command": command, "unix_socket": True, "timeout": 60, "launcher_entry": entry}


def serve_bridge(socket_path: Path, database: Path | None = None) -> None:
    """Pass requests on until SIGTERM or SIGINT."""
    asyncio.run(_Bridge(database).serve(socket_path))


class _Bridge:
    def __init__(self, database: Path | None) -> None:
        self._database = database
        self._board: Board | None = None

    async def serve(self, path: Path) -> None:
        await self._found()
        ended = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        mask = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(self._taken, path, limit=MAX_HEAD)
        finally:
            os.umask(mask)
        async with server:
            await ended.wait()

    async def _found(self) -> Board:
        self._board = await asyncio.to_thread(find_or_start, self._database)
        return self._board

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, which the proxy makes for each request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head[:-4].split("\r\n")
            method, path, _ = line.split(" ", 2)
            headers = [(name.strip(), value.strip()) for name, _, value in (field.partition(":") for field in fields)]
            if path.split("?")[0] == "/enter":
                await self._enter(method, {name.lower(): value for name, value in headers}, writer)
            else:
                await self._pass(line, headers, reader, writer)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, OSError):
            pass  # whoever spoke has gone, or speaks no HTTP
        finally:
            writer.close()

    async def _enter(self, method: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        if method != "GET" or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            return
        board = await self._found()
        told = await asyncio.to_thread(lambda: Remote(board.url, board.token).ask("POST", "/v1/launch-codes", {}))
        place = f"Location: ./#code={told['code']}\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n"
        writer.write(
            f"HTTP/1.1 303 See Other\r\n{place}Content-Length: 0\r\nConnection: close\r\n\r\n".encode("latin-1")
        )
        await writer.drain()

    async def _pass(
        self, line: str, headers: list[tuple[str, str]], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        board = self._board or await self._found()
        parts = urlsplit(board.url)
        try:
            there, back = await asyncio.open_connection(parts.hostname, parts.port)
        except ConnectionError:  # it was stopped meanwhile
            parts = urlsplit((await self._found()).url)
            there, back = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            kept = _readdressed(headers, parts.netloc)
            back.write("\r\n".join([line, *(f"{name}: {value}" for name, value in kept), "", ""]).encode("latin-1"))
            sending = asyncio.create_task(_copy(reader, back))
            await _copy(there, writer)
            sending.cancel()
        finally:
            back.close()


def _readdressed(headers: list[tuple[str, str]], host: str) -> list[tuple[str, str]]:
    """The headers as the board expects them of its own page: where a page is the proxy's, it is the board's.

    An Origin that is not the address that was asked for stays, and is refused by the board.
    """
    asked = next((value for name, value in headers if name.lower() == "host"), "")
    kept = [("Host", host), ("Connection", "close")]
    for name, value in headers:
        if name.lower() == "origin" and urlsplit(value).netloc.lower() == asked.lower():
            continue
        if name.lower() not in ("host", "connection", "cookie"):  # Jupyter's cookies are nothing to the board
            kept.append((name, value))
    return kept


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()
