"""Equal rows are interchangeable: which of them gets which partner is settled by their order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from torch import Tensor


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
    """Places of rows that are equal bit by bit, ascending, one array a set of two or more."""
    values = X.cpu().numpy()
    by_hash: dict[int, list[int]] = defaultdict(list)
    for i, row in enumerate(values):
        by_hash[hash(row.tobytes())].append(i)
    for places in by_hash.values():
        while len(places) > 1:
            same = (values[places] == values[places[0]]).all(axis=1)
            if same.sum() > 1:
                yield np.array(places)[same]
            places = np.array(places)[~same].tolist()
