"""The best one-to-one matching of two large sets of directions, found without their similarity matrix.

1. A pass over the matrix, block by block, keeps the best few pairs of each row and each column as edges of a graph.
2. An auction finds the best matching along the edges, and dual prices for it.
3. A pair that is no edge can improve the matching only where its similarity exceeds gain + price. The first pass knows
   where that is possible; this part of the matrix is looked at again, its best pairs become edges, and 2. goes on.
4. When nothing more is found, `certificate.upper_bound` looks at the whole matrix, and knows nothing but the prices.

Memory is O(edges + block), with some 25 edges a row.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import linear_sum_assignment

from .auction import Duals, Graph, solve
from .certificate import TOLERANCE, upper_bound
from .found import Found
from .selection import best_pairs, distinct, suspicious
from .similarity import Similarities
from .watch import Watch

KEEP, KEEP_PRICED = 16, 8
"""Pairs of each row and each column that become edges: in the first pass, and in each later look at a part."""

MARGIN = 0.01
"""Pairs this close to improving a matching become edges too: prices move, and they would be found a round later."""

VIOLATION = 1e-11
"""A pair above gain + price by less does not count: prices are not known better than that."""

SQUARE = 512
"""Rows that are matched with as many columns at once where a full matching is needed and the time is up."""


def match(similarities: Similarities, watch: Watch) -> Found:
    """Match every row with a column of its own (n_rows ≤ n_cols) so that the sum of similarities is largest.

    When the time is up first: the best full matching so far, and the bound that is proven so far.
    """
    n_rows, n_cols = similarities.shape
    began = watch.seconds
    best = best_pairs(similarities, KEEP, watch, "similarity")
    if best is None:
        return Found(np.arange(n_rows), *similarities.crudest(), 0)
    # The bound takes another such pass: whatever is done before must leave the time for it.
    one_pass = watch.seconds - began
    watch.reserve = 1.2 * one_pass
    limits = similarities.at_most(best.row_floor, best.col_floor)
    graph = _with_edges(Graph.empty(n_rows, n_cols), best.keys, similarities)
    proven = np.maximum(graph.row_best(), limits[0]), np.zeros(n_cols)
    duals: Duals | None = None
    search, blurred = similarities, False
    rounds = 0
    # It ends: each time round the graph has more edges.
    while True:
        watch.tick("matching", rounds, rounds + 1, "rounds")
        start = None if duals is None or len(duals.left) else duals.prices
        solved = solve(graph, watch, start)
        if duals is not None and watch.expired:
            break
        duals = solved
        rounds += 1
        keys, over = _improving(search, duals, limits, graph, watch)
        if watch.expired:
            break
        if len(keys):
            graph = _with_edges(graph, keys, similarities)
            # Twice nothing beyond what rounding may hide: which pairs are the best takes a sharper look.
            search = search.finer() if blurred and over <= search.error else search
            blurred = over <= search.error
        else:
            # Each row has a column: what would improve a row without one is never missing (`auction.LEAVE`).
            bound = upper_bound(similarities, duals.gains, duals.prices, watch)
            proven = min(proven, (bound.gains, bound.prices), key=_total)
            row_col = duals.row_col.astype(np.int64)
            objective = math.fsum(similarities.exact(np.arange(n_rows), row_col))
            keys = graph.new(distinct(bound.rows * n_cols + bound.cols))
            if _total(proven) - objective <= TOLERANCE * n_rows or not len(keys):
                return Found(row_col, *proven, rounds)
            graph, search = _with_edges(graph, keys, similarities), search.finer()
    if watch.remaining > one_pass:
        bound = upper_bound(similarities, duals.gains, duals.prices, watch)
        proven = min(proven, (bound.gains, bound.prices), key=_total)
    return Found(_completed(duals.row_col, similarities), *proven, rounds)


def _total(duals: tuple[np.ndarray, np.ndarray]) -> float:
    return math.fsum(duals[0]) + math.fsum(duals[1])


def _with_edges(graph: Graph, keys: np.ndarray, similarities: Similarities) -> Graph:
    rows = keys // graph.n_cols
    return graph.joined(keys, similarities.exact(rows, keys - rows * graph.n_cols))


def _improving(
    similarities: Similarities, duals: Duals, limits: tuple[np.ndarray, np.ndarray], graph: Graph, watch: Watch
) -> tuple[np.ndarray, float]:
    """Keys of pairs that are no edges yet, and by how much the best of them exceeds gain + price.

    None at all if not one of them would improve the matching.
    """
    gains, prices = duals.gains, duals.prices
    nothing = np.zeros(0, np.int64), 0.0
    rows, cols, reach = suspicious(gains, prices, *limits)
    if not len(rows):
        return nothing
    best = best_pairs(
        similarities,
        KEEP_PRICED,
        watch,
        "pricing",
        rows=rows,
        cols=cols,
        reach=reach,
        row_shift=gains[rows],
        col_shift=prices[cols],
        row_floor=gains[rows] - MARGIN,
        col_floor=prices[cols] - MARGIN,
    )
    if best is None:
        return nothing
    keys = graph.new(best.keys)
    rows = keys // graph.n_cols
    cols = keys - rows * graph.n_cols
    over = float((similarities.exact(rows, cols) - gains[rows] - prices[cols]).max(initial=0.0))
    return (keys, over) if over > VIOLATION else nothing


def _completed(row_col: np.ndarray, similarities: Similarities) -> np.ndarray:
    """Give rows without a column one of the columns that are left, as good as it goes quickly."""
    row_col = row_col.astype(np.int64)
    rows = np.flatnonzero(row_col < 0)
    cols = np.setdiff1d(np.arange(similarities.shape[1]), row_col)
    for start in range(0, len(rows), SQUARE):
        some = rows[start : start + SQUARE]
        # The last few rows may choose among all columns that nobody else can want.
        spare = cols[start : start + SQUARE] if start + SQUARE < len(rows) else cols[start : start + 4 * SQUARE]
        r, c = linear_sum_assignment(-similarities.exact_block(some, spare).cpu().numpy())
        row_col[some[r]] = spare[c]
    return row_col
