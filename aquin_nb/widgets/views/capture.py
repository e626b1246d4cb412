"""What the view of a capture carries inside, and what it asks the kernel for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from ...cards import ActivationCaptureCard
from ...errors import AquinError, ProbeError, StoreError
from ..text import count, script_json
from .capture_codes import coded, coded_cosine, coded_places
from .capture_numbers import CaptureNumbers, Projected, Rows, spaced
from .fields import Field, Finder, fields, text_of

Answer = Callable[[dict[str, Any]], dict[str, Any]]

BUDGET: Final = 116_000  # bytes of the digest as it stands in a page
ROWS: Final = 2_000  # probes in the digest
CELLS: Final = 30_720  # probe × layer in the digest; cosines too where there are a third of that
CHARACTERS: Final = 36_000  # of all texts together
LONG: Final = 240
PLACED: Final = 13_000  # bytes of projections
KEYS: Final = 12  # metadata keys in the digest
FLAGGED: Final = 200
COLUMNS: Final = 1_000  # probes in a heat map from the kernel
PAGE: Final = 1_000
WHOLE_TEXT: Final = 20_000  # characters of one probe


class CaptureView:
    """A capture as a page sees it.

    Args:
        card: the result's card. frame: one row a probe, `text` and metadata keys. facts: names and values of the
            manifest at a glance, in order. numbers: of the tensors.
    """

    def __init__(
        self,
        card: ActivationCaptureCard,
        frame: pd.DataFrame,
        facts: Sequence[tuple[str, str]],
        numbers: CaptureNumbers,
    ) -> None:
        self.card, self.frame, self.facts, self.numbers = card, frame, list(facts), numbers
        self.fields = fields(frame)
        self._finder = Finder(frame, self.fields)

    def data(self) -> dict[str, Any]:
        """The digest, at most about 120 kB in a page; without tensors it says which file is missing."""
        try:
            looked, why = self.numbers.looked() if self.numbers.count else None, ""
            ready = [self.numbers.projected(layer) for layer in self.numbers.anchors] if looked else []
        except StoreError as error:
            looked, ready, why = None, [], str(error)
        layers = max(1, len(self.numbers.layers))
        most = min(ROWS, max(16, CELLS // layers))
        while True:
            for characters in range(CHARACTERS, 0, -CHARACTERS // 5):
                found = self._digest(looked, ready, why, most, characters)
                if size(found) <= BUDGET:
                    return found
            if most <= 16:
                return found
            most = most * 4 // 5

    def answers(self) -> dict[str, Answer]:
        """What a page may ask: see the methods of the same names."""
        return {
            "rows": self.rows,
            "heat": self.heat,
            "projection": self.projection,
            "probe": self.probe,
            "match": self.match,
        }

    def rows(self, params: dict[str, Any]) -> dict[str, Any]:
        """A page of the table: `start`, `count`, `filter`, `sort` → `rows`, `columns`, `total`.

        With `find` ({"column": "probe", "value": row}) → `position` in that order, -1 where the filter leaves it out.
        """
        found = self._ordered(params)
        if isinstance(wanted := params.get("find"), Mapping):
            place = np.flatnonzero(found == whole(wanted, "value", 0, len(self.frame)))
            return {"position": int(place[0]) if len(place) else -1}
        start, count = whole(params, "start", 0, len(self.frame)), whole(params, "count", 0, PAGE)
        page = found[start : start + count]
        return {"total": len(found), **self._table(page, LONG)}

    def match(self, params: dict[str, Any]) -> dict[str, Any]:
        """`filter` → `ids` int32, every probe that it leaves."""
        return {"ids": self._finder.find(filtered(params)).astype(np.int32)}

    def heat(self, params: dict[str, Any]) -> dict[str, Any]:
        """`metric` ("norm" or "cosine"), `filter` → `ids`, `values` float32 [layers, ≤ 1,000], `total` probes left."""
        looked = self.numbers.looked()
        metric = one_of(params, "metric", ("norm", "cosine"))
        left = self._finder.find(filtered(params))
        places = np.flatnonzero(np.isin(looked.rows, left, assume_unique=True))
        places = places[spaced(len(places), COLUMNS)] if len(places) else places
        values = (looked.norm if metric == "norm" else looked.cosine)[:, places]
        return {"ids": looked.rows[places].astype(np.int32), "values": values, "total": len(left)}

    def projection(self, params: dict[str, Any]) -> dict[str, Any]:
        """`layer`, `field` (a metadata key or "") → `ids`, `x`, `y`, `explained`, `codes` or `values` of the field."""
        layer = one_of(params, "layer", self.numbers.layers)
        found = self.numbers.projected(layer)
        x, y = found.xy.T.copy()
        answer = {"ids": found.rows.astype(np.int32), "x": x, "y": y, "explained": list(found.explained)}
        name = params.get("field") or ""
        if name:
            field = next((field for field in self.fields if field.name == name), None)
            if field is None or field.kind == "text":
                raise ProbeError(f"The probes have no category or number {name!r:.60}.")
            if field.kind == "category":
                answer["codes"] = field.codes[found.rows]
            else:
                answer["values"] = field.values[found.rows].astype(np.float32)
        return answer

    def probe(self, params: dict[str, Any]) -> dict[str, Any]:
        """`row` → `text`, `about` (pairs of key and value), and `norm`, `cosine` float32 [layers] where looked at."""
        row = whole(params, "row", 0, len(self.frame) - 1)
        text = str(self.frame["text"].iloc[row])
        about = [[field.name, _within(text_of(field, row))] for field in self.fields]
        answer: dict[str, Any] = {"text": text[:WHOLE_TEXT], "length": len(text), "about": about}
        looked = self.numbers.looked()
        place = int(np.searchsorted(looked.rows, row))
        if place < len(looked.rows) and looked.rows[place] == row:
            answer |= {"norm": looked.norm[:, place], "cosine": looked.cosine[:, place]}
        return answer

    def _ordered(self, params: dict[str, Any]) -> Rows:
        found, sort = self._finder.find(filtered(params)), params.get("sort")
        if not sort:
            return found
        if not isinstance(sort, Mapping) or not isinstance(sort.get("column"), str):
            raise ProbeError("A sort is {'column': name, 'descending': yes or no}.")
        return self._finder.order(found, sort["column"], bool(sort.get("descending")))

    def _table(self, rows: Rows, long: int) -> dict[str, Any]:
        shown = self.frame["text"].iloc[rows]
        columns: dict[str, Any] = {"probe": rows.astype(np.int32), "text": [cut(str(text), long) for text in shown]}
        for field in self.fields:
            if field.kind == "number":
                columns[field.name] = field.values[rows].astype(np.float32)
            else:
                told = [text_of(field, row) for row in rows.tolist()]
                columns[field.name] = [None if text is None else cut(text, long) for text in told]
        return {"rows": len(rows), "columns": columns}

    def _digest(self, looked: Any, ready: list[Projected], why: str, most: int, characters: int) -> dict[str, Any]:
        rows = spaced(len(self.frame), most) if len(self.frame) else np.zeros(0, np.int64)
        long = min(LONG, max(16, characters // max(1, len(rows))))
        data: dict[str, Any] = {
            "kind": "capture",
            "card": self.card.model_dump(mode="json", exclude={"probes"}),
            "facts": [[name, value] for name, value in self.facts],
            "rows": len(self.frame),
            "why": why,
            "ids": None if len(rows) == len(self.frame) else rows.astype(np.int32),
            "texts": [cut(str(text), long) for text in self.frame["text"].iloc[rows]],
            "long": long,
            "layers": np.array(self.numbers.layers, np.int32),
            "median": np.array([norm.median for norm in self.card.norms], np.float32),
            "max": np.array([norm.max for norm in self.card.norms], np.float32),
        }
        data |= embedded_fields(self.fields, rows, long)
        if looked is not None:
            data |= self._pictures(looked, ready, rows)
        return data

    def _pictures(self, looked: Any, ready: list[Projected], rows: Rows) -> dict[str, Any]:
        places = np.searchsorted(looked.rows, rows).clip(max=len(looked.rows) - 1)
        there = looked.rows[places] == rows
        data: dict[str, Any] = {"looked": len(looked.rows)}
        norm = np.where(there, looked.norm[:, places], np.nan)
        data["norm"], data["norm_low"], data["norm_high"] = coded(norm)
        if norm.size <= CELLS // 3:
            data["cosine"] = coded_cosine(np.where(there, looked.cosine[:, places], np.nan))
        bad = np.flatnonzero(looked.bad.any(axis=0))
        data |= {"bad": looked.rows[bad[:FLAGGED]].astype(np.int32), "bad_total": len(bad)}
        room = max(1, PLACED // max(1, 4 * len(rows)))
        kept = [ready[at] for at in spaced(len(ready), room)] if room > 1 else [ready[len(ready) // 2]]
        layers = {id(found): layer for layer, found in zip(self.numbers.anchors, ready, strict=True)}
        data["placed"], data["spans"] = {}, {}
        for found in kept:
            at = np.searchsorted(found.rows, rows).clip(max=len(found.rows) - 1)
            xy = np.where((found.rows[at] == rows)[:, None], found.xy[at], np.nan)
            codes, span = coded_places(xy)
            data["placed"][str(layers[id(found)])] = codes
            data["spans"][str(layers[id(found)])] = np.array([*span, *found.explained], np.float32)
        return data


def embedded_fields(known: Sequence[Field], rows: Rows, long: int) -> dict[str, Any]:
    """The first keys: what they are, and codes, numbers or texts of some rows, by their place in the list."""
    told, codes, values, words = [], {}, {}, {}
    room = {"category": KEYS, "number": 4, "text": 8_000 // max(1, min(long, 60) * len(rows))}
    for at, field in enumerate(known):
        room[field.kind] -= 1
        carried = room[field.kind] >= 0
        told.append({"name": field.name, "kind": field.kind, "levels": field.levels, "carried": carried})
        if carried and field.kind == "category":
            codes[str(at)] = (field.codes[rows] + 1).astype(np.uint8)
        elif carried and field.kind == "number":
            values[str(at)] = field.values[rows].astype(np.float32)
        elif carried:
            words[str(at)] = [None if (word := field.words[row]) is None else cut(word, min(long, 60)) for row in rows]
    return {"fields": told, "codes": codes, "values": values, "words": words}


def size(data: Any) -> int:
    """Bytes of embedded data in a page, near enough: arrays as base64, the rest as script-safe JSON in UTF-8."""
    arrays = 0

    def plain(value: Any) -> Any:
        nonlocal arrays
        if isinstance(value, np.ndarray):
            arrays += 60 + value.nbytes * 4 // 3
            return None
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list) else value

    return len(script_json(plain(data)).encode("utf-8", "replace")) + arrays


def cut(text: str, long: int) -> str:
    """A text of at most `long` characters, its end said to be missing."""
    return text if len(text) <= long else text[: long - 1] + "…"


def manifest_facts(manifest: Mapping[str, Any], path: str, site: str) -> list[tuple[str, str]]:
    """What a manifest says, in the order in which people ask for it; texts only."""
    model = manifest["model"]
    checkpoint = model.get("checkpoint") or {}
    sae = manifest.get("sae") or {}
    depth = f"{count(model['n_layers'])} layers, d_model {count(model['d_model'])}"
    found = {
        "folder": path,
        "model": f"{model['name']} ({model['source']}), {depth}",
        "ran as": f"{model['dtype']} on {model['device']}, {model['backend']}",
        "weights": f"sha256 {model['fingerprint']}",
        "checkpoint": checkpoint.get("path"),
        "checkpoint file": f"sha256 {checkpoint['fingerprint']}" if checkpoint.get("fingerprint") else None,
        "read at": f"{site}, {'mean over tokens' if manifest['position'] == 'mean' else 'last token'}",
        "stored as": f"{manifest['dtype']}, {count(manifest['n_probes'])} × {count(manifest['d_model'])} a layer",
        "layers": ", ".join(map(str, manifest["layers"])),
        "metadata": ", ".join(map(str, manifest["metadata_keys"])),
        "features": f"{sae.get('file')}, layer {sae.get('layer')}" if sae else None,
        "captured": manifest.get("created_at"),
        "complete": "yes" if manifest["complete"] else "no: it was stopped before the last probe",
    }
    return [(name, cut(str(value), 400)) for name, value in found.items() if value]


def _within(text: str | None) -> str | None:
    return None if text is None else cut(text, WHOLE_TEXT)


def filtered(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """The filter among a page's parameters."""
    found = params.get("filter") or {}
    if not isinstance(found, Mapping):
        raise ProbeError("A filter is {'text': words, 'among': {key: values}}.")
    return found


def whole(params: Mapping[str, Any], name: str, low: int, high: int) -> int:
    """A whole number among a page's parameters, cut to a range.

    Raises:
        AquinError: it is none.
    """
    value = params.get(name, low)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise AquinError(f"{name} is a whole number, not {value!r:.40}.")
    return int(min(max(value, low), high))


def one_of(params: Mapping[str, Any], name: str, known: Sequence[Any]) -> Any:
    """One of a few values.

    Raises:
        AquinError: it is another.
    """
    value = params.get(name)
    if isinstance(value, (list, dict)) or value not in known:
        raise AquinError(f"{name}={value!r:.40} is not one of {', '.join(map(str, known))}.")
    return value
