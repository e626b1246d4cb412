"""One writer at a time: the lock of a folder's writer, which the system lets go when its process dies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from filelock import FileLock, Timeout

from ... import files
from ...errors import OutputError
from .places import Place


class Lock:
    """Held from `take` to `release`. That of a remote place keeps off the writers of this machine only.

    Raises (`take`):
        OutputError: another writer holds it.
    """

    def __init__(self, place: Place, name: str) -> None:
        self._place, self._path = place, place.lock_path(name)
        self._lock = FileLock(self._path, thread_local=False)

    def take(self) -> None:
        with files.explained(self._path):
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise OutputError(
                    f"{self._place.address} is being written by another process, or by another writer of this one. Wait"
                    " until that has ended, or choose another folder."
                ) from None

    def release(self) -> None:
        """Let go, and leave no file behind."""
        if self._lock.is_locked:
            with contextlib.suppress(OSError):  # Windows keeps open files
                self._path.unlink(missing_ok=True)  # before letting go: afterwards it may be another writer's
            self._lock.release()


@contextlib.contextmanager
def locked(place: Place, *names: str) -> Iterator[None]:
    """Hold all these locks.

    Raises:
        OutputError: as `Lock`.
    """
    with contextlib.ExitStack() as stack:
        for name in names:
            lock = Lock(place, name)
            lock.take()
            stack.callback(lock.release)
        yield
