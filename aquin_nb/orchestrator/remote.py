"""A board that serves, spoken to by its owner's commands: what would need its database goes through it instead."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from ..errors import AquinError
from .find import find

PATIENCE: Final = 60.0
"""Seconds for which a board may be busy before a command gives up."""


class Remote:
    """A board by its URL (http:// or https://, with the path of a proxy if need be) and an owner's token.

    Raises:
        AquinError: it is no URL.
    """

    def __init__(self, url: str, token: str) -> None:
        self._parts, self._token, self.url = urlsplit(url), token, url.rstrip("/")
        try:
            known = self._parts.scheme in ("http", "https") and self._parts.hostname and self._parts.port != 0
        except ValueError:
            known = False
        if not known:
            raise AquinError("--url wants the address of a board such as http://127.0.0.1:8600.")

    def ask(self, method: str, path: str, value: Any = None) -> Any:
        """What it answers, as JSON; waits while it is busy.

        Raises:
            AquinError: it is not reached, refuses, or is still busy after a minute.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            status, wait, told = self._once(method, path, value)
            if 200 <= status < 300:
                return told
            detail = told.get("detail") if isinstance(told, dict) else None
            if status not in (429, 503) or time.monotonic() + wait > deadline:
                raise AquinError(f"{self.url} answered {status}: {detail or 'it is no orchestrator'}")
            time.sleep(wait)

    def delete(self, card: str, room: str) -> None:
        """Delete a card."""
        self.ask("DELETE", f"/v1/cards/{quote(card)}?room={quote(room, safe='')}")

    def _once(self, method: str, path: str, value: Any) -> tuple[int, float, Any]:
        body = None if value is None else json.dumps(value).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        parts = self._parts
        assert parts.hostname is not None
        try:
            if parts.scheme == "https":
                context = ssl.create_default_context()
                opened: http.client.HTTPConnection = http.client.HTTPSConnection(
                    parts.hostname, parts.port, context=context
                )
            else:
                opened = http.client.HTTPConnection(parts.hostname, parts.port)
            with closing(opened):
                opened.request(method, parts.path.rstrip("/") + path, body, headers)
                answer = opened.getresponse()
                text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise AquinError(f"{self.url} was not reached: {error}. Is the board running?") from error
        told: Any = None
        if text:
            try:
                told = json.loads(text)
            except ValueError:
                return 0, 0.0, None
        wait = answer.headers.get("Retry-After", "")
        return answer.status, max(0.1, float(wait)) if wait.isdecimal() else 1.0, told


def board_of(db: str | None, url: str | None) -> Remote | None:
    """The board that serves a database now; None where nobody does, so that it can be opened.

    Args:
        url: of a board, whose token is read from AQUIN_NB_TOKEN, or is that of this machine's board at this address.

    Raises:
        AquinError: a board at `url` cannot be spoken to without a token.
    """
    if url is None:
        if db is not None and "://" in db:
            return None
        found = find(None if db is None else Path(db))
        return Remote(found.url, found.token) if found is not None else None
    token = os.environ.get("AQUIN_NB_TOKEN", "").strip()
    if not token and (here := find(None if db is None or "://" in db else Path(db))) is not None:
        token = here.token if here.url == url.rstrip("/") else ""
    if not token:
        raise AquinError(
            f"{url} wants its owner's token in AQUIN_NB_TOKEN: the text of the file .token beside its database."
        )
    return Remote(url, token)
