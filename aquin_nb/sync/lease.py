"""A lock that dies with its owner: whoever can take it knows that the owner is gone."""

from __future__ import annotations

import errno
import os
import sys
import threading
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


_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
_held: dict[str, Lease] = {}
_holding = threading.Lock()


class Lease:
    """Held as long as the process lives; a forked child gives up its copy with `forget`."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path, self._handle = path, handle

    @classmethod
    def take(cls, path: Path, *, create: bool = True) -> Lease | None:
        """The lease, or None while somebody else, or this process, holds it.

        Raises:
            FileNotFoundError: it is not there, and `create` is False. OSError: it cannot be made, or the file system
                has no locks.
        """
        # Where a network file system makes byte-range locks of ours, a process would be given its own again.
        with _holding:
            if str(path.absolute()) in _held:
                return None
            return cls._take(path, create)

    @classmethod
    def _take(cls, path: Path, create: bool) -> Lease | None:
        handle = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0) | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _lock(handle)
            same = os.fstat(handle).st_ino == path.stat().st_ino  # else its last owner removed it meanwhile
        except OSError as error:
            same = False
            if error.errno in _NO_LOCKS:
                os.close(handle)
                raise
        if same:
            lease = _held[str(path.absolute())] = cls(path, handle)
            return lease
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
            _held.pop(str(self.path.absolute()), None)


def _in_child() -> None:
    """A child's copies of the handles would hold its parent's leases when that is gone."""
    global _holding
    _holding = threading.Lock()  # another thread may have had it
    for lease in list(_held.values()):
        lease.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
