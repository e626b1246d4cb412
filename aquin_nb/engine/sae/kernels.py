"""The sparse arithmetic of a TopK dictionary: only the k active latents of each row take part.

Formulas are those of Gao et al. 2024 (arXiv 2406.04093, section 2 and appendix D) with the weight gradients written as
two sparse-dense products over the same pattern. `tests/engine/sae/test_kernels.py` holds them against autograd in
float64.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

# torch announces once a process that its CSR layout is in beta; the tests hold the product to float64. Filtered here,
# once: catch_warnings around each product would undo filters that other threads set meanwhile.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support", category=UserWarning)

GROUPS = 8


def top_k(pre: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest entries of each row of [n, d_sae]: (values [n, k], indices [n, k] int64), in no order.

    Two stages: the columns are dealt into strided groups of `GROUPS`, the k groups with the largest maxima are kept,
    and the top k are searched among their members. Exact: those k maxima are k entries at least as large as the
    smallest of them, so no entry outside these groups can belong to the top k without a tie. A strided maximum is a
    few streaming passes, which costs less than a full `topk` over d_sae.
    """
    n, width = pre.shape
    members = width // GROUPS
    if width % GROUPS or members < 2 * k:
        values, indices = pre.topk(k, dim=1, sorted=False)
        return values, indices
    groups = pre.view(n, GROUPS, members)
    kept = groups.amax(dim=1).topk(k, dim=1, sorted=False).indices
    candidates = groups.gather(2, kept.unsqueeze(1).expand(n, GROUPS, k)).reshape(n, GROUPS * k)
    values, at = candidates.topk(k, dim=1, sorted=False)
    return values, kept.gather(1, at % k) + (at // k) * members


def decode_sparse(values: Tensor, indices: Tensor, W_dec: Tensor) -> Tensor:
    """Σ_j values[:, j] · W_dec[indices[:, j]]: [n, k], [n, k], [d_sae, d] -> [n, d]."""
    return embedding_bag(indices, W_dec, per_sample_weights=values, mode="sum")


def row_dots(rows: Tensor, W: Tensor, indices: Tensor) -> Tensor:
    """⟨rows[b], W[indices[b, j]]⟩: [n, d], [d_sae, d], [n, k] -> [n, k], without gathering k rows of W for each b.

    It is the gradient of `decode_sparse` in its values, which torch computes exactly so.
    """
    leaf = torch.zeros(indices.shape, dtype=rows.dtype, device=rows.device, requires_grad=True)
    with torch.enable_grad():
        out = decode_sparse(leaf, indices, W.detach())
    (dots,) = torch.autograd.grad(out, leaf, rows)
    return dots


class Transposed:
    """The sparse pattern of `indices` [n, k] turned to latent-major order, shared by both weight gradients."""

    def __init__(self, indices: Tensor, d_sae: int) -> None:
        n, k = indices.shape
        self._flat = indices.reshape(-1)
        self._order = self._flat.argsort(stable=True)
        self._rows = self._order // k
        counts = torch.bincount(self._flat, minlength=d_sae)
        self._starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        self._shape = (d_sae, n)

    def matmul(self, weights: Tensor, dense: Tensor) -> Tensor:
        """Σ_b Z[b, i] · dense[b] for each latent i, with Z sparse and Z[b, indices[b, j]] = weights[b, j].

        weights [n, k], dense [n, d] -> [d_sae, d].
        """
        values = weights.reshape(-1)[self._order]
        matrix = torch.sparse_csr_tensor(self._starts, self._rows, values, size=self._shape, check_invariants=False)
        return matrix @ dense

    def sum(self, weights: Tensor) -> Tensor:
        """Σ_b Z[b, i] for each latent i: [d_sae]."""
        return torch.bincount(self._flat, weights=weights.reshape(-1), minlength=self._shape[0])
