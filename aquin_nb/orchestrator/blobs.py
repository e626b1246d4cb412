"""Bytes under the hash of their content. A path is made of the hash alone, and what is kept is never executed."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..errors import AquinError, NoSpace, OutputError
from ..files import whole_file
from .storage import StorageBusy, StorageFull

MAX_BLOB: Final = 32 << 20
_HASH = re.compile(r"^[0-9a-f]{64}$")
_BEGINNINGS: Final = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\x93NUMPY": "application/vnd.aquin.npy",
    b"ARROW1\x00\x00": "application/vnd.apache.arrow.file",
}
KINDS: Final = (*_BEGINNINGS.values(), "image/webp", "application/json", "text/plain")


class BlobError(AquinError):
    """Bytes that are not what their address says, or of a kind that is not kept."""


class Blobs:
    """A folder of files named by SHA-256."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: str) -> Path:
        """
        Raises:
            BlobError: it is no hash.
        """
        if not _HASH.match(sha256):
            raise BlobError("A blob is named by its SHA-256: 64 hexadecimal digits.")
        return self._folder / sha256[:2] / sha256

    def put(self, sha256: str, content: bytes) -> bool:
        """Keep bytes; False where they were here already.

        Raises:
            BlobError: another hash, or of a kind that is not kept (pickles, archives, pages).
        """
        path = self.path(sha256)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise BlobError("The bytes have another SHA-256 than their address.")
        media_type(content)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if path.exists():
                os.utime(path)  # named anew: retention counts from here
                return False
            with whole_file(path) as temporary:
                temporary.write_bytes(content)
        except NoSpace as error:
            raise StorageFull(str(error)) from error
        except (OSError, OutputError) as error:
            raise StorageBusy(f"The bytes cannot be written right now: {error}") from error
        return True

    def get(self, sha256: str) -> bytes | None:
        try:
            return self.path(sha256).read_bytes()
        except FileNotFoundError:
            return None

    def all(self) -> Iterator[Path]:
        """Every file, in the order of their names."""
        return (path for path in sorted(self._folder.glob("*/*")) if _HASH.match(path.name))


def media_type(content: bytes) -> str:
    """What bytes are, by their beginning and never by what the sender says.

    Raises:
        BlobError: none of PNG, WebP, NumPy, Arrow, JSON or plain text.
    """
    for beginning, name in _BEGINNINGS.items():
        if content.startswith(beginning):
            return name
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = "\x00"
    if "\x00" in text:
        raise BlobError("Only PNG, WebP, NumPy, Arrow, JSON and plain text are kept.")
    return "application/json" if text.lstrip()[:1] in ("{", "[") else "text/plain; charset=utf-8"
