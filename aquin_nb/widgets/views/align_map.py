"""The map of an alignment: a against b in an order of your choice, answered in tiles of any resolution."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
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
TOGETHER: Final = 64
"""Tiles of one question: more than a large screen shows."""
EXACT_TILE: Final = 6e8
"""Operations of a full tile up to which every cosine in it is computed: 5 to 20 ms on a core."""
EXACT_MAP: Final = 1e10
"""Operations of the whole map up to which it is computed once, in blocks of `BASE`: some 300 ms."""
BASE: Final = 4
SAMPLED: Final = ((2, 2), (2, 1), (1, 1))
"""Of a block too large for that: rows and columns of it that are looked at, the first that `EXACT_TILE` allows."""

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Directions:
    """Rows of a dictionary [n, d], of any length, and 1 / length (0 where there is none): unit rows when gathered.

    Gathering a few rows and scaling these costs less than a second copy of a dictionary.
    """

    rows: NDArray[Any]
    scale: Floats
    whole: bool = False  # every row has a direction

    @classmethod
    def of(cls, rows: NDArray[Any]) -> Directions:
        length = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
        usable = np.isfinite(length) & (length > 0)
        scale = np.divide(1.0, length, out=np.zeros_like(length), where=usable).astype(np.float32)
        return cls(rows, scale, bool(usable.all()))

    def unit(self, ids: Ids) -> Floats:
        found: Floats = np.asarray(self.rows[ids], np.float32) * self.scale[ids, None]
        return found if self.whole else np.where(self.scale[ids, None] > 0, found, np.float32(0.0))


class AlignMap:
    """Features of a (rows) and b (columns) that took part, and the cosines between them.

    Cosines come from the directions where these are at hand, in blocks too large for that from a sample of them, and in
    any case from the listed neighbours: a block that holds a feature's nearest neighbour shows at least its cosine.

    Args:
        features: frames of a and b with feature, class, partner, cosine, nearest.
        neighbours: of a `SaeAlign`.
        labels: cluster of each feature of a and of b, -1 for those that took no part; without them no order by cluster.
        directions: both dictionaries' rows, or None while (or because) they are not at hand.

    >>> AlignMap(frames, neighbours).tiles("matching", 1, [(0, 0), (0, 1)])[1].shape   # doctest: +SKIP
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
        self._near_places: dict[str, list[tuple[Ids, Floats]]] = {}
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

    def tiles(self, order: str, block: int, at: Sequence[tuple[int, int]]) -> list[Floats]:
        """Tiles of the map. Those of a view are asked for together: one product makes them, not one for each.

        Args:
            block: features of one block along each side, a power of two; 1 shows single pairs.
            at: row and column of each tile: its first place along a and b by `TILE` blocks.

        Returns:
            Of each, float32 [to 256, to 256], fewer at the map's ends: the largest cosine of each block that is known,
            NaN for none.

        Raises:
            DictionaryError: a tile outside of the map, too many of them, or a block that is none.
        """
        ids = self.order(order)
        if block < 1 or block & (block - 1):
            raise DictionaryError(f"Blocks are of 1, 2, 4, … features, not {block!r:.40}.")
        if len(at) > TOGETHER:
            raise DictionaryError(f"At most {TOGETHER} tiles can be asked for at once, not {len(at):,}.")
        span = TILE * block
        for row, col in at:
            if not (0 <= row * span < len(ids[0]) and 0 <= col * span < len(ids[1])):
                raise DictionaryError(f"The map has {len(ids[0]):,} × {len(ids[1]):,} places: no tile ({row}, {col}).")
        if block >= BASE and (whole := self._coarse(order)) is not None:
            cut, each = span // BASE, block // BASE
            return [
                block_maxima(whole[row * cut : (row + 1) * cut, col * cut : (col + 1) * cut], each, each)
                for row, col in at
            ]
        found, exact = self._computed(ids, block, at)
        if not exact:
            for values, (row, col) in zip(found, at, strict=True):
                self._listed(order, values, (row * span, col * span), block)
        return found

    def overview(self, order: str, blocks: int) -> Floats:
        """The whole map in at most `blocks` a side, as `tiles`."""
        block = 1 << max(0, math.ceil(math.log2(max(1, *self.shape) / blocks)))
        return self.tiles(order, block, [(0, 0)])[0]

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
                    [block_maxima(found[0].unit(part) @ b, BASE, BASE) for part in parts]
                )
            return self._whole[order]

    def _computed(self, ids: tuple[Ids, Ids], block: int, at: Sequence[tuple[int, int]]) -> tuple[list[Floats], bool]:
        """Tiles from the directions, and whether every cosine of each block was looked at."""
        span = TILE * block
        directions = self._directions()
        if directions is None:
            shapes = [[-(-min(len(ids[i]) - span * tile[i], span) // block) for i in (0, 1)] for tile in at]
            return [np.full(shape, np.nan, np.float32) for shape in shapes], False
        each = 2.0 * directions[0].rows.shape[1] * TILE**2
        # By the size of a full tile, so that tiles at the map's end look like their neighbours.
        exact = block == 1 or each * block**2 <= EXACT_TILE
        some = (block, block) if exact else next((n for n in SAMPLED if each * math.prod(n) <= EXACT_TILE), SAMPLED[-1])
        rows, cols = (
            {tile[i]: _looked_at(ids[i], tile[i] * span, span, block, some[i]) for tile in at} for i in (0, 1)
        )
        found: dict[tuple[int, int], Floats] = {}
        for these, those in _rectangles(at):
            a, b = (np.concatenate([part[i] for i in own]) for part, own in ((rows, these), (cols, those)))
            values = block_maxima(directions[0].unit(a) @ directions[1].unit(b).T, *some)
            for i, row in enumerate(these):
                for j, col in enumerate(those):
                    found[row, col] = values[i * TILE : (i + 1) * TILE, j * TILE : (j + 1) * TILE]
        return [found[tile] for tile in at], exact

    def _listed(self, order: str, values: Floats, at: tuple[int, int], block: int) -> None:
        """Raise blocks of a tile to the cosines of neighbours that lie in them."""
        for side, (there, cosines) in enumerate(self._neighbour_places(order)):
            start, end = at[1 - side], at[1 - side] + values.shape[1 - side] * block
            own = slice(at[side], at[side] + values.shape[side] * block)
            here, k = np.nonzero((there[own] >= start) & (there[own] < end))
            other = (there[own][here, k] - start) // block
            i, j = (here // block, other) if side == 0 else (other, here // block)
            np.fmax.at(values, (i, j), cosines[own][here, k])

    def _neighbour_places(self, order: str) -> list[tuple[Ids, Floats]]:
        """Of a and b, at each place: places of its feature's neighbours on the other side, -1 for none, and cosines."""
        ids = self.order(order)
        with self._lock:
            if order not in self._near_places:
                made = []
                for side, (near, cosines) in enumerate(self._near):
                    place = np.full(
                        len(self._features[1 - side]) + 1, -1, np.int32
                    )  # the last one is that of no feature
                    place[ids[1 - side]] = np.arange(len(ids[1 - side]), dtype=np.int32)
                    made.append((place[near[ids[side]]], cosines[ids[side]]))
                self._near_places[order] = made
            return self._near_places[order]

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


def _looked_at(ids: Ids, start: int, span: int, block: int, n: int) -> Ids:
    """Of a tile's features along one side, n of each block, evenly."""
    own = ids[start : start + span]
    if n == block:
        return own
    places = np.add.outer(np.arange(0, len(own), block), (np.arange(n) * 2 + 1) * block // (2 * n)).ravel()
    return own[np.minimum(places, len(own) - 1)]


def _rectangles(at: Sequence[tuple[int, int]]) -> Iterator[tuple[list[int], list[int]]]:
    """The tiles as rows × columns, neither with gaps to fill: rows that need the same columns go together."""
    needed: dict[int, set[int]] = {}
    for row, col in at:
        needed.setdefault(row, set()).add(col)
    alike: dict[tuple[int, ...], list[int]] = {}
    for row in sorted(needed):
        alike.setdefault(tuple(sorted(needed[row])), []).append(row)
    return ((rows, list(cols)) for cols, rows in alike.items())


def block_maxima(values: Floats, height: int, width: int) -> Floats:
    """Largest value of each block; the last ones may be smaller. By halves where blocks are powers of two: reduceat
    takes ten times as long."""
    for size, axis in ((height, 0), (width, 1)):
        while size % 2 == 0:
            size //= 2
            values = np.swapaxes(values, 0, axis)
            paired = np.maximum(values[: len(values) // 2 * 2 : 2], values[1::2])
            if len(values) % 2:
                paired = np.concatenate([paired, values[-1:]])
            values = np.swapaxes(paired, 0, axis)
    return np.ascontiguousarray(values)
