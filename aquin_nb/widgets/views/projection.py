"""Vectors in two dimensions: principal components, exact where they are few and by random projection where many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

EXACT = 400
"""With at most this many rows or dimensions the components are exact."""
_EXTRA, _ITERATIONS, _SEED = 10, 4, 0


@dataclass(frozen=True)
class Components:
    """The first two principal components of some vectors.

    Attributes:
        centre: float32 [d]. axes: float32 [2, d], of length 1; zeros where there is no such direction.
        explained: share of the variance along either axis, 0–1; NaN where nothing varies.
    """

    centre: Vectors
    axes: Vectors
    explained: tuple[float, float]

    def place(self, vectors: Vectors) -> Vectors:
        """Coordinates [n, 2] of vectors [n, d]; rows with NaN or infinity come out as NaN."""
        with np.errstate(invalid="ignore", over="ignore"):
            placed = (vectors - self.centre) @ self.axes.T
        placed[~np.isfinite(placed).all(axis=1)] = np.nan
        return placed.astype(np.float32)

    def flipped(self, signs: NDArray[np.float64]) -> Components:
        """The same with either axis times ±1."""
        return Components(self.centre, (self.axes * signs[:, None]).astype(np.float32), self.explained)


def components(vectors: Vectors) -> Components:
    """Principal components of finite vectors [n, d].

    With more than `EXACT` rows and dimensions by randomised subspace iteration (Halko et al. 2011, algorithm 4.4, with
    10 extra vectors and 4 iterations), seeded. Each axis points to where its largest entry is positive.

    >>> components(np.array([[0, 0], [3, 0], [0, 1], [3, 1]], np.float32)).explained
    (0.9, 0.1)
    """
    n, d = vectors.shape
    centre = vectors.mean(axis=0) if n else np.zeros(d, np.float32)
    scale = float(np.abs(vectors - centre).max(initial=0.0)) or 1.0
    x = ((vectors - centre) / np.float32(scale)).astype(np.float32, copy=False)
    total = float(np.square(x, dtype=np.float64).sum())
    if total == 0.0:
        return Components(centre, np.zeros((2, d), np.float32), (np.nan, np.nan))
    axes, variances = _exact(x) if min(n, d) <= EXACT else _randomised(x)
    axes, variances = _padded(axes, 2), _padded(variances, 2)
    largest = axes[np.arange(2), np.abs(axes).argmax(axis=1)]
    axes = axes * np.where(largest < 0, -1.0, 1.0)[:, None]
    first, second = (round(float(share), 6) for share in variances / total)
    return Components(centre, axes.astype(np.float32), (first, second))


def like(axes: Components, placed: Vectors, before: Vectors) -> Components:
    """`axes` with the signs that make `placed` go along with `before`, the same rows in another picture [n, 2].

    So a picture does not flip from one layer to the next. Without a row known in both, the signs stay.
    """
    known = np.isfinite(placed).all(axis=1) & np.isfinite(before).all(axis=1)
    a, b = placed[known].astype(np.float64), before[known].astype(np.float64)
    together = ((a - a.mean(axis=0)) * (b - b.mean(axis=0))).sum(axis=0) if known.any() else np.zeros(2)
    return axes.flipped(np.where(together < 0, -1.0, 1.0))


def _exact(x: Vectors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    wide = x.astype(np.float64)
    if x.shape[1] <= x.shape[0]:
        values, vectors = np.linalg.eigh(wide.T @ wide)
        return vectors.T[::-1][:2], values[::-1][:2].clip(0)
    values, vectors = np.linalg.eigh(wide @ wide.T)
    values, scores = values[::-1][:2].clip(0), vectors.T[::-1][:2]
    along = scores @ wide
    lengths = np.linalg.norm(along, axis=1, keepdims=True)
    sure = values > 1e-12 * values[0]
    return np.where(sure[:, None], along / np.where(lengths == 0, 1, lengths), 0.0), values * sure


def _randomised(x: Vectors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    draw = np.random.default_rng(_SEED).standard_normal((x.shape[1], 2 + _EXTRA)).astype(np.float32)
    basis = np.linalg.qr(x @ draw)[0]
    for _ in range(_ITERATIONS):
        basis = np.linalg.qr(x @ np.linalg.qr(x.T @ basis)[0])[0]
    _, sizes, axes = np.linalg.svd((basis.T @ x).astype(np.float64), full_matrices=False)
    return axes[:2], np.square(sizes[:2])


def _padded(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    missing = np.zeros((length - len(values), *values.shape[1:]))
    return np.concatenate([values, missing])
