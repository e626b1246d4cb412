"""Matching by scipy on the whole similarity matrix, for sets small enough, with dual prices found afterwards."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from .certificate import enough
from .found import Found
from .watch import Watch

ROUNDING = 1e-13
"""A price is not raised by less: that is rounding of the path it follows."""


def match(A: Tensor, B: Tensor, watch: Watch) -> Found:
    """Match every row of A with a row of B of its own (n_a ≤ n_b) so that the sum of similarities is largest.

    The solver is scipy's shortest augmenting path (Crouse 2016), which cannot be stopped.
    """
    weights = (A.double() @ B.double().T).cpu().numpy()
    watch.tick("matching", 0, 1, "rounds")
    row_col = linear_sum_assignment(weights, maximize=True)[1]
    gains, prices = duals(weights, row_col)
    watch.tick("matching", 1, 1, "rounds")
    return Found(row_col, enough(weights, gains, prices), prices, 1)


def duals(weights: np.ndarray, row_col: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gains [n_rows] and prices [n_cols] ≥ 0 that prove a matching to be the best, if it is.

    The price of a column is what exchanging partners along the best alternating path to it would bring: the least
    prices with price_j ≥ price_x(i) + w_ij - w_ix(i) for all i and j, where x(i) is the column of row i (Bellman-Ford).
    """
    n_rows, n_cols = weights.shape
    own = weights[np.arange(n_rows), row_col]
    col_row = np.full(n_cols, -1)
    col_row[row_col] = np.arange(n_rows)
    prices = np.zeros(n_cols)
    rows = np.arange(n_rows)
    for _ in range(n_rows + 1):  # more rounds would mean a cycle of exchanges that brings something
        wanted = (weights[rows] - (own - prices[row_col])[rows, None]).max(axis=0, initial=0.0)
        raised = wanted > prices + ROUNDING
        prices[raised] = wanted[raised]
        rows = col_row[raised]
        rows = rows[rows >= 0]
        if not len(rows):
            break
    return own - prices[row_col], prices
