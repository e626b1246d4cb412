"""An upper bound on every matching, from dual prices alone: nothing that found the matching is trusted here."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from .graph import Graph
from .selection import suspicious, whole
from .similarity import Similarities
from .watch import Watch

TOLERANCE = 1e-10
"""A matching is certified when its sum is within this, a pair, of the bound. Similarities are summed in float64 here,
wrong by at most d 2⁻⁵³ each (2e-13 for d = 2,048), and dual values are kept to 1e-11."""

CROWDED = 1 / 32
"""Share of a block's pairs above which the whole block is computed in float64 instead of the pairs one by one."""


@dataclass(frozen=True)
class Known:
    """What a pass over the matrix has told: the similarities of `graph`, and limits of all others: the similarity of a
    pair is at most row_most[i] and at most col_most[j]."""

    graph: Graph
    row_most: np.ndarray
    col_most: np.ndarray


@dataclass(frozen=True)
class Bound:
    """gains, prices: float64 [n_rows], [n_cols] of which no pair's similarity exceeds the sum. value: what they add up
    to, so that no one-to-one matching has a larger sum of similarities. rows, cols: pairs that exceeded the sum before
    gains were raised for them, of each row the largest and some others."""

    gains: np.ndarray
    prices: np.ndarray
    rows: np.ndarray
    cols: np.ndarray

    @property
    def value(self) -> float:
        return math.fsum(self.gains) + math.fsum(self.prices)


def upper_bound(
    similarities: Similarities, gains: np.ndarray, prices: np.ndarray, watch: Watch, known: Known | None = None
) -> Bound | None:
    """Weak duality: Σ gains + Σ prices + Σᵢ max(0, maxⱼ s_ij - gainsᵢ - pricesⱼ), for any gains [n_rows] and
    prices [n_cols]; the last sum is added to the gains.

    Where columns outnumber rows, prices must be at least 0 (a column may then stay without a row); n_rows ≤ n_cols.
    No pair is left out: those of `known.graph` have their similarity, and the others are looked at unless the limits
    say that they are no more than gain + price; a block at a time in the fast precision, and wherever its error leaves
    open whether s_ij ≤ gains_i + prices_j, again in float64. None: the time was up first.
    """
    n_rows, n_cols = similarities.shape
    if n_rows < n_cols:
        prices = np.maximum(prices, 0.0)
    known = known or Known(Graph.empty(n_rows, n_cols), np.full(n_rows, np.inf), np.full(n_cols, np.inf))
    excess = np.zeros(n_rows)
    found: list[tuple[np.ndarray, np.ndarray]] = []

    def add(r: np.ndarray, c: np.ndarray, similarity: np.ndarray) -> None:
        by = similarity - gains[r] - prices[c]
        np.maximum.at(excess, r, by)
        largest = (by > 0) & (by == excess[r])
        found.append((r[largest], c[largest]))

    edge_rows = known.graph.keys // n_cols
    add(edge_rows, known.graph.keys - edge_rows * n_cols, known.graph.weights)
    # What float32 makes of the limits below must not hide a pair.
    slack = 2.0**-21 * (1.0 + np.abs(gains).max(initial=0.0) + np.abs(prices).max(initial=0.0))
    row_limit = (gains - similarities.row_error - slack).astype(np.float32)
    col_limit = (prices - similarities.col_error - slack).astype(np.float32)
    near = _near if similarities.compiled else _near_on_device
    rows, cols, reach = suspicious(gains, prices, known.row_most, known.col_most)
    low_cols, size = similarities.cols(cols), similarities.size
    for i in range(0, len(rows), size):
        some = rows[i : i + size]
        low_rows = similarities.rows(some)
        stop = min(len(cols), whole(reach[i]))
        for j in range(0, stop, size):
            others = cols[j : min(j + size, stop)]
            watch.check()
            if watch.expired:
                return None
            block = similarities.block(low_rows, low_cols[j : j + len(others)])
            pairs = near(block, similarities.slope, row_limit[some], col_limit[others])
            if pairs is None:
                exact = similarities.exact_block(some, others).cpu().numpy()
                c = (exact - prices[others]).argmax(axis=1)
                add(some, others[c], exact[np.arange(len(some)), c])
            else:
                r, c = some[pairs[0]], others[pairs[1]]
                add(r, c, similarities.exact(r, c))
        watch.tick("certificate", i + len(some), len(rows), "features")
    rows, cols = (np.concatenate(part) for part in zip(*found, strict=True))
    return Bound(gains + excess, prices, rows, cols)


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
