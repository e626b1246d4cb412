"""Compiling loops with numba, and keeping the machine code for the next process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

from ..home import home

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F, *, reorder_sums: bool = False) -> F:
    """`function` as machine code that runs without the interpreter's lock.

    reorder_sums: sums may be added in whichever order is fastest on this processor.

    Compiling happens at the first call and takes up to a second or two a function; the result is kept in
    `$NUMBA_CACHE_DIR`, or `$AQUIN_HOME/cache/numba` where that is not set, and read from there by later processes.
    Where the folder cannot be written it is compiled anew in each process.
    """
    folder = _folder()
    settings: Any = numba.config
    before = settings.CACHE_DIR
    # Read when the decorator runs, and ours alone: other packages' functions keep their own place.
    settings.CACHE_DIR = str(folder or "")
    try:
        fast = {"reassoc", "contract"} if reorder_sums else False
        return cast(F, numba.njit(cache=folder is not None, nogil=True, fastmath=fast)(function))
    finally:
        settings.CACHE_DIR = before


def _folder() -> Path | None:
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or home() / "cache" / "numba")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None
