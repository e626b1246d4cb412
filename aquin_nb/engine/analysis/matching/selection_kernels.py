"""Compiled loops over blocks of similarities. Importing this module imports numba; only the sparse matching does."""

from __future__ import annotations

import numpy as np

from ...compiled import compiled

STEP = 16
"""Entries that one vectorised comparison passes over at once; each is looked at only where one of them counts."""

SPREAD = 2.0**-34
TIE = SPREAD / 65536
"""Equal similarities are told apart by a pseudo-random number of ties, below `SPREAD`. Without it every one of many
identical rows would choose the same first few of many identical columns, and no full matching would be left."""


@compiled
def _keep(keys: np.ndarray, ids: np.ndarray, count: int, key: float, name: int) -> int:
    """Put an entry on a heap that keeps the largest ones, smallest first; returns how many it holds now."""
    size = keys.shape[0]
    if count < size:
        p = count
        while p > 0:
            parent = (p - 1) >> 1
            if keys[parent] <= key:
                break
            keys[p] = keys[parent]
            ids[p] = ids[parent]
            p = parent
        keys[p] = key
        ids[p] = name
        return count + 1
    if key <= keys[0]:
        return count
    p = 0
    while True:
        child = 2 * p + 1
        if child >= size:
            break
        if child + 1 < size and keys[child + 1] < keys[child]:
            child += 1
        if keys[child] >= key:
            break
        keys[p] = keys[child]
        ids[p] = ids[child]
        p = child
    keys[p] = key
    ids[p] = name
    return count


@compiled
def keep_best(
    block: np.ndarray,
    first_row: int,
    first_col: int,
    row_shift: np.ndarray,
    col_shift: np.ndarray,
    row_floor: np.ndarray,
    col_floor: np.ndarray,
    row_keys: np.ndarray,
    row_ids: np.ndarray,
    row_count: np.ndarray,
    col_keys: np.ndarray,
    col_ids: np.ndarray,
    col_count: np.ndarray,
) -> None:
    """Go on keeping each row's best `block - col_shift` and each column's best `block - row_shift`.

    block: [b, n], the similarities of rows `first_row`… and columns `first_col`…. The floors, raised here as lists fill
    up, say from which value on an entry counts. Shifts and floors are of the block's dtype; ids and counts int32, keys
    float64.
    """
    rows, cols = block.shape
    size_row, size_col = row_keys.shape[1], col_keys.shape[1]
    for r in range(rows):
        i = first_row + r
        line = block[r]
        floor = row_floor[i]
        shift = row_shift[i]
        for start in range(0, cols, STEP):
            stop = start + STEP
            if stop <= cols:
                hit = 0
                for c in range(start, start + STEP):
                    x = line[c]
                    hit |= (x - col_shift[first_col + c] >= floor) | (x - shift >= col_floor[first_col + c])
                if hit == 0:
                    continue
            else:
                stop = cols
            for c in range(start, stop):
                j = first_col + c
                x = line[c] - col_shift[j]
                y = line[c] - shift
                if x < floor and y < col_floor[j]:
                    continue
                tie = TIE * ((i * 40503 + j * 25173) & 0xFFFF)
                if x >= floor:
                    row_count[i] = _keep(row_keys[i], row_ids[i], row_count[i], x + tie, j)
                    if row_count[i] == size_row and row_keys[i, 0] - SPREAD > floor:
                        row_floor[i] = row_keys[i, 0] - SPREAD
                        floor = row_floor[i]
                if y >= col_floor[j]:
                    col_count[j] = _keep(col_keys[j], col_ids[j], col_count[j], y + tie, i)
                    if col_count[j] == size_col and col_keys[j, 0] - SPREAD > col_floor[j]:
                        col_floor[j] = col_keys[j, 0] - SPREAD


@compiled
def near(
    block: np.ndarray,
    slope: float,
    row_limit: np.ndarray,
    col_limit: np.ndarray,
    found_rows: np.ndarray,
    found_cols: np.ndarray,
) -> int:
    """Positions of `block + slope · |block| > row_limit + col_limit`; returns how many there are.

    More than `found_rows` holds: they are counted no further and the count exceeds its length. The limits are float32.
    """
    rows, cols = block.shape
    slope32 = np.float32(slope)  # a float64 here would make the vectorised comparison one of float64
    count = 0
    for r in range(rows):
        line = block[r]
        limit = row_limit[r]
        for start in range(0, cols, STEP):
            stop = start + STEP
            if stop <= cols:
                hit = 0
                for c in range(start, start + STEP):
                    x = line[c]
                    hit |= x + slope32 * abs(x) > limit + col_limit[c]
                if hit == 0:
                    continue
            else:
                stop = cols
            for c in range(start, stop):
                x = line[c]
                if x + slope32 * abs(x) > limit + col_limit[c]:
                    if count == len(found_rows):
                        return count + 1
                    found_rows[count] = r
                    found_cols[count] = c
                    count += 1
    return count


def _dot_pairs(A: np.ndarray, B: np.ndarray, rows: np.ndarray, cols: np.ndarray, out: np.ndarray) -> None:
    """out[p] = A[rows[p]] · B[cols[p]] of float32 rows; products are exact in float64, and added in it."""
    for p in range(len(rows)):
        a = A[rows[p]]
        b = B[cols[p]]
        total = 0.0
        for q in range(A.shape[1]):
            total += np.float64(a[q]) * np.float64(b[q])
        out[p] = total


dot_pairs = compiled(_dot_pairs, reorder_sums=True)
