"""Which part of a row is its document: a text, or the ids of a text that was tokenised before."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ...errors import CorpusError
from .rows import kind

Ids: TypeAlias = npt.NDArray[np.int64]
Document: TypeAlias = str | Ids
"""A text, or its token ids [n]."""

TEXT_KEY = "text"
TOKEN_KEY = "input_ids"


@dataclass(frozen=True)
class Column:
    """The key of the documents in rows that are mappings; rows of other kinds are the documents themselves."""

    key: str
    tokens: bool

    def take(self, row: object, where: str) -> Document | None:
        """The document of a row; None stays None.

        Raises:
            CorpusError: no such key (the keys found), or neither a text nor ids, as the column has it.
        """
        if isinstance(row, Mapping):
            if self.key not in row:
                raise CorpusError(self.missing([str(key) for key in row], where))
            row = row[self.key]
        if row is None:
            return None
        return _ids(row, where) if self.tokens else _text(row, where)

    def missing(self, found: Collection[str], where: str) -> str:
        """The message about rows without the key."""
        what, argument = ("token ids", "token_key=") if self.tokens else ("text", "text_key=")
        have = ", ".join(found) or "none"
        message = f"{where} has no key {self.key!r}; it has {have}. Name the one with {what} by {argument}."
        if not self.tokens and TOKEN_KEY in found:
            message += f" Documents that are tokenised already: token_key={TOKEN_KEY!r}."
        return message


def chosen_column(keys: Collection[str] | None, row: object, text_key: str, token_key: str | None) -> Column:
    """The column for rows like `row` with these keys (None: rows that are no mappings).

    `token_key` means ids. Otherwise ids are taken only where nothing else can be meant: rows without the default
    text key that have `input_ids`, and rows that are lists.
    """
    if token_key is not None:
        return Column(token_key, tokens=True)
    if keys is None:
        return Column(text_key, tokens=isinstance(row, (list, tuple, np.ndarray)))
    if text_key == TEXT_KEY and TEXT_KEY not in keys and TOKEN_KEY in keys:
        return Column(TOKEN_KEY, tokens=True)
    return Column(text_key, tokens=False)


def is_blank(document: Document | None) -> bool:
    """Nothing at all, or a text of white space only."""
    return document is None or len(document) == 0 or (isinstance(document, str) and document.isspace())


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise CorpusError(f"{where}: {kind(value)} where a text is expected.")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as wrong:
            raise CorpusError(
                f"{where}: character {wrong.start + 1} is half of a surrogate pair, which is no text; repair the row."
            ) from None
    return value


def _ids(value: Any, where: str) -> Ids:
    try:
        ids = np.asarray(value)
    except (ValueError, TypeError):
        ids = np.empty((0, 0))
    if isinstance(value, (str, bytes, Mapping)) or ids.ndim != 1 or (ids.dtype.kind not in "iu" and len(ids)):
        raise CorpusError(f"{where}: {_shown(value)} where a list of token ids is expected.")
    ids = ids.astype(np.int64, copy=False)
    if len(ids) and int(ids.min()) < 0:
        raise CorpusError(f"{where}: {int(ids.min())} is no token id; ids count from 0.")
    return ids


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        for item in value:
            if isinstance(item, bool) or not isinstance(item, (int, np.integer)):
                return f"a list with {item!r:.20} in it"
        return "a list with a number beyond 64 bits"
    return kind(value)
