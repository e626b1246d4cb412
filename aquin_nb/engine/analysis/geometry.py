"""How alike two sets of vectors of the same probes are: cosines row by row, and debiased linear CKA."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.float64]

FEWEST_ROWS = 4
"""Rows that the unbiased estimator needs; it divides by n - 3."""


def cosines(a: Rows, b: Rows) -> tuple[Rows, float]:
    """Cosine of every row of `a` with the same row of `b`, and the mean over rows that do not belong together.

    Args:
        a, b: [n, d]; row i of both is the same probe.

    Returns:
        [n], NaN where a row is zero; and the mean cosine of row i of `a` with row j ≠ i of `b`, which is what any two
        probes have in common (residual streams are far from isotropic). NaN for fewer than two rows.

    >>> matched, others = cosines(np.eye(2), 3 * np.eye(2)); matched.tolist(), others
    ([1.0, 1.0], 0.0)
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    matched = (a * b).sum(1)
    known = np.isfinite(matched)
    n = int(known.sum())
    if n < 2:
        return matched, math.nan
    every = float(a[known].sum(0) @ b[known].sum(0))
    return matched, (every - float(matched[known].sum())) / (n * (n - 1))


class Kernel:
    """The linear kernel of centred rows with an empty diagonal, as HSIC needs it.

    Args:
        x: [n, d].
        gram: keep the kernel itself, [n, n], rather than the rows; both sides of a comparison must be kept alike.
            It is the cheaper one while n is less than d.
    """

    def __init__(self, x: Rows, *, gram: bool) -> None:
        # HSIC does not change under a shift of the rows, nor CKA under a scale; both keep the sums within float64.
        x = x - x.mean(0)
        x = x / (float(np.sqrt(np.square(x).sum(1).mean())) or 1.0)
        self.diagonal = np.square(x).sum(1)
        self.sums = x @ x.sum(0) - self.diagonal
        self.matrix = x
        if gram:
            self.matrix = x @ x.T
            np.fill_diagonal(self.matrix, 0.0)
        self.gram = gram
        self.own = hsic(self, self)

    def product(self, other: Kernel) -> float:
        """Sum over i ≠ j of k_ij l_ij."""
        if self.gram:
            return float(np.vdot(self.matrix, other.matrix))
        return float(np.square(self.matrix.T @ other.matrix).sum() - self.diagonal @ other.diagonal)


def hsic(k: Kernel, l: Kernel) -> float:  # noqa: E741
    """Unbiased estimate of the Hilbert-Schmidt independence criterion (Song et al. 2012, JMLR 13).

    HSIC_1 = [tr(KL) + (1'K1)(1'L1) / ((n-1)(n-2)) - 2/(n-2) 1'KL1] / (n(n-3)) for kernels with an empty diagonal.
    """
    n = len(k.sums)
    both = float(k.sums.sum()) * float(l.sums.sum()) / ((n - 1) * (n - 2))
    return (k.product(l) + both - 2 / (n - 2) * float(k.sums @ l.sums)) / (n * (n - 3))


def debiased_cka(k: Kernel, l: Kernel) -> float:  # noqa: E741
    """Debiased linear centred kernel alignment of two layers, at most 1; about 0 where they have nothing in common.

    HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with a linear kernel (Kornblith et al. 2019, arXiv:1905.00414, section 3)
    and the unbiased HSIC, as Nguyen, Raghu & Kornblith 2021 (arXiv:2010.15327) use it: the biased one approaches 1 for
    any two layers when the rows are fewer than the dimensions. It can be a little below 0. Widths may differ; no
    rotation or common scale of either side changes it.

    Returns:
        NaN where the rows of a side do not vary.
    """
    if k.own <= 0 or l.own <= 0:
        return math.nan
    return hsic(k, l) / math.sqrt(k.own * l.own)
