"""What is kept of activations on disk: listed, described, verified and removed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import home
from ..collection import CARD
from ..engine.activations.captured import read_capture
from ..engine.activations.journal import names_of, ranks_in
from ..engine.activations.locks import locked
from ..engine.activations.manifest import CAPTURE, MANIFEST, read_manifest
from ..engine.activations.places import Folder, Place, place_of
from ..engine.activations.store import Store
from ..errors import AquinError, StoreError
from ..files import human_bytes

_SHARDS = ("chunks", "layers", "sae")
_OURS = re.compile(
    r"(manifest|chunks)(\.r\d+)?\.jsonl?|card\.json|\.lock|\.r\d+\.lock"
    r"|chunks/(chunk|r\d{2,})_\d{6,}\.safetensors|layers/layer_\d+\.pt|sae/sae_layer_\d+\.pt|(chunks/)?\..*\.part"
)  # all that a store or a capture consists of: nothing else is ever removed


@dataclass(frozen=True)
class Kept:
    """A store or a capture on disk.

    kind: "store" or "capture"; rows: of a store its rows, of a capture its probes, None where it is damaged; bytes: of
    its files; complete: False for a collection that was stopped; created: ISO date; problem: what is wrong with it.
    """

    path: str
    kind: str
    bytes: int
    rows: int | None = None
    model: str = ""
    complete: bool = False
    created: str = ""
    problem: str = ""

    def line(self) -> str:
        """As `aquin-nb activations list` prints it."""
        rows = "?" if self.rows is None else f"{self.rows:,}"
        state = "damaged" if self.problem else "complete" if self.complete else "incomplete"
        when = self.created[:16].replace("T", " ")
        return (
            f"{self.kind:8s} {rows:>13s} rows {human_bytes(self.bytes):>9s}  {state:10s}  {self.model:16s}  {when:16s} "
            f" {self.path}"
        )


def kept_activations(root: str | Path | None = None) -> list[Kept]:
    """Every store and capture under a folder (default `$AQUIN_HOME`), by path; damaged ones say what is wrong.

    >>> sum(one.bytes for one in kept_activations())                            # doctest: +SKIP
    8451902312
    """
    folder = home.home() if root is None else Path(root).expanduser()
    return [kept_at(Folder(path)) for path in _folders(folder)]


def kept_at(path: str | Path | Place) -> Kept:
    """The store or capture there; one that is damaged says what is wrong.

    Raises:
        StoreError: it is neither.
    """
    place = place_of(path)
    size = sum(_files(place).values())
    try:
        return _capture(place, size) if _is_capture(place) else _store(place, size)
    except (AquinError, KeyError, TypeError) as error:
        if not _recognised(place):
            raise
        return Kept(place.address, "?", size, problem=str(error))


def described(path: str | Path) -> list[str]:
    """A store or a capture in lines of text: how many rows of what, where from, and how large they are.

    Raises:
        StoreError: neither, or damaged.
    """
    place = place_of(path)
    if _is_capture(place):
        capture = read_capture(place.path)
        return [repr(capture), *(f"note: {note}" for note in capture.notes)]
    store = Store(place)
    found = store.stat()
    corpus = store.corpus
    lines = [
        repr(store),
        f"{store.model['name']}, {corpus['name']}: {found['rows']:,} {store.unit}s of {found['documents']:,} documents,"
        f" {found['dtype']}, {human_bytes(found['bytes'])} in {found['chunks']:,} chunks"
        f"{'' if store.complete else ', incomplete'}",
        store.exclusions,
    ]
    for site in found["sites"]:
        norms = site["statistics"]
        told = ", ".join(
            f"{name.replace('_', ' ')} {value:.4g}" for name, value in norms.items() if isinstance(value, int | float)
        )
        lines.append(f"{site['hook']} [{site['d_in']}]: {told}")
    return lines + [f"note: {note}" for note in store.notes]


def verified(path: str | Path) -> str:
    """Read every byte and compare with the recorded hashes; a sentence that says that all is well.

    Raises:
        StoreError: names every file that is damaged or missing.
    """
    place = place_of(path)
    if _is_capture(place):
        capture = read_capture(place.path)
        capture.verify()
        return f"{place.address} is sound: {len(capture.layers)} layers."
    store = Store(place)
    rows = store.verify()
    end = "" if store.complete else " The collection was stopped before its end; resume goes on with it."
    return f"{place.address} is sound: {rows:,} rows in {len(store.chunks):,} chunks.{end}"


def removed(path: str | Path) -> int:
    """Remove a store or a capture and what belongs to it; returns the bytes that are free again.

    Whatever else lies in its folder stays.

    Raises:
        StoreError: it is neither. OutputError: a writer is at work, or a file cannot be removed.
    """
    place = place_of(path)
    kept_at(place)
    names = {name: size for name, size in _files(place).items() if _OURS.fullmatch(name)}
    locks = [names_of(None).lock, *(names_of((rank, 0)).lock for rank in ranks_in(place.sizes()))]
    with locked(place, *locks):
        # Manifests last: what a kill leaves can be recognised, and removed, again.
        last = [name for name in names if name.startswith("manifest")]
        place.remove(*(name for name in names if name not in last and not name.endswith(".lock")), CARD)
        place.remove(*last)
    for folder in (*_SHARDS, "."):
        if isinstance(place, Folder):
            try:
                (place.path / folder).rmdir()
            except OSError:  # not there, or something of somebody else's is in it
                continue
    return sum(names.values())


def _folders(root: Path) -> Iterator[Path]:
    """Folders with a manifest, in the order of their paths; models have files in plenty and none of ours."""
    models = home.models_dir()
    for at, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if Path(at, name) != models and name not in _SHARDS)
        if MANIFEST in files or ranks_in(dict.fromkeys(files, 0)):
            yield Path(at)


def _capture(place: Place, size: int) -> Kept:
    found = read_capture(place.path)
    model, when = str(found.model["name"]), str(found.manifest.get("created_at", ""))
    return Kept(place.address, "capture", size, len(found.probes), model, found.complete, when)


def _store(place: Place, size: int) -> Kept:
    found = Store(place)
    model, when = str(found.model["name"]), str(found.manifest.get("created_at", ""))
    return Kept(place.address, "store", size, found.rows, model, found.complete, when)


def _is_capture(place: Place) -> bool:
    if ranks_in(place.sizes()):
        return False
    return bool(read_manifest(place)["kind"] == CAPTURE)


def _recognised(place: Place) -> bool:
    """Whether a manifest of ours is there, also one that a newer version or a kill left unreadable in parts."""
    sizes = place.sizes()
    if ranks_in(sizes):
        return True
    try:
        read_manifest(place)
    except StoreError:
        # A manifest that is damaged is still one of ours if chunks of ours lie beside it.
        return MANIFEST in sizes and any(_OURS.fullmatch(name) for name in sizes if name.startswith("chunks/"))
    return True


def _files(place: Place) -> dict[str, int]:
    """All files of a store or capture, by name, with their sizes."""
    found = {name: size for name, size in place.sizes().items() if size or "/" in name or "." in name}
    if isinstance(place, Folder):
        for folder in _SHARDS[1:]:
            found |= {f"{folder}/{f.name}": f.stat().st_size for f in (place.path / folder).glob("*") if f.is_file()}
    return found
