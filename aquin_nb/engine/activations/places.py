"""Where a store lies: a folder, or a remote place (`remote.py`), with the same few operations on both."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from urllib.parse import unquote

from ... import files
from ...errors import OutputError, StoreError

SUBFOLDER = "chunks"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class Place(ABC):
    """A folder of files known by names such as `manifest.json` and `chunks/chunk_000000.safetensors`.

    `address` opens it again; `path` is the local folder in which its files are mapped. What fails is told as an
    AquinError: StoreError (reading), OutputError and NoSpace (writing), NetworkError (a remote place).
    """

    address: str
    path: Path

    @abstractmethod
    def absence(self) -> str:
        """Why there is no folder here ("not there", "a file"); empty when there is one."""

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Bytes of every file here and in `chunks/`, by name; any other folder counts as a file of no bytes."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None when it is not there."""

    @abstractmethod
    def opened(self, name: str) -> contextlib.AbstractContextManager[BufferedIOBase]:
        """A file opened for reading parts of it."""

    @abstractmethod
    def file(self, name: str, sha256: str) -> Path:
        """A local path under which the file can be mapped; of a remote one, whose hash is checked, a copy."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the folder."""

    @abstractmethod
    def writing(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """A temporary path; when the block ends well, what was written there becomes the file, whole or not at all."""

    @abstractmethod
    def append(self, name: str, line: bytes) -> None:
        """Add a line to a file and wait until it is kept."""

    @abstractmethod
    def remove(self, *names: str) -> None:
        """Remove these files, where they are there."""

    @abstractmethod
    def vanish(self) -> None:
        """Remove the folder, if there is nothing in it."""

    @abstractmethod
    def lock_path(self, name: str) -> Path:
        """Where the lock of this name is kept."""

    @abstractmethod
    def require_space(self, needed: int, what: str) -> None:
        """Raise NoSpace when `needed` bytes will not fit, as far as that can be known."""

    @abstractmethod
    def free(self) -> int:
        """Bytes that are free on the disk on which a file is written first."""

    def sha256(self, name: str) -> str:
        """Hexadecimal SHA-256 of a file as it lies there.

        Raises:
            StoreError: it is missing or cannot be read.
        """
        with self.opened(name) as stream:
            try:
                return hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError as error:
                raise StoreError(f"{self.address}/{name} cannot be read: {error}.") from error

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        with self.writing(name) as temporary:
            temporary.write_bytes(content)


def place_of(folder: Path | str | Place) -> Place:
    """
    >>> place_of("activations/tiny").address
    'activations/tiny'
    >>> place_of("memory://tiny").address
    'memory://tiny'

    Raises:
        StoreError: a URL of a kind that fsspec does not know, or whose package is missing.
    """
    if isinstance(folder, Place):
        return folder
    if isinstance(folder, str) and _URL.match(folder):
        if folder.startswith("file://"):
            return Folder(Path(unquote(folder.removeprefix("file://"))))
        from .remote import Remote

        return Remote(folder)
    path = Path(folder)
    if len(path.parts) > 1 and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+:", path.parts[0]):
        raise StoreError(f"{path} was a URL, and a Path drops one of its slashes; give it as a string.")
    return Folder(path.expanduser())


class Folder(Place):
    """A folder on this machine or on a disk that it shares."""

    def __init__(self, path: Path) -> None:
        self.path, self.address = path, str(path)

    def absence(self) -> str:
        return "" if self.path.is_dir() else "a file" if self.path.exists() else "not there"

    def sizes(self) -> dict[str, int]:
        found = {}
        for prefix, folder in (("", self.path), (f"{SUBFOLDER}/", self.path / SUBFOLDER)):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), self._reading(), os.scandir(folder) as all:
                for entry in all:
                    if entry.is_file():
                        found[f"{prefix}{entry.name}"] = entry.stat().st_size
                    elif entry.name != SUBFOLDER:
                        found[f"{prefix}{entry.name}"] = 0
        return found

    def read(self, name: str) -> bytes | None:
        with self._reading(), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return (self.path / name).read_bytes()
        return None

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[BufferedIOBase]:
        with contextlib.ExitStack() as stack:
            try:
                stream = stack.enter_context(open(self.path / name, "rb"))
            except OSError as error:
                raise StoreError(f"{self.address}/{name} cannot be read: {error.strerror or error}.") from error
            yield stream

    def file(self, name: str, sha256: str) -> Path:
        return self.path / name

    def prepare(self) -> None:
        try:
            (self.path / SUBFOLDER).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"Cannot make the folder {self.path}: {error.strerror or error}.") from error

    def writing(self, name: str) -> contextlib.AbstractContextManager[Path]:
        return files.whole_file(self.path / name)

    def append(self, name: str, line: bytes) -> None:
        files.append(self.path / name, line)

    def remove(self, *names: str) -> None:
        for name in names:
            with files.explained(self.path / name):
                (self.path / name).unlink(missing_ok=True)

    def vanish(self) -> None:
        for folder in (self.path / SUBFOLDER, self.path):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def lock_path(self, name: str) -> Path:
        return self.path / name

    def require_space(self, needed: int, what: str) -> None:
        files.require_space(self.path, needed, what)

    def free(self) -> int:
        return files.free_bytes(self.path)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.address} cannot be read: {error}.") from error
