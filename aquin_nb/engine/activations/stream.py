"""Globally shuffled batches of activations in bounded memory, with rows held out for checking."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import StoreError
from .store import Store

BUFFER_BYTES = 512 << 20
PIECE_ROWS = 512  # a store is read in pieces of at most so many neighbouring rows, in random order,
PIECES_IN_BUFFER = 64  # and of fewer when the buffer is small, so that many places are mixed at any time
MAPPED_CHUNKS = 256


class _Rows(Protocol):
    """Rows in order, read by range: a store on disk or a tensor in memory."""

    d_in: int
    dtype: torch.dtype
    sizes: list[int]  # rows of each chunk

    def read(self, chunk: int, start: int, stop: int) -> Tensor: ...


class ShuffledStream:
    """Batches float32 [batch_size, d_in] in random order; each training row exactly once an epoch.

    A source that fits into `buffer_rows` is permuted exactly. A larger one is read in pieces of at most 512
    neighbouring rows, drawn in random order from the whole store into the buffer; the buffer is permuted, half of it
    is given out and the room filled again. Rows left over at the end of an epoch, fewer than a batch, are dropped;
    data smaller than one batch makes `batch_size` as small as the data, and `notes` says so. All of it follows from
    `seed`.

    Args:
        source: a `Store`, or a float tensor [n, d_in] (rows in memory, a layer of a capture).
        batch_size: rows a batch.
        seed: of the order and of the held-out rows.
        held_out: share of rows, chosen by a hash of seed and row number, that never appear in a batch; at least one
            row when there are two. 0 holds nothing out.
        buffer_rows: rows in memory; None takes 512 MB of them.

    Attributes:
        rows: training rows. held_out_rows: the others. d_in. batch_size: as used. notes: what a reader should know.

    Raises:
        StoreError: no rows, another shape, values that are not finite; later, a damaged chunk.

    >>> stream = ShuffledStream(torch.arange(12.0).reshape(6, 2), batch_size=2, held_out=0)
    >>> [tuple(batch.shape) for batch in stream.epoch(0)]
    [(2, 2), (2, 2), (2, 2)]
    """

    def __init__(
        self,
        source: Store | Tensor,
        batch_size: int,
        *,
        seed: int = 0,
        held_out: float = 0.05,
        buffer_rows: int | None = None,
    ) -> None:
        if batch_size < 1 or not 0 <= held_out < 1 or seed < 0:
            raise StoreError(
                f"batch_size={batch_size} must be at least 1, held_out={held_out} in [0, 1), seed={seed} not negative."
            )
        self._source: _Rows = _TensorRows(source) if isinstance(source, Tensor) else _StoreRows(source)
        self._total = sum(self._source.sizes)
        if self._total == 0:
            raise StoreError(f"{source!r:.200} has no rows; collect activations first.")
        self.d_in, self._seed, self.notes = self._source.d_in, seed, list[str]()
        self._starts = np.concatenate([[0], np.cumsum(self._source.sizes)])
        self._limit, self.held_out_rows = self._split(held_out)
        self.rows = self._total - self.held_out_rows
        self.batch_size = min(batch_size, self.rows)
        if self.batch_size < batch_size:
            self.notes.append(f"Only {self.rows:,} rows to train on: a batch holds them all, not {batch_size:,}.")
        default = max(1, BUFFER_BYTES // (self.d_in * self._source.dtype.itemsize))
        self._buffer_rows = max(default if buffer_rows is None else buffer_rows, 2 * self.batch_size)
        if isinstance(source, Store) and not source.complete:
            self.notes.append(f"{source.path} is incomplete: its collection was stopped at {source.rows:,} rows.")
        self._resident: Tensor | None = None

    @property
    def batches_per_epoch(self) -> int:
        """Full batches in one pass."""
        return self.rows // self.batch_size

    def __iter__(self) -> Iterator[Tensor]:
        """Epoch after epoch, without end."""
        number = 0
        while True:
            yield from self.epoch(number)
            number += 1

    def epoch(self, number: int) -> Iterator[Tensor]:
        """The batches of one pass; the same number always gives the same batches."""
        random = np.random.default_rng([self._seed, number])
        if self._total <= self._buffer_rows:
            return self._permuted(random)
        return self._buffered(random)

    def held_out(self, max_rows: int | None = None) -> Tensor:
        """Held-out rows, float32 [m, d_in], in store order; with `max_rows` a random choice, the same each time."""
        chosen = np.concatenate([self._held_out_indices(part) for part in self._ranges()])
        if max_rows is not None and len(chosen) > max_rows:
            chosen = np.sort(chosen[np.argsort(self._hash(chosen), kind="stable")[:max_rows]])
        parts = [torch.empty(0, self.d_in)]
        chunks = np.searchsorted(self._starts, chosen, side="right") - 1
        for chunk in np.unique(chunks).tolist():
            rows = torch.from_numpy(chosen[chunks == chunk] - self._starts[chunk])
            parts.append(self._source.read(chunk, 0, self._source.sizes[chunk])[rows].float())
        return torch.cat(parts)

    def _permuted(self, random: np.random.Generator) -> Iterator[Tensor]:
        if self._resident is None:
            self._resident = torch.cat([self._training(start, stop) for start, stop in self._ranges()])
        order = torch.from_numpy(random.permutation(self.rows))
        for start in range(0, self.batches_per_epoch * self.batch_size, self.batch_size):
            yield self._resident[order[start : start + self.batch_size]].to(torch.float32, copy=True)

    def _buffered(self, random: np.random.Generator) -> Iterator[Tensor]:
        size = max(1, min(PIECE_ROWS, self._buffer_rows // PIECES_IN_BUFFER))
        pieces = np.array([piece for part in self._ranges() for piece in _pieces(*part, size)])
        random.shuffle(pieces)
        buffer = torch.empty(self._buffer_rows, self.d_in, dtype=self._source.dtype)
        filled, at = 0, 0
        while True:
            while at < len(pieces) and filled + size <= self._buffer_rows:
                rows = self._training(*pieces[at].tolist())
                buffer[filled : filled + len(rows)] = rows
                filled, at = filled + len(rows), at + 1
            order = torch.from_numpy(random.permutation(filled))
            last = at == len(pieces)
            give = filled if last else max(filled - self._buffer_rows // 2, self.batch_size)
            give -= give % self.batch_size
            for start in range(0, give, self.batch_size):
                yield buffer[order[start : start + self.batch_size]].to(torch.float32, copy=True)
            if last:
                return
            buffer[: filled - give] = buffer[order[give:]]
            filled -= give

    def _ranges(self) -> Iterator[tuple[int, int]]:
        """First and last (exclusive) row number of each chunk."""
        yield from zip(self._starts[:-1].tolist(), self._starts[1:].tolist(), strict=True)

    def _training(self, start: int, stop: int) -> Tensor:
        """Training rows among rows `start` to `stop` of one chunk, in the source's dtype."""
        chunk = int(np.searchsorted(self._starts, start, side="right")) - 1
        first = int(self._starts[chunk])
        rows = self._source.read(chunk, start - first, stop - first)
        return rows[torch.from_numpy(~self._is_held_out(np.arange(start, stop)))]

    def _hash(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """splitmix64 of the row number (Steele, Lea and Flood 2014), so that the split does not depend on chunks."""
        with np.errstate(over="ignore"):
            offset = np.uint64((self._seed * 0xD1342543DE82EF95 + 0x9E3779B97F4A7C15) % 2**64)
            z = (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + offset
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            return z ^ (z >> np.uint64(31))

    def _is_held_out(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        return self._hash(rows) < np.uint64(self._limit)

    def _held_out_indices(self, part: tuple[int, int]) -> NDArray[np.int64]:
        rows = np.arange(*part)
        return rows[self._is_held_out(rows)]

    def _split(self, share: float) -> tuple[int, int]:
        """The hash below which a row is held out, and how many are: one at least if asked, and not all."""
        limit = min(int(share * 2.0**64), 2**64 - 1)
        hashes = (self._hash(np.arange(*part)) for part in self._ranges())
        count = lowest = highest = 0
        for number, part in enumerate(hashes):
            count += int((part < np.uint64(limit)).sum())
            lowest = min(lowest, int(part.min())) if number else int(part.min())
            highest = max(highest, int(part.max()))
        if share > 0 and count == 0 and self._total > 1:
            return lowest + 1, 1
        if count == self._total:
            return highest, count - 1
        return limit, count


def _pieces(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    for at in range(start, stop, size):
        yield at, min(at + size, stop)


class _TensorRows:
    def __init__(self, x: Tensor) -> None:
        if x.ndim != 2 or not x.dtype.is_floating_point:
            raise StoreError(f"Activations are a float tensor [rows, d_in]; got {x.dtype} {list(x.shape)}.")
        if not bool(torch.isfinite(x).all()):
            raise StoreError("The activations hold NaN or infinity.")
        self._x = x.detach().cpu()
        self.d_in, self.dtype, self.sizes = x.shape[1], x.dtype, [len(x)]

    def read(self, chunk: int, start: int, stop: int) -> Tensor:
        return self._x[start:stop]


class _StoreRows:
    def __init__(self, store: Store) -> None:
        self._x = lru_cache(maxsize=MAPPED_CHUNKS)(store.x)
        self.d_in, self.dtype = store.d_in, store.dtype
        self.sizes = [chunk.rows for chunk in store.chunks]

    def read(self, chunk: int, start: int, stop: int) -> Tensor:
        return self._x(chunk)[start:stop]
