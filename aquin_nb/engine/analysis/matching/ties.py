"""Equal rows are interchangeable: which of them gets which partner is settled by their order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

CHUNK = 512
"""Rows whose bits are added up at once."""


def settled(row_col: np.ndarray, A: Tensor, B: Tensor) -> np.ndarray:
    """`row_col` [n_a] with the partners of equal rows of A ascending, and of equal rows of B the first ones taken.

    >>> import torch
    >>> settled(np.array([2, 0]), torch.ones(2, 1), torch.ones(3, 1)).tolist()
    [0, 1]
    """
    row_col = row_col.copy()
    col_row = np.full(B.shape[0], -1)
    col_row[row_col] = np.arange(len(row_col))
    for cols in equal_rows(B):
        rows = np.sort(col_row[cols])
        rows = rows[rows >= 0]
        row_col[rows] = cols[: len(rows)]
    for rows in equal_rows(A):
        row_col[rows] = np.sort(row_col[rows])
    return row_col


def equal_rows(X: Tensor) -> Iterable[np.ndarray]:
    """Places of rows that are equal bit by bit, ascending, one array a set of two or more. X is contiguous float32."""
    bits = X.view(torch.int32)
    # Plain sums are quick and rule out most rows, but rows of the same values in another order share theirs.
    alike = np.concatenate([np.zeros(0, np.int64), *_repeated(bits.sum(dim=1, dtype=torch.int32).cpu().numpy())])
    odd = (2 * torch.arange(X.shape[1], device=X.device) + 1) * 0x1E3779B97F4A7C15 | 1
    sums = np.empty(len(alike), np.int64)
    for start in range(0, len(alike), CHUNK):
        part = slice(start, start + CHUNK)
        sums[part] = (bits[torch.from_numpy(alike[part]).to(X.device)] * odd).sum(dim=1).cpu().numpy()
    for found in _repeated(sums):
        places = np.sort(alike[found])
        values = bits[torch.from_numpy(places).to(X.device)]
        while len(places) > 1:
            same = (values == values[0]).all(dim=1)
            chosen = same.cpu().numpy()
            if chosen.sum() > 1:
                yield places[chosen]
            places, values = places[~chosen], values[~same]


def _repeated(numbers: np.ndarray) -> Iterable[np.ndarray]:
    """Places of numbers that are there more than once, one array a number."""
    order = np.argsort(numbers, kind="stable")
    changes = np.flatnonzero(numbers[order[1:]] != numbers[order[:-1]]) + 1
    return (places for places in np.split(order, changes) if len(places) > 1)
