"""Two dictionaries whose relation is known: permuted, turned, split, merged, dead and lost features."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from aquin_nb.engine.sae import SaeConfig, SparseAutoencoder


def dictionary(W_dec: Tensor, **changes: object) -> SparseAutoencoder:
    d_sae, d = W_dec.shape
    cfg = SaeConfig("topk", d_in=d, d_sae=d_sae, d_out=d, k=1, **changes)  # type: ignore[arg-type]
    return SparseAutoencoder(cfg, W_dec.T.contiguous(), W_dec, torch.zeros(d_sae), torch.zeros(d))


def directions(n: int, d: int, seed: int) -> Tensor:
    return normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def turned(rows: Tensor, cosine: float, seed: int) -> Tensor:
    """Each row turned away so that its cosine with itself is `cosine`."""
    other = directions(*rows.shape, seed)
    other = normalize(other - (other * rows).sum(1, keepdim=True) * rows, dim=1)
    return cosine * rows + (1 - cosine**2) ** 0.5 * other


def planted(n: int = 40, d: int = 256, seed: int = 0) -> tuple[Tensor, Tensor, np.ndarray, np.ndarray]:
    """(A, B, class of each row of A, class of each row of B): n features of each kind, rows shuffled."""
    bases = iter(directions(12 * n, d, seed).split(n))
    same, rotated, one, two, three, four, lost, new, twice = (next(bases) for _ in range(9))
    sum_b, sum_a = normalize(one + two, dim=1), normalize(three + four, dim=1)
    parts_a = [("shared", same), ("rotated", rotated), ("split", sum_b), ("merged", three), ("merged", four)]
    parts_a += [("unmatched", lost), ("dead", torch.zeros(n, d)), ("shared", twice)]
    parts_b = [("shared", turned(same, 0.95, seed + 1)), ("rotated", turned(rotated, 0.55, seed + 2))]
    parts_b += [("split", one), ("split", two), ("merged", sum_a), ("unmatched", new), ("dead", torch.zeros(n, d))]
    parts_b += [("shared", turned(twice, 0.98, seed + 3)), ("displaced", turned(twice, 0.9, seed + 4))]
    sides = []
    for parts, of in ((parts_a, seed + 5), (parts_b, seed + 6)):
        rows = torch.cat([rows for _, rows in parts])
        names = np.repeat([name for name, _ in parts], [len(rows) for _, rows in parts])
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(of))
        sides.append((rows[order], names[order.numpy()]))
    (A, of_a), (B, of_b) = sides
    return A, B, of_a, of_b
