"""Text corpora: files, lists, `datasets` objects, hub datasets streamed, and the packaged sample."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from ...errors import AquinError, CorpusError
from . import hub
from .rows import json_rows, jsonl_rows, kind, lines

PACKAGED = "packaged"
DEFAULT_HUB_NAME = "Skylion007/openwebtext"
DOCUMENT_CHARACTERS = 4000  # paragraphs of a .txt are gathered into documents of about this length
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?(:[\w.-]+)?")
_FILE_SUFFIXES = (".txt", ".json", ".jsonl")


class Corpus:
    """Documents in a fixed order, and why these.

    Attributes:
        name: a path, a hub name, or what kind of object was given.
        why: why this corpus: asked for, the default, or a fallback and its reason.
        blank: documents without any text that the latest pass left out.
    """

    def __init__(self, name: str, why: str, rows: Callable[[], Iterator[tuple[str, str | None]]]) -> None:
        """`rows` starts a new pass over `(where, text)`; `where` words an error about the row, None is a blank text."""
        self.name, self.why, self.blank = name, why, 0
        self._rows = rows

    def documents(self) -> Iterator[str]:
        """A new pass over the texts, always in the same order; blank ones are left out and counted in `blank`.

        Raises:
            CorpusError: a row is malformed (the message names it), or nothing but blank rows was found.
        """
        self.blank, found = 0, False
        for _, text in self._rows():
            if text is None or not text.strip():
                self.blank += 1
                continue
            found = True
            yield text
        if not found:
            raise CorpusError(f"{self.name} holds no text; give a corpus with at least one document.")

    def __repr__(self) -> str:
        return f"Corpus({self.name!r}, why={self.why!r})"


def open_corpus(source: object = None, *, text_key: str = "text", split: str = "train") -> Corpus:
    """A corpus from whatever holds text.

    `source` may be

    - a `.jsonl` file (one object or one string a line) or a `.json` file (a list of them);
    - a `.txt` file: blank lines end paragraphs, and consecutive paragraphs are gathered into documents of about
      4,000 characters (a longer paragraph stays whole);
    - a list or any iterable of strings or of mappings with `text_key`; an iterator can be read only once;
    - a `datasets` dataset, in memory or streamed (of a dataset dictionary, `split` is taken);
    - a hub name, `"org/name"` or `"org/name:config"`, streamed;
    - "packaged": the sample in this package, without any network;
    - None: the hub's OpenWebText streamed when it can be reached, else the sample in this package; `.why` says which
      and why.

    The first row is read before this returns (iterators excepted), so that a wrong path or key is noticed at once.

    Raises:
        CorpusError: missing or empty file, malformed line (its number), no `text_key` (the keys found), a text that
            is not a string, an unknown kind of source.
        NetworkError: the hub cannot be reached; known within seconds.

    >>> corpus = open_corpus(["One text.", {"text": "Another."}])
    >>> list(corpus.documents())
    ['One text.', 'Another.']
    """
    corpus = _opened(source, text_key, split)
    if not isinstance(source, Iterator) and source is not None:
        next(corpus.documents())
    return corpus


def packaged_sample(why: str = "asked for") -> Corpus:
    """The text sample in this package (public-domain prose and WordNet glosses, about 1 MB); needs no network."""
    path = Path(str(resources.files("aquin_nb.engine.models").joinpath("tiny/sample.jsonl")))
    return Corpus("packaged sample", why, lambda: _rows(jsonl_rows(path, CorpusError), "text"))


def _opened(source: object, text_key: str, split: str) -> Corpus:
    if source is None:
        return _default(text_key)
    if isinstance(source, Corpus):
        return source
    if source == PACKAGED and isinstance(source, str):
        return packaged_sample()
    if isinstance(source, (str, os.PathLike)):
        return _named(source, text_key, split)
    if isinstance(source, Mapping):
        if split not in source:
            raise CorpusError(f"The dataset has no split {split!r}; it has {', '.join(map(str, source)) or 'none'}.")
        return _opened(source[split], text_key, split)
    if isinstance(source, (bytes, bytearray)) or not isinstance(source, Iterable):
        raise CorpusError(
            f"A corpus comes from a path, a hub name, a datasets dataset or a list of texts, not {kind(source)}."
        )
    if type(source).__module__.partition(".")[0] == "datasets":
        return _dataset(source, text_key)
    if isinstance(source, Iterator):
        return _once(source, text_key)
    return Corpus(f"a {type(source).__name__} of texts", "asked for", lambda: _iterable(source, text_key, "row"))


def _default(text_key: str) -> Corpus:
    try:
        first = hub.first_row(DEFAULT_HUB_NAME)
        _text(first, text_key, f"{DEFAULT_HUB_NAME}, row 1")
    except AquinError as error:
        reason = str(error).removesuffix(hub.OFFLINE_OPTIONS).strip()
        return packaged_sample(f"default; the packaged sample, because OpenWebText cannot be streamed: {reason}")
    return Corpus(
        DEFAULT_HUB_NAME,
        "default; OpenWebText streamed from the hub",
        lambda: _iterable(hub.rows(DEFAULT_HUB_NAME), text_key, f"{DEFAULT_HUB_NAME}, row"),
    )


def _named(source: str | os.PathLike[str], text_key: str, split: str) -> Corpus:
    name = os.fspath(source)
    path = Path(name).expanduser()
    if path.exists():
        return _file(path, text_key)
    looks_local = isinstance(source, Path) or path.suffix.lower() in _FILE_SUFFIXES or name.startswith((".", "/", "~"))
    if looks_local:
        raise CorpusError(f"There is no file {path}; give a .txt, .json or .jsonl file, a hub name or a list of texts.")
    if not _HUB_NAME.fullmatch(name):
        raise CorpusError(
            f"{name[:60]!r} is neither a file nor a hub name such as 'org/name'. Texts themselves go into a list."
        )
    return Corpus(name, "asked for", lambda: _iterable(hub.rows(name, split), text_key, f"{name}, row"))


def _file(path: Path, text_key: str) -> Corpus:
    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in _FILE_SUFFIXES:
        what = f"a {suffix or 'nameless'} file" if path.is_file() else "a folder"
        raise CorpusError(f"{path} is {what}; a corpus is read from a .txt, .json or .jsonl file.")
    if path.stat().st_size == 0:
        raise CorpusError(f"{path} is empty; give a file with text.")
    if suffix == ".txt":
        return Corpus(str(path), "asked for", lambda: _plain_text(path))
    read = json_rows if suffix == ".json" else jsonl_rows
    return Corpus(str(path), "asked for", lambda: _rows(read(path, CorpusError), text_key))


def _plain_text(path: Path) -> Iterator[tuple[str, str | None]]:
    document: list[str] = []
    size, start = 0, 1
    for number, line in lines(path, CorpusError):
        if "\0" in line:
            raise CorpusError(f"{path}, line {number}: holds a zero byte; this is no plain text.")
        if not line.strip() and size >= DOCUMENT_CHARACTERS:
            yield f"{path}, line {start}", "".join(document).strip()
            document, size, start = [], 0, number + 1
        else:
            document.append(line)
            size += len(line)
    if text := "".join(document).strip():  # what is left may be the blank lines at the end of the file
        yield f"{path}, line {start}", text


def _dataset(source: Iterable[Any], text_key: str) -> Corpus:
    columns: list[str] | None = getattr(source, "column_names", None)  # None in a stream whose features are unknown
    if columns is not None:
        if text_key not in columns:
            raise CorpusError(_no_key(text_key, columns, "The dataset"))
        source = source.select_columns([text_key])  # type: ignore[attr-defined]  # images and audio stay undecoded
    info = getattr(source, "info", None)
    name = getattr(info, "dataset_name", None) or f"a datasets {type(source).__name__}"
    return Corpus(name, "asked for", lambda: _iterable(source, text_key, f"{name}, row"))


def _once(source: Iterator[object], text_key: str) -> Corpus:
    used = False

    def rows() -> Iterator[tuple[str, str | None]]:
        nonlocal used
        if used:
            raise CorpusError("This corpus is an iterator and has already been read; give a list to read it again.")
        used = True
        return _iterable(source, text_key, "row")

    return Corpus("an iterator of texts", "asked for", rows)


def _iterable(rows: Iterable[object], text_key: str, where: str) -> Iterator[tuple[str, str | None]]:
    for number, row in enumerate(rows, 1):
        yield f"{where} {number}", _text(row, text_key, f"{where} {number}")


def _rows(rows: Iterable[tuple[str, object]], text_key: str) -> Iterator[tuple[str, str | None]]:
    for where, row in rows:
        yield where, _text(row, text_key, where)


def _text(row: object, text_key: str, where: str) -> str | None:
    if isinstance(row, Mapping):
        if text_key not in row:
            raise CorpusError(_no_key(text_key, [str(key) for key in row], where))
        row = row[text_key]
    if row is None or isinstance(row, str):
        return row
    raise CorpusError(f"{where}: {kind(row)} where a text is expected.")


def _no_key(text_key: str, found: list[str], where: str) -> str:
    return f"{where} has no key {text_key!r}; it has {', '.join(found) or 'none'}. Name the one with text by text_key=."
