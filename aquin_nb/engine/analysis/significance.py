"""Is a change more than chance? The sign-flip test on paired differences, and the false discovery rate."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EXACT = 20
"""Up to this many pairs that differ, every assignment of signs is counted."""
ROUNDING = 1e-9  # of Σ|d|: sums of the same numbers in another order are equal
SUMS = 1 << 20  # partial sums of sign assignments held at a time
STEPS = 60  # of Newton's method; ten are usual


def sign_flip(values: Floats, offsets: Ints) -> Floats:
    """Two-sided p of the sign-flip test for many features at once; float64 [m], NaN where nothing differs.

    The pairs of feature j are d = values[offsets[j] : offsets[j + 1]], one number a probe, float64; zeros may be left
    out, because they change no sum. Under the null hypothesis that a probe's difference is as likely to be -d as +d,
    independently of the other probes, all 2^n assignments of signs are equally probable, and

        p = share of them with |Σ ±d| ≥ |Σ d|.

    So it asks whether a feature moves in one direction across probes, whatever the sizes: nothing is assumed of their
    distribution. With up to 20 pairs all assignments are counted. With more, the tail is the Lugannani-Rice formula
    for Σ ±|d|, whose cumulant generating function is K(t) = Σ log cosh(t |d|) (Robinson 1982, "Saddlepoint
    approximations for permutation tests and confidence intervals", J. R. Stat. Soc. B 44): within some per
    cent of the count as a rule, within a factor of two where a few pairs dominate, of three where all |d| are equal. No
    draw of random signs resolves the p of 1e-6 that many features need, and there is no seed. p ≥ 2^(1 - n) always.

    >>> sign_flip(np.array([1.0, 2.0, 3.0, 1.0, -1.0]), np.array([0, 3, 5])).tolist()
    [0.25, 1.0]
    """
    size = np.abs(values)
    count = np.diff(offsets)
    total, observed = _sums(size, offsets), np.abs(_sums(values, offsets))
    p = np.full(len(count), np.nan)
    for n in np.unique(count[(count > 0) & (count <= EXACT)]):
        chosen = np.flatnonzero(count == n)
        block = max(1, SUMS >> (int(n) // 2 + 1))
        for start in range(0, len(chosen), block):
            at = chosen[start : start + block]
            rows = size[offsets[at, None] + np.arange(n)]
            p[at] = _counted(rows, observed[at] - ROUNDING * total[at])
    many = np.flatnonzero(count > EXACT)
    if len(many):
        p[many] = _saddlepoint(size, offsets, many, total[many], observed[many])
    return p


def _sums(values: Floats, offsets: Ints) -> Floats:
    """Sums of the segments; 0 of an empty one."""
    if not len(values):
        return np.zeros(len(offsets) - 1)
    sums = np.add.reduceat(values, np.minimum(offsets[:-1], len(values) - 1))
    return np.where(np.diff(offsets) > 0, sums, 0.0)


def _counted(size: Floats, bound: Floats) -> Floats:
    """Share of the 2^n sign assignments of each row of [m, n] with |sum| ≥ bound: each half's sums, then a search."""
    left, right = _halves(size[:, : size.shape[1] // 2]), np.sort(_halves(size[:, size.shape[1] // 2 :]), axis=1)
    reached = np.zeros(len(size))
    for row in range(len(size)):
        place = np.searchsorted(right[row], bound[row] - left[row])
        reached[row] = (right.shape[1] - place).sum()
    share: Floats = np.minimum(1.0, 2 * reached / 2.0 ** size.shape[1])
    return np.where(bound <= 0, 1.0, share)


def _halves(size: Floats) -> Floats:
    """Sums of all sign assignments of each row: [m, n] -> [m, 2^n]."""
    sums = np.zeros((len(size), 1))
    for column in size.T[:, :, None]:
        sums = np.concatenate([sums - column, sums + column], axis=1)
    return sums


def _saddlepoint(size: Floats, offsets: Ints, chosen: Ints, total: Floats, observed: Floats) -> Floats:
    """The tail for features with many pairs. `missing` = Σ|d| - |Σd| is what keeps precision where all signs agree."""
    count = np.diff(offsets)[chosen]
    starts = np.r_[0, np.cumsum(count)[:-1]]
    owner = np.repeat(np.arange(len(chosen)), count)
    a = size[np.repeat(offsets[chosen] - starts, count) + np.arange(len(owner))]
    scale = np.sqrt(np.add.reduceat(a * a, starts))
    a /= scale[owner]
    x, missing = observed / scale, np.maximum(total - observed, 0.0) / scale
    least = np.exp2(1.0 - count)
    agree = missing / 2 < np.minimum.reduceat(a, starts)  # no sign can be turned without falling below
    floor = np.maximum(missing, 1e-300)
    t = x.copy()
    for _ in range(STEPS):
        # Newton for log Σ (a - a tanh ta) = log missing, whose left side is nearly straight far out.
        fading = np.exp(-2 * np.minimum(t[owner] * a, 350.0))
        short = np.add.reduceat(2 * a * fading / (1 + fading), starts)
        slope = np.add.reduceat(4 * a * a * fading / np.square(1 + fading), starts)
        step = np.log(short / floor) * short / np.maximum(slope, 1e-300)
        step = np.where(agree, 0.0, np.clip(step, -t / 2, 2 * t + 1))
        t += step
        if float(np.max(np.abs(step) / np.maximum(t, 1e-6), initial=0.0)) < 1e-9:
            break
    fading = np.exp(-2 * np.minimum(t[owner] * a, 350.0))
    curvature = np.add.reduceat(4 * a * a * fading / np.square(1 + fading), starts)
    exponent = count * math.log(2) - t * missing - np.add.reduceat(np.log1p(fading), starts)  # t x - K(t)
    w = np.sqrt(2 * np.maximum(exponent, 0.0))
    u = t * np.sqrt(curvature)
    near = (w < 1e-2) | (u < 1e-2)  # 1/u - 1/w vanishes there
    bend = np.where(near, 0.0, 1 / np.where(near, 1.0, u) - 1 / np.where(near, 1.0, w))
    tail = _normal_tail(w) + np.exp(-np.minimum(exponent, 700.0)) / math.sqrt(2 * math.pi) * bend
    p: Floats = np.clip(np.where(agree, least, 2 * tail), least, 1.0)
    return p


def _normal_tail(w: Floats) -> Floats:
    return np.array([0.5 * math.erfc(value / math.sqrt(2)) for value in w])


def false_discovery(p: Floats) -> Floats:
    """Benjamini-Hochberg q of each p, float64 of the same shape; NaN stays NaN and counts for nothing.

    Calling all q ≤ α discoveries makes at most a share α of them false on average, for independent tests and for
    positively dependent ones (Benjamini and Hochberg 1995; Benjamini and Yekutieli 2001, theorem 1.2).

    >>> false_discovery(np.array([0.01, 0.04, np.nan, 0.02])).round(3).tolist()
    [0.03, 0.04, nan, 0.03]
    """
    q = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")[::-1]]
    share = p[order] * len(known) / np.arange(len(known), 0, -1)
    q[order] = np.minimum(1.0, np.minimum.accumulate(share)) if len(known) else share
    return q


def fewest_pairs(fdr: float, tests: int = 1) -> int:
    """The fewest pairs with which the smallest p, 2^(1 - n), is at most fdr / tests.

    >>> fewest_pairs(0.05), fewest_pairs(0.05, 4608)
    (6, 18)
    """
    return math.ceil(1 + math.log2(max(tests, 1) / fdr) - 1e-12)
