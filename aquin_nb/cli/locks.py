"""Commands at the same time: verbs share the session, and nobody replaces it under one that is at work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from ..errors import SessionError
from .state import state_file

if sys.platform != "win32":
    import fcntl


@contextmanager
def at_work() -> Iterator[None]:
    """A verb works in the active session; several may."""
    with _opened() as file:
        _lock(file, shared=True)
        yield


@contextmanager
def alone(what: str) -> Iterator[None]:
    """The active session is changed.

    Raises:
        SessionError: a verb of it is at work in another process.
    """
    with _opened() as file:
        if not _lock(file, shared=False):
            raise SessionError(
                f"{what} was refused: a command is at work in the active session. Wait for it, or give the second"
                " session a home of its own: AQUIN_HOME=FOLDER aquin-nb …"
            )
        yield


@contextmanager
def _opened() -> Iterator[IO[bytes] | None]:
    """The lock's file; None where it cannot be made, as in a home that can only be read."""
    file: IO[bytes] | None = None
    path = state_file().with_suffix(".lock")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab")  # noqa: SIM115  closed below
    try:
        yield file
    finally:
        if file is not None:
            file.close()


def _lock(file: IO[bytes] | None, *, shared: bool) -> bool:
    """Whether it was got; Windows and some network disks have no such lock, and nothing is refused there."""
    if file is None or sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
