"""Corpora in `datasets` objects: with random access, in memory or mapped, and streamed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from ...errors import CorpusError
from .arrow import BATCH_ROWS, values
from .order import permuted
from .texts import Rows, Source, spread

SAMPLE_ROWS = 64  # that identify a dataset
SAMPLE_STREAMED = 16


class Table(Source):
    """A dataset with random access."""

    exact = True

    def __init__(self, dataset: Any, key: str | None = None) -> None:
        super().__init__(_name(dataset))
        self._dataset = dataset
        self._key = key
        # A transform makes rows when they are asked for: the columns of the table are not theirs.
        self._made = key is None and dataset.format["type"] == "custom"
        self.columns = None if self._made else list(dataset.column_names)

    def select(self, key: str) -> Source:
        if self._made:
            return self
        return Table(self._dataset.select_columns([key]).with_format("arrow"), key)  # images and audio stay undecoded

    def rows(self) -> Rows:
        return self._picked(range(len(self._dataset)))

    def shuffled(self, seed: int) -> Rows:
        return self._picked(permuted(len(self._dataset), seed).tolist())

    def facts(self) -> list[object]:
        return [len(self._dataset)]

    def sample(self) -> Rows:
        return self._picked(spread(len(self._dataset), SAMPLE_ROWS))

    def _picked(self, indices: Sequence[int]) -> Rows:
        if self._key is None:
            yield from ((f"{self.name}, row {at + 1}", self._dataset[at]) for at in indices)
            return
        for begin in range(0, len(indices), BATCH_ROWS):
            part = indices[begin : begin + BATCH_ROWS]
            asked = slice(part.start, part.stop) if isinstance(part, range) else part
            numbers = iter([at + 1 for at in part])
            for chunk in self._dataset[asked].column(self._key).chunks:
                yield from values(chunk, list(islice(numbers, len(chunk))), self.name)


class Stream(Source):
    """A streamed dataset; shuffled, its shards come in a drawn order."""

    def __init__(self, dataset: Any) -> None:
        super().__init__(_name(dataset))
        self._dataset = dataset
        self.columns = dataset.column_names  # None where the features are unknown

    def select(self, key: str) -> Source:
        return Stream(self._dataset.select_columns([key])) if self.columns is not None else self

    def rows(self) -> Rows:
        return placed(self._dataset, self.name)

    def shuffled(self, seed: int) -> Rows:
        return placed(shards_shuffled(self._dataset, seed), f"{self.name} (shards shuffled by {seed})")

    def sample(self) -> Rows:
        return islice(self.rows(), SAMPLE_STREAMED)


def placed(rows: Iterable[object], name: str) -> Rows:
    """(where, row) of streamed rows.

    Raises:
        CorpusError: a text is not UTF-8 (its row).
    """
    number = 0
    try:
        for number, row in enumerate(rows, 1):
            yield f"{name}, row {number}", row
    except UnicodeDecodeError as wrong:  # rows are decoded one by one: the row that fails is the next
        where = f"{name}, row {number + 1}"
        raise CorpusError(f"{where}: not UTF-8 text ({wrong.reason}); repair the row or leave it out.") from None


def shards_shuffled(stream: Any, seed: int) -> Any:
    """The stream with its shards in a drawn order, and the rows of each as they were."""
    return stream.shuffle(seed=seed, buffer_size=1)


def _name(dataset: Any) -> str:
    info = getattr(dataset, "info", None)
    return getattr(info, "dataset_name", None) or f"a datasets {type(dataset).__name__}"
