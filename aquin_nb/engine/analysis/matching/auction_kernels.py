"""Compiled auction of a sparse assignment problem. Importing this module imports numba.

Rows bid for columns (Bertsekas 1988): a free row takes the column of largest weight - price and raises its price by
what it gains there over its second best, plus eps; whoever held it is free again. With every row content within eps the
sum of weights is at most (number of rows) · eps below the optimum, and prices are dual values.

Two additions. *Leaving*: each row has one more column to itself, of weight `leave`; an auction then ends on a graph
without a full matching too, where prices would rise for ever. *Fillers*: what no row holds is held by identical fillers
of weight 0 everywhere, who always hold the cheapest columns. That makes every problem a square one, so that prices of
an earlier, similar problem can start it.

The rows' own columns follow the others: column n_cols + i belongs to row i. `level` is the price of everything that
fillers hold, and the lowest price there is.
"""

from __future__ import annotations

import numpy as np

from ...compiled import compiled

FREE, FILLER = -1, -2
"""A column's holder: nobody, or one of the fillers."""

QUEUED, FILLERS, HEAP = 0, 1, 2
"""Places in `state`: free rows waiting, fillers without a column, size of the heap (-1: not built)."""


@compiled
def start_phase(
    row_start: np.ndarray,
    cols: np.ndarray,
    weights: np.ndarray,
    prices: np.ndarray,
    row_col: np.ndarray,
    col_row: np.ndarray,
    queue: np.ndarray,
    state: np.ndarray,
    level: np.ndarray,
    eps: float,
    leave: float,
) -> None:
    """Keep the rows that are content within eps where they are and queue the others; place fillers at the level."""
    n_rows = len(row_col)
    n_cols = len(prices) - n_rows
    apart = True
    lowest = np.inf
    for j in range(n_cols + n_rows):
        if col_row[j] == FILLER:
            prices[j] = level[0]
        if j < n_cols:
            apart = apart and col_row[j] != FILLER
            lowest = min(lowest, prices[j])
        else:
            apart = apart and col_row[j] < 0
    if apart:
        # Fillers hold the rows' own columns and nothing else. The prices of all others rise together from phase to
        # phase, which means nothing but would make rows leave.
        for j in range(n_cols):
            prices[j] -= lowest - level[0]
    queued = 0
    for i in range(n_rows - 1, -1, -1):
        best = leave - prices[n_cols + i]
        mine = best if row_col[i] == n_cols + i else -np.inf
        for e in range(row_start[i], row_start[i + 1]):
            gain = weights[e] - prices[cols[e]]
            best = max(best, gain)
            if cols[e] == row_col[i]:
                mine = gain
        if row_col[i] >= 0 and mine >= best - eps:
            continue
        if row_col[i] >= 0:
            col_row[row_col[i]] = FREE
        row_col[i] = FREE
        queue[queued] = i
        queued += 1
    fillers = n_cols
    for j in range(n_cols + n_rows - 1, -1, -1):
        if col_row[j] == FILLER or (col_row[j] == FREE and prices[j] <= level[0]):
            col_row[j] = FILLER if fillers > 0 else FREE
            fillers = max(0, fillers - 1)
    state[QUEUED] = queued
    state[FILLERS] = fillers
    state[HEAP] = -1


@compiled
def _sink(keys: np.ndarray, names: np.ndarray, size: int, p: int) -> None:
    """Restore a heap, smallest first, whose entry p may be too large."""
    key, name = keys[p], names[p]
    while True:
        child = 2 * p + 1
        if child >= size:
            break
        if child + 1 < size and keys[child + 1] < keys[child]:
            child += 1
        if keys[child] >= key:
            break
        keys[p] = keys[child]
        names[p] = names[child]
        p = child
    keys[p] = key
    names[p] = name


@compiled
def _rise(keys: np.ndarray, names: np.ndarray, size: int, key: float, name: int) -> int:
    """Put an entry on a heap, smallest first; returns its new size."""
    p = size
    while p > 0:
        parent = (p - 1) >> 1
        if keys[parent] <= key:
            break
        keys[p] = keys[parent]
        names[p] = names[parent]
        p = parent
    keys[p] = key
    names[p] = name
    return size + 1


@compiled
def _cheapest(keys: np.ndarray, names: np.ndarray, size: int, prices: np.ndarray) -> int:
    """The column of lowest price on a heap whose keys may be lower than prices have become; it comes to the top."""
    while keys[0] < prices[names[0]]:
        keys[0] = prices[names[0]]
        _sink(keys, names, size, 0)
    top: int = names[0]
    return top


@compiled
def run_phase(
    row_start: np.ndarray,
    cols: np.ndarray,
    weights: np.ndarray,
    prices: np.ndarray,
    row_col: np.ndarray,
    col_row: np.ndarray,
    queue: np.ndarray,
    state: np.ndarray,
    level: np.ndarray,
    heap_keys: np.ndarray,
    heap_cols: np.ndarray,
    eps: float,
    leave: float,
    looks: int,
) -> bool:
    """Let free rows bid and fillers settle until none is left (True) or after `looks` edges (False: call it again).

    The own price of a filled column lags behind `level` [1], which is what counts. The heap has every column that is
    not filled, by a price that may lag as well.

    It ends: a bid raises a price by eps or more, and prices are bounded. There are as many holders as columns, so while
    one waits a column is free, and fillers do not let the level above its price. A row bids no more for another column
    than weight - `leave` + eps above the price of its own, which only itself raises, and loses only at the level.
    Fillers take free columns, or each makes a row bid.
    """
    n_all = len(prices)
    n_cols = n_all - len(row_col)
    queued, fillers, size = state[QUEUED], state[FILLERS], state[HEAP]
    while looks > 0 and queued + fillers > 0:
        looks -= 1
        if queued > 0:
            i = queue[queued - 1]
            looks -= row_start[i + 1] - row_start[i]
            floor = level[0]
            j = n_cols + i
            best = leave - max(prices[j], floor)
            second = -np.inf
            for e in range(row_start[i], row_start[i + 1]):
                gain = weights[e] - max(prices[cols[e]], floor)
                if gain > best:
                    second = best
                    best = gain
                    j = cols[e]
                elif gain > second:
                    second = gain
            prices[j] = max(prices[j], floor) + best - second + eps
            queued -= 1
            holder = col_row[j]
            col_row[j] = i
            row_col[i] = j
            if holder >= 0:
                row_col[holder] = FREE
                queue[queued] = holder
                queued += 1
            elif holder == FILLER:
                fillers += 1
                if size >= 0:
                    size = _rise(heap_keys, heap_cols, size, prices[j], j)
            continue
        if size < 0:
            size = 0
            for k in range(n_all):
                if col_row[k] != FILLER:
                    heap_keys[size] = prices[k]
                    heap_cols[size] = k
                    size += 1
            for p in range(size // 2 - 1, -1, -1):
                _sink(heap_keys, heap_cols, size, p)
        j = _cheapest(heap_keys, heap_cols, size, prices)
        size -= 1
        heap_keys[0] = heap_keys[size]
        heap_cols[0] = heap_cols[size]
        _sink(heap_keys, heap_cols, size, 0)
        # As a bidder would, fillers go up to where the next column is as good: a row could outbid them eps by eps.
        level[0] = max(level[0], prices[_cheapest(heap_keys, heap_cols, size, prices)])
        fillers -= 1
        holder = col_row[j]
        col_row[j] = FILLER
        if holder >= 0:
            row_col[holder] = FREE
            queue[queued] = holder
            queued += 1
    state[QUEUED], state[FILLERS], state[HEAP] = queued, fillers, size
    done: bool = queued + fillers == 0
    return done


@compiled
def centre(
    row_start: np.ndarray,
    cols: np.ndarray,
    weights: np.ndarray,
    gains: np.ndarray,
    prices: np.ndarray,
    row_col: np.ndarray,
    anchored: bool,
) -> None:
    """Move each matched pair's gain and price to the middle of what its other edges allow, their sum kept.

    The prices of a matching are an interval, and an auction ends at one end of it: from the middle, fewer pairs outside
    the graph look as if they could improve it. anchored: prices may not fall below 0 (there are columns without a row).
    """
    n_rows, n_cols = len(row_col), len(prices)
    row_room = np.empty(n_rows)
    col_room = np.empty(n_cols)
    for j in range(n_cols):
        col_room[j] = prices[j] if anchored else np.inf
    for i in range(n_rows):
        room = np.inf
        for e in range(row_start[i], row_start[i + 1]):
            j = cols[e]
            if j == row_col[i]:
                continue
            slack = max(0.0, gains[i] + prices[j] - weights[e])
            room = min(room, slack)
            col_room[j] = min(col_room[j], slack)
        row_room[i] = room
    for i in range(n_rows):
        j = row_col[i]
        if j < 0:
            continue
        down, up = row_room[i], col_room[j]
        if down == np.inf and up == np.inf:
            continue
        down = up if down == np.inf else down
        up = down if up == np.inf else up
        gains[i] -= 0.5 * (down - up)
        prices[j] += 0.5 * (down - up)
