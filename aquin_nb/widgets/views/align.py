"""What the view of an alignment carries inside, and what it asks the kernel for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...cards import SaeAlignCard
from ...errors import DictionaryError
from ..align import meanings
from .align_map import CLASS_ORDER, TILE, AlignMap

Frames = Mapping[str, pd.DataFrame]
Answer = Callable[[dict[str, Any]], dict[str, Any]]

WHOLE: Final = 400
"""Features of a dictionary that are all carried; of more the most telling ones."""
TELLING: Final = 230
PARTNERLESS: Final = 60  # of b beside the partners of what is carried of a
NEAR: Final = 4  # neighbours carried of each
POINTS: Final = 900
PAGE: Final = 32_768
GRID: Final = 400
"""Bins of cosine from -1 to 1 that thresholds are counted by."""
OVERVIEW: Final = 128
LISTED: Final = 1024  # places along a side up to which the order is carried

INTEGERS: Final = ("partner", "nearest", "second", "parent")
FLOATS: Final = ("cosine", "margin", "p", "q", "nearest_cosine", "second_cosine", "explained", "firing_rate")


def align_data(
    card: SaeAlignCard,
    frames: Frames,
    neighbours: Mapping[str, tuple[NDArray[Any], NDArray[Any]]],
    arrays: Mapping[str, NDArray[Any]],
    map_: AlignMap,
    annotations: list[dict[str, Any]],
) -> dict[str, Any]:
    """The digest: card, maps in 128 blocks a side, counts by cosine, the most telling features and a sample of pairs.

    Args:
        frames: features_a, features_b, pairs of a `SaeAlign`. neighbours: of it. arrays: matching, clusters, sizes_a,
            sizes_b as far as they are known.
        annotations: what people said of pairs, see `annotations.Annotations`.
    """
    sides = [frames["features_a"], frames["features_b"]]
    kept_a = _telling(sides[0])
    partners = sides[0]["partner"].iloc[kept_a].dropna().to_numpy(np.int64)
    kept_b = np.union1d(partners, _telling(sides[1], WHOLE if len(sides[1]) <= WHOLE else PARTNERLESS))
    parts = {
        side: {
            "total": len(frame),
            "took": int(frame["nearest"].notna().sum()),
            "table": table(frame, kept, ("second", "second_cosine")),
            "near": _near(neighbours[side], kept),
            "members": {str(frame["feature"].iloc[i]): text for i in kept if (text := str(frame["members"].iloc[i]))},
        }
        for side, frame, kept in zip("ab", sides, (kept_a, kept_b), strict=True)
    }
    shown = card.model_dump(mode="json", exclude={"weakest", "strongest", "weakest_a", "weakest_b", "histogram"})
    return {
        "card": shown,
        "meanings": meanings(card),
        "classes": list(CLASS_ORDER),
        "map": _carried_map(map_, arrays),
        "counts": _counts(frames),
        **parts,
        "points": _points(frames["pairs"], sides[0], kept_a),
        "annotations": annotations,
    }


def align_answers(
    frames: Frames, neighbours: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], map_: AlignMap
) -> dict[str, Answer]:
    """What the view asks for: a page of a `table`, `order`, `overview` and `tiles` of the map, a `pair` in detail."""
    sides = {side: frames[f"features_{side}"] for side in "ab"}

    def rows(params: dict[str, Any]) -> dict[str, Any]:
        side = _side(params)
        frame = sides[side]
        start = _whole(params, "start", max(len(frame) - 1, 0))
        return table(frame, np.arange(start, min(start + PAGE, len(frame)))) | {"total": len(frame)}

    def order(params: dict[str, Any]) -> dict[str, Any]:
        ids_a, ids_b = map_.order(str(params.get("order")))
        return {"a": ids_a, "b": ids_b}

    def overview(params: dict[str, Any]) -> dict[str, Any]:
        return {"values": quantised(map_.overview(str(params.get("order")), OVERVIEW))}

    def tiles(params: dict[str, Any]) -> dict[str, Any]:
        block, given = _whole(params, "block", 1 << 20, 1), params.get("tiles")
        if not isinstance(given, list) or not all(isinstance(one, list) and len(one) == 2 for one in given):
            raise DictionaryError(f"tiles must be rows and columns, [[0, 0], …], not {given!r:.40}.")
        last = max(map_.shape) // TILE
        at = [(_whole({"row": row}, "row", last), _whole({"col": col}, "col", last)) for row, col in given]
        found = map_.tiles(str(params.get("order")), block, at)
        # Only single pairs are read off: blocks are colours, for which a byte will do.
        return {"tiles": [quantised(values, dtype=np.uint16 if block == 1 else np.uint8) for values in found]}

    def pair(params: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {"a": None, "b": None, "cosine": None}
        for side, other in (("a", "b"), ("b", "a")):
            if params.get(side) is not None:
                feature = _whole(params, side, len(sides[side]) - 1)
                found[side] = _detail(feature, sides[side], sides[other], neighbours[side])
        if found["a"] and found["b"] and map_.shape[0]:
            found["cosine"] = map_.cosine(int(params["a"]), int(params["b"]))
        return found

    return {"table": rows, "order": order, "overview": overview, "tiles": tiles, "pair": pair}


def table(frame: pd.DataFrame, kept: NDArray[Any], without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Some rows as columns of numbers: class as its place in `CLASS_ORDER`; missing features -1, numbers NaN."""
    part = frame.iloc[kept]
    columns: dict[str, NDArray[Any]] = {"feature": part["feature"].to_numpy(np.int32), "class": _codes(part["class"])}
    for name in INTEGERS:
        if name not in without:
            columns[name] = part[name].astype("Int64").fillna(-1).to_numpy(np.int32)
    for name in FLOATS:
        if name not in without:
            columns[name] = part[name].to_numpy(np.float64, na_value=np.nan).astype(np.float32)
    columns["mutual"] = part["mutual"].to_numpy(np.uint8)
    return {"rows": len(part), "columns": columns}


def _codes(kinds: pd.Series[Any]) -> NDArray[np.uint8]:
    """A class that is none of ours (a newer version's) is the last one, other."""
    rank = {kind: i for i, kind in enumerate(CLASS_ORDER)}
    return kinds.map(lambda kind: rank.get(kind, len(rank))).to_numpy(np.uint8)


def _telling(frame: pd.DataFrame, most: int = TELLING) -> NDArray[np.int64]:
    """Rows: all of few; else half the least similar living features, then the most telling ones of every class."""
    if len(frame) <= max(WHOLE, most):
        return np.arange(len(frame))
    nearest = frame["nearest_cosine"].to_numpy(np.float64)
    living = (frame["class"] != "dead").to_numpy() & ~np.isnan(nearest)
    weakest = np.argsort(np.where(living, nearest, np.inf), kind="stable")[: min(most // 2, int(living.sum()))]
    chosen = list(weakest)
    taken = set(chosen)
    loss = nearest - frame["cosine"].to_numpy(np.float64)
    for_class = {"displaced": -np.nan_to_num(loss), "unmatched": nearest, "weak": nearest}
    kinds = [kind for kind in CLASS_ORDER if (frame["class"] == kind).any()]
    each = max(1, (most - len(chosen)) // max(1, len(kinds)))
    for kind in kinds:
        rows = np.flatnonzero((frame["class"] == kind).to_numpy())
        key = for_class.get(kind, -np.nan_to_num(nearest))[rows]
        new = [row for row in rows[np.argsort(key, kind="stable")] if row not in taken][:each]
        chosen += new
        taken.update(new)
    return np.sort(np.array(chosen, np.int64))


def _near(neighbours: tuple[NDArray[Any], NDArray[Any]], kept: NDArray[Any]) -> dict[str, Any]:
    ids, cosines = neighbours
    return {"ids": ids[kept, :NEAR].astype(np.int32), "cosines": cosines[kept, :NEAR].astype(np.float32)}


def _carried_map(map_: AlignMap, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    n_a, n_b = map_.shape
    carried: dict[str, Any] = {"shape": [n_a, n_b], "orders": list(map_.orders)}
    if "matching" in arrays:
        carried["matching"] = quantised(arrays["matching"])
    if "clusters" in arrays:
        most = float(np.abs(np.nan_to_num(arrays["clusters"])).max(initial=0.0)) or 1.0
        carried["clusters"] = {
            "values": quantised(arrays["clusters"], most),
            "most": most,
            "sizes_a": arrays["sizes_a"].astype(np.int32),
            "sizes_b": arrays["sizes_b"].astype(np.int32),
        }
    if max(n_a, n_b) <= LISTED:
        ids_a, ids_b = map_.order("matching")
        carried["listed"] = {"a": ids_a, "b": ids_b}
    return carried


def quantised(cosines: NDArray[Any], most: float = 1.0, dtype: type[np.uint8 | np.uint16] = np.uint8) -> NDArray[Any]:
    """-most to most as 1 to 255 (65,535 of uint16), missing or infinite as 0: what a page's heatmap takes."""
    half = np.float32(np.iinfo(dtype).max // 2)
    known = np.isfinite(cosines)
    codes = np.where(known, cosines, 0).astype(np.float32)
    codes *= half / np.float32(most)
    np.clip(codes, -half, half, out=codes)
    np.rint(codes, out=codes)
    codes += half + 1
    codes *= known
    return codes.astype(dtype)


def _counts(frames: Frames) -> dict[str, Any]:
    """Pairs by cosine, and features of each side that are their nearest's nearest by its cosine, in `GRID` bins."""
    found: dict[str, Any] = {"bins": GRID, "pairs": _binned(frames["pairs"]["cosine"].to_numpy(np.float64))}
    for side in "ab":
        frame = frames[f"features_{side}"]
        turned = frame["class"].isin(("shared", "rotated")).to_numpy()
        found[side] = _binned(frame["nearest_cosine"].to_numpy(np.float64)[turned])
    return found


def _binned(values: NDArray[np.float64]) -> NDArray[np.int32]:
    known = values[np.isfinite(values)]
    places = np.clip(np.floor((known + 1) * (GRID / 2) + 1e-6), 0, GRID - 1).astype(np.int64)
    return np.bincount(places, minlength=GRID).astype(np.int32)


def _points(pairs: pd.DataFrame, features: pd.DataFrame, kept: NDArray[Any]) -> dict[str, Any]:
    """Pairs evenly through the ranks of cosine, without those that the table carries: a, b, cosine, margin, class."""
    known = set(features["feature"].iloc[kept].tolist())
    rest = pairs[~pairs["a"].isin(known) & pairs["cosine"].notna()].sort_values("cosine", kind="stable")
    places = np.unique(np.linspace(0, len(rest) - 1, min(POINTS, len(rest))).round().astype(np.int64))
    part = rest.iloc[places]
    return {
        "rows": len(part),
        "columns": {
            "feature": part["a"].to_numpy(np.int32),
            "partner": part["b"].to_numpy(np.int32),
            "cosine": part["cosine"].to_numpy(np.float32),
            "margin": part["margin"].to_numpy(np.float32),
            "class": _codes(part["class_a"]),
        },
    }


def _detail(
    feature: int, own: pd.DataFrame, other: pd.DataFrame, neighbours: tuple[NDArray[Any], NDArray[Any]]
) -> dict[str, Any]:
    """A feature's row, its neighbours and, where it was split or merged or is a part of such a one, all that belong."""
    row = own.iloc[feature]
    ids, cosines = (part[feature] for part in neighbours)
    known = ids >= 0
    members = np.array([int(member) for member in str(row["members"]).split()], np.int64)
    return {
        "row": table(own, np.array([feature])),
        "near": table(other, ids[known]),
        "cosines": cosines[known].astype(np.float32),
        "members": members,
        "siblings": _siblings(row, other),
    }


def _siblings(row: pd.Series[Any], other: pd.DataFrame) -> NDArray[np.int64]:
    """Of a part: all parts of the feature it belongs to, itself among them."""
    if row["parent"] is pd.NA or row["parent"] is None or row["parent"] != row["parent"]:
        return np.array([], np.int64)
    text = str(other["members"].iloc[int(row["parent"])])
    return np.array([int(member) for member in text.split()], np.int64)


def _side(params: Mapping[str, Any]) -> str:
    side = params.get("side")
    if side not in ("a", "b"):
        raise DictionaryError(f'side must be "a" or "b", not {side!r:.40}.')
    return str(side)


def _whole(params: Mapping[str, Any], name: str, most: int, least: int = 0) -> int:
    value = params.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise DictionaryError(f"{name} must be a whole number from {least:,} to {most:,}, not {value!r:.40}.")
    return value
