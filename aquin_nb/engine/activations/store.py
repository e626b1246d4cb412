"""The activation store: a folder of safetensors chunks and a manifest, readable after a kill at any byte.

    manifest.json                      see `StoreWriter`; rewritten whole after each chunk
    chunks/chunk_000000.safetensors    x [n, d_in] float16, bfloat16 or float32;
                                       token_ids, documents, positions int32 [n]

A chunk appears whole and only then enters the manifest, so the manifest never names what is not there; a chunk that a
kill left unnamed is not part of the store. Row i of x is the activation of token `token_ids[i]` at place
`positions[i]` of its context row, from document `documents[i]`. In a store of pooled vectors (embedding models)
`token_ids` is -1 and `positions` counts the pieces of a long document.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ... import files
from ...errors import AquinError, StoreError
from .manifest import ACTIVATIONS, MANIFEST, SCHEMA_VERSION, field, member, read_manifest
from .statistics import NormStatistics

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
ORIGIN_BYTES = 12  # token id, document and position, int32 each
CHUNK_BYTES = 32 << 20  # what a kill may lose, and what is in memory while collecting
ORIGINS = ("token_ids", "documents", "positions")


class Chunk(NamedTuple):
    """Rows of a store: x [n, d_in] in the store's dtype; token_ids, documents, positions int32 [n]."""

    x: Tensor
    token_ids: Tensor
    documents: Tensor
    positions: Tensor


@dataclass(frozen=True)
class ChunkInfo:
    """A chunk as the manifest names it."""

    file: str
    rows: int
    sha256: str


class StoreWriter:
    """Writes a store chunk by chunk; a context manager that keeps what was added even when the work fails.

    `about` is copied into the manifest: model, layer, hook, context_size, corpus, exclusions, unit. Beside it stand
    schema_version, kind, complete, created_at, d_in, dtype, chunks [{file, rows, sha256}], statistics and notes.
    A chunk has `chunk_rows` rows (default: 32 MB of them), fewer when `seconds` have passed since the last one.

    Raises:
        OutputError: the folder holds something already (another writer's store included), or cannot be written.
        NoSpace: the disk filled up; the chunks before are readable.
    """

    def __init__(
        self,
        folder: Path,
        *,
        d_in: int,
        dtype: str,
        about: Mapping[str, Any],
        chunk_rows: int | None = None,
        seconds: float = math.inf,
    ) -> None:
        self.folder, self.rows, self.notes = files.claim_folder(folder, MANIFEST), 0, list[str]()
        self._dtype = DTYPES[dtype]
        self._chunk_rows = chunk_rows or chunk_of(d_in, dtype)
        self._seconds, self._written = seconds, time.monotonic()
        self._statistics = NormStatistics(d_in)
        self._chunks: list[ChunkInfo] = []
        self._waiting: list[Chunk] = []
        self._n_waiting = 0
        self._head: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "kind": ACTIVATIONS,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **about,
            "d_in": d_in,
            "dtype": dtype,
        }
        self._write_manifest(complete=False)

    def add(self, x: Tensor, token_ids: Tensor, documents: Tensor, positions: Tensor) -> None:
        """Append rows: x [n, d_in], the others [n] integers; x is kept in the store's dtype.

        Raises:
            StoreError: a value is not finite, or too large for the dtype; none of these rows are added.
        """
        x = fitting(x, self._dtype).to("cpu", self._dtype)
        origin = (part.to("cpu", torch.int32) for part in (token_ids, documents, positions))
        self._waiting.append(Chunk(x, *origin))
        self._n_waiting += len(x)
        self.rows += len(x)
        while self._n_waiting >= self._chunk_rows:
            self._write_chunk(self._chunk_rows)
        if self._n_waiting and time.monotonic() - self._written >= self._seconds:
            self._write_chunk(self._n_waiting)

    def close(self, *, complete: bool = True) -> Store:
        """Write what is left and mark the store complete; the store is then open for reading."""
        if self._n_waiting:
            self._write_chunk(self._n_waiting)
        self._write_manifest(complete=complete)
        return Store(self.folder)

    def discard(self) -> None:
        """Remove what this writer wrote, and the folders if nothing else is in them."""
        self._waiting, self._n_waiting = [], 0
        for chunk in self._chunks:
            (self.folder / chunk.file).unlink(missing_ok=True)
        (self.folder / MANIFEST).unlink(missing_ok=True)
        for folder in (self.folder / "chunks", self.folder):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and (self.folder / MANIFEST).exists():
            with contextlib.suppress(AquinError, OSError):  # the first error is the one to tell: the disk may be full
                self.close(complete=False)

    def _write_chunk(self, rows: int) -> None:
        joined = [torch.cat(parts) for parts in zip(*self._waiting, strict=True)]
        chunk = dict(zip(Chunk._fields, (part[:rows].contiguous() for part in joined), strict=True))
        name = f"chunks/chunk_{len(self._chunks):06d}.safetensors"
        with files.whole_file(self.folder / name) as temporary:
            save_file(chunk, temporary)
            digest = files.sha256(temporary)
        self._chunks.append(ChunkInfo(name, rows, digest))
        self._statistics.add(chunk["x"])
        self._waiting = [Chunk(*(part[rows:].clone() for part in joined))]
        self._n_waiting -= rows
        self._write_manifest(complete=False)
        self._written = time.monotonic()

    def _write_manifest(self, *, complete: bool) -> None:
        chunks = [{"file": chunk.file, "rows": chunk.rows, "sha256": chunk.sha256} for chunk in self._chunks]
        manifest = {
            **self._head,
            "complete": complete,
            "statistics": self._statistics.summary(),
            "notes": self.notes,
            "chunks": chunks,
        }
        files.write_json(self.folder / MANIFEST, manifest)


class Store:
    """A store opened for reading; chunks are memory-mapped, nothing is loaded until it is read.

    Raises (when opened):
        StoreError: not a store, damaged, a chunk is missing, or it was written by a newer aquin-nb.

    >>> store = Store(Path("activations/tiny"))                              # doctest: +SKIP
    >>> store.rows, store.d_in, store.read(0).x.dtype                         # doctest: +SKIP
    (100000, 128, torch.float16)
    """

    def __init__(self, folder: Path | str) -> None:
        self.path = Path(folder).expanduser()
        self.manifest = read_manifest(self.path, ACTIVATIONS)
        where = self.path / MANIFEST
        self.complete: bool = field(self.manifest, "complete", bool, where)
        self.d_in: int = field(self.manifest, "d_in", int, where)
        self.layer: int = field(self.manifest, "layer", int, where)
        self.hook: str = field(self.manifest, "hook", str, where)
        self.unit: str = field(self.manifest, "unit", str, where)
        self.model: dict[str, Any] = field(self.manifest, "model", dict, where)
        self.corpus: dict[str, Any] = field(self.manifest, "corpus", dict, where)
        self.exclusions: str = field(self.manifest, "exclusions", str, where)
        self.statistics: dict[str, Any] = field(self.manifest, "statistics", dict, where)
        self.notes: list[str] = field(self.manifest, "notes", list, where)
        name = field(self.manifest, "dtype", str, where)
        if name not in DTYPES:
            raise StoreError(f"{where} is damaged: dtype is {name!r:.60}.")
        self.dtype = DTYPES[name]
        self.chunks = tuple(self._chunk(entry) for entry in field(self.manifest, "chunks", list, where))
        self.rows = sum(chunk.rows for chunk in self.chunks)

    def read(self, chunk: int) -> Chunk:
        """The rows of one chunk, mapped from disk.

        Raises:
            StoreError: the file is missing, cut short or does not hold what the manifest says; it is named.
        """
        path, info = self.path / self.chunks[chunk].file, self.chunks[chunk]
        with self._opened(path) as stream:
            parts = Chunk(*(stream.get_tensor(name) for name in Chunk._fields))
        fits = parts.x.shape == (info.rows, self.d_in) and parts.x.dtype == self.dtype
        if not fits or any(getattr(parts, name).shape != (info.rows,) for name in ORIGINS):
            raise self._unlike(info)
        return parts

    def x(self, chunk: int) -> Tensor:
        """A chunk's activations [n, d_in] alone, mapped from disk: a slice of it reads only its own rows.

        Raises:
            StoreError: as `read`.
        """
        info = self.chunks[chunk]
        with self._opened(self.path / info.file) as stream:
            x: Tensor = stream.get_tensor("x")
        if x.shape != (info.rows, self.d_in) or x.dtype != self.dtype:
            raise self._unlike(info)
        return x

    def verify(self) -> int:
        """Read every byte and compare with the recorded hashes; the number of rows checked.

        Raises:
            StoreError: naming every chunk that is damaged or missing.
        """
        bad = [chunk.file for chunk in self.chunks if not self._sound(chunk)]
        if bad:
            left = len(self.chunks) - len(bad)
            raise StoreError(f"{self.path}: damaged or missing: {', '.join(bad)}; {left} other chunks are sound.")
        return self.rows

    def _sound(self, chunk: ChunkInfo) -> bool:
        path = self.path / chunk.file
        return path.is_file() and files.sha256(path) == chunk.sha256

    @staticmethod
    @contextlib.contextmanager
    def _opened(path: Path) -> Iterator[Any]:
        try:
            with safe_open(path, framework="pt") as stream:
                yield stream
        except (OSError, SafetensorError) as error:
            raise StoreError(f"{path} is damaged or missing ({error}); the other chunks are readable.") from None

    def _unlike(self, info: ChunkInfo) -> StoreError:
        expected = f"{info.rows} rows of {self.d_in} in {str(self.dtype).removeprefix('torch.')}"
        return StoreError(f"{self.path / info.file} does not hold the {expected} that the manifest says.")

    def _chunk(self, entry: object) -> ChunkInfo:
        where = self.path / MANIFEST
        if not isinstance(entry, dict):
            raise StoreError(f"{where} is damaged: a chunk is {entry!r:.60}.")
        path = member(self.path, entry.get("file"))
        rows = field(entry, "rows", int, where)
        if rows < 1:
            raise StoreError(f"{where} is damaged: {entry['file']} has {rows} rows.")
        if not path.is_file():
            raise StoreError(f"{path} is missing though the manifest names it.")
        return ChunkInfo(entry["file"], rows, field(entry, "sha256", str, where))

    def __repr__(self) -> str:
        state = "" if self.complete else ", incomplete"
        return f"Store({str(self.path)!r}, {self.rows:,} rows of {self.d_in}, layer {self.layer}{state})"


def row_bytes(d_in: int, dtype: str) -> int:
    """Bytes on disk of one row, its origin included."""
    return d_in * DTYPES[dtype].itemsize + ORIGIN_BYTES


def chunk_of(d_in: int, dtype: str) -> int:
    """Rows of a chunk near 32 MB."""
    return max(1024, CHUNK_BYTES // row_bytes(d_in, dtype))


def fitting(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`x` if every value is finite and within the range of `dtype`.

    Raises:
        StoreError: with the value and what to do.
    """
    peak = float(x.abs().amax()) if x.numel() else 0.0
    if peak <= torch.finfo(dtype).max:
        return x
    if peak == float("inf") or peak != peak:
        raise StoreError("Activations are not finite (NaN or infinity); nothing of this batch was kept.")
    name = str(dtype).removeprefix("torch.")
    raise StoreError(
        f"An activation of {peak:,.0f} does not fit {name}, the number format of this store. Load the model with"
        " dtype='bfloat16': its activations are kept in bfloat16, which has room."
    )


def dtype_name(wanted: str, choices: Sequence[str] = ("auto", *DTYPES)) -> str:
    """`wanted` if it names a dtype that a store can have, else a StoreError with the choices."""
    if wanted not in choices:
        raise StoreError(f"dtype={wanted!r} is not one of {', '.join(choices)}.")
    return wanted
