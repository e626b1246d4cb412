"""Globally shuffled batches of activations in bounded memory, with rows held out for checking."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import StoreError
from .buffer import Shape, mixed, rounds
from .held_out import LOOKED_AT, HeldOut, pieces
from .reuse import Reuse
from .sources import Take, describe, fingerprint, rows_of
from .store import Store

BUFFER_BYTES = 512 << 20
PIECE_ROWS = 512  # a store is read in pieces of at most so many neighbouring rows, in random order,
PIECES_IN_BUFFER = 64  # and of fewer when the buffer is small, so that many places are mixed at any time
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Stream(ABC):
    """What a training reads: epochs of batches in an order that a seed decides, and rows held out of all of them.

    Attributes:
        rows: training rows. held_out_rows: the others. batch_size: rows a batch. notes: what a reader should know.
        widths: columns of each source that stands side by side in a batch. d_in: `widths[0]`.
    """

    rows: int
    held_out_rows: int
    batch_size: int
    widths: list[int]
    notes: list[str]

    @property
    def d_in(self) -> int:
        """Columns of the first source."""
        return self.widths[0]

    @property
    def batches_per_epoch(self) -> int:
        """Full batches in one pass."""
        return self.rows // self.batch_size

    def __iter__(self) -> Iterator[Tensor]:
        """Epoch after epoch, without end."""
        return self.batches()

    def batches(self, start: int = 0) -> Iterator[Tensor]:
        """Epoch after epoch without end, from batch number `start` on, counted over all epochs.

        >>> stream = ShuffledStream(torch.arange(12.0).reshape(6, 2), batch_size=2, held_out=0)
        >>> every = stream.batches()
        >>> dropped = [next(every) for _ in range(4)]
        >>> torch.equal(next(every), next(stream.batches(4)))
        True
        """
        not_negative(start=start)
        return self._endless(*divmod(start, self.batches_per_epoch))

    @abstractmethod
    def epoch(self, number: int, skip: int = 0) -> Iterator[Tensor]:
        """The batches of one pass but the first `skip`; the same number always gives the same batches."""

    @abstractmethod
    def held_out(self, max_rows: int | None = None) -> Tensor:
        """Held-out rows, float32 [m, sum(widths)]; with `max_rows` so many at most, the same each time."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Hex SHA-256 that tells whether data are the same, for a resume."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What the rows come from, in plain values that JSON holds."""

    def _endless(self, number: int, skip: int) -> Iterator[Tensor]:
        while True:
            yield from self.epoch(number, skip)
            number, skip = number + 1, 0


class ShuffledStream(Stream):
    """Batches [batch_size, sum(widths)] in random order; each training row exactly once an epoch.

    A source that fits into `buffer_rows` is permuted exactly. A larger one is read in pieces of at most 512
    neighbouring rows, drawn in random order from the whole store into the buffer; the buffer is permuted, half of it
    is given out and the room filled again. Rows left over at the end of an epoch, fewer than a batch, are dropped;
    data smaller than one batch makes `batch_size` as small as the data, and `notes` says so. All of it follows from
    `seed`, and none of it from how a store is cut into chunks. A tensor is permuted exactly and not copied.
    What is held out: see `HeldOut`.

    Several sources with the same number of rows (input and output of a transcoder, layers of a sweep) give batches
    whose rows are theirs side by side, `batch.split(stream.widths, 1)` takes them apart; documents are those of the
    first. Sites of one store are read together. Other stores may be cut into chunks differently, but must come from the
    same tokens in the same order; the first, the last and three more chunks are compared.

    With `shard=(rank, world)` each of `world` processes gives its own part of each batch, [batch_size / world,
    sum(widths)], and reads only that: the pieces are dealt out once, at random, so that all ranks have as many rows but
    for one, the same number of batches, and none of each other's; every training row comes once an epoch over all
    ranks, but for the rows that are left over. `rows`, `batch_size` and what is held out are those of all ranks
    together. The batches are others than without shards, and change with `world`. A training on a `Mesh` does not use
    it: its ranks all read the same batches, so that their sums are those of one process, the weights of `error` can be
    taken over the whole batch, and a checkpoint can be resumed with any number of ranks.

    Args:
        source: a `Store` of which one site is chosen, or a float tensor [n, d_in] (rows in memory, a layer of a
            capture); or several in a tuple or list.
        batch_size: rows a batch.
        seed: of the order and of the held-out rows.
        held_out: share of rows that never appear in a batch, chosen by a hash of the seed and of the number of the
            document, block or row; at least one of these when there are two. 0 holds nothing out.
        buffer_rows: rows in memory; None takes 512 MB of them, and of tensors all.
        dtype: of batches: float32, which holds what a store holds exactly; bfloat16 or float16, which round float32
            but halve what is copied to a GPU.
        shard: (rank, world): which part of each batch this process gives.

    Attributes:
        rows: training rows. held_out_rows: the others. batch_size: as used. notes: what a reader should know.
        widths: columns of each source, a list of one for a single source. d_in: `widths[0]`.

    Raises:
        StoreError: no rows, another shape, values of a tensor that are not finite (the first such row is named);
            later, a damaged chunk, or one with such values (chunk and row are named). Of several
            sources: other numbers of rows, or rows of other tokens.

    >>> stream = ShuffledStream(torch.arange(12.0).reshape(6, 2), batch_size=2, held_out=0)
    >>> [tuple(batch.shape) for batch in stream.epoch(0)]
    [(2, 2), (2, 2), (2, 2)]
    """

    def __init__(
        self,
        source: Store | Tensor | Sequence[Store | Tensor],
        batch_size: int,
        *,
        seed: int = 0,
        held_out: float = 0.05,
        buffer_rows: int | None = None,
        dtype: torch.dtype = torch.float32,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        check_settings(batch_size, held_out, seed, dtype)
        self._source = rows_of(source)
        self._held = HeldOut(self._source.count, self._source.documents, held_out, seed=seed)
        self._total, self._seed, self._dtype, self._shard = self._source.count, seed, dtype, shard
        self.notes = [*self._source.notes, *filter(None, [self._held.note])]
        self.widths, self.held_out_rows = self._source.widths, self._held.rows
        self.rows = self._total - self.held_out_rows
        self.batch_size = min(batch_size, _even(self.rows, shard, "rows of the activations"))
        if self.batch_size < batch_size:
            self.notes.append(f"Only {self.rows:,} rows to train on: a batch holds them all, not {batch_size:,}.")
        elif _even(batch_size, shard, "batch_size") < batch_size:
            raise StoreError(
                f"batch_size ({batch_size:,}) does not split over {shard[1]} ranks; give a multiple of it."
            )
        self._own_batch = self.batch_size // shard[1]
        width = sum(self.widths)
        fitting = max(1, BUFFER_BYTES // (width * self._source.dtype.itemsize))
        default = self._total if self._source.in_memory else fitting
        self._buffer_rows = max(default if buffer_rows is None else buffer_rows, 2 * self._own_batch)
        self._shape = Shape(self._buffer_rows, width, self._source.dtype, self._own_batch, dtype)
        self._piece_rows = max(1, min(PIECE_ROWS, self._buffer_rows // PIECES_IN_BUFFER))
        self._own: list[tuple[int, int]] | None = None if shard[1] == 1 else self._dealt(*shard)
        span = self._total if self._own is None else sum(stop - start for start, stop in self._own)
        self._fits = span <= self._buffer_rows
        self._resident: Take | None = None

    @property
    def batches_per_epoch(self) -> int:
        """Full batches in one pass, the same on every rank."""
        return self.rows // self._shard[1] // self._own_batch

    def epoch(self, number: int, skip: int = 0) -> Iterator[Tensor]:
        """The batches of one pass but the first `skip`; the same number always gives the same batches.

        Rows of skipped batches are not read: only the order is made anew.
        """
        not_negative(number=number, skip=skip)
        rank, world = self._shard
        random = np.random.default_rng([self._seed, number] if world == 1 else [self._seed, number, rank, world])
        return self._permuted(random, skip) if self._fits else self._buffered(random, skip)

    def held_out(self, max_rows: int | None = None) -> Tensor:
        """Held-out rows, float32 [m, sum(widths)], in order; with `max_rows` a random choice, the same each time."""
        chosen = self._held.numbers(max_rows)
        rows = torch.empty(len(chosen), self._shape.width)
        self._source.fill(chosen, rows, np.arange(len(chosen)))
        return rows

    def is_held_out(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Which of the rows `start` to `stop` of the source are held out."""
        return self._held.has(start, stop)

    def fingerprint(self) -> str:
        """Hex SHA-256 that tells whether data are the same, for a resume.

        - A store: rows, d_in, dtype, the site where there are several, and the chunk hashes of its manifest; nothing is
          read, so damage done later stays unseen, and the same rows cut into other chunks count as other data.
        - A tensor: dtype, shape and bytes; of more than 256 MB, the bytes of 4,096 evenly spaced rows, the first and
          the last among them.
        - Several: the fingerprints of the parts in order.
        """
        return fingerprint(self._source)

    def describe(self) -> dict[str, Any]:
        """What the rows come from, in plain values that JSON holds.

        `{"kind": "store", "path": str}` (absolute; with "site", its hook, where the store has several),
        `{"kind": "tensor", "shape": [n, d_in], "dtype": "float32"}` or `{"kind": "several", "parts": [...]}` of these.
        """
        return describe(self._source)

    def _permuted(self, random: np.random.Generator, skip: int) -> Iterator[Tensor]:
        if self._resident is None:
            ranges = pieces(0, self._total, LOOKED_AT) if self._own is None else self._own
            self._resident = self._source.resident(np.concatenate([self._held.training(*piece) for piece in ranges]))
        order, size = random.permutation(self._rows_of_rank(self._shard[0])), self._own_batch
        new = Reuse((size, self._shape.width), self._dtype)
        for start in range(skip * size, self.batches_per_epoch * size, size):
            yield self._resident(order[start : start + size], new())

    def _buffered(self, random: np.random.Generator, skip: int) -> Iterator[Tensor]:
        ranges = np.array(self._own or list(pieces(0, self._total, self._piece_rows)))
        random.shuffle(ranges)
        filled = rounds(
            (self._held.training(*piece) for piece in ranges.tolist()),
            random,
            buffer_rows=self._buffer_rows,
            piece_rows=self._piece_rows,
            batch_size=self._own_batch,
            kept_rows=self._buffer_rows // 2,
        )
        return islice(mixed(filled, self._source.fill, self._shape, skip), max(0, self.batches_per_epoch - skip))

    def _rows_of_rank(self, rank: int) -> int:
        world = self._shard[1]
        return self.rows * (rank + 1) // world - self.rows * rank // world

    def _dealt(self, rank: int, world: int) -> list[tuple[int, int]]:
        """The rank's pieces: ranges of rows of the source, of at most `piece_rows`."""
        size = self._piece_rows
        counts = np.zeros(-(-self._total // size), dtype=np.int64)  # training rows of each piece
        for start, stop in pieces(0, self._total, LOOKED_AT):
            np.add.at(counts, self._held.training(start, stop) // size, 1)
        order = np.random.default_rng([self._seed, world]).permutation(len(counts))
        ends = np.cumsum(counts[order])
        first, last = self.rows * rank // world, self.rows * (rank + 1) // world
        own = []
        begin, end = np.searchsorted(ends, [first, last - 1], side="right")
        for place in range(begin, end + 1):
            start = int(order[place]) * size
            numbers = self._held.training(start, min(start + size, self._total))
            before = int(ends[place]) - len(numbers)
            numbers = numbers[max(0, first - before) : last - before]
            if len(numbers):
                own.append((int(numbers[0]), int(numbers[-1]) + 1))
        return own


def check_settings(batch_size: int, held_out: float, seed: int, dtype: torch.dtype) -> None:
    """Refuse settings that no stream can have.

    Raises:
        StoreError: with their values.
    """
    if batch_size < 1 or not 0 <= held_out < 1 or seed < 0:
        raise StoreError(
            f"batch_size={batch_size} must be at least 1, held_out={held_out} in [0, 1), seed={seed} not negative."
        )
    if dtype not in DTYPES:
        raise StoreError(f"dtype={dtype} is none that batches can have: float32, bfloat16 or float16.")


def not_negative(**values: int) -> None:
    """Refuse a position before the start.

    Raises:
        StoreError: with its name and value.
    """
    for name, value in values.items():
        if value < 0:
            raise StoreError(f"{name}={value} must not be negative; the first is 0.")


def _even(count: int, shard: tuple[int, int], what: str) -> int:
    """The largest number up to `count` that all ranks have equal parts of."""
    rank, world = shard
    if not 0 <= rank < world:
        raise StoreError(f"shard={shard} is no rank of a world: of two ranks, the first is (0, 2).")
    if count < world:
        raise StoreError(f"{what} ({count:,}) are fewer than the {world} ranks that share them.")
    return count - count % world
