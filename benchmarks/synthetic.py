"""Activations with a planted dictionary: a mean, a dense low-rank part, sparse Zipf-distributed directions, noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize


def planted(
    rows: int,
    d_in: int,
    *,
    atoms: int = 4096,
    active: int = 24,
    rank: int = 48,
    dense: float = 0.3,
    noise: float = 0.05,
    zipf: float = 1.0,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Rows and the directions that they were made of.

    Args:
        active: atoms a row, drawn with probability proportional to 1 / rank**zipf, with coefficients in [0.5, 1.5].
        dense: share of the varying part's energy that lies in a subspace of `rank` dimensions.
        noise: share of white noise.

    Returns:
        activations [rows, d_in] float32 with mean squared norm d_in, atoms [atoms, d_in] of unit norm.

    Example:
        >>> x, atoms = planted(1000, 64, atoms=128)
        >>> x.shape, atoms.shape
        (torch.Size([1000, 64]), torch.Size([128, 64]))
    """
    g = torch.Generator().manual_seed(seed)
    directions = normalize(torch.randn(atoms, d_in, generator=g), dim=1)
    weights = 1.0 / torch.arange(1, atoms + 1).float() ** zipf
    mean = normalize(torch.randn(d_in, generator=g), dim=0) * math.sqrt(d_in) * 0.5
    basis = normalize(torch.randn(rank, d_in, generator=g), dim=1)
    x = torch.empty(rows, d_in)
    for start in range(0, rows, 8192):
        n = min(8192, rows - start)
        index = torch.multinomial(weights.expand(n, -1), active, generator=g)
        value = torch.rand(n, active, generator=g) + 0.5
        sparse = torch.nn.functional.embedding_bag(index, directions, per_sample_weights=value, mode="sum")
        low = torch.randn(n, rank, generator=g) @ basis
        white = torch.randn(n, d_in, generator=g)
        varying = _energy(sparse, 1 - dense - noise) + _energy(low, dense) + _energy(white, noise)
        x[start : start + n] = mean + varying * math.sqrt(0.75 * d_in)
    return x * math.sqrt(d_in / float(x[:8192].square().sum(1).mean())), directions


def _energy(part: Tensor, share: float) -> Tensor:
    """Scaled so that the mean squared norm is `share`."""
    return part * math.sqrt(share / float(part.square().sum(1).mean()))
