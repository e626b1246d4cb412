"""A store in a remote place that fsspec reaches, such as s3://bucket/x.

Its files are written to a temporary in the cache (`$AQUIN_HOME/cache/activations`) and then put; they are read through
that cache, from where they are mapped. Credentials and endpoints are those of fsspec: its configuration and the
environment.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from ... import files
from ...errors import AquinError, NetworkError, NoSpace, StoreError
from ...home import home
from .places import SUBFOLDER, Place

_READ_BYTES = 1 << 20  # of a remote file at once, where only its head is wanted


class Remote(Place):
    """A place that fsspec reaches. A line is appended by putting the file again: a journal is small beside a chunk."""

    def __init__(self, address: str) -> None:
        import fsspec  # type: ignore[import-untyped]

        self.address = address.rstrip("/")
        self.path = home() / "cache" / "activations" / hashlib.sha256(self.address.encode()).hexdigest()[:24]
        try:
            self._fs, self._root = fsspec.url_to_fs(self.address, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise StoreError(f"{address} cannot be opened: {error}") from error

    def absence(self) -> str:
        return "" if self.sizes() else "not there"

    def sizes(self) -> dict[str, int]:
        with self._told("listed"):
            self._fs.invalidate_cache()
            found: dict[str, Any] = self._fs.find(self._root, maxdepth=2, detail=True)
        start = len(self._root.rstrip("/")) + 1
        return {name[start:]: int(info["size"] or 0) for name, info in found.items()}

    def read(self, name: str) -> bytes | None:
        with self._told("read"), contextlib.suppress(FileNotFoundError):
            content: bytes = self._fs.cat_file(self._remote(name))
            return content
        return None

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[BufferedIOBase]:
        with self._told("read"):
            stream = self._fs.open(self._remote(name), "rb", block_size=_READ_BYTES)
        with stream:
            yield stream

    def file(self, name: str, sha256: str) -> Path:
        kept = self.path / f"{sha256}.safetensors"  # by content: a store that was collected anew has other chunks
        if kept.is_file():
            os.utime(kept)
            return kept
        with self._told("read"):
            size = int(self._fs.info(self._remote(name))["size"] or 0)
        self._make_room(name, size)
        with files.whole_file(kept) as temporary:
            with self._told("read"):
                self._fs.get_file(self._remote(name), str(temporary))
            if files.sha256(temporary) != sha256:
                raise StoreError(f"{self.address}/{name} is damaged: its content is not what was written.")
        return kept

    def prepare(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        for folder in (self._root, self._remote(SUBFOLDER)):  # never their parents: that would make a misspelt bucket
            with self._told("written"), contextlib.suppress(FileExistsError):
                self._fs.mkdir(folder, create_parents=False)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        temporary = self.path / f"{os.getpid()}-{name.replace('/', '-')}.part"
        try:
            with files.explained(temporary):
                temporary.parent.mkdir(parents=True, exist_ok=True)
                yield temporary
            with self._told("written"):
                self._fs.put_file(str(temporary), self._remote(name))
        finally:
            temporary.unlink(missing_ok=True)

    def append(self, name: str, line: bytes) -> None:
        before = self.read(name) or b""
        with self._told("written"):
            self._fs.pipe_file(self._remote(name), before + line)

    def remove(self, *names: str) -> None:
        there = self.sizes()
        for name in names:
            if name in there:
                with self._told("written"):
                    self._fs.rm_file(self._remote(name))

    def vanish(self) -> None:
        for folder in (self._remote(SUBFOLDER), self._root):  # where folders are but a part of names there is nothing
            with contextlib.suppress(Exception):
                self._fs.rmdir(folder)

    def lock_path(self, name: str) -> Path:
        return self.path / name

    def require_space(self, needed: int, what: str) -> None:
        """Nothing can be known of a bucket."""

    def free(self) -> int:
        return files.free_bytes(self.path)

    def _remote(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _make_room(self, name: str, needed: int) -> None:
        """Let go of the copies that were used longest ago, when the disk is too full for one more."""
        self.path.mkdir(parents=True, exist_ok=True)
        copies = sorted(self.path.glob("*.safetensors"), key=lambda copy: copy.stat().st_mtime)
        while copies and files.free_bytes(self.path) < 2 * needed:
            copies.pop(0).unlink(missing_ok=True)
        if files.free_bytes(self.path) < needed:
            free = files.human_bytes(files.free_bytes(self.path))
            raise NoSpace(
                f"A copy of {name} of {self.address} needs {files.human_bytes(needed)} in {self.path}, where"
                f" {free} are free. Free some disk, or set AQUIN_HOME to another one."
            )

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except (AquinError, FileExistsError):
            raise
        except FileNotFoundError as error:
            raise StoreError(f"{self.address} cannot be {what}, something is not there: {error}.") from error
        except Exception as error:  # every backend of fsspec has exceptions of its own
            reason = f"{type(error).__name__}: {error}"
            raise NetworkError(
                f"{self.address} cannot be {what} ({reason:.300}). Look at the address, the credentials and the"
                " connection, and try again."
            ) from error
