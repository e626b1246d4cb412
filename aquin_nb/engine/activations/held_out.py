"""Which rows are kept for checking and never trained on: whole documents, by a hash of their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]

FEWEST_DOCUMENTS = 20  # with fewer of them, blocks of rows are held out
BLOCK_ROWS = 256
BLOCKS = 64  # at least, where there are as many rows
LOOKED_AT = 1 << 20  # rows whose documents are looked up at a time
OVERSHOOT = 1.25  # of the rows wanted, so that one long document does not take a large part of the data


class HeldOut:
    """What is held out of `count` rows: about a share of them, one group at least if asked, and never all.

    Rows of a store are held out by whole documents: neighbouring tokens of one text are near copies of one another, and
    with copies on both sides memorising would look like learning. With fewer than 20 documents, or a few that make up
    most of the rows, blocks of at most 256 neighbouring rows are held out instead, and `note` says so. Rows without
    documents stand for themselves.

    Args:
        count: rows in all.
        documents: the document of each of the rows `start` to `stop`, int64; None where rows stand for themselves.
        share: of the rows, in [0, 1).
        seed: of the choice.

    Attributes:
        rows: how many are held out. note: what a reader should know of the choice, or "".

    >>> HeldOut(100, lambda start, stop: np.arange(start, stop) // 5, 0.1, seed=0).rows
    10
    """

    def __init__(self, count: int, documents: Callable[[int, int], Numbers | None], share: float, *, seed: int) -> None:
        self._count, self._documents, self._seed, self.note = count, documents, seed, ""
        self._choice, self.rows = self._chosen(share)

    def has(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Which of the rows `start` to `stop` are held out."""
        if isinstance(self._choice, _Rarest):
            return self._choice.has(hashes(np.arange(start, stop), self._seed))
        return self._choice.has(self._groups(start, stop, self._choice.block))

    def training(self, start: int, stop: int) -> Numbers:
        """Numbers of the rows among `start` to `stop` that are not held out."""
        if not self.rows:
            return np.arange(start, stop)
        return np.arange(start, stop)[~self.has(start, stop)]

    def all_training(self) -> Numbers:
        """Numbers of all rows that are not held out."""
        return np.concatenate([self.training(*piece) for piece in pieces(0, self._count, LOOKED_AT)])

    def numbers(self, most: int | None = None) -> Numbers:
        """Numbers of the held-out rows, in order; with `most` a random choice of so many, the same each time."""
        ranges = pieces(0, self._count, LOOKED_AT)
        chosen = np.concatenate([np.arange(*piece)[self.has(*piece)] for piece in ranges])
        if most is not None and len(chosen) > most:
            chosen = np.sort(chosen[np.argsort(hashes(chosen, self._seed), kind="stable")[:most]])
        return chosen

    def _groups(self, start: int, stop: int, block: int | None) -> Numbers:
        """The number of the document, or with `block` of the block of so many rows, that each row belongs to."""
        if block is not None:
            return np.arange(start, stop) // block
        documents = self._documents(start, stop)
        assert documents is not None
        return documents

    def _chosen(self, share: float) -> tuple[_Rarest | _Groups, int]:
        if share == 0 or self._count == 1:
            return _Rarest(0), 0
        if self._documents(0, 1) is None:
            return self._rarest_rows(share)
        wanted = share * self._count
        numbers, rows = self._counted()
        if len(numbers) < FEWEST_DOCUMENTS:
            reason = f"The texts are fewer than {FEWEST_DOCUMENTS} documents"
        else:
            taken, held = self._take(numbers, rows, wanted)
            if held >= wanted / 2:
                return _Groups(taken, None), held
            reason = "A few documents make up most of the texts"
        block = min(BLOCK_ROWS, max(1, self._count // BLOCKS))
        numbers = np.arange(-(-self._count // block))
        taken, held = self._take(numbers, np.minimum(block, self._count - numbers * block), wanted)
        self.note = f"{reason}: blocks of {block} neighbouring rows are held out, so held-out figures flatter."
        return _Groups(taken, block), held

    def _take(self, numbers: Numbers, rows: Numbers, wanted: float) -> tuple[Numbers, int]:
        """Groups, by their numbers, that hold about as many rows as wanted, and how many they hold."""
        taken, held = [], 0
        for place in np.argsort(hashes(numbers, self._seed), kind="stable").tolist():
            count = int(rows[place])
            if held + count <= wanted * OVERSHOOT and held + count < self._count:  # else it is too long: passed over
                taken.append(place)
                held += count
            if held >= wanted:
                break
        if not taken:
            taken = [int(np.argmin(rows))]
            held = int(rows[taken[0]])
        return np.sort(numbers[taken]), held

    def _counted(self) -> tuple[Numbers, Numbers]:
        """The documents of the rows, and the rows of each."""
        ranges = pieces(0, self._count, LOOKED_AT)
        parts = [np.unique(self._groups(*piece, None), return_counts=True) for piece in ranges]
        numbers, places = np.unique(np.concatenate([part[0] for part in parts]), return_inverse=True)
        rows = np.zeros(len(numbers), dtype=np.int64)
        np.add.at(rows, places, np.concatenate([part[1] for part in parts]))
        return numbers, rows

    def _rarest_rows(self, share: float) -> tuple[_Rarest, int]:
        limit = min(int(share * 2.0**64), 2**64 - 1)
        found = hashes(np.arange(self._count), self._seed)
        count = int((found < np.uint64(limit)).sum())
        if count == 0:
            return _Rarest(int(found.min()) + 1), 1
        if count == self._count:
            return _Rarest(int(found.max())), count - 1
        return _Rarest(limit), count


class _Rarest(NamedTuple):
    """Rows of a tensor are held out whose hash is below a limit."""

    limit: int

    def has(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        return hashes < np.uint64(self.limit)


class _Groups(NamedTuple):
    """Documents, or blocks of rows, that are held out whole: their numbers, in order."""

    groups: Numbers  # one at least
    block: int | None  # rows of a block; None: groups are documents

    def has(self, groups: Numbers) -> NDArray[np.bool_]:
        found = np.searchsorted(self.groups, groups).clip(max=len(self.groups) - 1)
        same: NDArray[np.bool_] = self.groups[found] == groups
        return same


def hashes(numbers: Numbers, seed: int) -> NDArray[np.uint64]:
    """splitmix64 of each number and the seed (Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        offset = np.uint64((seed * 0xD1342543DE82EF95 + 0x9E3779B97F4A7C15) % 2**64)
        z = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + offset
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def pieces(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Ranges of `size` that cut `start` to `stop`; the last may be shorter."""
    for at in range(start, stop, size):
        yield at, min(at + size, stop)
