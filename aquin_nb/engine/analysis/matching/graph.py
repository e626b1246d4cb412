"""Pairs that a matching may choose from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Graph:
    """Edges of rows and columns, sorted by row, then column.

    keys: int64 [edges], row · n_cols + column. weights: float64 [edges].
    """

    n_rows: int
    n_cols: int
    keys: np.ndarray
    weights: np.ndarray

    @classmethod
    def empty(cls, n_rows: int, n_cols: int) -> Graph:
        return cls(n_rows, n_cols, np.zeros(0, np.int64), np.zeros(0))

    def new(self, keys: np.ndarray) -> np.ndarray:
        """Those of the sorted `keys` that are no edges yet."""
        place = np.searchsorted(self.keys, keys)
        known = place < len(self.keys)
        known[known] = self.keys[place[known]] == keys[known]
        return keys[~known]

    def joined(self, keys: np.ndarray, weights: np.ndarray) -> Graph:
        """This graph and further edges, which it must not hold yet."""
        place = np.searchsorted(self.keys, keys)
        return Graph(
            self.n_rows, self.n_cols, np.insert(self.keys, place, keys), np.insert(self.weights, place, weights)
        )

    def row_best(self, prices: np.ndarray) -> np.ndarray:
        """Largest weight - price of each row; every row needs an edge."""
        starts = np.searchsorted(self.keys, np.arange(self.n_rows, dtype=np.int64) * self.n_cols)
        return np.maximum.reduceat(self.weights - prices[self.keys % self.n_cols], starts)
