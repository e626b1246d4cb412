"""Refuses, before anything else looks at a request, what a page of somebody else's could make a browser send here."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from pydantic import BeforeValidator
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
POLICY: Final = "; ".join(
    [
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'",
        "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)  # fmt: skip
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
MAX_SMALL: Final = 1 << 16  # bytes of a body that is no batch and no blob
WHOLE: Final = BeforeValidator(lambda given: int(given) if _whole(given) else given)
"""Of a strict integer, as JSON Schema has it: 20.0 is one, true and "20" are not."""
FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")


class Guard:
    """Host, Origin and fetch-metadata checks, and the headers of every answer.

    Args:
        hosts: names beside loopback's under which this server is reached (a JupyterHub's).
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = {*LOOPBACK, *(host.lower() for host in hosts)}
        self._named = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        problem = self._problem(scope["method"], Headers(scope=scope))

        answered = False

        async def guarded(message: Message) -> None:
            nonlocal answered
            answered = True
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if problem is not None:
            status, detail = problem
            await JSONResponse({"detail": detail}, status)(scope, receive, guarded)
        else:
            try:
                await self._app(scope, receive, guarded)
            except asyncio.CancelledError:
                # The server stops and waits no longer for whoever speaks in the middle of this request.
                if not answered:
                    await JSONResponse({"detail": "The board is stopping."}, 503)(scope, receive, guarded)

    def _problem(self, method: str, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if _name(host) not in self._hosts:
            return 403, "This host name is not allowed here; a server behind a proxy is told its name by --allow-host."
        origin = headers.get("origin")
        if origin is not None and not self._same(origin, host):
            return 403, "Requests of other pages are refused."
        site = headers.get("sec-fetch-site", "none")
        visit = method == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if site not in ("none", "same-origin") and not visit:
            return 403, "Requests of other pages are refused."
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        if method not in ("GET", "HEAD") and kind in FORMS:
            return 415, "Forms are not taken; send JSON."
        return None

    def _same(self, origin: str, host: str) -> bool:
        """Of this very server: a page on another port of this machine is a stranger too."""
        try:
            parts = urlsplit(origin)
            name = (parts.hostname or "").lower()
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and (parts.netloc.lower() == host.lower() or name in self._named)


def _name(host: str) -> str:
    """The name in a Host header, without its port; "" for what is none. Read strictly: `[::1].evil` is not `::1`."""
    found = _HOST.match(host.lower())
    return (found["six"] or found["name"]) if found else ""


def _whole(given: Any) -> bool:
    return isinstance(given, float) and given.is_integer()


_HOST: Final = re.compile(r"^(?:\[(?P<six>[0-9a-f:]+)\]|(?P<name>[a-z0-9._-]+))(?::\d{1,5})?$")


async def body_of(request: Request, limit: int) -> bytes:
    """The body, unpacked where it was gzipped; never more than `limit` bytes of it are held.

    Raises:
        HTTPException: 413 too large, 400 broken gzip, 415 another encoding.
    """
    packed = request.headers.get("content-encoding", "identity").lower()
    if packed not in ("identity", "gzip"):
        raise HTTPException(415, f"The content encoding {packed[:20]} is not known here; send gzip or none.")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > limit:
        raise HTTPException(413, f"A body holds at most {limit} bytes.")
    unpack = zlib.decompressobj(31) if packed == "gzip" else None
    parts, size = [], 0
    async for chunk in request.stream():
        if unpack is not None:
            try:
                chunk = unpack.decompress(chunk, limit + 1 - size)
            except zlib.error:
                raise HTTPException(400, "The body is not valid gzip.") from None
        size += len(chunk)
        if size > limit or (unpack is not None and unpack.unconsumed_tail):
            raise HTTPException(413, f"A body holds at most {limit} bytes, unpacked.")
        parts.append(chunk)
    if unpack is not None and not unpack.eof:
        raise HTTPException(400, "The gzipped body is cut off.")
    return b"".join(parts)
