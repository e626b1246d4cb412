"""Who may do what: bearer tokens by hash, their scopes and room, and one-use codes that let a browser in."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from .storage import TokenRow

Scope = Literal["ingest", "read", "admin"]
SCOPES: Final[tuple[Scope, ...]] = ("ingest", "read", "admin")
CODE_SECONDS: Final = 60.0
BROWSER_SECONDS: Final = 12 * 3600.0
_FORM = re.compile(r"^aqn_([0-9a-f]{8})_([A-Za-z0-9_-]{43})_([0-9a-f]{8})$")


@dataclass(frozen=True)
class Grant:
    """What a token allows. `room` None is every room; admin includes the others."""

    id: str
    scopes: frozenset[str]
    room: str | None
    expires: float | None = None

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or "admin" in self.scopes

    def sees(self, room: str) -> bool:
        return self.room is None or self.room == room


def new_token() -> str:
    """`aqn_<id>_<32 random bytes>_<checksum>`: a scanner finds it, and a mistyped one is told from an unknown one."""
    body = f"aqn_{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"
    return f"{body}_{zlib.crc32(body.encode()):08x}"


def well_formed(token: str) -> bool:
    """Whether it is one of ours, mistyped nowhere."""
    body, _, checksum = token.rpartition("_")
    return _FORM.match(token) is not None and f"{zlib.crc32(body.encode()):08x}" == checksum


def row_of(token: str, scopes: Iterable[str], room: str | None, seconds: float | None = None) -> TokenRow:
    """What is kept of a token: its hash. 256 random bits need no slow one."""
    now = time.time()
    return TokenRow(
        token.split("_")[1], _hash(token), " ".join(scopes), room, now, None if seconds is None else now + seconds
    )


class Tokens:
    """The valid tokens, in memory; the database is only read at start and after a change."""

    def __init__(self, rows: Iterable[TokenRow]) -> None:
        self._rows = {row.id: row for row in rows}
        self._codes: dict[str, tuple[float, Grant]] = {}

    def grant(self, token: str) -> Grant | None:
        """What a token allows; None for one that is unknown, mistyped, expired or taken back."""
        form = _FORM.match(token)
        row = self._rows.get(form[1]) if form else None
        if row is None or not hmac.compare_digest(row.hash, _hash(token)):
            return None
        if row.expires is not None and row.expires < time.time():
            return None
        return Grant(row.id, frozenset(row.scopes.split()), row.room, row.expires)

    def keep(self, row: TokenRow) -> None:
        self._rows[row.id] = row

    def drop(self, token_id: str) -> None:
        self._rows.pop(token_id, None)

    def rows(self) -> list[TokenRow]:
        return sorted(self._rows.values(), key=lambda row: row.created)

    def new_code(self, grant: Grant, seconds: float = CODE_SECONDS) -> str:
        """A code that is exchanged once for a token of a browser's own, which can read what `grant` can."""
        now = time.time()
        self._codes = {code: kept for code, kept in self._codes.items() if kept[0] > now}
        code = secrets.token_urlsafe(24)
        self._codes[code] = (now + seconds, grant)
        return code

    def spend_code(self, code: str) -> Grant | None:
        """The grant behind a code, which is worth nothing from now on."""
        until, grant = self._codes.pop(code, (0.0, None))
        return grant if until > time.time() else None


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
