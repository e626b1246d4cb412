"""What an unrelated feature would get: the best cosine among n directions by chance, with p-values and FDR.

Every rule here is about the *best* of n, because that is what a neighbour or a partner is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import betaincc, betainccinv
from torch import Tensor

LEVEL = 0.99
"""An unrelated feature's best cosine is below the line this often."""

FEATURES = 512
"""Features that the covariance-matched line is averaged over, evenly spaced."""

ROWS = 4096
_STEPS = 30  # halvings of [-1, 1]: 2e-9


@dataclass(frozen=True)
class Law:
    """How the cosine of each of m directions with a random direction is distributed: (1 + cos) / 2 ~ Beta(alpha, beta).

    alpha, beta: float64 [m].
    """

    alpha: np.ndarray
    beta: np.ndarray

    def best_of(self, n: int, cosine: np.ndarray) -> np.ndarray:
        """P(best of n random directions has at least this cosine), [m]."""
        above = betaincc(self.alpha, self.beta, np.clip((1 + cosine) / 2, 0, 1))
        with np.errstate(divide="ignore"):
            chance: np.ndarray = -np.expm1(n * np.log1p(-above))
        return chance

    def line(self, n: int, level: float) -> float:
        """The cosine that the best of n stays below with probability `level`, averaged over the m directions."""
        every = np.linspace(0, len(self.alpha) - 1, min(FEATURES, len(self.alpha))).round().astype(int)
        few = Law(self.alpha[every], self.beta[every])
        low, high = -1.0, 1.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if few.best_of(n, np.full(len(every), middle)).mean() > 1 - level:
                low = middle
            else:
                high = middle
        return high


def isotropic(d: int) -> Law:
    """Directions uniform on the sphere in d dimensions: Beta((d - 1) / 2, (d - 1) / 2) exactly; d at least 2."""
    half = np.array([(max(d, 2) - 1) / 2])
    return Law(half, half)


def covariance_matched(X: Tensor, Y: Tensor, left_out: np.ndarray) -> Law:
    """Directions with the mean and covariance of the rows of Y [n, d], seen from each row of X [m, d].

    The cosine of x with such a direction has the mean x · μ and the variance xᵀ Σ x; the Beta law with these two is
    taken, which is the isotropic one for μ = 0 and Σ = I / d. What x is compared with must not be in its own null:
    `left_out` [m], its cosine with one row of Y (NaN: none), is taken out of both moments.
    """
    n, d = Y.shape
    mean, second = torch.zeros(d, dtype=torch.float64), torch.zeros(d, d, dtype=torch.float64)
    for start in range(0, n, ROWS):
        rows = Y[start : start + ROWS].double()
        mean += rows.sum(dim=0)
        second += rows.T @ rows
    along, square = np.empty(len(X)), np.empty(len(X))
    for start in range(0, len(X), ROWS):
        part = slice(start, start + ROWS)
        x = X[part].double()
        along[part] = (x @ mean).numpy()
        square[part] = ((x @ second) * x).sum(dim=1).numpy()
    out = np.nan_to_num(left_out, nan=0.0)
    rest = np.maximum(1, n - np.isfinite(left_out))
    mu, second_moment = (along - out) / rest, np.maximum((square - out**2) / rest, 0.0)
    mu = np.clip(mu, -0.999, 0.999)
    # Few rows of Y say little about a covariance: never less spread than at random.
    variance = np.clip(np.maximum(second_moment - mu**2, (1 - mu**2) / max(d, 2)), 0.0, 0.99 * (1 - mu**2))
    m = (1 + mu) / 2
    spread = m * (1 - m) / (variance / 4) - 1
    return Law(m * spread, (1 - m) * spread)


@dataclass(frozen=True)
class Null:
    """The chance of cosines between the rows of A and of B.

    line: an unrelated feature's best cosine stays below it with probability 0.99; the largest of the isotropic and the
    covariance-matched lines, seen from both sides. typical: its median, likewise. isotropic, covariance: the two lines.
    """

    line: float
    typical: float
    isotropic: float
    covariance: float
    _laws: tuple[Law, Law]
    _d: int

    def p_values(self, rows: np.ndarray, cols: np.ndarray, cosine: np.ndarray) -> np.ndarray:
        """P(the best of as many unrelated features has at least this cosine): the largest of the isotropic one and the
        covariance-matched ones from both sides, [pairs].

        A matched pair is at most the best of its row, so these are too large rather than too small.
        """
        of_a, of_b = self._laws
        n_a, n_b = len(of_a.alpha), len(of_b.alpha)
        from_a = Law(of_a.alpha[rows], of_a.beta[rows]).best_of(n_b, cosine)
        from_b = Law(of_b.alpha[cols], of_b.beta[cols]).best_of(n_a, cosine)
        worst: np.ndarray = np.maximum.reduce([isotropic(self._d).best_of(max(n_a, n_b), cosine), from_a, from_b])
        return worst


def null_of(A: Tensor, B: Tensor, best_a: np.ndarray, best_b: np.ndarray, level: float = LEVEL) -> Null:
    """The null of unit rows A [n_a, d] and B [n_b, d].

    Args:
        best_a, best_b: the best cosine of each row and column, which is left out of its own covariance.
        level: of the line.
    """
    n_a, n_b, d = len(A), len(B), A.shape[1]
    laws = covariance_matched(A, B, best_a), covariance_matched(B, A, best_b)
    ours, matched = isotropic_line(max(n_a, n_b), d, level), max(laws[0].line(n_b, level), laws[1].line(n_a, level))
    typical = max(isotropic_line(max(n_a, n_b), d, 0.5), laws[0].line(n_b, 0.5), laws[1].line(n_a, 0.5))
    return Null(max(ours, matched), typical, ours, matched, laws, d)


def isotropic_line(n: int, d: int, level: float = LEVEL) -> float:
    """The cosine that the best of n directions uniform in d dimensions stays below with probability `level`.

    >>> round(isotropic_line(32768, 768), 3), round(isotropic_line(32768, 768, 0.5), 3)
    (0.179, 0.147)
    """
    half = (max(d, 2) - 1) / 2
    return float(2 * betainccinv(half, half, -np.expm1(np.log(level) / n)) - 1)


def false_discovery(p: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's (1995) adjusted p-values, [n]: q <= 0.05 expects 5 % false ones among those kept.

    >>> false_discovery(np.array([0.01, 0.04, 0.03, 0.5])).round(3).tolist()
    [0.04, 0.053, 0.053, 0.5]
    """
    n = len(p)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * n / np.arange(1, n + 1)
    q = np.empty(n)
    q[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return q
