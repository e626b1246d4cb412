"""How an orchestrator is spoken to, and what each of its answers means for what was sent."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import json
import socket
import ssl
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from ..cards.events import BATCH_TYPE
from ..errors import NetworkError

TIMEOUT = 10.0
LONGEST_WAIT = 300.0
"""Seconds; no server is believed that asks for more."""

MAX_ANSWER = 4 * 1024 * 1024
_HERE = ("127.0.0.1", "localhost", "::1")

Find = Callable[[], tuple[str, str | None] | None]
"""Says the address and the token of an orchestrator that may have moved."""

Meaning = Literal["taken", "retry", "refused", "incompatible", "too large", "poison"]


@dataclass(frozen=True)
class Answer:
    """What became of a request.

    meaning: taken (stored, but for `rejected`), retry (later, after `wait` seconds if it says so), refused (the
    token), incompatible (another version, or no orchestrator), too large, poison (`rejected`, or one of the batch).
    """

    meaning: Meaning
    problem: str = ""
    wait: float | None = None
    rejected: dict[int, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)


class Client:
    """One connection to one orchestrator, opened when needed and again when it has gone; for one thread.

    Args:
        url: http://, https:// (a path before /v1 is kept) or unix:///path/of/socket.

    Raises:
        NetworkError: an address that is none of these, or a token that cannot be one.
    """

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https", "unix") or port == -1 or not (parts.hostname or parts.path):
            given = _shown(url) if parts.scheme else str(url).rpartition("@")[2]
            raise NetworkError(f"{given!r} is no address of an orchestrator; give one such as http://127.0.0.1:8600.")
        token = (token or "").strip()
        if not (token.isascii() and token.isprintable()):
            raise NetworkError(
                "The token holds characters that no token has; copy the board's into AQUIN_NB_TOKEN again."
            )
        self.shown = _shown(url)
        self._parts, self._token, self._timeout = parts, token, TIMEOUT
        self._local = parts.scheme == "unix" or parts.hostname in _HERE
        self._connection: http.client.HTTPConnection | None = None

    def send(self, batch: str, count: int) -> Answer:
        """POST a JSON array of `count` events."""
        body, headers = batch.encode("utf-8", "replace"), {"Content-Type": BATCH_TYPE}
        if not self._local and len(body) > 2048:
            body, headers["Content-Encoding"] = _gzip(body), "gzip"
        answer = self._ask("POST", "/v1/events", body, headers)
        if answer.meaning == "taken" and _sum(answer.body) != count:
            return Answer("retry", f"{self.shown} gave an answer that is not an orchestrator's.")
        return answer

    def put_blob(self, sha256: str, media_type: str, body: bytes) -> Answer:
        return self._ask("PUT", f"/v1/blobs/{sha256}", body, {"Content-Type": media_type})

    def beat(self, producer: str, fields: dict[str, Any]) -> Answer:
        """Say that a producer lives, or that it does not."""
        text = json.dumps(fields).encode()
        return self._ask("PUT", f"/v1/producers/{producer}", text, {"Content-Type": "application/json"})

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        if self._token:
            headers = {**headers, "Authorization": f"Bearer {self._token}"}
        while True:
            fresh = self._connection is None
            try:
                if self._connection is None:
                    self._connection = self._connect()
                prefix = self._parts.path.rstrip("/") if self._parts.scheme != "unix" else ""
                self._connection.request(method, prefix + path, body, headers)
                response = self._connection.getresponse()
                text = response.read(MAX_ANSWER + 1)
                if response.will_close or len(text) > MAX_ANSWER:
                    self.close()
                return self._understood(response.status, response.headers, text)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.close()
                # A kept connection that the server has closed meanwhile says nothing about the server.
                if not fresh and isinstance(error, ConnectionError):
                    continue
                return Answer("retry", f"{self.shown} was not reached: {_reason(error)}.")

    def _connect(self) -> http.client.HTTPConnection:
        parts = self._parts
        if parts.scheme == "unix":
            return _UnixConnection(parts.path, self._timeout)
        assert parts.hostname is not None
        if parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=self._timeout, context=context)
        return _Plain(parts.hostname, parts.port, timeout=self._timeout)

    def _understood(self, status: int, headers: Any, text: bytes) -> Answer:
        try:
            body = json.loads(text)
        except ValueError:
            body = None
        told = body if isinstance(body, dict) else {}
        rejected = _rejected(told)
        said = f"{self.shown} answered {status}{_detail(told)}."
        if 200 <= status < 300:
            if text and not isinstance(body, dict):
                return Answer("retry", f"{self.shown} gave an answer that is not an orchestrator's.")
            return Answer("taken", rejected=rejected, body=told)
        if status in (401, 403):
            said = f"The token was refused by {self.shown}" if self._token else f"{self.shown} asks for a token"
            return Answer("refused", f"{said} ({status}): put the board's into AQUIN_NB_TOKEN; events are kept.")
        if status in (404, 405):
            return Answer("incompatible", f"{said} It is no orchestrator; events are kept.")
        if status in (409, 415):
            return Answer("incompatible", f"{said} Its version and ours do not fit: update the older; events are kept.")
        if 300 <= status < 400:
            return Answer("retry", f"{said} It sends elsewhere: give the address of the orchestrator itself.")
        if status == 413:
            return Answer("too large", said)
        if status in (408, 425, 429) or status >= 500 or status < 200:
            return Answer("retry", said, wait=_wait(headers))
        return Answer("poison", said, rejected=rejected)


class _Plain(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def board_of(url: str) -> str:
    """An address by which a board is known in outboxes: without secrets, loopback under one name.

    >>> board_of("http://me:secret@localhost:8600/") == board_of("http://127.0.0.1:8600")
    True
    """
    parts = urlsplit(_shown(url))
    if parts.hostname not in _HERE:
        return parts.geturl()
    return parts._replace(netloc="127.0.0.1" + (f":{parts.port}" if parts.port else "")).geturl()


def _shown(url: str) -> str:
    """The address without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


def _sum(body: dict[str, Any]) -> int:
    counts = [body.get("accepted"), body.get("duplicates")]
    if not all(isinstance(one, int) for one in counts):
        return -1
    return sum(counts) + len(body.get("rejected") or [])  # type: ignore[arg-type]


def _rejected(body: dict[str, Any]) -> dict[int, str]:
    found = {}
    named = body.get("rejected")
    for one in named if isinstance(named, list) else []:
        if isinstance(one, dict) and isinstance(one.get("index"), int):
            found[one["index"]] = str(one.get("reason", "refused"))[:500]
    return found


def _detail(body: dict[str, Any]) -> str:
    detail = body.get("detail") or body.get("error") or body.get("reason") or body.get("message")
    return f" ({detail[:200]})" if isinstance(detail, str) else ""


def _wait(headers: Any) -> float | None:
    """Seconds from Retry-After, a number or a date; the date is compared with the server's own clock."""
    given = headers.get("Retry-After")
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        try:
            until = email.utils.parsedate_to_datetime(given).timestamp()
            date = headers.get("Date")
            seconds = until - (email.utils.parsedate_to_datetime(date).timestamp() if date else time.time())
        except (TypeError, ValueError):
            return None
    return min(max(0.0, seconds), LONGEST_WAIT) if seconds == seconds else None


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, ValueError):  # its text may hold what we sent
        return "what it answered cannot be read"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
