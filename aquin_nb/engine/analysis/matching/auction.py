"""The best matching along the edges of a sparse graph, and dual prices that go with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .graph import Graph
from .watch import Watch

EPS_START, EPS_WARM, EPS_FACTOR = 0.1, 0.01, 0.15
EPS_END = 1e-11
"""Eps of an auction's first phase (without and with earlier prices), how it shrinks, and of the last: a matching of n
pairs is then at most n · 1e-11 below the best one of its graph."""

LOOKS = 10_000_000
"""Edges that bids look at between two looks at the clock: some tens of milliseconds."""

LEAVE = -2.0
"""Gain, counted from the lowest price, below which a row stays without a column; no similarity is below -1.002."""

CENTRE_SWEEPS = 6


@dataclass(frozen=True)
class Duals:
    """A matching of a graph's rows and the prices that support it.

    row_col: int32 [n_rows], the column of each row, negative where it has none. gains, prices: float64 [n_rows],
    [n_cols]; gains[i] + prices[j] ≥ weight of every edge, with equality (to `EPS_END`) on matched ones. Prices are at
    least 0 where columns outnumber rows.
    """

    row_col: np.ndarray
    gains: np.ndarray
    prices: np.ndarray

    @property
    def left(self) -> np.ndarray:
        """Rows without a column."""
        return np.flatnonzero(self.row_col < 0)


def solve(graph: Graph, watch: Watch, prices: np.ndarray | None = None) -> Duals:
    """Solve the assignment problem on `graph`; `prices` of an earlier, similar graph save work.

    Every row needs an edge. Rows that would gain less than `LEAVE` stay without a column: the graph offers them
    nothing. When the time is up first, more rows are without one, and equality holds to the eps of the phase that was
    reached.
    """
    from . import auction_kernels as kernels

    n_rows, n_cols = graph.n_rows, graph.n_cols
    rows = graph.keys // n_cols
    cols = (graph.keys - rows * n_cols).astype(np.int32)
    row_start = np.zeros(n_rows + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=n_rows), out=row_start[1:])
    del rows
    eps = EPS_START if prices is None else EPS_WARM
    known = np.zeros(n_cols) if prices is None else prices - prices.min()
    prices = np.append(known, np.zeros(n_rows))
    row_col = np.full(n_rows, kernels.FREE, np.int32)
    col_row = np.full(n_cols + n_rows, kernels.FREE, np.int32)
    queue = np.empty(n_rows, np.int32)
    state = np.zeros(3, np.int64)
    level = np.zeros(1)
    heap = np.empty(n_cols + n_rows), np.empty(n_cols + n_rows, np.int32)
    edges = (row_start, cols, graph.weights, prices, row_col)
    while not watch.expired:
        kernels.start_phase(*edges, col_row, queue, state, level, eps, LEAVE)
        while not kernels.run_phase(*edges, col_row, queue, state, level, *heap, eps, LEAVE, LOOKS):
            watch.check()
            if watch.expired:
                break
        if eps <= EPS_END:
            break
        eps = max(eps * EPS_FACTOR, EPS_END)
    prices[col_row == kernels.FILLER] = level[0]
    prices = prices[:n_cols] - prices[:n_cols].min()
    row_col[row_col >= n_cols] = kernels.FREE
    gains = np.maximum.reduceat(graph.weights - prices[cols], row_start[:-1])
    anchored = n_rows < n_cols or bool((row_col < 0).any())
    for _ in range(CENTRE_SWEEPS):
        kernels.centre(row_start, cols, graph.weights, gains, prices, row_col, anchored)
    return Duals(row_col, gains, prices)
