"""What a store's manifest and its journal say together, also when a writer was killed between any two bytes.

While a writer works, `manifest.json` keeps the list with which it started and each new chunk is one line of the
journal, so that a chunk costs the same however many there are. A line is kept before its chunk appears under its name.
So the last line may name a chunk that is not there (it is none), and a line may stand for a longer or shorter version
of a listed chunk (the file itself tells which of the two it is).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from ...errors import StoreError
from .chunks import ChunkInfo, rows_of
from .manifest import ACTIVATIONS, MANIFEST, field, member_name, read_manifest
from .places import Place

T = TypeVar("T")
Part = tuple[int, int]  # rank and number of ranks
STATE = ("created_at", "complete", "statistics", "notes", "chunks", "part")  # all else says what is collected
_PART = re.compile(r"manifest\.r(\d{2,})\.json")


class Names(NamedTuple):
    """The files of one writer beside its chunks, which are called chunks/<prefix><number>.safetensors."""

    manifest: str
    journal: str
    lock: str
    prefix: str

    def chunk(self, number: int) -> str:
        """
        >>> names_of(None).chunk(3), names_of((1, 4)).chunk(3)
        ('chunks/chunk_000003.safetensors', 'chunks/r01_000003.safetensors')
        """
        return f"{self.prefix}{number:06d}.safetensors"

    def mine(self, chunk: str) -> bool:
        """Whether a chunk of this name is this writer's."""
        return chunk.startswith(self.prefix) and chunk.endswith(".safetensors")


def names_of(part: Part | None) -> Names:
    """The names of the only writer (None), or of one of several ranks."""
    if part is None:
        return Names(MANIFEST, "chunks.jsonl", ".lock", "chunks/chunk_")
    rank = f"r{part[0]:02d}"
    return Names(f"manifest.{rank}.json", f"chunks.{rank}.jsonl", f".{rank}.lock", f"chunks/{rank}_")


@dataclass
class Recorded:
    """A manifest, and the chunks that there are: its own, and those that a journal adds.

    settled: all of them stand in the manifest, so that its statistics hold. sizes: as `Place.sizes`.
    """

    manifest: dict[str, Any]
    chunks: list[ChunkInfo]
    notes: list[str]
    complete: bool
    settled: bool
    sizes: Mapping[str, int]


def ranks_in(sizes: Mapping[str, int]) -> list[int]:
    """The ranks whose manifests are among these files, where several collect."""
    return sorted(int(found[1]) for name in sizes if (found := _PART.fullmatch(name)))


def recorded(place: Place) -> Recorded:
    """The store in a folder; of parts that are not merged yet, all together.

    Raises:
        StoreError: no store, damaged, of a newer version, or parts that do not belong together.
    """
    return unmoved(place, lambda ranks: _together(place) if ranks else _recorded(place, names_of(None)))


def unmoved(place: Place, read: Callable[[list[int]], T]) -> T:
    """What `read` gives for the ranks that have manifests here; again, where a merge moved these meanwhile."""
    while True:
        ranks = ranks_in(place.sizes())
        try:
            return read(ranks)
        except StoreError:
            if ranks_in(place.sizes()) == ranks:
                raise


def _together(place: Place) -> Recorded:
    parts = recorded_parts(place, place.sizes())
    there = {rank: part for rank, part in enumerate(parts) if part is not None}
    whole = there[min(there)]
    for rank, part in there.items():
        if problem := difference(what(whole.manifest), what(part.manifest)):
            raise StoreError(f"{place.address} holds parts that do not belong together: part {rank} has {problem}.")
    notes = [f"Part {rank} of {len(parts)} is not there yet." for rank, part in enumerate(parts) if part is None]
    notes += [f"Part {rank} of {len(parts)}: {note}" for rank, part in there.items() for note in part.notes]
    manifest = {key: value for key, value in whole.manifest.items() if key != "part"}
    manifest["created_at"] = min(str(part.manifest.get("created_at")) for part in there.values())
    complete = all(part is not None and part.complete for part in parts)
    chunks = [chunk for part in there.values() for chunk in part.chunks]
    return Recorded(manifest, chunks, notes, complete, settled=False, sizes=place.sizes())


def recorded_parts(place: Place, sizes: Mapping[str, int]) -> list[Recorded | None]:
    """What each rank has recorded, None for one that has nothing; some rank's manifest is among `sizes`.

    Raises:
        StoreError: as `recorded`.
    """
    world = world_of(place, ranks_in(sizes))
    if world is None:
        raise StoreError(f"{place.address} is damaged: a part does not say how many there are.")
    return [recorded_part(place, (rank, world), sizes) for rank in range(world)]


def world_of(place: Place, ranks: list[int]) -> int | None:
    """How many ranks wrote what is here, these among them; None for a single writer.

    Raises:
        StoreError: no store, or damaged.
    """
    name = names_of((ranks[0], 0)).manifest if ranks else MANIFEST
    manifest = read_manifest(place, ACTIVATIONS, name)
    world: int | None = field(manifest, "parts", (int, type(None)), f"{place.address}/{name}")
    return world


def recorded_part(place: Place, part: Part | None, sizes: Mapping[str, int]) -> Recorded | None:
    """What one writer has recorded, also when it was merged into the whole since; None when nothing.

    Raises:
        StoreError: as `recorded`; the store was written by another number of ranks.
    """
    names = names_of(part)
    if names.manifest in sizes:
        found = _recorded(place, names)
    elif part is not None and MANIFEST in sizes:
        found = _recorded(place, names_of(None))
        found.chunks = [chunk for chunk in found.chunks if names.mine(chunk.file)]
    else:
        return None
    ranks = found.manifest.get("parts")
    if ranks != (None if part is None else part[1]):
        of, now = (("no ranks" if n is None else f"{n} ranks") for n in (ranks, None if part is None else part[1]))
        raise StoreError(
            f"{place.address} was collected by {of}, not by {now}: go on with as many, or collect into a new folder."
        )
    return found


def what(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a manifest that says what is collected, and not how far it is."""
    return {key: value for key, value in manifest.items() if key not in STATE}


def difference(before: Any, now: Any, name: str = "") -> str:
    """The first place where two such parts differ, in words; empty when they are equal.

    >>> difference({"corpus": {"name": "a"}}, {"corpus": {"name": "b"}})
    "corpus.name 'b' where there was 'a'"
    """
    if isinstance(before, dict) and isinstance(now, dict):
        keys = list(dict.fromkeys([*before, *now]))
        found = (difference(before.get(key), now.get(key), f"{name}.{key}".lstrip(".")) for key in keys)
        return next(filter(None, found), "")
    return "" if before == now else f"{name} {now!r:.60} where there was {before!r:.60}"


def _recorded(place: Place, names: Names) -> Recorded:
    # In this order a writer that works meanwhile does no harm: it moves what the journal says into the manifest, and
    # what either says is there before.
    journal = place.read(names.journal) or b""
    manifest = read_manifest(place, ACTIVATIONS, names.manifest)
    where = f"{place.address}/{names.manifest}"
    field(manifest, "complete", bool, where)
    chunks = [chunk_info(entry, where) for entry in field(manifest, "chunks", list, where)]
    if len({chunk.file for chunk in chunks}) < len(chunks):
        raise StoreError(f"{where} is damaged: it names a chunk twice.")
    notes = list(field(manifest, "notes", list, where))
    sizes = place.sizes()
    settled = _follow(place, names.journal, journal, chunks, sizes, notes)
    return Recorded(manifest, chunks, notes, settled and manifest["complete"], settled, sizes)


def _follow(
    place: Place, name: str, journal: bytes, chunks: list[ChunkInfo], sizes: Mapping[str, int], notes: list[str]
) -> bool:
    """Bring `chunks` to where the journal's lines lead; whether they led nowhere new."""
    where, before = f"{place.address}/{name}", list(chunks)
    known = {chunk.file: at for at, chunk in enumerate(chunks)}
    lines = journal.split(b"\n")[:-1]  # what follows the last line's end is a line that was cut off
    for number, line in enumerate(lines, 1):
        try:
            info = chunk_info(json.loads(line), where)
        except (ValueError, RecursionError, StoreError):
            notes.append(f"{where} is damaged in line {number}; what follows is left out.")
            break
        at, last = known.setdefault(info.file, len(chunks)), number == len(lines)
        if at < len(chunks):
            if chunks[at] != info and info.file in sizes and rows_of(place, info.file) == info.rows:
                chunks[at:] = [info]
                known = {chunk.file: at for at, chunk in enumerate(chunks)}
        elif info.file not in sizes or (last and sizes[info.file] != info.bytes):
            if not last:
                notes.append(f"{info.file} is missing; the {len(lines) - number} chunks after it are left out.")
            break
        else:
            chunks.append(info)
    return chunks == before


def chunk_info(entry: object, where: object) -> ChunkInfo:
    """A chunk as a manifest or a journal records it.

    Raises:
        StoreError: something is missing, or the file is none of a store's.
    """
    if not isinstance(entry, dict):
        raise StoreError(f"{where} is damaged: a chunk is {entry!r:.60}.")
    name = member_name(entry.get("file"), where)
    rows, cursor = field(entry, "rows", int, where), entry.get("cursor", {})
    if rows < 1:
        raise StoreError(f"{where} is damaged: {name} has {rows} rows.")
    if not isinstance(cursor, dict) or not all(type(value) is int for value in cursor.values()):
        raise StoreError(f"{where} is damaged: the cursor of {name} is {cursor!r:.60}.")
    size, skip = (field({key: 0} | entry, key, int, where) for key in ("bytes", "skip"))
    return ChunkInfo(name, rows, field(entry, "sha256", str, where), size, cursor, skip)
