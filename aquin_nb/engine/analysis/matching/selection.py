"""Which pairs of a large similarity matrix are worth an edge: the best of each row and column, found block by block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .similarity import Similarities
from .watch import Watch

JITTER = 2.0**-20
"""On a GPU, equal similarities are told apart by a pseudo-random number below this."""

FLOAT32_SLACK = 2.0**-21
"""Covers the float32 roundings of shifts and floors, for values up to 1."""


WHOLE = 256
"""Columns that a row looks at are a multiple of this: the product is prepared anew for each shape of a block."""


@dataclass(frozen=True)
class Best:
    """Pairs that are among the best of their row or of their column.

    keys: int64, sorted, row · n_cols + column. row_floor, col_floor: float64 [rows], [cols] as they were chosen; of any
    pair that was left out, the similarity less col_shift is at most row_floor, and less row_shift at most col_floor.
    """

    keys: np.ndarray
    row_floor: np.ndarray
    col_floor: np.ndarray


def best_pairs(
    similarities: Similarities,
    keep: int,
    watch: Watch,
    stage: str,
    *,
    rows: np.ndarray | None = None,
    cols: np.ndarray | None = None,
    reach: np.ndarray | None = None,
    row_shift: np.ndarray | None = None,
    col_shift: np.ndarray | None = None,
    row_floor: np.ndarray | None = None,
    col_floor: np.ndarray | None = None,
) -> Best | None:
    """The `keep` columns of largest similarity - col_shift of each row, and the `keep` rows of each column likewise.

    rows, cols: the part of the matrix to look at, by default all. reach: [rows], how many of `cols` a row looks at,
    falling along `rows`. The shifts belong to `rows` and `cols` (0 by default), and so do the floors, below which
    nothing is kept. None: the time was up first.
    """
    n_rows, n_cols = similarities.shape
    count_rows = n_rows if rows is None else len(rows)
    count_cols = n_cols if cols is None else len(cols)
    dtype = np.float64 if similarities.low == torch.float64 else np.float32

    def typed(values: np.ndarray | None, size: int, default: float) -> np.ndarray:
        return np.full(size, default, dtype) if values is None else values.astype(dtype)

    lists = (_Lists if similarities.compiled else _DeviceLists)(
        similarities.device,
        (count_rows, min(keep, count_cols)),
        (count_cols, min(keep, count_rows)),
        typed(row_shift, count_rows, 0.0),
        typed(col_shift, count_cols, 0.0),
        typed(row_floor, count_rows, -np.inf),
        typed(col_floor, count_cols, -np.inf),
    )
    low_cols = similarities.cols(slice(None) if cols is None else cols)
    size = similarities.size
    for i in range(0, count_rows, size):
        chosen = slice(i, min(i + size, count_rows))
        low_rows = similarities.rows(chosen if rows is None else rows[chosen])
        stop = count_cols if reach is None else min(count_cols, whole(reach[i]))
        for j in range(0, stop, size):
            lists.add(similarities.block(low_rows, low_cols[j : min(j + size, stop)]), i, j)
            watch.check()
            if watch.expired:
                return None
        watch.tick(stage, chosen.stop, count_rows, "features")
    r, c = lists.pairs()
    keys = (r if rows is None else rows[r]).astype(np.int64) * n_cols + (c if cols is None else cols[c])
    row_most, col_most = lists.row_floor.astype(float), lists.col_floor.astype(float)
    return Best(distinct(keys), row_most + FLOAT32_SLACK, col_most + FLOAT32_SLACK)


def whole(count: int) -> int:
    """The next multiple of `WHOLE`."""
    return -(-int(count) // WHOLE) * WHOLE


def distinct(keys: np.ndarray) -> np.ndarray:
    """Sorted, each once. `np.unique` hashes integers, which took 80 times as long on three million keys like these."""
    keys = np.sort(keys)
    return keys[np.append(True, keys[1:] != keys[:-1])] if len(keys) else keys


class _Lists:
    """The running best of rows and columns, as heaps."""

    def __init__(
        self,
        device: torch.device,
        row_lists: tuple[int, int],
        col_lists: tuple[int, int],
        row_shift: np.ndarray,
        col_shift: np.ndarray,
        row_floor: np.ndarray,
        col_floor: np.ndarray,
    ) -> None:
        self.row_floor, self.col_floor = row_floor, col_floor
        self._shifts = row_shift, col_shift
        self._rows = np.empty(row_lists), np.empty(row_lists, np.int32), np.zeros(row_lists[0], np.int32)
        self._cols = np.empty(col_lists), np.empty(col_lists, np.int32), np.zeros(col_lists[0], np.int32)

    def add(self, block: torch.Tensor, row: int, col: int) -> None:
        from .selection_kernels import keep_best

        keep_best(block.numpy(), row, col, *self._shifts, self.row_floor, self.col_floor, *self._rows, *self._cols)

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of everything on a list; a pair may come twice."""
        rows, row_place = _filled(self._rows[2], self._rows[1].shape[1])
        cols, col_place = _filled(self._cols[2], self._cols[1].shape[1])
        return (
            np.concatenate([rows, self._cols[1][cols, col_place]]),
            np.concatenate([self._rows[1][rows, row_place], cols]),
        )


def _filled(counts: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    rows, places = np.nonzero(np.arange(size) < counts[:, None])
    return rows, places


class _DeviceLists:
    """The same on a GPU, where whole blocks are sorted instead."""

    def __init__(
        self,
        device: torch.device,
        row_lists: tuple[int, int],
        col_lists: tuple[int, int],
        row_shift: np.ndarray,
        col_shift: np.ndarray,
        row_floor: np.ndarray,
        col_floor: np.ndarray,
    ) -> None:
        self._row_shift, self._col_shift = (torch.from_numpy(x).to(device) for x in (row_shift, col_shift))
        self._row_least, self._col_least = (torch.from_numpy(x).to(device) for x in (row_floor, col_floor))
        self._row_values, self._row_ids = _nothing(row_lists, self._row_least)
        self._col_values, self._col_ids = _nothing(col_lists, self._col_least)

    def add(self, block: torch.Tensor, row: int, col: int) -> None:
        r = slice(row, row + block.shape[0])
        c = slice(col, col + block.shape[1])
        rows = torch.arange(r.start, r.stop, device=block.device)
        cols = torch.arange(c.start, c.stop, device=block.device)
        block = block + JITTER * torch.frac(0.754877666 * rows[:, None] + 0.569840291 * cols)
        by_row, by_col = block - self._col_shift[c], (block - self._row_shift[r, None]).T
        _merge(self._row_values[r], self._row_ids[r], by_row, cols)
        _merge(self._col_values[c], self._col_ids[c], by_col, rows)

    @property
    def row_floor(self) -> np.ndarray:
        return torch.maximum(self._row_values.min(dim=1).values, self._row_least).cpu().numpy()

    @property
    def col_floor(self) -> np.ndarray:
        return torch.maximum(self._col_values.min(dim=1).values, self._col_least).cpu().numpy()

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        rows, place = torch.nonzero(self._row_values >= self._row_least[:, None], as_tuple=True)
        cols, col_place = torch.nonzero(self._col_values >= self._col_least[:, None], as_tuple=True)
        real_row, real_col = self._row_ids[rows, place] >= 0, self._col_ids[cols, col_place] >= 0
        return (
            torch.cat([rows[real_row], self._col_ids[cols, col_place][real_col]]).cpu().numpy(),
            torch.cat([self._row_ids[rows, place][real_row], cols[real_col]]).cpu().numpy(),
        )


def _nothing(shape: tuple[int, int], like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return like.new_full(shape, -torch.inf), like.new_full(shape, -1, dtype=torch.int64)


def _merge(values: torch.Tensor, ids: torch.Tensor, found: torch.Tensor, names: torch.Tensor) -> None:
    """Replace the lists `values` and `ids` [m, k] in place by the best of themselves and of `found` [m, b]."""
    top = found.topk(min(values.shape[1], found.shape[1]), dim=1)
    both, order = torch.cat([values, top.values], dim=1).topk(values.shape[1], dim=1)
    ids.copy_(torch.cat([ids, names[top.indices]], dim=1).gather(1, order))
    values.copy_(both)


def suspicious(
    gains: np.ndarray, prices: np.ndarray, row_most: np.ndarray, col_most: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and each row's reach among them (see `best_pairs`) that hold every pair which might improve.

    A pair outside the graph has a similarity of at most row_most[i] and at most col_most[j], and improves a matching
    only if it exceeds gains[i] + prices[j].
    """
    rows, cols = np.arange(len(gains)), np.arange(len(prices))
    row_room, col_room = row_most - gains, col_most - prices
    while len(rows) and len(cols):
        before = len(rows), len(cols)
        rows = rows[row_room[rows] > prices[cols].min()]
        if len(rows):
            cols = cols[col_room[cols] > gains[rows].min()]
        if (len(rows), len(cols)) == before:
            break
    rows = rows[np.argsort(-row_room[rows], kind="stable")]
    cols = cols[np.argsort(prices[cols], kind="stable")]
    reach = np.searchsorted(prices[cols], row_room[rows], side="left")
    return rows[reach > 0], cols, reach[reach > 0]
