"""Matching by correlation of firings: the same problem on a matrix that is at hand, and its null by shifted rows."""

from __future__ import annotations

import math
import time

import numpy as np
from scipy.optimize import linear_sum_assignment

from ....control import Control
from ..assignment import Matching
from ..matching.certificate import TOLERANCE
from ..matching.dense import duals

BLOCK = 512
EULER = 0.5772156649015329


def match_matrix(matrix: np.ndarray, control: Control) -> Matching:
    """The one-to-one matching of largest sum of a matrix of similarities, float64 [n_a, n_b], and prices that prove it.

    scipy's shortest augmenting path; the bound is recomputed from the prices over the whole matrix.
    """
    began = time.monotonic()
    swapped = matrix.shape[0] > matrix.shape[1]
    weights = np.ascontiguousarray(matrix.T) if swapped else matrix
    control.tick("matching", 0, 1, "rounds")
    few, many = linear_sum_assignment(weights, maximize=True)
    gains, prices = duals(weights, many)
    prices = np.maximum(prices, 0.0)
    for start in range(0, len(weights), BLOCK):
        part = slice(start, start + BLOCK)
        gains[part] = np.maximum(gains[part], (weights[part] - prices).max(axis=1))
    similarity = weights[few, many]
    objective, bound = math.fsum(similarity), math.fsum(gains) + math.fsum(prices)
    gap = bound - objective if bound - objective > TOLERANCE * len(few) else 0.0
    rows, cols, row_price, col_price = few, many, gains, prices
    if swapped:
        order = np.argsort(many)
        rows, cols, similarity, row_price, col_price = many[order], few[order], similarity[order], prices, gains
    return Matching(rows, cols, similarity, objective, bound, gap, 1, time.monotonic() - began, 0, row_price, col_price)


class ShiftNull:
    """What unrelated features' best correlation is: a Gumbel law with the mean and deviation of those under a shift.

    The best of many is about Gumbel-distributed; a shift by half of the sample keeps how often and how clustered each
    feature fires, and breaks what it fires on.

    line, typical: its quantile at `level` and its median.
    """

    def __init__(self, best: np.ndarray, level: float) -> None:
        self._width = max(float(best.std()), 1e-6) * math.sqrt(6) / math.pi
        self._mode = float(best.mean()) - EULER * self._width
        self.line, self.typical = (self._mode - self._width * math.log(-math.log(at)) for at in (level, 0.5))

    def p_values(self, correlation: np.ndarray) -> np.ndarray:
        """P(an unrelated feature's best correlation is at least this)."""
        with np.errstate(over="ignore"):
            return -np.expm1(-np.exp(-(correlation - self._mode) / self._width))
