"""One pass over a similarity matrix, block by block: nearest neighbours on both sides, rivals of pairs, and a picture.

The matrix is never held: a block of its rows at a time, [block, n_b].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool1d

from ....control import Control

NEAREST = 8
"""Neighbours that are kept of each feature."""

ENTRIES = 1 << 24
"""Numbers of a block: 64 MB in float32."""

COLUMNS = 4096
"""Columns that are turned around at once, to find their best rows."""

BINS = 128
"""Rows and columns of the picture, at most."""

CROWDED = 0.25
"""Share of columns with a new neighbour above which all are turned around: picking some costs more."""

Block = Callable[[slice], Tensor]
"""Rows of the matrix: [r, n_b]. The tensor is the scan's to write on."""


@dataclass(frozen=True)
class Neighbours:
    """What a pass over similarities s [n_a, n_b] found.

    a_ids int64, a_similarity float64 [n_a, k]: the most similar columns of each row, best first. b_ids, b_similarity:
    [n_b, k] likewise. row_rival: float64 [n_a], largest s_ij - col_price[j] over columns other than the row's partner;
    col_rival: float64 [n_b], largest s_ij - row_price[i] over rows other than the column's partner; -inf where there is
    none. picture: float32 [bins, bins], the largest similarity among a bin of rows and a bin of columns.
    """

    a_ids: np.ndarray
    a_similarity: np.ndarray
    b_ids: np.ndarray
    b_similarity: np.ndarray
    row_rival: np.ndarray
    col_rival: np.ndarray
    picture: np.ndarray

    def renumbered(self, rows: np.ndarray, cols: np.ndarray) -> Neighbours:
        """The same for a matrix whose row rows[i] was looked at as row i, and column cols[j] as column j."""
        back_a, back_b = np.argsort(rows), np.argsort(cols)
        return Neighbours(
            cols[self.a_ids[back_a]], self.a_similarity[back_a], rows[self.b_ids[back_b]], self.b_similarity[back_b],
            self.row_rival[back_a], self.col_rival[back_b], self.picture,
        )  # fmt: skip


def scan(
    block: Block, partner: np.ndarray, row_price: np.ndarray, col_price: np.ndarray, control: Control
) -> Neighbours:
    """Look at every similarity once.

    Args:
        partner: int64 [n_a], the column each row is matched with, -1 for none.
        row_price, col_price: dual prices, float64 [n_a] and [n_b].
    """
    n_a, n_b = len(row_price), len(col_price)
    size = max(1, ENTRIES // n_b)
    nearest = torch.empty(n_a, min(NEAREST, n_b), dtype=torch.int64)
    similarity = torch.empty(nearest.shape, dtype=torch.float64)
    columns = _Columns(n_b, min(NEAREST, n_a))
    row_rival = torch.empty(n_a, dtype=torch.float64)
    col_rival = torch.full((n_b,), -torch.inf, dtype=torch.float64)
    row_bin = torch.arange(n_a) * min(BINS, n_a) // n_a
    picture = torch.full((min(BINS, n_a), min(BINS, n_b)), -torch.inf)
    for start in range(0, n_a, size):
        rows = slice(start, min(start + size, n_a))
        s = block(rows)
        values, nearest[rows] = s.topk(nearest.shape[1], dim=1)
        similarity[rows] = values.double()
        columns.add(s, start)
        pooled = adaptive_max_pool1d(s.unsqueeze(0), picture.shape[1])[0].float()
        picture.scatter_reduce_(0, row_bin[rows, None].expand_as(pooled), pooled, "amax")
        matched = np.flatnonzero(partner[rows] >= 0)
        s[torch.from_numpy(matched), torch.from_numpy(partner[rows][matched])] = -torch.inf
        own = torch.from_numpy(row_price[rows]).to(s.dtype)[:, None]
        col_rival = torch.maximum(col_rival, s.sub_(own).amax(dim=0).double())
        row_rival[rows] = s.add_(own).sub_(torch.from_numpy(col_price).to(s.dtype)).amax(dim=1).double()
        control.tick("neighbours", rows.stop, n_a, "features")
    return Neighbours(
        nearest.numpy(), similarity.numpy(), *columns.sorted(), row_rival.numpy(), col_rival.numpy(), picture.numpy()
    )


class _Columns:
    """The running best rows of columns."""

    def __init__(self, n: int, k: int) -> None:
        self.values = torch.full((n, k), -torch.inf, dtype=torch.float64)
        self.ids = torch.full((n, k), -1, dtype=torch.int64)

    def add(self, s: Tensor, first: int) -> None:
        """Rows `first` on of the matrix, [r, n_b]."""
        touched = s.amax(dim=0) > self.values.amin(dim=1)
        for start in range(0, s.shape[1], COLUMNS):
            part = slice(start, start + COLUMNS)
            some = touched[part].nonzero().squeeze(1) + start
            if len(some) > CROWDED * COLUMNS:
                self._merge(torch.arange(s.shape[1])[part], s[:, part], first)
            elif len(some):
                self._merge(some, s[:, some], first)

    def _merge(self, cols: Tensor, s: Tensor, first: int) -> None:
        k = self.values.shape[1]
        values, rows = s.T.contiguous().topk(min(k, len(s)), dim=1)
        both = torch.cat([self.values[cols], values.double()], dim=1)
        self.values[cols], at = both.topk(k, dim=1)
        self.ids[cols] = torch.cat([self.ids[cols], rows + first], dim=1).gather(1, at)

    def sorted(self) -> tuple[np.ndarray, np.ndarray]:
        values, order = self.values.sort(dim=1, descending=True, stable=True)
        return self.ids.gather(1, order).numpy(), values.numpy()
