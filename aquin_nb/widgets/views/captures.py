"""What the view of captures side by side carries inside, and what it asks the kernel for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import StoreError
from ..pack import columns
from .capture import BUDGET, CELLS, cut, embedded_fields, one_of, size
from .capture_codes import coded, coded_places
from .capture_numbers import CaptureNumbers, Rows, spaced
from .fields import Field, fields
from .projection import Components, Vectors, like

Answer = Callable[[dict[str, Any]], dict[str, Any]]

ROWS: Final = 1_000  # probes of the first capture in the view
PLACED: Final = 16_000  # bytes of projections
CHARACTERS: Final = 30_000
FLAGGED: Final = 200


@dataclass(frozen=True)
class Side:
    """One capture: its name, numbers and probes, and where the probes of the first one are in it.

    `rows` int64 [probes of the first], -1 where a probe is not in this capture.
    """

    name: str
    numbers: CaptureNumbers
    frame: pd.DataFrame
    rows: Rows


class ComparisonView:
    """Captures compared with the first of them, as a page sees it.

    Args:
        tables: `captures`, `layers`, `probes` of an `engine.analysis.compare.Comparison`.
        notes, methods: its sentences. sides: two or more, the first one first.
    """

    def __init__(
        self, tables: Mapping[str, pd.DataFrame], notes: Sequence[str], methods: Sequence[str], sides: Sequence[Side]
    ) -> None:
        self.tables, self.notes, self.methods, self.sides = tables, list(notes), list(methods), list(sides)
        self.first = sides[0]
        self._fields: list[Field] = fields(self.first.frame)
        self._rows = spaced(len(self.first.frame), ROWS)

    def data(self) -> dict[str, Any]:
        """The digest, at most about 120 kB in a page; where a file is missing it says which."""
        try:
            pairs, why = [self._pair(side) for side in self.sides[1:]], ""
        except StoreError as error:
            pairs, why = [], str(error)
        layers = max([len(pair["layers"]) for pair in pairs], default=1)
        most = min(len(self._rows), max(16, CELLS // max(1, layers * len(pairs))))
        while True:
            found = self._digest(pairs, why, most)
            if size(found) <= BUDGET or most <= 16:
                return found
            most = most * 4 // 5

    def answers(self) -> dict[str, Answer]:
        return {"projection": self.projection}

    def projection(self, params: dict[str, Any]) -> dict[str, Any]:
        """`capture` (1 …), `layer`, → `ids` of the first capture, `x`, `y`, `x2`, `y2`, `explained`, `explained2`."""
        side = self.sides[one_of(params, "capture", range(1, len(self.sides)))]
        layer = one_of(params, "layer", self._common(side))
        (xy, first), (other, second) = self._placed(side, layer)
        answer: dict[str, Any] = {"ids": self._rows.astype(np.int32)}
        answer |= dict(zip(("x", "y", "x2", "y2"), np.hstack([xy, other]).T.copy(), strict=True))
        return answer | {"explained": list(first), "explained2": list(second)}

    def _common(self, side: Side) -> list[int]:
        return [layer for layer in self.first.numbers.layers if layer in side.numbers.layers]

    def _pair(self, side: Side) -> dict[str, Any]:
        """Everything about one capture beside the first, for all of `self._rows`."""
        layers = self._common(side)
        second = side.rows[self._rows]
        both = np.flatnonzero(second >= 0)
        distance = None
        if self.first.numbers.d_model == side.numbers.d_model and len(both):
            distance = np.full((len(layers), len(self._rows)), np.nan)
            for at, layer in enumerate(layers):
                a = self.first.numbers.read(layer, self._rows[both])
                b = _at(side.numbers, layer, second[both])
                distance[at, both] = 1 - _cosines(a, b)
        shown = [layers[at] for at in spaced(len(layers), 5)]
        placed = {layer: self._placed(side, layer) for layer in shown}
        return {"name": side.name, "layers": layers, "second": second, "distance": distance, "placed": placed}

    def _placed(self, side: Side, layer: int) -> tuple[tuple[Vectors, Any], tuple[Vectors, Any]]:
        """The two pictures of a layer [rows, 2] with their explained shares; the second takes the first one's signs."""
        first, second = self.first.numbers.projected(layer), side.numbers.projected(layer)
        a = _among(first.xy, first.rows, self._rows)
        b = _among(second.xy, second.rows, side.rows[self._rows])
        unit = Components(np.zeros(2, np.float32), np.eye(2, dtype=np.float32), second.explained)
        return (a, first.explained), (b @ like(unit, b, a).axes, second.explained)

    def _digest(self, pairs: Sequence[Mapping[str, Any]], why: str, most: int) -> dict[str, Any]:
        keep = spaced(len(self._rows), most)
        rows = self._rows[keep]
        long = min(200, max(16, CHARACTERS // max(1, len(rows))))
        flags = self.tables["probes"]
        data: dict[str, Any] = {
            "kind": "captures",
            "captures": [_plain(row) for row in self.tables["captures"].to_dict("records")],
            "lines": columns(self.tables["layers"]),
            "flags": columns(_short(flags.head(FLAGGED), long)),
            "flagged": len(flags),
            "notes": self.notes,
            "methods": self.methods,
            "why": why,
            "rows": len(self.first.frame),
            "ids": rows.astype(np.int32),
            "texts": [cut(str(text), long) for text in self.first.frame["text"].iloc[rows]],
            **embedded_fields(self._fields, rows, long),
        }
        room = max(1, PLACED // max(1, 8 * len(rows) * max(1, len(pairs))))
        data["pairs"] = [_carried(pair, keep, room) for pair in pairs]
        return data


def _carried(pair: Mapping[str, Any], keep: Rows, room: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": pair["name"],
        "layers": np.array(pair["layers"], np.int32),
        "second": pair["second"][keep].astype(np.int32),
    }
    if pair["distance"] is not None:
        told["distance"], told["low"], told["high"] = coded(pair["distance"][:, keep])
    known = list(pair["placed"])
    shown = [known[at] for at in spaced(len(known), room)] if room > 1 else known[len(known) // 2 :][:1]
    for name, side in (("placed", 0), ("placed2", 1)):
        told[name], told[f"{name}_spans"] = {}, {}
        for layer in shown:
            xy, explained = pair["placed"][layer][side]
            codes, span = coded_places(xy[keep])
            told[name][str(layer)] = codes
            told[f"{name}_spans"][str(layer)] = np.array([*span, *explained], np.float32)
    return told


def _cosines(a: Vectors, b: Vectors) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        x, y = a.astype(np.float64), b.astype(np.float64)
        found = (x * y).sum(axis=1) / np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    return np.where(np.isfinite(found), found, np.nan).clip(-1, 1)


def _at(numbers: CaptureNumbers, layer: int, rows: Rows) -> Vectors:
    """Vectors of rows in any order."""
    ascending, back = np.unique(rows, return_inverse=True)
    return numbers.read(layer, ascending)[back]


def _among(xy: Vectors, rows: Rows, wanted: Rows) -> Vectors:
    """Places of some rows, NaN for those that are not among `rows`."""
    at = np.searchsorted(rows, wanted).clip(max=max(0, len(rows) - 1))
    found: Vectors = np.where((rows[at] == wanted)[:, None], xy[at], np.nan).astype(np.float32)
    return found


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): None if value is None or value != value else value for name, value in row.items()}


def _short(frame: pd.DataFrame, long: int) -> pd.DataFrame:
    told = {name: [cut(str(text), max(long, 60)) for text in frame[name]] for name in ("text", "detail")}
    return frame.assign(**told)
