"""Metadata of probes: which keys are categories, numbers or texts, and which probes a filter leaves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import ProbeError

Rows = NDArray[np.int64]

LEVELS = 40
"""A key with more values is a text, not a category."""
LEVEL_CHARACTERS = 60
FEW = 8  # whole numbers with no more values than this are a category: 0 and 1, or a rating


@dataclass(frozen=True)
class Field:
    """One metadata key.

    Attributes:
        name: the key. kind: what it is taken for.
        levels: values of a category as text, the most frequent first; codes: int32 [n], -1 where it is missing.
        values: float64 [n] of a number, NaN where it is missing.
        words: texts, None where they are missing.
    """

    name: str
    kind: Literal["category", "number", "text"]
    levels: list[str]
    codes: NDArray[np.int32]
    values: NDArray[np.float64]
    words: list[str | None]


def fields(frame: pd.DataFrame) -> list[Field]:
    """Every column beside `text`, in order."""
    return [_field(str(name), list(frame[name])) for name in frame.columns if name != "text"]


def words(value: Any) -> str | None:
    """A metadata value as text; None for a missing one.

    >>> words("yes"), words(2.0), words([1, "a"]), words(None)
    ('yes', '2', '[1, "a"]', None)
    """
    if _missing(value):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))  # pandas makes floats of whole numbers beside missing ones
    return json.dumps(value, ensure_ascii=False, default=str)


def _field(name: str, column: list[Any]) -> Field:
    shown = [words(value) for value in column]
    present = [value for value in column if not _missing(value)]
    distinct = len({text for text in shown if text is not None})
    numeric = bool(present) and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in present)
    whole = numeric and all(float(v).is_integer() for v in present)
    none = np.full(0, -1, np.int32)
    if numeric and not (whole and distinct <= FEW):
        values = np.array([math.nan if _missing(v) else float(v) for v in column])
        return Field(name, "number", [], none, values, [])
    if 0 < distinct <= LEVELS and (distinct <= FEW or distinct < len(present)):
        counts = pd.Series([text for text in shown if text is not None]).value_counts(sort=True)
        levels = sorted(counts.index, key=lambda text: (-int(counts[text]), text))
        if whole:
            levels = sorted(levels, key=float)
        place = {text: at for at, text in enumerate(levels)}
        codes = np.array([-1 if text is None else place[text] for text in shown], np.int32)
        return Field(name, "category", [str(text)[:LEVEL_CHARACTERS] for text in levels], codes, np.zeros(0), [])
    return Field(name, "text", [], none, np.zeros(0), shown)


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


class Finder:
    """Finds and orders probes. Words are looked for in the text and in text keys, all of them, in any case."""

    def __init__(self, frame: pd.DataFrame, known: list[Field]) -> None:
        self.known = {field.name: field for field in known}
        self._ranks: dict[str, NDArray[np.float64]] = {}
        self._shown = [str(text) for text in frame["text"]]
        self._texts = [text.lower() for text in self._shown]
        for field in known:
            if field.kind == "text":
                self._texts = [f"{t}\n{(word or '').lower()}" for t, word in zip(self._texts, field.words, strict=True)]

    def find(self, wanted: Mapping[str, Any]) -> Rows:
        """Rows, ascending, that a page's filter leaves: `text` (words) and `among` (key -> its levels, or None).

        Raises:
            ProbeError: a filter of another form, or a key that is no category of these probes.
        """
        text, among = wanted.get("text") or "", wanted.get("among") or {}
        if not isinstance(text, str) or not isinstance(among, Mapping):
            raise ProbeError("A filter is {'text': words, 'among': {key: values}}.")
        keep = np.ones(len(self._texts), np.bool_)
        for name, values in among.items():
            field = self.known.get(name)
            if field is None or field.kind != "category" or not isinstance(values, list):
                raise ProbeError(f"{name!r:.60} is no category of these probes.")
            places = [
                -1 if value is None else field.levels.index(value) for value in values if value in (None, *field.levels)
            ]
            keep &= np.isin(field.codes, places)
        words = text.lower().split()
        rows = np.flatnonzero(keep).astype(np.int64)
        for word in words:
            rows = rows[[word in self._texts[row] for row in rows.tolist()]] if len(rows) else rows
        return rows

    def order(self, rows: Rows, column: str, descending: bool) -> Rows:
        """Rows by a key (missing values last), by `text` or by `probe`; equal ones stay in order.

        Raises:
            ProbeError: no such key.
        """
        if column == "probe":
            return rows[::-1] if descending else rows
        keys = self._keys(column)[rows]
        return rows[np.argsort(np.where(np.isnan(keys), np.inf, -keys if descending else keys), kind="stable")]

    def _keys(self, column: str) -> NDArray[np.float64]:
        """What every probe sorts by, NaN where it is missing; of texts their place in the alphabet, found once."""
        field = self.known.get(column)
        if field is None and column != "text":
            raise ProbeError(f"The probes have no {column!r:.60} to sort by.")
        if field is not None and field.kind == "number":
            return field.values
        if column not in self._ranks:
            told = pd.Series(self._shown if field is None else texts(field), dtype=object).str.lower()
            self._ranks[column] = np.asarray(told.rank(method="dense"), np.float64)
        return self._ranks[column]


def texts(field: Field) -> list[str | None]:
    """A field's values as texts, None where it is missing."""
    if field.kind == "category":
        return [None if code < 0 else field.levels[code] for code in field.codes]
    return field.words


def text_of(field: Field, row: int) -> str | None:
    """One value as text, None where it is missing."""
    if field.kind == "number":
        value = field.values[row]
        return None if np.isnan(value) else f"{value:.12g}"
    if field.kind == "category":
        return None if field.codes[row] < 0 else field.levels[field.codes[row]]
    return field.words[row]
