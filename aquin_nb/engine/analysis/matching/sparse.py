"""The best one-to-one matching of two large sets of directions, found without their similarity matrix.

1. A pass over the matrix, block by block, keeps the best few pairs of each row and each column as edges of a graph.
2. An auction finds the best matching along the edges, and dual prices for it.
3. A pair that is no edge can improve the matching only where its similarity exceeds gain + price. The first pass knows
   where that is possible; this part of the matrix is looked at again, its best pairs become edges, and 2. goes on.
4. When nothing more is found, `certificate.upper_bound` goes over all pairs once more: it takes the prices as they are,
   whatever solver they come from, and the limits and edges of 1. and 3.

Memory is O(edges + block), with some 25 edges a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from .auction import Duals, solve
from .certificate import TOLERANCE, Known, upper_bound
from .found import Found
from .graph import Graph
from .selection import best_pairs, distinct, suspicious
from .similarity import Similarities
from .watch import Watch

KEEP, KEEP_PRICED = 16, 8
"""Pairs of each row and each column that become edges: in the first pass, and in each later look at a part."""

MARGIN = 0.01
"""Pairs this close to improving a matching become edges too: prices move, and they would be found a round later."""

VIOLATION = 1e-11
"""A pair above gain + price by less does not count: prices are not known better than that."""

SQUARE = 128
"""Rows that are matched with as many columns at once where a full matching is needed and the time is up."""


def match(similarities: Similarities, watch: Watch) -> Found:
    """Match every row with a column of its own (n_rows ≤ n_cols) so that the sum of similarities is largest.

    When the time is up first: the last full matching, and the best bound so far.
    """
    n_rows, n_cols = similarities.shape
    best = best_pairs(similarities, KEEP, watch, "similarity")
    if best is None:
        return Found(np.arange(n_rows), *similarities.crudest(), 0)
    limits = similarities.at_most(best.row_floor, best.col_floor)
    graph = _with_edges(Graph.empty(n_rows, n_cols), best.keys, similarities)
    prices = np.zeros(n_cols)
    proven = np.maximum(graph.row_best(prices), limits[0]), prices
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
        priced = _priced(search, duals, Known(graph, *limits), watch)
        if priced is None:
            break
        proven = min(proven, (priced.gains, duals.prices), key=_total)
        if priced.over > VIOLATION:
            graph = graph.joined(priced.keys, priced.weights)
            # Twice nothing beyond what rounding may hide: which pairs are the best takes a sharper look.
            search = search.finer() if blurred and priced.over <= search.error else search
            blurred = priced.over <= search.error
        elif len(duals.left):
            break  # the auction was stopped: else there is something better for a row without a column (`LEAVE`)
        else:
            bound = upper_bound(similarities, duals.gains, duals.prices, watch, Known(graph, *limits))
            if bound is None:
                break
            proven = min(proven, (bound.gains, bound.prices), key=_total)
            row_col = duals.row_col.astype(np.int64)
            objective = math.fsum(similarities.exact(np.arange(n_rows), row_col))
            keys = graph.new(distinct(bound.rows * n_cols + bound.cols))
            if _total(proven) - objective <= TOLERANCE * n_rows or not len(keys):
                return Found(row_col, *proven, rounds)
            graph, search = _with_edges(graph, keys, similarities), search.finer()
    return Found(_completed(duals.row_col, similarities), *proven, rounds)


def _total(duals: tuple[np.ndarray, np.ndarray]) -> float:
    return math.fsum(duals[0]) + math.fsum(duals[1])


def _with_edges(graph: Graph, keys: np.ndarray, similarities: Similarities) -> Graph:
    rows = keys // graph.n_cols
    return graph.joined(keys, similarities.exact(rows, keys - rows * graph.n_cols))


@dataclass(frozen=True)
class _Priced:
    """What a look at the matrix has found beside the edges.

    keys, weights: pairs that improve the matching, or may soon. over: by how much the best of them exceeds gain +
    price. gains: float64 [n_rows], raised until no pair exceeds gain + price, by as little as this look can tell.
    """

    keys: np.ndarray
    weights: np.ndarray
    over: float
    gains: np.ndarray


def _priced(search: Similarities, duals: Duals, known: Known, watch: Watch) -> _Priced | None:
    """None: the time was up first."""
    gains, prices, graph = duals.gains, duals.prices, known.graph
    enough = np.maximum(gains, graph.row_best(prices))
    rows, cols, reach = suspicious(gains, prices, known.row_most, known.col_most)
    if not len(rows):
        return _Priced(np.zeros(0, np.int64), np.zeros(0), 0.0, enough)
    best = best_pairs(
        search,
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
        return None
    # What was not kept is no better than the floor; entries are at most 1.002 or so, and so is their error.
    enough[rows] = np.maximum(enough[rows], best.row_floor + 1.01 * search.error)
    keys = graph.new(best.keys)
    rows = keys // graph.n_cols
    cols = keys - rows * graph.n_cols
    weights = search.exact(rows, cols)
    np.maximum.at(enough, rows, weights - prices[cols])
    return _Priced(keys, weights, float((weights - gains[rows] - prices[cols]).max(initial=0.0)), enough)


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
