"""Where a corpus's rows come from: what every source offers, and the sources that live in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from ...errors import CorpusError
from .order import permuted

Rows: TypeAlias = Iterator[tuple[str, object]]
"""(where, row): the words for an error about the row, and the row as it was found."""

SAMPLE_ROWS = 256  # that identify rows in memory


class Source:
    """Rows in a fixed order.

    Attributes:
        name: for manifests and messages.
        once: rows can be read a single time.
        exact: `shuffled` is a full shuffle. Otherwise it orders parts only, and the corpus shuffles within a buffer.
        columns: the keys of every row where they are known without reading one.
    """

    once = False
    exact = False
    columns: Sequence[str] | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    def rows(self) -> Rows:
        """A new pass, always in the same order."""
        raise NotImplementedError

    def shuffled(self, seed: int) -> Rows:
        """A new pass in an order drawn from `seed`; see `exact`."""
        return self.rows()

    def select(self, key: str) -> Source:
        """The same source, which need not read any other key."""
        return self

    def facts(self) -> list[object]:
        """Plain values (JSON) that another source would not have."""
        return []

    def sample(self) -> Rows:
        """A few rows, spread out where that is cheap: they tell this source from another."""
        return iter(())


class Listed(Source):
    """A sequence in memory."""

    exact = True

    def __init__(self, items: Sequence[object] | Any) -> None:
        super().__init__(f"a {type(items).__name__} of texts")
        self._items = items

    def rows(self) -> Rows:
        return ((f"row {number}", row) for number, row in enumerate(self._items, 1))

    def shuffled(self, seed: int) -> Rows:
        return self._picked(permuted(len(self._items), seed))

    def facts(self) -> list[object]:
        return [len(self._items)]

    def sample(self) -> Rows:
        return self._picked(spread(len(self._items), SAMPLE_ROWS))

    def _picked(self, indices: Iterable[Any]) -> Rows:
        return ((f"row {at + 1}", self._items[at]) for at in map(int, indices))


class Iterated(Source):
    """An iterable that starts anew on every pass."""

    def __init__(self, items: Iterable[object]) -> None:
        super().__init__(f"a {type(items).__name__} of texts")
        self._items = items

    def rows(self) -> Rows:
        return ((f"row {number}", row) for number, row in enumerate(self._items, 1))

    def sample(self) -> Rows:
        return islice(self.rows(), SAMPLE_ROWS)


class Once(Source):
    """An iterator: its rows can be read a single time."""

    once = True

    def __init__(self, items: Iterator[object]) -> None:
        super().__init__("an iterator of texts")
        self._items = items
        self._used = False

    def rows(self) -> Rows:
        if self._used:
            raise CorpusError("This corpus is an iterator and has already been read; give a list to read it again.")
        self._used = True
        return ((f"row {number}", row) for number, row in enumerate(self._items, 1))


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`, evenly spread, the first and the last among them.

    >>> spread(10, 4)
    [0, 3, 6, 9]
    """
    return sorted({int(at) for at in np.linspace(0, count - 1, min(count, most)).round()}) if count else []
