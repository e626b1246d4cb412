"""Disks that fail: one under SQLite that refuses what the test says, and a real one that is small."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

ERRORS: dict[str, Callable[[], Exception]] = {
    "EIO": lambda: apsw.IOError("input/output error"),
    "full": lambda: apsw.FullError("no space left"),
    "read-only": lambda: apsw.ReadOnlyError("read-only file system"),
}


class BadDisk(apsw.VFS):
    """Under every database that is opened while it is entered, and whose name has `part` in it.

    refuses(operation, its number from 1): an error to raise instead of a write, sync or truncation, or None.
    count: operations so far.
    """

    def __init__(self, part: str) -> None:
        self.part, self.count = part, 0
        self.refuses: Callable[[str, int], Exception | None] = lambda operation, number: None
        self.under = apsw.vfs_names()[0]
        super().__init__("bad disk", self.under, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        return _BadFile(self, name, flags) if path and self.part in path else super().xOpen(name, flags)

    def asked(self, operation: str) -> None:
        self.count += 1
        error = self.refuses(operation, self.count)
        if error is not None:
            raise error

    def breaks(self, kind: str, dice: random.Random) -> None:
        """From now on: every operation, or some of them, or those of one sort."""
        share = dice.choice([1.0, 1.0, 0.3, 0.05])
        sort = dice.choice(["", "", "write", "sync"])
        self.refuses = lambda operation, number: (
            ERRORS[kind]() if sort in ("", operation) and dice.random() < share else None
        )

    def mend(self) -> None:
        self.refuses = lambda operation, number: None

    def __enter__(self) -> BadDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.mend()
        self.unregister()


class _BadFile(apsw.VFSFile):
    def __init__(self, disk: BadDisk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__(disk.under, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.asked("write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._disk.asked("sync")
        super().xSync(flags)

    def xTruncate(self, size: int) -> None:
        self._disk.asked("truncate")
        super().xTruncate(size)


def on_a_disk_of(place: Path, options: str) -> tuple[str, ...]:
    """What to put before a command that is to see at `place` a file system of its own, mounted with `options`."""
    place.mkdir()
    kind = "none -t tmpfs" if "size" in options else f"--bind '{place}'"
    script = f"mount {kind} -o {options} '{place}' && exec \"$@\""
    alone = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--mount")
    before = (*alone, "sh", "-c", script, "sh")
    if subprocess.run([*before, "true"], capture_output=True, timeout=20).returncode:
        pytest.skip("a file system of its own cannot be mounted here")
    return before


class Filler:
    """Takes what room there is on the small disk of a process, and gives it back."""

    def __init__(self, pid: int, place: Path) -> None:
        self._path = Path(f"/proc/{pid}/root{place}/filler")

    def fill(self) -> None:
        with open(self._path, "ab", buffering=0) as stream:
            for size in (1 << 20, 1 << 16, 1 << 12, 1):
                try:
                    while True:
                        stream.write(bytes(size))
                except OSError:
                    continue

    def free(self) -> None:
        self._path.unlink(missing_ok=True)
