"""A lock that dies with its owner: whoever can take it knows that the owner is gone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(handle: int) -> None:
        # flock, not lockf: a POSIX record lock goes when anybody in the process closes the file.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Lease:
    """Held as long as the process lives; a forked child gives up its copy with `forget`."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path, self._handle = path, handle

    @classmethod
    def take(cls, path: Path, *, create: bool = True) -> Lease | None:
        """The lease, or None while somebody else holds it.

        Raises:
            FileNotFoundError: it is not there, and `create` is False. OSError: it cannot be made.
        """
        handle = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0) | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _lock(handle)
            same = os.fstat(handle).st_ino == path.stat().st_ino  # else its last owner removed it meanwhile
        except OSError:
            same = False
        if same:
            return cls(path, handle)
        os.close(handle)
        return None

    def release(self, *, remove: bool = False) -> None:
        if self._handle < 0:
            return
        if remove:
            self.path.unlink(missing_ok=True)
        self.forget()

    def forget(self) -> None:
        """Close our copy of the handle; in a forked child the parent's lock stays."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
