"""One training at a place: the lock beside a dictionary, which the system lets go when its process dies."""

from __future__ import annotations

import contextlib
from pathlib import Path

from filelock import FileLock, Timeout

from ...errors import OutputError
from ...files import explained


class Lock:
    """Held from `take` to `release`, from any thread. Meanwhile `.<name>.lock` lies beside the dictionary."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.with_name(f".{path.name}.lock")
        self._lock = FileLock(self._file, thread_local=False)

    def take(self) -> None:
        """Keep others off.

        Raises:
            OutputError: another training, of this process or another, writes there; or the place cannot be written.
        """
        with explained(self._file):
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise OutputError(
                    f"{self._path} is being written by a training that has not ended, in this process or another. Wait"
                    " for it, or choose another name= or output=."
                ) from None

    def release(self) -> None:
        """Let go, and leave no file behind; nothing where it is not held."""
        if self._lock.is_locked:
            with contextlib.suppress(OSError):  # Windows keeps files that are open
                self._file.unlink(missing_ok=True)  # before letting go: afterwards it may be another's
            self._lock.release()
