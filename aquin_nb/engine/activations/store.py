"""The activation store: a folder of safetensors chunks and a manifest, readable after a kill at any byte.

    manifest.json                      what was collected, and the list of chunks; written at the start and at the end
    chunks/chunk_000000.safetensors    x.0, x.1, ... [n, d_in] float16, bfloat16 or float32: one a site;
                                       token_ids, documents, positions int32 [n];
                                       sum.0, norms.0, bins.0, counts.0, ...: see `NormStatistics.tensors`
    chunks.jsonl                       only until the end: a line for each chunk since manifest.json was written
    .lock                              only while a writer works

Row i of every x is the activation, at that site, of token `token_ids[i]` at place `positions[i]` of its context row,
from document `documents[i]`. In a store of pooled vectors (embedding models) `token_ids` is -1 and `positions` counts
the pieces of a long document.

manifest.json: schema_version (2), kind, created_at, what the collector says (model, unit, context_size, corpus,
exclusions), dtype, sites [{hook, layer, d_in}], chunk_rows, complete, statistics {hook: ...}, notes, and chunks
[{file, rows, sha256, bytes, cursor, skip}], where cursor and skip say where in the corpus the next row is. A line of
the journal is such an entry of chunks. All chunks but the last have chunk_rows rows.

Where several ranks collect, rank 3 writes manifest.r03.json, chunks.r03.jsonl, .r03.lock and
chunks/r03_000000.safetensors; `merge` puts their lists, one rank after the other, into one manifest.json, which says
in `parts` how many there were. Until then the store reads as one that is incomplete.

Stores of schema version 1 held one site: its x is called `x`, its d_in, layer and hook stand in the manifest, and
there is no journal and no statistics in the chunks.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...errors import StoreError, did_you_mean
from .chunks import DTYPES, Chunk, ChunkInfo, Origins, part_name, read_statistics, read_tensors
from .chunks import ORIGINS as ORIGINS
from .journal import recorded
from .manifest import MANIFEST, Fields, SiteInfo, field
from .places import Place, place_of
from .rowfile import RowFile
from .statistics import NormStatistics


class Store:
    """A store opened for reading; chunks are memory-mapped, nothing is loaded until it is read.

    Of a store with several sites one is chosen, here or with `at`; without that, what belongs to one site raises a
    StoreError that lists them. A remote store is read through a local cache.

    Args:
        folder: a path, or a URL that fsspec knows.
        site: a hook, or a layer (its `hook_resid_post`, or the only site of that layer).

    Attributes: `address`, which opens it again; `path`, the folder in which its files are mapped; `sites`; `chunks`;
    `rows`; `dtype`; `complete`; `unit`, `model`, `corpus`, `exclusions` and `notes` as the collector said them.

    Raises (when opened):
        StoreError: not a store, damaged, a chunk is missing, or it was written by a newer aquin-nb.

    >>> store = Store("activations/tiny")                                     # doctest: +SKIP
    >>> store.rows, store.at(3).d_in, store.at(3).read(0).x.dtype              # doctest: +SKIP
    (100000, 128, torch.float16)
    """

    def __init__(self, folder: Path | str | Place, site: int | str | SiteInfo | None = None) -> None:
        self.place = place_of(folder)
        self.path, self.address = self.place.path, self.place.address
        found = recorded(self.place)
        self.manifest, where = found.manifest, f"{self.address}/{MANIFEST}"
        self.complete = found.complete
        self.sites = sites_of(self.manifest, where)
        self.unit: str = field(self.manifest, "unit", str, where)
        self.model: dict[str, Any] = Fields(field(self.manifest, "model", dict, where), "model", where)
        self.corpus: dict[str, Any] = Fields(field(self.manifest, "corpus", dict, where), "corpus", where)
        self.exclusions: str = field(self.manifest, "exclusions", str, where)
        self.notes: list[str] = found.notes
        name = field(self.manifest, "dtype", str, where)
        if name not in DTYPES:
            raise StoreError(f"{where} is damaged: dtype is {name!r:.60}.")
        self.dtype = DTYPES[name]
        self.chunks = tuple(found.chunks)
        missing = [chunk.file for chunk in self.chunks if chunk.file not in found.sizes]
        if missing:
            raise StoreError(
                f"{self.address}: {', '.join(missing[:5])} {'is' if len(missing) == 1 else 'and others are'} missing"
                " though the manifest names it. Put it back, or keep the rows before it:"
                f" aquin_nb.engine.activations.trim.trim({self.address!r}, rows)."
            )
        self.rows = sum(chunk.rows for chunk in self.chunks)
        self._bytes = sum(found.sizes[chunk.file] for chunk in self.chunks)
        self._v1 = self.manifest["schema_version"] == 1
        self._summaries: dict[str, Any] = self._written_statistics(found.settled)
        self._totals: list[NormStatistics] = []
        self._chosen = 0 if len(self.sites) == 1 else None
        if site is not None:
            self._chosen = self._find(site)

    def at(self, site: int | str | SiteInfo) -> Store:
        """The same store with one site chosen.

        Raises:
            StoreError: it has no such site, or several of that layer.
        """
        chosen = copy.copy(self)
        chosen._chosen = self._find(site)
        return chosen

    @property
    def site(self) -> SiteInfo:
        """The chosen site, or the only one.

        Raises:
            StoreError: there are several, and none was chosen.
        """
        return self.sites[self._index]

    @property
    def d_in(self) -> int:
        """Width of the chosen site's vectors."""
        return self.site.d_in

    @property
    def layer(self) -> int | None:
        """Block of the chosen site; None where it belongs to none."""
        return self.site.layer

    @property
    def hook(self) -> str:
        """Name of the chosen site."""
        return self.site.hook

    @property
    def statistics(self) -> dict[str, Any]:
        """Of the chosen site: see `NormStatistics.summary`."""
        if self.hook not in self._summaries:
            self._summaries[self.hook] = self._combined(self._index).summary()
        found: dict[str, Any] = self._summaries[self.hook]
        return found

    def mean(self) -> Tensor:
        """The mean of the chosen site's rows, float32 [d_in].

        Raises:
            StoreError: a chunk is damaged.
        """
        return self._combined(self._index).mean()

    def read(self, chunk: int) -> Chunk:
        """The rows of one chunk at the chosen site, mapped from disk.

        Raises:
            StoreError: the file is missing, cut short or does not hold what the manifest says; it is named.
        """
        x, *origins = self._tensors(chunk, (self._x_name(), *ORIGINS))
        self._check_x(chunk, x)
        return Chunk(x, *self._checked_origins(chunk, origins))

    def x(self, chunk: int) -> Tensor:
        """A chunk's activations [n, d_in] alone, mapped from disk: a slice of it reads only its own rows.

        Raises:
            StoreError: as `read`.
        """
        (x,) = self._tensors(chunk, (self._x_name(),))
        self._check_x(chunk, x)
        return x

    def row_file(self, chunk: int) -> RowFile:
        """A chunk's activations, to be read row by row.

        Raises:
            StoreError: as `read`.
        """
        info = self.chunks[chunk]
        rows = RowFile(self.place.file(info.file, info.sha256), self._x_name())
        if rows.shape != (info.rows, self.d_in) or rows.dtype != self.dtype:
            raise self._unlike(info)
        return rows

    def origins(self, chunk: int) -> Origins:
        """Where a chunk's rows come from, which is the same for all sites, mapped from disk.

        Raises:
            StoreError: as `read`.
        """
        return self._checked_origins(chunk, self._tensors(chunk, ORIGINS))

    def verify(self) -> int:
        """Read every byte and compare with the recorded hashes; the number of rows checked.

        Raises:
            StoreError: naming every chunk that is damaged or missing.
        """
        bad = [chunk.file for chunk in self.chunks if not self._sound(chunk)]
        if bad:
            left = len(self.chunks) - len(bad)
            raise StoreError(f"{self.address}: damaged or missing: {', '.join(bad)}; {left} other chunks are sound.")
        return self.rows

    def stat(self) -> dict[str, Any]:
        """What there is: rows, bytes, chunks, dtype, unit, complete, documents (how many) and sites.

        Each of `sites` has hook, layer, d_in and its `statistics`.

        Raises:
            StoreError: a chunk is damaged.
        """
        documents = [np.unique(self._documents(chunk)) for chunk in range(len(self.chunks))]
        sites = [self.at(site) for site in self.sites]
        return {
            "rows": self.rows,
            "bytes": self._bytes,
            "chunks": len(self.chunks),
            "dtype": str(self.dtype).removeprefix("torch."),
            "unit": self.unit,
            "complete": self.complete,
            "documents": len(np.unique(np.concatenate(documents))) if documents else 0,
            "sites": [{"hook": s.hook, "layer": s.layer, "d_in": s.d_in, "statistics": s.statistics} for s in sites],
        }

    def trim(self, rows: int) -> Store:
        """Keep the first `rows` rows on disk and remove the others; the store as it is then.

        Raises:
            StoreError: fewer than 1 or more rows than there are, a chunk that is needed is damaged, or a store of
                schema version 1.
            OutputError: a writer is at work.
        """
        from .trim import trim

        trimmed = trim(self.place, rows)
        return trimmed if self._chosen is None else trimmed.at(self.site)

    @property
    def _index(self) -> int:
        if self._chosen is None:
            names = ", ".join(site.hook for site in self.sites)
            raise StoreError(f"{self.address} holds {len(self.sites)} sites: {names}. Choose one: store.at(...).")
        return self._chosen

    def _find(self, wanted: int | str | SiteInfo) -> int:
        names = [site.hook for site in self.sites]
        if isinstance(wanted, SiteInfo):
            wanted = wanted.hook
        if isinstance(wanted, str):
            if wanted in names:
                return names.index(wanted)
            raise StoreError(f"{self.address} holds no site {wanted!r:.80}. {did_you_mean(wanted, names)}")
        usual = f"blocks.{wanted}.hook_resid_post"
        of_layer = [place for place, site in enumerate(self.sites) if site.layer == wanted]
        if usual in names:
            return names.index(usual)
        if len(of_layer) == 1:
            return of_layer[0]
        which = [names[place] for place in of_layer]
        problem = f"holds several sites of layer {wanted}" if which else f"holds no site of layer {wanted!r:.80}"
        raise StoreError(f"{self.address} {problem}; choose one of {', '.join(which or names)}.")

    def _x_name(self) -> str:
        return "x" if self._v1 else part_name(self._index)

    def _tensors(self, chunk: int, names: tuple[str, ...]) -> list[Tensor]:
        info = self.chunks[chunk]
        with self._opened(self.place.file(info.file, info.sha256)) as stream:
            return [stream.get_tensor(name) for name in names]

    def _check_x(self, chunk: int, x: Tensor) -> None:
        if x.shape != (self.chunks[chunk].rows, self.d_in) or x.dtype != self.dtype:
            raise self._unlike(self.chunks[chunk])

    def _checked_origins(self, chunk: int, origins: list[Tensor]) -> Origins:
        if any(part.shape != (self.chunks[chunk].rows,) or part.dtype != torch.int32 for part in origins):
            raise self._unlike(self.chunks[chunk])
        return Origins(*origins)

    def _documents(self, chunk: int) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = read_tensors(self.place, self.chunks[chunk].file, ["documents"])[
            "documents"
        ].numpy()
        return found

    def _combined(self, site: int) -> NormStatistics:
        """Statistics of all chunks, combined in their order."""
        if not self._totals:
            totals = [NormStatistics(info.d_in) for info in self.sites]
            for number, chunk in enumerate(self.chunks):
                if self._v1:
                    totals[0].add(self.x(number))
                    continue
                for total, part in zip(totals, read_statistics(self.place, chunk.file, len(totals)), strict=True):
                    total.combine(part)
            self._totals += totals  # kept for all copies that `at` made
        return self._totals[site]

    def _sound(self, chunk: ChunkInfo) -> bool:
        try:
            return self.place.sha256(chunk.file) == chunk.sha256
        except StoreError:
            return False

    @contextlib.contextmanager
    def _opened(self, path: Path) -> Iterator[Any]:
        try:
            with safe_open(path, framework="pt") as stream:
                yield stream
        except (OSError, SafetensorError) as error:
            raise StoreError(f"{path} is damaged or missing ({error}); the other chunks are readable.") from None

    def _unlike(self, info: ChunkInfo) -> StoreError:
        expected = f"{info.rows} rows of {self.d_in} in {str(self.dtype).removeprefix('torch.')}"
        return StoreError(f"{self.address}/{info.file} does not hold the {expected} that the manifest says.")

    def _written_statistics(self, settled: bool) -> dict[str, Any]:
        where = f"{self.address}/{MANIFEST}"
        written = field(self.manifest, "statistics", dict, where)
        if self._v1:
            return {self.sites[0].hook: written}
        return {hook: field(written, hook, dict, where) for hook in written} if settled else {}

    def __repr__(self) -> str:
        state = "" if self.complete else ", incomplete"
        of = f"{len(self.sites)} sites" if self._chosen is None else f"{self.d_in}, {self._named()}"
        return f"Store({self.address!r}, {self.rows:,} rows of {of}{state})"

    def _named(self) -> str:
        return self.hook if self.layer is None else f"layer {self.layer}"


def sites_of(manifest: dict[str, Any], where: str) -> tuple[SiteInfo, ...]:
    """The sites that the manifest at `where` says.

    Raises:
        StoreError: none, one twice, or a field is missing.
    """
    if manifest["schema_version"] == 1:
        manifest = {"sites": [{key: manifest.get(key) for key in ("hook", "layer", "d_in")}]}
    found = []
    for entry in field(manifest, "sites", list, where):
        if not isinstance(entry, dict):
            raise StoreError(f"{where} is damaged: a site is {entry!r:.60}.")
        layer = field(entry, "layer", (int, type(None)), where)
        found.append(SiteInfo(field(entry, "hook", str, where), layer, field(entry, "d_in", int, where)))
    if not found or len({site.hook for site in found}) < len(found):
        raise StoreError(f"{where} is damaged: sites is {manifest['sites']!r:.60}.")
    return tuple(found)
