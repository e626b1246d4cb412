"""Globally shuffled batches of activations in bounded memory, with rows held out for checking."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, Protocol

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
FEWEST_DOCUMENTS = 20  # with fewer of them, blocks of rows are held out
BLOCK_ROWS = 256
BLOCKS = 64  # at least, where there are as many rows
OVERSHOOT = 1.25  # of the rows wanted, so that one long document does not take a large part of the data


class _Rows(Protocol):
    """Rows in order, read by range: a store on disk or a tensor in memory."""

    d_in: int
    dtype: torch.dtype
    sizes: list[int]  # rows of each chunk

    def read(self, chunk: int, start: int, stop: int) -> Tensor: ...

    def documents(self, chunk: int, start: int, stop: int) -> NDArray[np.int64] | None:
        """The document of each row; None where rows stand for themselves."""
        ...


class ShuffledStream:
    """Batches float32 [batch_size, d_in] in random order; each training row exactly once an epoch.

    A source that fits into `buffer_rows` is permuted exactly. A larger one is read in pieces of at most 512
    neighbouring rows, drawn in random order from the whole store into the buffer; the buffer is permuted, half of it
    is given out and the room filled again. Rows left over at the end of an epoch, fewer than a batch, are dropped;
    data smaller than one batch makes `batch_size` as small as the data, and `notes` says so. All of it follows from
    `seed`, and none of it from how a store is cut into chunks.

    Rows of a store are held out by whole documents: neighbouring tokens of one text are near copies of one another, and
    with copies on both sides memorising would look like learning. With fewer than 20 documents, or a few that make up
    most of the rows, blocks of at most 256 neighbouring rows are held out instead, and `notes` says so.
    Rows of a tensor stand for themselves.

    Args:
        source: a `Store`, or a float tensor [n, d_in] (rows in memory, a layer of a capture).
        batch_size: rows a batch.
        seed: of the order and of the held-out rows.
        held_out: share of rows that never appear in a batch, chosen by a hash of the seed and of the number of the
            document, block or row; at least one of these when there are two. 0 holds nothing out.
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
        self._choice, self.held_out_rows = self._chosen(held_out)
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
        chosen = np.concatenate([self._held_out_indices(chunk) for chunk in range(len(self._source.sizes))])
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
            self._resident = torch.cat(
                [self._training(*self._range(chunk)) for chunk in range(len(self._source.sizes))]
            )
        order = torch.from_numpy(random.permutation(self.rows))
        for start in range(0, self.batches_per_epoch * self.batch_size, self.batch_size):
            yield self._resident[order[start : start + self.batch_size]].to(torch.float32, copy=True)

    def _buffered(self, random: np.random.Generator) -> Iterator[Tensor]:
        size = max(1, min(PIECE_ROWS, self._buffer_rows // PIECES_IN_BUFFER))
        pieces = np.array(list(_pieces(0, self._total, size)))
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

    def _range(self, chunk: int) -> tuple[int, int]:
        """First and last (exclusive) row number of a chunk."""
        return int(self._starts[chunk]), int(self._starts[chunk + 1])

    def _training(self, start: int, stop: int) -> Tensor:
        """Training rows among rows `start` to `stop`, in the source's dtype."""
        kept = []
        while start < stop:
            chunk = int(np.searchsorted(self._starts, start, side="right")) - 1
            first, end = int(self._starts[chunk]), min(stop, int(self._starts[chunk + 1]))
            rows = self._source.read(chunk, start - first, end - first)
            kept.append(rows[torch.from_numpy(~self._is_held_out(chunk, start, end))])
            start = end
        return torch.cat(kept)

    def _is_held_out(self, chunk: int, start: int, stop: int) -> NDArray[np.bool_]:
        """Which of the rows `start` to `stop`, all of one chunk, are held out."""
        if isinstance(self._choice, _Rarest):
            return self._choice.has(self._hash(np.arange(start, stop)))
        return self._choice.has(self._groups(chunk, start, stop, self._choice.block))

    def _held_out_indices(self, chunk: int) -> NDArray[np.int64]:
        start, stop = self._range(chunk)
        return np.arange(start, stop)[self._is_held_out(chunk, start, stop)]

    def _groups(self, chunk: int, start: int, stop: int, block: int | None) -> NDArray[np.int64]:
        """The number of the document, or with `block` of the block of so many rows, that each row belongs to."""
        if block is not None:
            return np.arange(start, stop) // block
        first = int(self._starts[chunk])
        documents = self._source.documents(chunk, start - first, stop - first)
        assert documents is not None
        return documents

    def _hash(self, numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
        """splitmix64 of each number and the seed (Steele, Lea and Flood 2014)."""
        with np.errstate(over="ignore"):
            offset = np.uint64((self._seed * 0xD1342543DE82EF95 + 0x9E3779B97F4A7C15) % 2**64)
            z = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + offset
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            return z ^ (z >> np.uint64(31))

    def _chosen(self, share: float) -> tuple[_Rarest | _Groups, int]:
        """What is held out, and how many rows that are: one group at least if asked, and never all."""
        if share == 0 or self._total == 1:
            return _Rarest(0), 0
        if self._source.documents(0, 0, 1) is None:
            return self._rarest_rows(share)
        wanted = share * self._total
        numbers, rows = self._counted()
        if len(numbers) < FEWEST_DOCUMENTS:
            reason = f"The texts are fewer than {FEWEST_DOCUMENTS} documents"
        else:
            taken, held = self._take(numbers, rows, wanted)
            if held >= wanted / 2:
                return _Groups(taken, None), held
            reason = "A few documents make up most of the texts"
        block = min(BLOCK_ROWS, max(1, self._total // BLOCKS))
        numbers = np.arange(-(-self._total // block))
        taken, held = self._take(numbers, np.minimum(block, self._total - numbers * block), wanted)
        self.notes.append(f"{reason}: blocks of {block} neighbouring rows are held out, so held-out figures flatter.")
        return _Groups(taken, block), held

    def _take(
        self, numbers: NDArray[np.int64], rows: NDArray[np.int64], wanted: float
    ) -> tuple[NDArray[np.int64], int]:
        """Groups, by their numbers, that hold about as many rows as wanted, and how many they hold."""
        taken, held = [], 0
        for place in np.argsort(self._hash(numbers), kind="stable").tolist():
            count = int(rows[place])
            if held + count <= wanted * OVERSHOOT and held + count < self._total:  # else it is too long: passed over
                taken.append(place)
                held += count
            if held >= wanted:
                break
        if not taken:
            taken = [int(np.argmin(rows))]
            held = int(rows[taken[0]])
        return np.sort(numbers[taken]), held

    def _counted(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The documents of the store, and the rows of each."""
        chunks = range(len(self._source.sizes))
        parts = [np.unique(self._groups(chunk, *self._range(chunk), None), return_counts=True) for chunk in chunks]
        numbers, places = np.unique(np.concatenate([part[0] for part in parts]), return_inverse=True)
        rows = np.zeros(len(numbers), dtype=np.int64)
        np.add.at(rows, places, np.concatenate([part[1] for part in parts]))
        return numbers, rows

    def _rarest_rows(self, share: float) -> tuple[_Rarest, int]:
        limit = min(int(share * 2.0**64), 2**64 - 1)
        hashes = self._hash(np.arange(self._total))
        count = int((hashes < np.uint64(limit)).sum())
        if count == 0:
            return _Rarest(int(hashes.min()) + 1), 1
        if count == self._total:
            return _Rarest(int(hashes.max())), count - 1
        return _Rarest(limit), count


class _Rarest(NamedTuple):
    """Rows of a tensor are held out whose hash is below a limit."""

    limit: int

    def has(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        return hashes < np.uint64(self.limit)


class _Groups(NamedTuple):
    """Documents, or blocks of rows, that are held out whole: their numbers, in order."""

    groups: NDArray[np.int64]  # one at least
    block: int | None  # rows of a block; None: groups are documents

    def has(self, groups: NDArray[np.int64]) -> NDArray[np.bool_]:
        found = np.searchsorted(self.groups, groups).clip(max=len(self.groups) - 1)
        same: NDArray[np.bool_] = self.groups[found] == groups
        return same


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

    def documents(self, chunk: int, start: int, stop: int) -> NDArray[np.int64] | None:
        return None


class _StoreRows:
    def __init__(self, store: Store) -> None:
        self._x = lru_cache(maxsize=MAPPED_CHUNKS)(store.x)
        self._documents = lru_cache(maxsize=MAPPED_CHUNKS)(lambda chunk: store.read(chunk).documents.numpy())
        self.d_in, self.dtype = store.d_in, store.dtype
        self.sizes = [chunk.rows for chunk in store.chunks]

    def read(self, chunk: int, start: int, stop: int) -> Tensor:
        return self._x(chunk)[start:stop]

    def documents(self, chunk: int, start: int, stop: int) -> NDArray[np.int64] | None:
        documents: NDArray[np.int64] = self._documents(chunk)[start:stop].astype(np.int64)
        return documents
