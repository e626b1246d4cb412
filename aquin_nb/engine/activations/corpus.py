"""Corpora: documents in a fixed order, and one way to open whatever holds them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import AquinError, CorpusError
from . import hub
from .arrow import ArrowFiles, ParquetFiles
from .columns import TEXT_KEY, Column, Document, chosen_column, is_blank
from .order import buffered, checked_seed
from .rows import kind
from .tables import Stream, Table
from .textfiles import Files, JsonFiles, JsonlFiles, TextFiles
from .texts import Iterated, Listed, Once, Source

PACKAGED = "packaged"
DEFAULT_HUB_NAME = "Skylion007/openwebtext"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?(:[\w.-]+)?")
_FILES: dict[str, type[Files]] = {
    ".txt": TextFiles,
    ".json": JsonFiles,
    ".jsonl": JsonlFiles,
    ".parquet": ParquetFiles,
    ".arrow": ArrowFiles,
}
_READ = "a .txt, .json, .jsonl, .parquet or .arrow file"
_WILD = "*?["
_SAVED = ("state.json", "dataset_dict.json")  # of a folder that `save_to_disk` wrote


class Corpus:
    """Documents in a fixed order, and why these. Made by `open_corpus` and `mix`.

    Documents are numbered from 0; blank rows (nothing, or white space only) are none.

    Attributes:
        name: a path, a hub name, or what kind of object was given.
        why: why this corpus: asked for, the default, or a fallback and its reason.
        seed: of the shuffled order; None for the order of the source.
        pretokenised: documents are token ids instead of texts.
        once: it can be read a single time (an iterator).
        blank: blank rows that the latest pass has left out so far.
    """

    def __init__(self, source: Source, column: Column, *, why: str = "asked for", seed: int | None = None) -> None:
        self.name, self.why, self.seed, self.blank = source.name, why, seed, 0
        self.once, self.pretokenised = source.once, column.tokens
        self._source, self._column = source, column

    def documents(self, start: int = 0) -> Iterator[Document]:
        """A new pass over the documents from number `start` on, always in the same order.

        A document is a text, or an int64 array of token ids [n] where `pretokenised`. Those before `start` are read
        and not given, which takes a fiftieth of the time of tokenising them or less.

        Raises:
            CorpusError: a row is malformed (the message names it), nothing but blank rows was found, there are fewer
                than `start` documents, or `start` is given to a corpus that can be read only once.

        >>> list(open_corpus(["One.", " ", "Two."]).documents(start=1))
        ['Two.']
        """
        return (document for _, document in self.placed(start))

    def placed(self, start: int = 0) -> Iterator[tuple[str, Document]]:
        """As `documents`, each behind the words for its place in the source: "texts.jsonl, line 12"."""
        if start < 0:
            raise CorpusError(f"start={start} is no number of a document; they count from 0.")
        if start and self.once:
            raise CorpusError(
                f"This corpus is an iterator, which can be read only once and not from document {start} on;"
                " give a list or a file to go on with it later, or to share it among ranks."
            )
        return self._placed(start)

    def place(self, number: int) -> str:
        """Where document `number` stands in its source, in words.

        Raises:
            CorpusError: see `documents`; there is no such document; or looking would use up an iterator.
        """
        if self.once:
            raise CorpusError(f"{self.name} can be read only once, so its documents cannot be looked up.")
        for where, _ in self.placed(number):
            return where
        raise CorpusError(f"{self.name} has no document {number} (they are counted from 0).")

    def fingerprint(self) -> str:
        """64 hexadecimal digits that differ for another corpus, other keys, another seed and another mixture.

        Files are known by their size and their content (of a large one, 64 blocks), wherever they lie; what is in
        memory by some rows spread over it; a stream by its first rows; a hub dataset by name, split and first row. An
        iterator cannot be looked into: all have the same.

        Raises:
            CorpusError: a row that is looked at is malformed.
        """
        column = self._column
        digest = hashlib.sha256(json.dumps(self._identity(), sort_keys=True).encode())
        for where, row in self._source.sample():
            document = column.take(row, where)
            raw = b"" if document is None else document.encode() if isinstance(document, str) else document.tobytes()
            digest.update(f"{type(document).__name__} {len(raw)} ".encode() + raw)
        return digest.hexdigest()

    def rows(self) -> Iterator[tuple[str, Document | None]]:
        """A new pass over (where, document) in the corpus's order, blank ones (also None) included.

        Raises:
            CorpusError: a row is malformed.
        """
        source, column = self._source, self._column
        found = source.rows() if self.seed is None else source.shuffled(self.seed)
        rows = ((where, column.take(row, where)) for where, row in found)
        return rows if self.seed is None or source.exact else buffered(rows, self.seed)

    def shuffled(self, seed: int) -> Corpus:
        """The same documents in an order drawn from `seed`; see `open_corpus`."""
        return Corpus(self._source, self._column, why=self.why, seed=checked_seed(seed))

    def _placed(self, start: int) -> Iterator[tuple[str, Document]]:
        self.blank = number = 0
        for where, document in self.rows():
            if document is None or is_blank(document):
                self.blank += 1
                continue
            if number >= start:
                yield where, document
            number += 1
        if not number:
            raise CorpusError(f"{self.name} holds no text; give a corpus with at least one document.")
        if number < start:
            raise CorpusError(
                f"{self.name} has only {number:,} documents and was to be read from number {start:,} on;"
                " it is not the corpus that was begun."
            )

    def _identity(self) -> list[object]:
        return [type(self._source).__name__, self._column.key, self.pretokenised, self.seed, *self._source.facts()]

    def __repr__(self) -> str:
        order = "" if self.seed is None else f", seed={self.seed}"
        return f"Corpus({self.name!r}, why={self.why!r}{order})"


def open_corpus(
    source: object = None,
    *,
    text_key: str = TEXT_KEY,
    token_key: str | None = None,
    split: str = "train",
    seed: int | None = None,
) -> Corpus:
    """A corpus from whatever holds text.

    `source` may be

    - a `.jsonl` file (one object or one string a line) or a `.json` file (a list of them);
    - a `.txt` file: blank lines end paragraphs, and consecutive paragraphs are gathered into documents of about
      4,000 characters (a longer paragraph stays whole);
    - a `.parquet` or `.arrow` file;
    - a folder of files of one of these kinds, searched to any depth, or a pattern such as `"texts/*.jsonl"`; the
      files are read in the order of their names;
    - a folder that `datasets`' `save_to_disk` wrote;
    - a list or any iterable of strings or of mappings with `text_key`; an iterator can be read only once;
    - a `datasets` dataset, in memory or streamed (of a dataset dictionary, `split` is taken);
    - a hub name, `"org/name"` or `"org/name:config"`, streamed;
    - "packaged": the sample in this package, without any network;
    - None: the hub's OpenWebText streamed when it can be reached, else the sample in this package; `.why` says which
      and why.

    Rows that were tokenised before hold lists of token ids: under `token_key`, or under "input_ids" when there is no
    key "text", or the rows are such lists themselves. Their ids are checked against the model when they are used.

    `seed` shuffles, the same way every time: fully where rows can be read in any order (text and JSON files, lists,
    datasets with random access); otherwise the pieces of the source (shards, row groups, record batches) come in a
    drawn order, and documents are shuffled within a buffer of 10,000.

    The first document is read before this returns (iterators excepted), so that a wrong path or key is noticed at once.

    Raises:
        CorpusError: missing or empty file, malformed line (its number), no `text_key` (the keys found), a text that
            is not a string or not UTF-8, a folder with files of several kinds, an unknown kind of source.
        NetworkError: the hub cannot be reached; known within seconds.

    >>> corpus = open_corpus(["One text.", {"text": "Another."}])
    >>> list(corpus.documents())
    ['One text.', 'Another.']
    >>> [ids.tolist() for ids in open_corpus([{"input_ids": [5, 6]}, {"input_ids": [7]}]).documents()]
    [[5, 6], [7]]
    """
    order = None if seed is None else checked_seed(seed)
    if source is None:
        return _default(text_key, token_key, order)
    if isinstance(source, Corpus):
        return source if order is None else source.shuffled(order)
    if isinstance(source, str) and source == PACKAGED:
        return _packaged("asked for", order)
    opened = _source(source, split)
    corpus = Corpus(*_columned(opened, text_key, token_key), seed=order)
    if not opened.once and not isinstance(opened, hub.Hub):
        next(Corpus(corpus._source, corpus._column).documents())  # in the source's order: a shuffled one may need all
    return corpus


def packaged_sample(why: str = "asked for") -> Corpus:
    """The text sample in this package (public-domain prose and WordNet glosses, about 1 MB); needs no network."""
    return _packaged(why, None)


def _packaged(why: str, seed: int | None) -> Corpus:
    path = Path(str(resources.files("aquin_nb.engine.models").joinpath("tiny/sample.jsonl")))
    return Corpus(JsonlFiles([path], "packaged sample"), Column(TEXT_KEY, tokens=False), why=why, seed=seed)


def _default(text_key: str, token_key: str | None, seed: int | None) -> Corpus:
    try:
        source, column = _columned(hub.Hub(DEFAULT_HUB_NAME), text_key, token_key)
    except AquinError as error:
        reason = str(error).removesuffix(hub.OFFLINE_OPTIONS).strip()
        return _packaged(f"default; the packaged sample, because OpenWebText cannot be streamed: {reason}", seed)
    return Corpus(source, column, why="default; OpenWebText streamed from the hub", seed=seed)


def _columned(source: Source, text_key: str, token_key: str | None) -> tuple[Source, Column]:
    """The source and its documents' column, which is found in the first row where the source does not say."""
    keys, first = source.columns, None
    if keys is None and not source.once:
        first = next((row for _, row in source.rows() if row is not None), None)
        keys = [str(key) for key in first] if isinstance(first, Mapping) else None
    column = chosen_column(keys, first, text_key, token_key)
    if source.columns is not None and column.key not in source.columns:
        raise CorpusError(column.missing(list(source.columns), source.name))
    return source.select(column.key), column


def _source(source: object, split: str) -> Source:
    if isinstance(source, (str, os.PathLike)):
        return _named(source, split)
    if isinstance(source, Mapping):
        if split not in source:
            raise CorpusError(f"The dataset has no split {split!r}; it has {', '.join(map(str, source)) or 'none'}.")
        return _source(source[split], split)
    if isinstance(source, (bytes, bytearray)) or not isinstance(source, Iterable):
        raise CorpusError(
            f"A corpus comes from a path, a hub name, a datasets dataset or a list of texts, not {kind(source)}."
        )
    if type(source).__module__.partition(".")[0] == "datasets":
        from datasets import Dataset

        return Table(source) if isinstance(source, Dataset) else Stream(source)
    if isinstance(source, Iterator):
        return Once(source)
    if hasattr(source, "iterrows"):
        raise CorpusError("A corpus comes from one column of a DataFrame; give frame['text'].")
    return Listed(source) if isinstance(source, (Sequence, np.ndarray)) else Iterated(source)


def _named(source: str | os.PathLike[str], split: str) -> Source:
    name = os.fspath(source)
    path = Path(name).expanduser()
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except OSError:  # too long for a path
        is_folder = is_there = False
    if is_folder:
        return _folder(path, split)
    if is_there:
        return _files([path], str(path))
    if any(sign in name for sign in _WILD):
        return _files(_matching(path), name)
    looks_local = isinstance(source, Path) or path.suffix.lower() in _FILES or name.startswith((".", "/", "~"))
    if looks_local:
        raise CorpusError(f"There is no file {path}; give {_READ}, a hub name or a list of texts.")
    if not _HUB_NAME.fullmatch(name):
        raise CorpusError(
            f"{name[:60]!r} is neither a file nor a hub name such as 'org/name'. Texts themselves go into a list."
        )
    return hub.Hub(name, split)


def _matching(pattern: Path) -> list[Path]:
    parts = pattern.parts
    fixed = next(at for at, part in enumerate(parts) if any(sign in part for sign in _WILD))
    try:
        found = _shown(Path(*parts[:fixed]), str(Path(*parts[fixed:])))
    except ValueError as error:
        raise CorpusError(f"{str(pattern)[:160]!r} is no pattern for files ({error}).") from None
    if not found:
        raise CorpusError(
            f"No file matches {str(pattern)[:160]!r}; a corpus is read from {_READ}. Texts themselves go into a list."
        )
    return found


def _shown(folder: Path, pattern: str) -> list[Path]:
    """The files in a folder that match, in the order of their names, without those that are hidden."""
    shown = (
        path for path in folder.glob(pattern) if not any(part[0] == "." for part in path.relative_to(folder).parts)
    )
    return sorted(path for path in shown if path.is_file())


def _folder(path: Path, split: str) -> Source:
    if any((path / name).is_file() for name in _SAVED):
        from datasets import load_from_disk

        try:
            loaded: Any = load_from_disk(str(path))
        except Exception as error:
            raise CorpusError(f"{path} looks like a saved dataset and cannot be opened as one: {error}.") from error
        return _source(loaded, split)
    inside = (
        file for file in path.rglob("*") if not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    found = sorted(file for file in inside if file.suffix.lower() in _FILES and file.is_file())
    if not found:
        raise CorpusError(f"The folder {path} holds no corpus; it is read from {_READ}, or from many of one kind.")
    return _files(found, str(path))


def _files(paths: list[Path], name: str) -> Source:
    kinds = sorted({path.suffix.lower() for path in paths})
    if unknown := [kind for kind in kinds if kind not in _FILES]:
        example = next(path for path in paths if path.suffix.lower() == unknown[0])
        raise CorpusError(f"{example} is a {unknown[0] or 'nameless'} file; a corpus is read from {_READ}.")
    if len(kinds) > 1:
        raise CorpusError(
            f"{name} holds {' and '.join(kinds)} files; name those of one kind, such as {paths[0].parent}/*{kinds[0]}."
        )
    full = [path for path in paths if path.stat().st_size]
    if not full:
        raise CorpusError(f"{name} is empty; give a file with text.")
    return _FILES[kinds[0]](full, name)
