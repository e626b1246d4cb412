"""Maximum-weight one-to-one matching of two sets of directions.

This is the dense solver: exact, and limited by the memory its n_a × n_b float64 matrix takes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ...control import Control
from ...errors import DictionaryError, OutOfMemory
from ...files import human_bytes

MAX_DENSE_BYTES = 2_200_000_000
"""Largest matrix the dense solver is asked to hold: 16,384 × 16,384 in float64 is 2.15 GB."""
TILE = 2048


@dataclass(frozen=True)
class Matching:
    """Pairs of a matching and what is known about its optimality.

    rows, cols: int64 arrays [pairs], sorted by row. cosine: float64 [pairs]. objective: their sum. bound: no matching
    has a larger sum. gap: bound - objective. seconds: wall time.
    """

    rows: np.ndarray
    cols: np.ndarray
    cosine: np.ndarray
    objective: float
    bound: float
    gap: float
    seconds: float


def match_directions(A: Tensor, B: Tensor, *, control: Control | None = None) -> Matching:
    """Match unit rows of A [n_a, d] with unit rows of B [n_b, d] so that the sum of cosines is largest.

    min(n_a, n_b) pairs come back. The solver (scipy's shortest augmenting path, Crouse 2016) is exact up to float64
    rounding, so `bound` equals `objective`.

    Raises:
        DictionaryError: widths differ, or rows are not finite.
        OutOfMemory: the similarity matrix would exceed `MAX_DENSE_BYTES`; says how many features would fit.

    >>> import torch
    >>> match_directions(torch.eye(3), torch.eye(3)[[2, 0, 1]]).cols.tolist()
    [1, 2, 0]
    """
    control = control or Control()
    began = time.perf_counter()
    if A.shape[1] != B.shape[1]:
        raise DictionaryError(f"Directions of width {A.shape[1]} cannot be matched with directions of {B.shape[1]}.")
    if not (bool(torch.isfinite(A).all()) and bool(torch.isfinite(B).all())):
        raise DictionaryError("Directions hold NaN or infinite values.")
    n_a, n_b = A.shape[0], B.shape[0]
    if 8 * n_a * n_b > MAX_DENSE_BYTES:
        side = int((MAX_DENSE_BYTES / 8) ** 0.5)
        raise OutOfMemory(
            f"Matching {n_a:,} × {n_b:,} features needs a matrix of {human_bytes(8 * n_a * n_b)}; the dense solver"
            f" takes at most {human_bytes(MAX_DENSE_BYTES)}. Pass max_features={side:,} or less."
        )
    cost = np.empty((n_a, n_b))
    B64 = B.double().T
    for start in range(0, n_a, TILE):
        # Negated in place: scipy's maximize=True would copy the whole matrix.
        cost[start : start + TILE] = (A[start : start + TILE].double() @ B64).neg_().numpy()
        control.tick("similarity", min(start + TILE, n_a), n_a, "features")
    control.tick("matching", 0, 1, "solve")
    rows, cols = linear_sum_assignment(cost)
    cosine = -cost[rows, cols]
    objective = float(cosine.sum())
    control.tick("matching", 1, 1, "solve")
    return Matching(rows, cols, cosine, objective, objective, 0.0, time.perf_counter() - began)
