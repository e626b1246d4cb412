"""What a solver hands back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Found:
    """A matching of the smaller side's rows, and prices that prove how good it is.

    row_col: int64 [n_rows], the column of each row. gains, prices: float64 [n_rows], [n_cols]; gains[i] + prices[j] is
    at least the similarity of row i and column j, for every pair, and prices are at least 0 where columns outnumber
    rows. rounds: how often the assignment problem was solved.
    """

    row_col: np.ndarray
    gains: np.ndarray
    prices: np.ndarray
    rounds: int

    @property
    def bound(self) -> float:
        """No one-to-one matching has a larger sum of similarities (weak duality)."""
        return math.fsum(self.gains) + math.fsum(self.prices)
