"""Corpora in text files: plain text, JSONL and JSON, one file or many of a kind."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...errors import CorpusError
from .order import permuted
from .rows import decoded, json_rows, parsed, raw_lines
from .texts import Rows, Source, spread

DOCUMENT_CHARACTERS = 4000  # paragraphs of a .txt are gathered into documents of about this length
_BLOCK = 64 << 10  # bytes read at one place to identify a file
_BLOCKS = 64


class Files(Source):
    """Files of one kind, read one after the other."""

    def __init__(self, paths: Sequence[Path], name: str) -> None:
        super().__init__(name)
        self.paths = list(paths)

    def facts(self) -> list[object]:
        return [content(path) for path in self.paths]


class _Pieces(Files):
    """Files whose rows are runs of whole lines, so that any row can be found again by its place in bytes."""

    exact = True

    def rows(self) -> Rows:
        for path in self.paths:
            for number, start, raw in self._pieces(path):
                where = f"{path}, line {number}"
                yield where, self._row(raw, start, where)

    def shuffled(self, seed: int) -> Rows:
        places = np.array(
            [
                (file, number, start, len(raw))
                for file, path in enumerate(self.paths)
                for number, start, raw in self._pieces(path)
            ],
            dtype=np.int64,
        ).reshape(-1, 4)
        for at in permuted(len(places), seed):
            file, number, start, size = places[at].tolist()
            where = f"{self.paths[file]}, line {number}"
            yield where, self._row(_read(self.paths[file], start, size), start, where)

    def _pieces(self, path: Path) -> Iterator[tuple[int, int, bytes]]:
        """(number of its first line, offset in bytes, bytes) of every row."""
        raise NotImplementedError

    def _row(self, raw: bytes, start: int, where: str) -> object:
        raise NotImplementedError


class JsonlFiles(_Pieces):
    """A row is a line of JSON; blank lines are none."""

    def _pieces(self, path: Path) -> Iterator[tuple[int, int, bytes]]:
        return (line for line in raw_lines(path, CorpusError) if line[2].strip())

    def _row(self, raw: bytes, start: int, where: str) -> object:
        return parsed(decoded(raw, start, where, CorpusError), where, CorpusError)


class TextFiles(_Pieces):
    """A row is some paragraphs: it ends at the first blank line after about 4,000 characters."""

    def _pieces(self, path: Path) -> Iterator[tuple[int, int, bytes]]:
        gathered: list[bytes] = []
        size, first, begin = 0, 1, 0
        for number, start, raw in raw_lines(path, CorpusError):
            where = f"{path}, line {number}"
            if b"\0" in raw:
                raise CorpusError(f"{where}: holds a zero byte; this is no plain text.")
            line = decoded(raw, start, where, CorpusError)
            if not line.strip() and size >= DOCUMENT_CHARACTERS:
                yield first, begin, b"".join(gathered)
                gathered, size, first, begin = [], 0, number + 1, start + len(raw)
            else:
                gathered.append(raw)
                size += len(line)
        if b"".join(gathered).strip():  # what is left may be the blank lines at the end of the file
            yield first, begin, b"".join(gathered)

    def _row(self, raw: bytes, start: int, where: str) -> object:
        return decoded(raw, start, where, CorpusError).strip()


class JsonFiles(Files):
    """A row is an item of the list in a file, which is read whole."""

    exact = True

    def rows(self) -> Rows:
        for path in self.paths:
            yield from json_rows(path, CorpusError)

    def shuffled(self, seed: int) -> Rows:
        rows = list(self.rows())
        return (rows[at] for at in permuted(len(rows), seed))


def content(path: Path) -> list[object]:
    """Size and SHA-256 of a file: of all of it up to 4 MiB, of 64 blocks spread over a larger one.

    Raises:
        CorpusError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        size = path.stat().st_size
        with open(path, "rb") as stream:
            for block in spread(-(-size // _BLOCK), _BLOCKS):
                stream.seek(block * _BLOCK)
                digest.update(stream.read(_BLOCK))
    except OSError as wrong:
        raise CorpusError(f"{path} cannot be read: {wrong.strerror or wrong}.") from wrong
    return [size, digest.hexdigest()]


def _read(path: Path, start: int, size: int) -> bytes:
    try:
        with open(path, "rb") as stream:
            stream.seek(start)
            raw = stream.read(size)
    except OSError as wrong:
        raise CorpusError(f"{path} cannot be read: {wrong.strerror or wrong}.") from wrong
    if len(raw) < size:
        raise CorpusError(f"{path} became shorter while it was read.")
    return raw
