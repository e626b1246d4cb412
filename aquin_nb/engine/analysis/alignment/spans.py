"""Features that several features of the other dictionary claim as their best, and how far these span it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

MEMBERS = 8
"""Claimants that take part in a fit, the most similar ones."""

_FLAT = 1e-10


@dataclass(frozen=True)
class Span:
    """A feature and the features of the other dictionary that claim it.

    members: int64 [m], most similar first. explained: share of the squared length of the feature that a non-negative
    combination of its members reaches (R²). single: the same for the best member alone.
    """

    parent: int
    members: np.ndarray
    explained: float
    single: float


def claims(
    best: np.ndarray, similarity: np.ndarray, least: float, gram: Callable[[np.ndarray], np.ndarray]
) -> list[Span]:
    """A span for each feature that at least two features of the other side have as their most similar one.

    Args:
        best: int64 [n], for each feature of the other side its most similar feature here. similarity: [n], how similar.
            A claim by a feature with NaN does not count.
        least: similarity that a claim must exceed.
        gram: similarities among some features of the other side, [m] -> float64 [m, m].
    """
    claimants = np.flatnonzero(similarity > least)
    claimants = claimants[np.lexsort((claimants, -similarity[claimants], best[claimants]))]
    parents, first, counts = np.unique(best[claimants], return_index=True, return_counts=True)
    found = []
    for parent, start, size in zip(parents, first, counts, strict=True):
        if size >= 2:
            members = claimants[start : start + min(size, MEMBERS)]
            cross = similarity[members]
            explained = explained_by(gram(members), cross)
            found.append(Span(int(parent), members, explained, float(cross[0] ** 2)))
    return found


def explained_by(gram: np.ndarray, cross: np.ndarray) -> float:
    """R² of the best non-negative combination of members for a unit vector.

    Args:
        gram: [m, m], products of the members with each other. cross: [m], with the vector.

    >>> round(explained_by(np.eye(2), np.array([0.8, 0.6])), 6)
    1.0
    """
    lengths, axes = np.linalg.eigh(gram)
    kept = lengths > _FLAT * lengths[-1]
    root = np.sqrt(lengths[kept])[:, None] * axes[:, kept].T
    seen = (axes[:, kept].T @ cross) / np.sqrt(lengths[kept])
    residual = nnls(root, seen)[1]
    return float(np.clip(seen @ seen - residual**2, 0.0, 1.0))
