"""What a whole matching would lose at least if one of its pairs were forbidden: a proof from dual prices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..assignment import Matching
from .neighbours import ENTRIES, Block

HALF_STEPS = 8


def centred(matched: Matching, block: Block) -> Matching:
    """The same matching with prices that leave larger margins: for small matrices, whose solver's are extreme ones.

    Moving price between the two of a pair by half of the difference of what each has to spare leaves every slack at
    least 0, for all pairs at once, and does not change the bound. `block` gives rows of the matrix.
    """
    rows, cols = matched.rows, matched.cols
    u, v = matched.row_price.copy(), matched.col_price.copy()
    partner = np.full(len(u), -1)
    partner[rows] = cols
    size = max(1, ENTRIES // len(v))
    for _ in range(HALF_STEPS):
        row_rival, col_rival = np.full(len(u), -np.inf), np.full(len(v), -np.inf)
        for start in range(0, len(u), size):
            part = slice(start, start + size)
            s = block(part).numpy()
            own = np.flatnonzero(partner[part] >= 0)
            s[own, partner[part][own]] = -np.inf
            row_rival[part] = (s - v).max(axis=1)
            col_rival = np.maximum(col_rival, (s - u[part, None]).max(axis=0))
        spare_row, spare_col = u[rows] - row_rival[rows], v[cols] - col_rival[cols]
        if len(u) > len(v):
            spare_row = np.minimum(spare_row, u[rows])
        if len(v) > len(u):
            spare_col = np.minimum(spare_col, v[cols])
        rivalled = np.isfinite(spare_row) & np.isfinite(spare_col)
        step = np.zeros(len(rows))
        step[rivalled] = (np.maximum(spare_row[rivalled], 0.0) - np.maximum(spare_col[rivalled], 0.0)) / 2
        u[rows] -= step
        v[cols] += step
    return replace(matched, row_price=u, col_price=v)


def margins(
    partner: np.ndarray,
    row_price: np.ndarray,
    col_price: np.ndarray,
    row_rival: np.ndarray,
    col_rival: np.ndarray,
    *,
    gap: float = 0.0,
    error: float = 0.0,
) -> np.ndarray:
    """A certified lower bound on the loss, float64 [n_a]; NaN for rows without a partner, inf where nothing is left.

    Let u_i + v_j >= s_ij for all i and j, and slack_ij = u_i + v_j - s_ij, which is never negative. A matching M weighs
    Σ_M (u + v) - Σ_M slack, and Σ_M (u + v) is the dual bound less the prices of what M leaves alone. A matching
    without the pair (i, j) must do something else with i: take another column, at a slack of at least
    min_{l ≠ j} slack_il, or, where rows outnumber columns, leave i alone, which costs u_i. And something else with j:
    another row, or none, which costs v_j. These are two different pairs, so both costs are paid:

        loss >= min(slack of i elsewhere, u_i if i may stay alone) + min(slack of j elsewhere, v_j likewise) - gap

    It is a bound: the exact loss is that of the best alternating cycle, of which this counts two pairs. So a margin of
    0 does not prove that a pair is arbitrary, while a positive one proves that it is not.

    Args:
        partner: int64 [n_a], -1 for none.
        row_price, col_price: as `assignment.Matching`. row_rival, col_rival: as `Neighbours`.
        gap: of the matching. error: what a rival may be wrong by.

    >>> s = np.array([[0.9, 0.2], [0.1, 0.8]])
    >>> margins(np.array([0, 1]), np.array([0.9, 0.8]), np.zeros(2), np.array([0.2, 0.1]), np.array([-0.7, -0.7]))
    array([1.4, 1.4])
    """
    n_a, n_b = len(row_price), len(col_price)
    rows = np.flatnonzero(partner >= 0)
    cols = partner[rows]
    row_cost = np.maximum(0.0, row_price[rows] - (row_rival[rows] + error))
    col_cost = np.maximum(0.0, col_price[cols] - (col_rival[cols] + error))
    if n_a > n_b:
        row_cost = np.minimum(row_cost, row_price[rows])
    if n_b > n_a:
        col_cost = np.minimum(col_cost, col_price[cols])
    out = np.full(n_a, np.nan)
    out[rows] = np.maximum(0.0, row_cost + col_cost - gap)
    return out
