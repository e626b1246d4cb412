"""Shorten a store to its first rows, in such a way that a kill at any byte leaves a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import StoreError
from .chunks import ORIGINS, ChunkInfo, part_name, read_tensors
from .journal import names_of, ranks_in, recorded
from .ledger import combined, keep, manifest_bytes, summaries, temporaries
from .locks import locked
from .manifest import ACTIVATIONS, read_manifest
from .places import Place, place_of
from .store import Store, sites_of


def trim(folder: Path | str | Place, rows: int) -> Store:
    """Keep the first `rows` rows of a store and remove the others; what is missing or damaged behind them is no matter.

    A collection that is resumed afterwards goes on from there.

    Raises:
        StoreError: fewer than 1 or more rows than there are, a chunk that is needed is damaged, parts that are not
            merged yet, or a store of schema version 1.
        OutputError: a writer is at work.

    >>> trim("activations/tiny", 50_000)                                      # doctest: +SKIP
    Store('activations/tiny', 50,000 rows of 128, layer 3)
    """
    place, names = place_of(folder), names_of(None)
    version = read_manifest(place, ACTIVATIONS)["schema_version"]
    if version == 1:
        raise StoreError(f"{place.address} has schema version 1: it can be read, but not changed.")
    with locked(place, names.lock):
        if ranks_in(place.sizes()):
            raise StoreError(f"{place.address} holds parts that are not merged yet; merge them first.")
        before = recorded(place)
        there = sum(chunk.rows for chunk in before.chunks)
        if not 1 <= rows <= there:
            raise StoreError(f"rows={rows:,} cannot be kept: {place.address} has {there:,}; give 1 to {there:,}.")
        sites = sites_of(before.manifest, place.address)
        state = {"complete": before.complete, "statistics": {}, "chunks": [chunk.record() for chunk in before.chunks]}
        place.write(names.manifest, manifest_bytes(before.manifest | state))  # one list for the journal to differ from
        place.remove(names.journal)
        chunks, kept = list[ChunkInfo](), 0
        for chunk in before.chunks:
            if kept == rows:
                break
            if kept + chunk.rows > rows:
                chunk = _shortened(place, names.journal, chunks, chunk, rows - kept, len(sites))
            chunks.append(chunk)
            kept += chunk.rows
        found = summaries(sites, combined(place, sites, chunks))
        state |= {"statistics": found, "chunks": [chunk.record() for chunk in chunks]}
        place.write(names.manifest, manifest_bytes(before.manifest | state))
        left = {chunk.file for chunk in before.chunks} - {chunk.file for chunk in chunks}
        place.remove(names.journal, *left, *temporaries(place))
    return Store(place)


def _shortened(
    place: Place, journal: str, before: Sequence[ChunkInfo], chunk: ChunkInfo, rows: int, sites: int
) -> ChunkInfo:
    """The chunk with its first rows alone; the chunks `before` it tell where in the corpus it begins."""
    names = [part_name(site) for site in range(sites)]
    tensors = read_tensors(place, chunk.file, [*names, *ORIGINS])
    x, origins = ([tensors[name][:rows] for name in wanted] for wanted in (names, ORIGINS))
    same_writer = before and before[-1].file.rpartition("_")[0] == chunk.file.rpartition("_")[0]
    cursor, skip = (before[-1].cursor, before[-1].skip) if same_writer else ({}, 0)
    return keep(place, journal, chunk.file, x, origins, cursor, skip + rows).chunk
