"""The bundles that the TypeScript half was built into."""

from __future__ import annotations

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


@cache
def _read(path: Path, _changed: int) -> str:
    return path.read_text(encoding="utf-8")
