"""Columns of Arrow arrays as rows of a corpus, and the files that hold them: Parquet and Arrow, read piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from ...errors import CorpusError
from .order import permuted
from .textfiles import Files
from .texts import Rows, Source

BATCH_ROWS = 1000

T = TypeVar("T")


def values(column: Any, numbers: Iterable[int], name: str) -> Rows:
    """(where, value) of a pyarrow array: lists of integers as numpy views, anything else as Python has it.

    `numbers` are those of the rows, for `where`.

    Raises:
        CorpusError: a text is not UTF-8 (its row).
    """
    for number, value in zip(numbers, _lists(column) or _plain(column), strict=True):
        where = f"{name}, row {number}"
        if isinstance(value, UnicodeDecodeError):
            raise CorpusError(f"{where}: not UTF-8 text ({value.reason}); repair the row or leave it out.")
        yield where, value


def _lists(column: Any) -> Iterator[Any] | None:
    """The lists of an array of lists of integers, as views; None for any other array."""
    kind = column.type
    nested = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not nested or not pa.types.is_integer(kind.value_type) or column.values.null_count:
        return None
    flat = column.values.to_numpy(zero_copy_only=False)
    if pa.types.is_fixed_size_list(kind):
        size = kind.list_size
        edges = [(column.offset + at) * size for at in range(len(column) + 1)]
    else:
        edges = column.offsets.to_pylist()
    there = column.is_valid().to_pylist()
    return (flat[edges[at] : edges[at + 1]] if there[at] else None for at in range(len(column)))


def _plain(column: Any) -> Iterator[Any]:
    try:
        return iter(column.to_pylist())
    except UnicodeDecodeError:
        return map(_one, column)


def _one(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError as wrong:
        return wrong


class TableFiles(Files):
    """Files of columns; only that of the documents is read. Shuffled, their pieces come in a drawn order."""

    kind: str

    def __init__(self, paths: Sequence[Path], name: str, key: str = "") -> None:
        super().__init__(paths, name)
        self._key = key
        self.columns = self._names(self.paths[0])

    def select(self, key: str) -> Source:
        return type(self)(self.paths, self.name, key)

    def shuffled(self, seed: int) -> Rows:
        pieces = [piece for path in self.paths for piece in self._pieces(path)]
        for at in permuted(len(pieces), seed):
            yield from pieces[at]()

    def _names(self, path: Path) -> list[str]:
        raise NotImplementedError

    def _pieces(self, path: Path) -> Iterator[Callable[[], Rows]]:
        """One function a piece, which reads it when it is called."""
        raise NotImplementedError

    def _rows(self, batch: Any, path: Path, first: int) -> Rows:
        """The rows of a record batch whose first row has the number `first`."""
        names = batch.schema.names
        if self._key not in names:
            raise CorpusError(f"{path} has no column {self._key!r} as {self.paths[0]} has; it has {', '.join(names)}.")
        return values(batch.column(self._key), range(first, first + batch.num_rows), str(path))

    def _try(self, path: Path, work: Callable[[], T]) -> T:
        try:
            return work()
        except (pa.ArrowException, OSError) as wrong:
            reason = str(wrong).strip().splitlines()[0][:160]
            raise CorpusError(f"{path} cannot be read as {self.kind}: {reason}.") from wrong


class ParquetFiles(TableFiles):
    """Read a thousand rows at a time; a piece is a row group."""

    kind = "Parquet"

    def rows(self) -> Rows:
        return (row for path in self.paths for piece in self._pieces(path) for row in piece())

    def _names(self, path: Path) -> list[str]:
        return list(self._open(path).schema_arrow.names)

    def _pieces(self, path: Path) -> Iterator[Callable[[], Rows]]:
        metadata, first = self._open(path).metadata, 1
        for group in range(metadata.num_row_groups):
            yield partial(self._group, path, group, first)
            first += metadata.row_group(group).num_rows

    def _group(self, path: Path, group: int, first: int) -> Rows:
        batches = self._open(path).iter_batches(BATCH_ROWS, row_groups=[group], columns=[self._key])
        while (batch := self._try(path, lambda: next(batches, None))) is not None:
            yield from self._rows(batch, path, first)
            first += batch.num_rows

    def _open(self, path: Path) -> Any:
        return self._try(path, lambda: pq.ParquetFile(path))


class ArrowFiles(TableFiles):
    """Memory-mapped; a piece is a record batch. Both the file format and the stream that `datasets` writes."""

    kind = "Arrow"

    def rows(self) -> Rows:
        for path in self.paths:
            for _, first, batch in self._batches(path):
                yield from self._rows(batch, path, first)

    def _names(self, path: Path) -> list[str]:
        return list(self._open(path).schema.names)

    def _pieces(self, path: Path) -> Iterator[Callable[[], Rows]]:
        again = self._open(path)
        for number, first, batch in self._batches(path):
            if hasattr(again, "get_batch"):  # read again when its turn comes: a compressed batch takes memory
                yield partial(self._again, again, number, path, first)
            else:
                yield partial(self._rows, batch, path, first)

    def _again(self, reader: Any, number: int, path: Path, first: int) -> Rows:
        return self._rows(self._try(path, partial(_batch, reader, number)), path, first)

    def _batches(self, path: Path) -> Iterator[tuple[int, int, Any]]:
        """(number, number of its first row, batch) of every record batch."""
        reader, number, first = self._open(path), 0, 1
        while (batch := self._try(path, partial(_batch, reader, number))) is not None:
            yield number, first, batch
            number, first = number + 1, first + batch.num_rows

    def _open(self, path: Path) -> Any:
        def opened() -> Any:
            mapped = pa.memory_map(str(path))
            try:
                return pa.ipc.open_file(mapped)
            except pa.ArrowInvalid:
                mapped.seek(0)
                return pa.ipc.open_stream(mapped)

        return self._try(path, opened)


def _batch(reader: Any, number: int) -> Any | None:
    """The next record batch of a stream, or that with this number of a file; None at the end."""
    if hasattr(reader, "get_batch"):
        return reader.get_batch(number) if number < reader.num_record_batches else None
    try:
        return reader.read_next_batch()
    except StopIteration:
        return None
