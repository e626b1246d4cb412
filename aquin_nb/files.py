"""Files that appear whole or not at all, and folders that hold one thing."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import AquinError, NoSpace, OutputError


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


_UMASK = _umask()
"""Read once: asking for it sets it for a moment, for every thread."""

LITTLE = 1 << 20
"""Bytes; less than this left on a disk explains any failure to write."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed into place.

    A process killed at any point leaves either the old file or the new one, never half of one.

    Raises:
        NoSpace: the disk filled up; nothing was left behind.
        OutputError: the folder cannot be written.
    """
    name = ""
    try:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
            os.close(handle)
            temporary = Path(name)
            yield temporary
            with open(temporary, "rb+") as written:
                os.fsync(written.fileno())
            os.chmod(temporary, 0o666 & ~_UMASK)
            os.replace(temporary, path)
            _sync_folder(path.parent)
    finally:
        if name and os.path.exists(name):
            os.unlink(name)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """What fails while `path` is written, in words.

    Raises:
        NoSpace: the disk filled up.
        OutputError: any other OSError.
    """
    try:
        yield
    except AquinError:
        raise
    except OSError as error:
        raise _explained(error, path) from error
    except Exception as error:
        # torch and safetensors report a full disk as errors of their own kinds; the free space tells.
        if path.parent.is_dir() and shutil.disk_usage(path.parent).free < LITTLE:
            raise _no_space(path) from error
        raise


def append(path: Path, line: bytes) -> None:
    """Add a line to a file and wait until the disk has it; a process killed meanwhile leaves a part of it at most.

    Raises:
        NoSpace, OutputError: see `explained`.
    """
    with explained(path), open(path, "ab") as stream:
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())


def _explained(error: OSError, path: Path) -> AquinError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _no_space(path)
    return OutputError(f"Cannot write {path}: {error.strerror or error}.")


def _no_space(path: Path) -> NoSpace:
    return NoSpace(
        f"No space left while writing {path}. Free some disk, or choose another place (output=, AQUIN_HOME)."
    )


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder; its rename is durable by itself
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, whole or not at all; NaN is refused by the standard and by us."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with whole_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in pieces."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def refuse_taken(folder: Path, marker: str) -> None:
    """Raise when a result cannot go into `folder`; nothing is created.

    `marker` names the file whose presence makes a folder ours (`manifest.json`), only to word the error.

    Raises:
        OutputError: the folder exists and is not empty, is a file, or cannot be named so.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file; output= wants a folder.")
        taken = folder.is_dir() and any(folder.iterdir())
    except (OSError, ValueError) as error:
        raise OutputError(f"{str(folder)[:200]} cannot be an output folder: {error}.") from error
    if taken:
        what = "an earlier result" if (folder / marker).exists() else "other files"
        raise OutputError(
            f"{folder} already holds {what}; nothing was written. Choose another name= or output=, or delete it first."
        )


def claim_folder(folder: Path, marker: str) -> Path:
    """Make `folder`, refusing one that already holds something (see `refuse_taken`)."""
    refuse_taken(folder, marker)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _explained(error, folder) from error
    return folder


def free_folder(folder: Path) -> Path:
    """`folder`, or `folder-2`, `folder-3`, ... where it is taken already."""
    place, number = folder, 1
    while place.exists():
        number += 1
        place = folder.with_name(f"{folder.name}-{number}")
    return place


def require_writable(path: Path) -> None:
    """Raise when a file cannot be written at `path`; makes its folder.

    Raises:
        OutputError: with the reason.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:50]}.", suffix=".part")
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(f"{str(path)[:200]} cannot be written: what should be its folder is a file.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{str(path)[:200]} cannot be written: {reason}. Choose another place.") from error
    os.close(handle)
    os.unlink(name)


def require_space(folder: Path, needed: int, what: str) -> None:
    """Refuse before the work starts when `needed` bytes (plus 5 %) would not fit.

    Raises:
        NoSpace: with both figures.
    """
    existing, free = _existing(folder), free_bytes(folder)
    if needed * 1.05 > free:
        raise NoSpace(
            f"{what} needs about {human_bytes(needed)} and {existing} has {human_bytes(free)} free; nothing was"
            " written. Ask for less, or choose another place (output=, AQUIN_HOME)."
        )


def free_bytes(folder: Path) -> int:
    """What is free on the disk of a folder, which need not be there yet."""
    return shutil.disk_usage(_existing(folder)).free


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def human_bytes(count: float) -> str:
    """
    >>> human_bytes(1_200_000)
    '1.2 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
