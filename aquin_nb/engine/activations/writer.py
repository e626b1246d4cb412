"""Writing a store: rows go in, chunks come out; a kill at any byte leaves what a later writer goes on from."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from ... import files
from ...errors import AquinError, NoSpace, StoreError
from .chunks import DTYPES, ORIGINS, chunk_of, fitting, part_name, read_statistics, read_tensors, row_bytes
from .journal import Part, names_of
from .ledger import Ledger, Written, summaries
from .manifest import ACTIVATIONS, STORE_VERSION, SiteInfo
from .places import Place, place_of
from .statistics import NormStatistics
from .store import Store

_INT32 = torch.iinfo(torch.int32)


class StoreWriter:
    """Writes a store chunk by chunk; a context manager that keeps what was added even when the work fails.

    A thread of its own computes statistics, hashes and writes one chunk while the next one is filled, so two chunks
    are in memory. What fails there is raised by the next `add` or `close`; the chunks before are kept, and nothing
    more is written.

    **Going on.** `resume=True` goes on with a store that was stopped, killed or completed, and starts one where there
    is none. Whoever adds rows says with `mark` where each batch of its source begins. A resumed writer says in `cursor`
    where the source has to begin, and itself drops the first `skip` rows that are added then, because it has them: add
    whole batches again, from `cursor` on. A source that marks nothing begins anew, and its rows are dropped as far as
    they are there. Chunks are cut by the number of rows alone, so a store that was interrupted ends with the same bytes
    as one that was not.

    Args:
        folder: a new or empty folder, or a URL that fsspec knows (`s3://bucket/x`).
        sites: in the order in which the store keeps them.
        dtype: float16, bfloat16 or float32.
        about: what else the manifest says, plain values: model, unit, context_size, corpus, exclusions. A resumed
            collection has to say the same.
        chunk_rows: rows of a chunk; None takes those of the store that is resumed, else `chunk_of`.
        total: rows that this writer is going to have; the disk must have room for them.
        resume: go on, see above.
        part: (rank, number of ranks) where several processes collect; `merge` joins the parts.

    Attributes: `rows` that the store has, those before a resume and those still in memory included; `cursor` and
    `skip`, see above; `resumed`: there was something to go on from; `notes`, sentences that `close` puts into the
    manifest, where they replace those of the collection that was resumed.

    Raises:
        OutputError: the folder holds something else, is being written by another, or cannot be written.
        NoSpace: `total` rows will not fit; or, while writing, the disk is full: the chunks before are readable.
        StoreError: what is resumed is another collection, damaged, or of schema version 1.
        NetworkError: a remote place that cannot be reached.

    >>> about = {"model": {}, "corpus": {}, "unit": "token", "exclusions": ""}
    >>> site = SiteInfo("blocks.3.hook_resid_post", 3, 4)
    >>> with StoreWriter("memory://example", [site], dtype="float16", about=about) as writer:
    ...     writer.mark({"document": 0, "offset": 0})
    ...     origin = torch.arange(6)
    ...     writer.add({site.hook: torch.ones(6, 4)}, origin, origin, origin)
    ...     store = writer.close()
    >>> store.rows, store.mean()
    (6, tensor([1., 1., 1., 1.]))
    """

    def __init__(
        self,
        folder: Path | str | Place,
        sites: Sequence[SiteInfo],
        *,
        dtype: str,
        about: Mapping[str, Any],
        chunk_rows: int | None = None,
        total: int | None = None,
        resume: bool = False,
        part: Part | None = None,
    ) -> None:
        if part is not None and not 0 <= part[0] < part[1]:
            raise StoreError(f"part={part} is not one of {part[1]} ranks, which count from 0.")
        self._sites, self._dtype, width = list(sites), DTYPES[dtype], sum(site.d_in for site in sites)
        self.place, self._row_bytes = place_of(folder), row_bytes(width, dtype)
        head = {
            "schema_version": STORE_VERSION,
            "kind": ACTIVATIONS,
            **about,
            "dtype": dtype,
            "sites": [asdict(site) for site in sites],
            "chunk_rows": chunk_rows,
        } | ({} if part is None else {"parts": part[1]})
        if total is not None:
            there = sum(size for name, size in self.place.sizes().items() if names_of(part).mine(name))
            what = f"Keeping {total:,} rows of {width:,} {dtype} values"
            self.place.require_space(max(0, total * self._row_bytes - there), what)
        self._ledger = Ledger(self.place, head, chunk_of(width, dtype, total), resume=resume, part=part)
        self._chunk_rows: int = self._ledger.head["chunk_rows"]
        self.resumed, self.notes = self._ledger.resumed, list[str]()
        self.rows = sum(chunk.rows for chunk in self._ledger.chunks)
        self.cursor, self.skip = dict[str, int](), 0
        self._filling, self._other = self._buffer(), self._buffer()
        self._filled = self._held = 0  # rows in the buffer, and how many of them are on disk as the last chunk
        self._number = len(self._ledger.chunks)  # of the chunk that is being filled
        self._statistics, self._counted = [NormStatistics(site.d_in) for site in sites], 0  # of so many chunks
        try:
            self._go_on()
        except BaseException:
            self._ledger.release()
            raise
        self._cursor, self._in_batch = dict(self.cursor), 0  # where the present batch begins, and its rows so far
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._writing: Future[Written] | None = None
        self._failure: BaseException | None = None
        self._open = True

    def mark(self, cursor: Mapping[str, int]) -> None:
        """Say that the rows that are added next belong to the batch of the source that begins at `cursor`.

        `cursor` holds plain numbers, for instance {"document": 17, "offset": 96}; a resumed writer gives them back.
        """
        self._cursor, self._in_batch = {key: int(value) for key, value in cursor.items()}, 0

    def add(self, x: Mapping[str, Tensor], token_ids: Tensor, documents: Tensor, positions: Tensor) -> None:
        """Append rows, on any device; they are copied before this returns.

        Args:
            x: [n, d_in] of each site, by hook; kept in the store's dtype.
            token_ids, documents, positions: whole numbers [n], kept as int32.

        Raises:
            StoreError: a value is not finite, or too large for the dtype; other sites or shapes than the store's. None
                of these rows are added.
            NoSpace, OutputError, NetworkError: an earlier chunk could not be written; nothing more is added.
        """
        if not self._open:
            raise StoreError(f"{self.place.address} was closed; open another writer with resume=True.")
        if self._failure is not None:
            raise self._failure
        if self._writing is not None and self._writing.done():
            self._finish()
        parts = self._checked(x, (token_ids, documents, positions))
        count = len(token_ids)
        done = min(self.skip, count)
        self.skip -= done
        self._in_batch += done
        while done < count:
            taken = min(count - done, self._chunk_rows - self._filled)
            for buffer, values in zip(self._filling, parts, strict=True):
                buffer[self._filled : self._filled + taken].copy_(values[done : done + taken])
            done += taken
            self._filled += taken
            self._in_batch += taken
            self.rows += taken
            if self._filled == self._chunk_rows:
                self._hand_over()

    def close(self, *, complete: bool = True) -> Store:
        """Write what is left and mark the store complete, or not; the store is then open for reading.

        Raises:
            NoSpace, OutputError, NetworkError: a chunk or the manifest could not be written; what was written before
                can be read and gone on with.
        """
        if self._open:
            if self._failure is None:
                if self._filled > self._held:
                    self._hand_over()
                self._finish()
            elif complete:
                raise self._failure
            self._count()
            found = summaries(self._sites, self._statistics)
            self._ledger.publish(complete=complete, statistics=found, notes=self.notes)
            self._end()
        return Store(self.place)

    def discard(self) -> None:
        """Remove what this writer wrote, and the folders if nothing else is in them.

        A store that was there before, and resumed, keeps all of its chunks.
        """
        if self._open:
            with contextlib.suppress(AquinError, OSError):
                self._finish()
            if not self.resumed:
                self._ledger.discard()
            self._end()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._open:
                self.close(complete=False)
        except (AquinError, OSError):
            if error is None:  # else that one is to be told: this one may only say once more that the disk is full
                raise
        finally:
            self._end()

    def _go_on(self) -> None:
        """Take up where the chunks on disk end; rows of a last one that is not full come into the buffer again."""
        chunks = self._ledger.chunks
        if not chunks:
            return
        last = chunks[-1]
        self.cursor, self.skip = dict(last.cursor), last.skip
        full = len(chunks) - (last.rows < self._chunk_rows)
        self._count(full)
        if full < len(chunks):
            names = [*(part_name(site) for site in range(len(self._sites))), *ORIGINS]
            tensors = read_tensors(self.place, last.file, names)
            for buffer, name in zip(self._filling, names, strict=True):
                buffer[: last.rows].copy_(tensors[name])
            self._filled = self._held = last.rows
            self._number = full

    def _count(self, until: int | None = None) -> None:
        """Take statistics of chunks on disk that were not taken yet, in their order."""
        for chunk in self._ledger.chunks[self._counted : until]:
            self._combine(read_statistics(self.place, chunk.file, len(self._sites)))

    def _combine(self, found: Sequence[NormStatistics]) -> None:
        for total, part in zip(self._statistics, found, strict=True):
            total.combine(part)
        self._counted += 1

    def _buffer(self) -> list[Tensor]:
        """Room for the rows of a chunk: x of every site, and the origins."""
        x = [torch.empty(self._chunk_rows, site.d_in, dtype=self._dtype) for site in self._sites]
        return x + [torch.empty(self._chunk_rows, dtype=torch.int32) for _ in ORIGINS]

    def _checked(self, x: Mapping[str, Tensor], origins: Sequence[Tensor]) -> list[Tensor]:
        count = len(origins[0])
        if x.keys() != {site.hook for site in self._sites}:
            expected = ", ".join(site.hook for site in self._sites)
            raise StoreError(f"{self.place.address} keeps the sites {expected}; got {', '.join(x) or 'none'}.")
        for site in self._sites:
            if x[site.hook].shape != (count, site.d_in):
                raise StoreError(f"{site.hook} needs rows [{count}, {site.d_in}]; got {list(x[site.hook].shape)}.")
        for name, part in zip(ORIGINS, origins, strict=True):
            if part.shape != (count,):
                raise StoreError(f"{name} needs {count} numbers, one a row; got {list(part.shape)}.")
            if count and not all(_INT32.min <= int(value) <= _INT32.max for value in part.aminmax()):
                raise StoreError(
                    f"{name} holds a number that 32 bits cannot hold; a store numbers up to {_INT32.max:,}."
                )
        return [*(fitting(x[site.hook].detach(), self._dtype) for site in self._sites), *origins]

    def _hand_over(self) -> None:
        """Let the thread write the buffer, and fill the other one meanwhile."""
        self._finish()
        file, views = self._ledger.file(self._number), [buffer[: self._filled] for buffer in self._filling]
        kept = sum(chunk.rows for chunk in self._ledger.chunks)
        self._writing = self._thread.submit(self._write, file, views, self._cursor, self._in_batch, kept)
        self._filling, self._other = self._other, self._filling
        self._filled = self._held = 0
        self._number += 1

    def _write(self, file: str, views: list[Tensor], cursor: Mapping[str, int], skip: int, kept: int) -> Written:
        sites, needed, free = len(self._sites), len(views[0]) * self._row_bytes, self.place.free()
        try:
            if free < needed:
                raise NoSpace(
                    f"{file} of {self.place.address} needs {files.human_bytes(needed)} and {files.human_bytes(free)}"
                    " are free."
                )
            return self._ledger.keep(file, views[:sites], views[sites:], cursor, skip)
        except NoSpace as error:
            raise NoSpace(
                f"{error} The {kept:,} rows before are kept, and a resumed collection goes on there."
            ) from error

    def _finish(self) -> None:
        """Wait until the thread has written its chunk, and count it in.

        Raises:
            What stopped the thread.
        """
        if self._writing is None:
            return
        wait([self._writing])  # an interrupt ends the waiting, not the writing
        writing, self._writing = self._writing, None
        self._failure = writing.exception()
        if self._failure is not None:
            raise self._failure
        written, chunks = writing.result(), self._ledger.chunks
        if chunks and chunks[-1].file == written.chunk.file:
            chunks[-1] = written.chunk
        else:
            chunks.append(written.chunk)
        self._combine(written.statistics)

    def _end(self) -> None:
        if self._open:
            self._open = False
            self._thread.shutdown()
            self._filling = self._other = []
            self._ledger.release()
