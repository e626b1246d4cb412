"""Pairs of sets of directions as two dictionaries might have them, kind and hard ones. All are float32 unit rows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

Pair = tuple[Tensor, Tensor]


def _noise(rows: int, width: int, g: Generator) -> Tensor:
    """Rows of length about 1."""
    return torch.randn(rows, width, generator=g) / width**0.5


def _basis(width: int, rank: int, g: Generator) -> Tensor:
    """[rank, width], orthonormal."""
    return torch.linalg.qr(torch.randn(width, rank, generator=g))[0].T


def _around(centres: Tensor, label: Tensor, spread: float, basis: Tensor, more: float, g: Generator) -> Tensor:
    """Rows around centres [c, rank] of a subspace, with a little of all other dimensions."""
    x = centres[label] + spread * _noise(len(label), centres.shape[1], g)
    return normalize(normalize(x, dim=1) @ basis + more * _noise(len(label), basis.shape[1], g), dim=1)


def fine_tune(n: int, d: int, g: Generator) -> Pair:
    """The same directions with noise of 0.35 of their length, in another order; a tenth is new."""
    A = normalize(_noise(n, d, g), dim=1)
    B = normalize(A + 0.35 * _noise(n, d, g), dim=1)
    new = torch.rand(n, generator=g) < 0.1
    B[new] = normalize(_noise(int(new.sum()), d, g), dim=1)
    return A, B[torch.randperm(n, generator=g)]


def two_seeds(n: int, d: int, g: Generator) -> Pair:
    """Two fifths are shared, more or less turned; the others lie around common centres of a subspace of d / 8
    dimensions, in numbers that follow a power law, so that each has several partners of nearly the same cosine."""
    shared = 2 * n // 5
    S = normalize(_noise(shared, d, g), dim=1)
    turned = 0.05 + 0.85 * torch.rand(shared, 1, generator=g)
    T = normalize(S + turned * _noise(shared, d, g), dim=1)
    clusters, rank = max(4, (n - shared) // 16), max(32, d // 8)
    basis, centres = _basis(d, rank, g), normalize(_noise(clusters, rank, g), dim=1)
    size = 1.0 / torch.arange(1, clusters + 1) ** 0.7
    sides = []
    for part in (S, T):
        label = torch.multinomial(size, n - shared, replacement=True, generator=g)
        whole = torch.cat([part, _around(centres, label, 1.0, basis, 0.3, g)])
        sides.append(whole[torch.randperm(n, generator=g)])
    return sides[0], sides[1]


def unrelated(n: int, d: int, g: Generator) -> Pair:
    return normalize(_noise(n, d, g), dim=1), normalize(_noise(n, d, g), dim=1)


def unequal_clusters(n: int, d: int, g: Generator) -> Pair:
    """64 centres that both sides share, with very different numbers of rows around them: many must leave theirs."""
    rank = max(32, d // 8)
    basis, centres = _basis(d, rank, g), normalize(_noise(64, rank, g), dim=1)
    sides = []
    for _ in range(2):
        # A squared normal is a gamma variable of shape 1/2: their shares are Dirichlet(1/2, ..).
        label = torch.multinomial(torch.randn(64, generator=g) ** 2, n, replacement=True, generator=g)
        sides.append(_around(centres, label, 0.6, basis, 0.1, g))
    return sides[0], sides[1]


def hubs(n: int, d: int, g: Generator) -> Pair:
    """A common direction of which every row has its own amount: some are near everyone, and others near nobody."""
    common = normalize(_noise(1, d, g), dim=1)
    amounts = (0.8 * torch.randn(n, 1, generator=g).abs() for _ in range(2))
    A, B = (normalize(_noise(n, d, g) + amount * common, dim=1) for amount in amounts)
    return A, B


KINDS: dict[str, Callable[[int, int, Generator], Pair]] = {
    "fine-tune pair": fine_tune,
    "two seeds": two_seeds,
    "unrelated": unrelated,
    "unequal clusters": unequal_clusters,
    "hubs": hubs,
}
