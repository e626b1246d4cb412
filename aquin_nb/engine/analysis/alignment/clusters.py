"""Directions in clusters, for a picture of which part of one dictionary resembles which part of the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

MOST = 64
ROUNDS = 8
MEMBERS = 8  # a cluster for every so many features


@dataclass(frozen=True)
class Clusters:
    """mean_cosine: float32 [k, k], mean cosine between features of a in cluster i and of b in cluster j. sizes_a,
    sizes_b: int64 [k]. of_a, of_b: int16 [n_a], [n_b], the cluster of each row."""

    mean_cosine: np.ndarray
    sizes_a: np.ndarray
    sizes_b: np.ndarray
    of_a: np.ndarray
    of_b: np.ndarray


def cluster(A: Tensor, B: Tensor) -> Clusters:
    """Spherical k-means of the unit rows of A [n_a, d]; rows of B [n_b, d] go to the nearest centre.

    Starts from evenly spaced rows, so that equal inputs give equal clusters; neighbours in the picture are alike.
    """
    k = max(1, min(MOST, len(A) // MEMBERS))
    centres = A[torch.linspace(0, len(A) - 1, k).long()].clone()
    for _ in range(ROUNDS):
        sums = torch.zeros_like(centres).index_add_(0, _nearest(A, centres), A)
        kept = sums.norm(dim=1) > 0
        centres[kept] = normalize(sums[kept], dim=1)
    centres = centres[_chain(centres)]
    of_a, of_b = _nearest(A, centres), _nearest(B, centres)
    sizes = [torch.bincount(of, minlength=k) for of in (of_a, of_b)]
    means = [
        torch.zeros_like(centres).index_add_(0, of, X) / size.clamp(min=1)[:, None]
        for of, X, size in zip((of_a, of_b), (A, B), sizes, strict=True)
    ]
    labels = [of.numpy().astype(np.int16) for of in (of_a, of_b)]
    return Clusters((means[0] @ means[1].T).numpy(), sizes[0].numpy(), sizes[1].numpy(), *labels)


def _nearest(X: Tensor, centres: Tensor) -> Tensor:
    return torch.cat([(part @ centres.T).argmax(dim=1) for part in X.split(8192)])  # type: ignore[no-untyped-call]


def _chain(centres: Tensor) -> Tensor:
    """An order in which each centre is followed by the most similar one that is left."""
    similar = centres @ centres.T
    order, left = [0], torch.ones(len(centres), dtype=torch.bool)
    for _ in range(len(centres) - 1):
        left[order[-1]] = False
        order.append(int(similar[order[-1]].masked_fill(~left, -torch.inf).argmax()))
    return torch.tensor(order)
