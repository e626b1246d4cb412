"""Globally shuffled batches of activations in bounded memory, with rows held out for checking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import StoreError
from .sources import Fill, rows_of
from .store import Store

BUFFER_BYTES = 512 << 20
PIECE_ROWS = 512  # a store is read in pieces of at most so many neighbouring rows, in random order,
PIECES_IN_BUFFER = 64  # and of fewer when the buffer is small, so that many places are mixed at any time
FEWEST_DOCUMENTS = 20  # with fewer of them, blocks of rows are held out
BLOCK_ROWS = 256
LOOKED_AT = 1 << 20  # rows whose documents are looked up at a time
BLOCKS = 64  # at least, where there are as many rows
OVERSHOOT = 1.25  # of the rows wanted, so that one long document does not take a large part of the data


class ShuffledStream:
    """Batches float32 [batch_size, sum(widths)] in random order; each training row exactly once an epoch.

    A source that fits into `buffer_rows` is permuted exactly. A larger one is read in pieces of at most 512
    neighbouring rows, drawn in random order from the whole store into the buffer; the buffer is permuted, half of it
    is given out and the room filled again. Rows left over at the end of an epoch, fewer than a batch, are dropped;
    data smaller than one batch makes `batch_size` as small as the data, and `notes` says so. All of it follows from
    `seed`, and none of it from how a store is cut into chunks. A tensor is permuted exactly and not copied.

    Rows of a store are held out by whole documents: neighbouring tokens of one text are near copies of one another, and
    with copies on both sides memorising would look like learning. With fewer than 20 documents, or a few that make up
    most of the rows, blocks of at most 256 neighbouring rows are held out instead, and `notes` says so.
    Rows of a tensor stand for themselves.

    Several sources with the same number of rows (input and output of a transcoder, layers of a sweep) give batches
    whose rows are theirs side by side, `batch.split(stream.widths, 1)` takes them apart; documents are those of the
    first. Stores may be cut into chunks differently, but must come from the same tokens in the same order; the first,
    the last and three more chunks are compared.

    Args:
        source: a `Store`, or a float tensor [n, d_in] (rows in memory, a layer of a capture); or several in a
            tuple or list.
        batch_size: rows a batch.
        seed: of the order and of the held-out rows.
        held_out: share of rows that never appear in a batch, chosen by a hash of the seed and of the number of the
            document, block or row; at least one of these when there are two. 0 holds nothing out.
        buffer_rows: rows in memory; None takes 512 MB of them, and of tensors all.

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
    ) -> None:
        if batch_size < 1 or not 0 <= held_out < 1 or seed < 0:
            raise StoreError(
                f"batch_size={batch_size} must be at least 1, held_out={held_out} in [0, 1), seed={seed} not negative."
            )
        self._source = rows_of(source)
        self._total, self.notes = self._source.count, list(self._source.notes)
        self.widths, self.d_in, self._seed = self._source.widths, self._source.widths[0], seed
        self._choice, self.held_out_rows = self._chosen(held_out)
        self.rows = self._total - self.held_out_rows
        self.batch_size = min(batch_size, self.rows)
        if self.batch_size < batch_size:
            self.notes.append(f"Only {self.rows:,} rows to train on: a batch holds them all, not {batch_size:,}.")
        self._width = sum(self._source.widths)
        fitting = max(1, BUFFER_BYTES // (self._width * self._source.dtype.itemsize))
        default = self._total if self._source.in_memory else fitting
        self._buffer_rows = max(default if buffer_rows is None else buffer_rows, 2 * self.batch_size)
        self._resident: Fill | None = None

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
        _not_negative(start=start)
        return self._endless(*divmod(start, self.batches_per_epoch))

    def epoch(self, number: int, skip: int = 0) -> Iterator[Tensor]:
        """The batches of one pass but the first `skip`; the same number always gives the same batches.

        Rows of skipped batches are not read: only the order is made anew.
        """
        _not_negative(number=number, skip=skip)
        random = np.random.default_rng([self._seed, number])
        if self._total <= self._buffer_rows:
            return self._permuted(random, skip)
        return self._buffered(random, skip)

    def held_out(self, max_rows: int | None = None) -> Tensor:
        """Held-out rows, float32 [m, sum(widths)], in order; with `max_rows` a random choice, the same each time."""
        ranges = _pieces(0, self._total, LOOKED_AT)
        chosen = np.concatenate([np.arange(*piece)[self._is_held_out(*piece)] for piece in ranges])
        if max_rows is not None and len(chosen) > max_rows:
            chosen = np.sort(chosen[np.argsort(self._hash(chosen), kind="stable")[:max_rows]])
        return self._batch(self._source.fill, chosen)

    def fingerprint(self) -> str:
        """Hex SHA-256 that tells whether data are the same, for a resume.

        - A store: rows, d_in, dtype and the chunk hashes of its manifest; nothing is read, so damage done later stays
          unseen, and the same rows cut into other chunks count as other data.
        - A tensor: dtype, shape and bytes; of more than 256 MB, the bytes of 4,096 evenly spaced rows, the first and
          the last among them.
        - Several: the fingerprints of the parts in order.
        """
        return self._source.fingerprint()

    def describe(self) -> dict[str, Any]:
        """What the rows come from, in plain values that JSON holds.

        `{"kind": "store", "path": str}` (absolute), `{"kind": "tensor", "shape": [n, d_in], "dtype": "float32"}` or
        `{"kind": "several", "parts": [...]}` of these.
        """
        return self._source.describe()

    def _endless(self, number: int, skip: int) -> Iterator[Tensor]:
        while True:
            yield from self.epoch(number, skip)
            number, skip = number + 1, 0

    def _permuted(self, random: np.random.Generator, skip: int) -> Iterator[Tensor]:
        if self._resident is None:
            training = [self._training(*piece) for piece in _pieces(0, self._total, LOOKED_AT)]
            self._resident = self._source.resident(np.concatenate(training))
        order = random.permutation(self.rows)
        for start in range(skip * self.batch_size, self.batches_per_epoch * self.batch_size, self.batch_size):
            yield self._batch(self._resident, order[start : start + self.batch_size])

    def _buffered(self, random: np.random.Generator, skip: int) -> Iterator[Tensor]:
        size = max(1, min(PIECE_ROWS, self._buffer_rows // PIECES_IN_BUFFER))
        pieces = np.array(list(_pieces(0, self._total, size)))
        random.shuffle(pieces)
        numbers = np.empty(self._buffer_rows, dtype=np.int64)  # of the rows in the buffer
        buffer: Tensor | None = None  # until the first batch that is not skipped
        filled, at, skipped = 0, 0, skip * self.batch_size
        while True:
            while at < len(pieces) and filled + size <= self._buffer_rows:
                new = self._training(*pieces[at].tolist())
                end = filled + len(new)
                numbers[filled:end] = new
                if buffer is not None:
                    self._source.fill(new, buffer[filled:end])
                filled, at = end, at + 1
            order = random.permutation(filled)
            last = at == len(pieces)
            give = filled if last else max(filled - self._buffer_rows // 2, self.batch_size)
            give -= give % self.batch_size
            first = min(skipped, give)
            skipped -= first
            if buffer is None and first < give:
                numbers[:filled], order = numbers[order], np.arange(filled)
                buffer = torch.empty(self._buffer_rows, self._width, dtype=self._source.dtype)
                self._source.fill(numbers[first:filled], buffer[first:filled])
            if buffer is not None:
                for start in range(first, give, self.batch_size):
                    yield buffer[torch.from_numpy(order[start : start + self.batch_size])].to(torch.float32, copy=True)
            if last:
                return
            kept = order[give:]
            numbers[: len(kept)] = numbers[kept]
            if buffer is not None:
                buffer[: len(kept)] = buffer[torch.from_numpy(kept)]
            filled = len(kept)

    def _batch(self, fill: Fill, numbers: NDArray[np.int64]) -> Tensor:
        batch = torch.empty(len(numbers), self._width)
        fill(numbers, batch)
        return batch

    def _training(self, start: int, stop: int) -> NDArray[np.int64]:
        """Numbers of the training rows among rows `start` to `stop`."""
        return np.arange(start, stop)[~self._is_held_out(start, stop)]

    def _is_held_out(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Which of the rows `start` to `stop` are held out."""
        if isinstance(self._choice, _Rarest):
            return self._choice.has(self._hash(np.arange(start, stop)))
        return self._choice.has(self._groups(start, stop, self._choice.block))

    def _groups(self, start: int, stop: int, block: int | None) -> NDArray[np.int64]:
        """The number of the document, or with `block` of the block of so many rows, that each row belongs to."""
        if block is not None:
            return np.arange(start, stop) // block
        documents = self._source.documents(start, stop)
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
        if self._source.documents(0, 1) is None:
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
        ranges = _pieces(0, self._total, LOOKED_AT)
        parts = [np.unique(self._groups(*piece, None), return_counts=True) for piece in ranges]
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


def _not_negative(**values: int) -> None:
    for name, value in values.items():
        if value < 0:
            raise StoreError(f"{name}={value} must not be negative; the first is 0.")
