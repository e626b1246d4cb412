"""The bundles that the TypeScript half was built into."""

from __future__ import annotations

import base64
import zlib
from functools import cache
from pathlib import Path

from ..errors import AquinError

STATIC = Path(__file__).parent / "static"


class MissingBundle(AquinError):
    """The front end was not built: this is a checkout, not an installed wheel."""


def bundle(name: str) -> str:
    """Text of `static/<name>`, a self-contained ES module.

    Raises:
        MissingBundle: it is not there.
    """
    path = STATIC / name
    try:
        return _read(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        raise MissingBundle(
            f"The front end is not built ({path} is missing). In a git checkout run `make front` once (it needs Node 20"
            " or newer); a release wheel carries the bundles."
        ) from None


def packed(name: str) -> str:
    """A bundle deflated (RFC 1951), as base64: what notebooks keep of it, a third to a half of its text.

    Raises:
        MissingBundle: it is not there.
    """
    return _packed(bundle(name))


@cache
def _packed(code: str) -> str:
    squeeze = zlib.compressobj(9, wbits=-15)
    return base64.b64encode(squeeze.compress(code.encode()) + squeeze.flush()).decode("ascii")


@cache
def _read(path: Path, _changed: int) -> str:
    return path.read_text(encoding="utf-8")
