"""The map of an alignment: a against b in an order of your choice, answered in tiles of any resolution."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import DictionaryError

CLASS_ORDER: Final = ("shared", "rotated", "split", "merged", "displaced", "weak", "unmatched", "rare", "dead")
ORDERS: Final = ("matching", "class", "index", "clusters")
TILE: Final = 256
"""Blocks of a tile along each side, at most."""
EXACT_TILE: Final = 6e8
"""Operations of a full tile up to which every cosine in it is computed: 20 ms on a core."""
EXACT_MAP: Final = 1e10
"""Operations of the whole map up to which it is computed once, in blocks of `BASE`: some 300 ms."""
BASE: Final = 4
SAMPLED: Final = (2, 2)
"""Of a block too large for that: rows and columns of it that are looked at."""

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Directions:
    """Rows of a dictionary [n, d], of any length, and 1 / length (0 where there is none): unit rows when gathered.

    Gathering a few rows and scaling these costs less than a second copy of a dictionary.
    """

    rows: NDArray[Any]
    scale: Floats

    @classmethod
    def of(cls, rows: NDArray[Any]) -> Directions:
        length = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
        usable = np.isfinite(length) & (length > 0)
        scale = np.divide(1.0, length, out=np.zeros_like(length), where=usable).astype(np.float32)
        return cls(rows, scale)

    def unit(self, ids: Ids) -> Floats:
        found: Floats = np.asarray(self.rows[ids], np.float32) * self.scale[ids, None]
        return np.where(self.scale[ids, None] > 0, found, np.float32(0.0))


class AlignMap:
    """Features of a (rows) and b (columns) that took part, and the cosines between them.

    Cosines come from the directions where these are at hand, in blocks too large for that from a sample of them, and in
    any case from the listed neighbours: a block that holds a feature's nearest neighbour shows at least its cosine.

    Args:
        features: frames of a and b with feature, class, partner, cosine, nearest.
        neighbours: of a `SaeAlign`.
        labels: cluster of each feature of a and of b, -1 for those that took no part; without them no order by cluster.
        directions: both dictionaries' rows, or None while (or because) they are not at hand.

    >>> AlignMap(frames, neighbours).tile("matching", 0, 0, 1, 256, 256)["values"].shape   # doctest: +SKIP
    (256, 256)
    """

    def __init__(
        self,
        features: tuple[pd.DataFrame, pd.DataFrame],
        neighbours: Mapping[str, tuple[NDArray[Any], NDArray[Any]]],
        labels: tuple[NDArray[Any], NDArray[Any]] | None = None,
        directions: Callable[[], tuple[Directions, Directions] | None] = lambda: None,
    ) -> None:
        self._features, self._labels, self._directions = features, labels, directions
        self._near = [
            (np.asarray(neighbours[side][0], np.int32), np.asarray(neighbours[side][1], np.float32)) for side in "ab"
        ]
        self._orders: dict[str, tuple[Ids, Ids]] = {}
        self._places: dict[str, tuple[Ids, Ids]] = {}
        self._whole: dict[str, Floats] = {}  # maxima of BASE × BASE blocks, of maps small enough
        self._lock = threading.Lock()

    @property
    def orders(self) -> tuple[str, ...]:
        return ORDERS if self._labels is not None else ORDERS[:-1]

    @property
    def shape(self) -> tuple[int, int]:
        rows, cols = self.order("index")
        return len(rows), len(cols)

    def order(self, name: str) -> tuple[Ids, Ids]:
        """Feature at each place along a and along b.

        Raises:
            DictionaryError: an order that is none, or by cluster where clusters are not known.
        """
        if name not in self.orders:
            raise DictionaryError(f"The map is ordered by {', '.join(self.orders)}, not {name!r:.40}.")
        with self._lock:
            if name not in self._orders:
                self._orders[name] = self._ordered(name)
            return self._orders[name]

    def place(self, name: str) -> tuple[Ids, Ids]:
        """Place of each feature of a and of b, -1 for those that took no part."""
        order = self.order(name)
        with self._lock:
            if name not in self._places:
                found = []
                for ids, frame in zip(order, self._features, strict=True):
                    place = np.full(len(frame), -1, np.int32)
                    place[ids] = np.arange(len(ids), dtype=np.int32)
                    found.append(place)
                self._places[name] = found[0], found[1]
            return self._places[name]

    def _ordered(self, name: str) -> tuple[Ids, Ids]:
        a, b = self._features
        took = [np.flatnonzero(frame["nearest"].notna().to_numpy()).astype(np.int32) for frame in (a, b)]
        if name == "index":
            return took[0], took[1]
        cosine = [np.nan_to_num(frame["cosine"].to_numpy(np.float64), nan=-np.inf) for frame in (a, b)]
        if name == "clusters":
            assert self._labels is not None
            by = [ids[np.lexsort((-cosine[i][ids], np.asarray(self._labels[i])[ids]))] for i, ids in enumerate(took)]
            return by[0], by[1]
        keys = [-cosine[0][took[0]]]
        if name == "class":
            rank = {kind: i for i, kind in enumerate(CLASS_ORDER)}
            keys.append(a["class"].map(lambda kind: rank.get(kind, len(rank))).to_numpy()[took[0]])
        rows = took[0][np.lexsort(keys)]
        partner = a["partner"].fillna(-1).to_numpy(np.int32)[rows]
        matched = partner >= 0
        # Whoever has no partner comes last, so that partners meet on the diagonal.
        rows = np.concatenate([rows[matched], rows[~matched]])
        cols = np.concatenate([partner[matched], np.setdiff1d(took[1], partner[matched])])
        return rows.astype(np.int32), cols.astype(np.int32)

    def tile(self, order: str, row: int, col: int, block: int, height: int, width: int) -> dict[str, Any]:
        """Blocks of the map from place (row, col) on.

        Args:
            block: features of one block along each side, a power of two; 1 shows single pairs.
            height, width: blocks, 1 to 256.

        Returns:
            values: float32 [height, width], the largest cosine of each block that is known, NaN for none; fewer at the
            map's ends. exact: whether every cosine of each block was looked at.

        Raises:
            DictionaryError: a place outside of the map, or a block or size that is none.
        """
        rows, cols = self.order(order)
        if not (0 <= row < len(rows) and 0 <= col < len(cols)):
            raise DictionaryError(f"The map has {len(rows):,} × {len(cols):,} places, not ({row}, {col}).")
        if block < 1 or block & (block - 1) or not (1 <= height <= TILE and 1 <= width <= TILE):
            raise DictionaryError(f"A tile has 1 to {TILE} blocks a side, of 1, 2, 4, … features.")
        ids_a, ids_b = rows[row : row + height * block], cols[col : col + width * block]
        shape = -(-len(ids_a) // block), -(-len(ids_b) // block)
        if block >= BASE and not (row % BASE or col % BASE) and (whole := self._coarse(order)) is not None:
            part = whole[row // BASE :, col // BASE :][: height * block // BASE, : width * block // BASE]
            return {"values": _block_maxima(part, block // BASE, block // BASE), "exact": True}
        values, exact = self._computed(ids_a, ids_b, block, shape)
        if not exact:
            self._listed(order, values, (row, col), block, (len(ids_a), len(ids_b)))
        return {"values": values, "exact": exact}

    def _coarse(self, order: str) -> Floats | None:
        """Block maxima of the whole map; None where these are too much work, or the directions are not at hand."""
        found = self._directions()
        if found is None or 2.0 * found[0].rows.shape[1] * math.prod(self.shape) > EXACT_MAP:
            return None
        ids_a, ids_b = self.order(order)
        with self._lock:
            if order not in self._whole:
                b = found[1].unit(ids_b).T
                parts = [ids_a[start : start + 1024] for start in range(0, len(ids_a), 1024)]
                self._whole[order] = np.concatenate(
                    [_block_maxima(found[0].unit(part) @ b, BASE, BASE) for part in parts]
                )
            return self._whole[order]

    def _computed(self, ids_a: Ids, ids_b: Ids, block: int, shape: tuple[int, int]) -> tuple[Floats, bool]:
        found = self._directions()
        if found is None:
            return np.full(shape, np.nan, np.float32), False
        a, b = found
        each = 2.0 * a.rows.shape[1]
        # By the size of a full tile, so that tiles at the map's end look like their neighbours.
        exact = each * (TILE * block) ** 2 <= EXACT_TILE or block == 1
        if exact:
            return _block_maxima(a.unit(ids_a) @ b.unit(ids_b).T, block, block), True
        some = [
            ids[np.minimum(np.add.outer(np.arange(0, len(ids), block), _spread(block, n)).ravel(), len(ids) - 1)]
            for ids, n in zip((ids_a, ids_b), SAMPLED, strict=True)
        ]
        return _block_maxima(a.unit(some[0]) @ b.unit(some[1]).T, *SAMPLED), False

    def _listed(self, order: str, values: Floats, at: tuple[int, int], block: int, size: tuple[int, int]) -> None:
        """Raise blocks to the cosines of neighbours that lie in them."""
        of_order, of_place = self.order(order), self.place(order)
        for side in (0, 1):
            ids, cosines = self._near[side]
            own = of_order[side][at[side] : at[side] + size[side]]
            other = of_place[1 - side][ids[own]] - at[1 - side]
            inside = (ids[own] >= 0) & (other >= 0) & (other < size[1 - side])
            here, k = np.nonzero(inside)
            there = other[here, k]
            i, j = (here, there) if side == 0 else (there, here)
            np.fmax.at(values, (i // block, j // block), cosines[own[here], k])

    def cosine(self, a: int, b: int) -> float | None:
        """Of one pair; None when neither directions nor neighbours tell it."""
        found = self._directions()
        if found is not None:
            x, y = found[0].unit(np.array([a], np.int32)), found[1].unit(np.array([b], np.int32))
            return float((x.astype(np.float64) @ y.T.astype(np.float64)).item())
        for (ids, cosines), own, other in ((self._near[0], a, b), (self._near[1], b, a)):
            hit = np.flatnonzero(ids[own] == other)
            if len(hit):
                return float(cosines[own, hit[0]])
        return None


def _spread(block: int, n: int) -> NDArray[np.int64]:
    """n places of a block, evenly."""
    return (np.arange(n) * 2 + 1) * block // (2 * n)


def _block_maxima(values: Floats, height: int, width: int) -> Floats:
    """Largest value of each block; the last ones may be smaller."""
    if height > 1:
        values = np.maximum.reduceat(values, np.arange(0, values.shape[0], height), axis=0)
    if width > 1:
        values = np.maximum.reduceat(values, np.arange(0, values.shape[1], width), axis=1)
    return np.ascontiguousarray(values)
