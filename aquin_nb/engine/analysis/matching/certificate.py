"""An upper bound on every matching, from dual prices alone: nothing that found the matching is trusted here."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from .similarity import Similarities
from .watch import Watch

TOLERANCE = 1e-10
"""A matching is certified when its sum is within this, a pair, of the bound. Similarities are summed in float64 here,
wrong by at most d 2⁻⁵³ each (2e-13 for d = 2,048), and dual values are kept to 1e-11."""

CROWDED = 1 / 32
"""Share of a block's pairs above which the whole block is computed in float64 instead of the pairs one by one."""

VIOLATIONS = 8
"""Violating pairs a row that are handed back, the largest ones."""


@dataclass(frozen=True)
class Bound:
    """gains, prices: float64 [n_rows], [n_cols] of which no pair's similarity exceeds the sum. value: what they add up
    to, so that no one-to-one matching has a larger sum of similarities. rows, cols: pairs that exceeded the sum before
    gains were raised for them (at most 8 a row)."""

    gains: np.ndarray
    prices: np.ndarray
    rows: np.ndarray
    cols: np.ndarray

    @property
    def value(self) -> float:
        return math.fsum(self.gains) + math.fsum(self.prices)


def upper_bound(similarities: Similarities, gains: np.ndarray, prices: np.ndarray, watch: Watch) -> Bound:
    """Weak duality: Σ gains + Σ prices + Σᵢ max(0, maxⱼ s_ij - gainsᵢ - pricesⱼ), for any gains [n_rows] and
    prices [n_cols]; the last sum is added to the gains.

    Where columns outnumber rows, prices must be at least 0 (a column may then stay without a row); n_rows ≤ n_cols.
    Every entry of the matrix is looked at: a block at a time in the fast precision, and wherever its error leaves open
    whether s_ij ≤ gains_i + prices_j, again in float64.
    """
    n_rows, n_cols = similarities.shape
    if n_rows < n_cols:
        prices = np.maximum(prices, 0.0)
    excess = np.zeros(n_rows)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    # What float32 makes of the limits below must not hide a pair.
    slack = 2.0**-21 * (1.0 + np.abs(gains).max(initial=0.0) + np.abs(prices).max(initial=0.0))
    row_limit = (gains - similarities.row_error - slack).astype(np.float32)
    col_limit = (prices - similarities.col_error - slack).astype(np.float32)
    for i in range(0, n_rows, similarities.size):
        rows = slice(i, min(i + similarities.size, n_rows))
        low_rows = similarities.rows(rows)
        for j in range(0, n_cols, similarities.size):
            cols = slice(j, min(j + similarities.size, n_cols))
            block = similarities.block(low_rows, similarities.cols(cols))
            near = _near if similarities.compiled else _near_on_device
            pairs = near(block, similarities.slope, row_limit[rows], col_limit[cols])
            if pairs is None:
                over = _exact_excess(similarities, rows, cols, gains, prices)
            else:
                r, c = pairs[0] + i, pairs[1] + j
                over = r, c, similarities.exact(r, c) - gains[r] - prices[c]
            positive = over[2] > 0
            r, c, by = over[0][positive], over[1][positive], over[2][positive]
            np.maximum.at(excess, r, by)
            if len(r):
                found.append(_largest(r, c, by))
        watch.tick("certificate", rows.stop, n_rows, "features")
    if not found:
        nothing = np.zeros(0, np.int64)
        return Bound(gains, prices, nothing, nothing)
    r, c, _ = _largest(*(np.concatenate(part) for part in zip(*found, strict=True)))
    return Bound(gains + excess, prices, r, c)


def enough(weights: np.ndarray, gains: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """The same gains, raised where they are too low, from a matrix [n_rows, n_cols] that is at hand."""
    raised: np.ndarray = gains + (weights - gains[:, None] - prices).max(axis=1, initial=0.0)
    return raised


def _near(
    block: torch.Tensor, slope: float, row_limit: np.ndarray, col_limit: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Pairs of a block that may lie above their limits, or None when there are very many."""
    from .selection_kernels import near

    most = int(CROWDED * block.numel()) + 1
    rows, cols = np.empty(most, np.int64), np.empty(most, np.int64)
    count = near(block.numpy(), slope, row_limit, col_limit, rows, cols)
    return None if count > most else (rows[:count], cols[:count])


def _near_on_device(
    block: torch.Tensor, slope: float, row_limit: np.ndarray, col_limit: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    limits = torch.from_numpy(row_limit).to(block.device)[:, None] + torch.from_numpy(col_limit).to(block.device)
    above = block + slope * block.abs() > limits
    if int(above.sum()) > int(CROWDED * block.numel()) + 1:
        return None
    rows, cols = torch.nonzero(above, as_tuple=True)
    return rows.cpu().numpy(), cols.cpu().numpy()


def _exact_excess(
    similarities: Similarities, rows: slice, cols: slice, gains: np.ndarray, prices: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    by = similarities.exact_block(rows, cols).cpu().numpy() - gains[rows, None] - prices[cols]
    r, c = np.nonzero(by > 0)
    return r + rows.start, c + cols.start, by[r, c]


def _largest(r: np.ndarray, c: np.ndarray, by: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The `VIOLATIONS` largest of each row."""
    order = np.lexsort((c, -by, r))
    r, c, by = r[order], c[order], by[order]
    first = np.searchsorted(r, r, side="left")
    kept = np.arange(len(r)) - first < VIOLATIONS
    return r[kept], c[kept], by[kept]
