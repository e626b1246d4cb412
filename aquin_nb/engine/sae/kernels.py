"""The sparse arithmetic of a dictionary: only the latents that are active in a row take part.

Formulas are those of Gao et al. 2024 (arXiv 2406.04093, section 2 and appendix D), with both weight gradients written
as sums over one pattern turned latent-major. `tests/engine/sae/test_kernels.py` holds each against dense float64.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from .dispatch import current

GROUPS = 8


def top_k(pre: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest entries of each row of [n, width]: (values [n, k], indices [n, k] int64), in no order.

    The columns are dealt into strided groups of `GROUPS`, the k groups with the largest maxima are kept (found the same
    way), and the top k are searched among their members. Exact: those k maxima are k entries at least as large as the
    smallest of them, so no entry outside these groups can belong to the top k without a tie. A strided maximum is a
    few streaming passes, which costs less than a full `topk`.
    """
    n, width = pre.shape
    members = width // GROUPS
    if width % GROUPS or members < 2 * k:
        values, indices = pre.topk(k, dim=1, sorted=False)
        return values, indices
    groups = pre.view(n, GROUPS, members)
    _, kept = top_k(groups.amax(dim=1), k)
    candidates = groups.gather(2, kept.unsqueeze(1).expand(n, GROUPS, k)).reshape(n, GROUPS * k)
    values, at = candidates.topk(k, dim=1, sorted=False)
    return values, kept.gather(1, at % k) + (at // k) * members


def top_positive(pre: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As `top_k`, for a caller to whom all entries that are not positive are alike: their order may be any.

    The bits of a positive float, read as an integer, order as the float does and compare faster.
    """
    integers = {torch.float32: torch.int32, torch.bfloat16: torch.int16}.get(pre.dtype)
    if integers is None or pre.is_cuda:
        return top_k(pre, k)
    values, indices = top_k(pre.view(integers), k)
    return values.view(pre.dtype), indices


def above(pre: Tensor, bound: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    """Entries of [n, width] that exceed `bound` (a number, or [width]): (rows, indices, values), row by row.

    Groups of strided columns whose maximum does not exceed the (smallest) bound are passed over: a mask over all
    entries and its `nonzero` cost several times the streaming maximum when few entries are left.
    """
    n, width = pre.shape
    members = width // GROUPS
    if isinstance(bound, Tensor) and width % GROUPS == 0 and not pre.is_cuda:
        rows, indices, values = above(pre, float(bound.min()))
        kept = values > bound[indices]
        return rows[kept], indices[kept], values[kept]
    if width % GROUPS or pre.is_cuda:
        rows, indices = (pre > bound).nonzero(as_tuple=True)
        return rows, indices, pre[rows, indices]
    groups = pre.view(n, GROUPS, members)
    kept_rows, kept = (groups.amax(dim=1) > bound).nonzero(as_tuple=True)
    candidates = groups[kept_rows, :, kept]
    which, place = (candidates > bound).nonzero(as_tuple=True)
    return kept_rows[which], place * members + kept[which], candidates[which, place]


def decode_sparse(values: Tensor, indices: Tensor, W_dec: Tensor) -> Tensor:
    """Σ_j values[:, j] · W_dec[indices[:, j]]: [n, k], [n, k], [d_sae, d] -> [n, d]."""
    return embedding_bag(indices, W_dec, per_sample_weights=values, mode="sum")


class Pattern:
    """Which latents are active in which row: ragged rows of latent numbers.

    Args:
        indices: int64 [nnz], row after row. A latent appears at most once in a row.
        offsets: int64 [n + 1]; row b owns indices[offsets[b] : offsets[b + 1]].
        d_sae: number of latents.

    Values that belong to the pattern are tensors [nnz] in the order of `indices`.
    """

    def __init__(self, indices: Tensor, offsets: Tensor, d_sae: int) -> None:
        # torch's CUDA kernel of `dots` reads these two as if they were contiguous, and does not check.
        self.indices, self.offsets, self.d_sae = indices.contiguous(), offsets, d_sae
        self._k: int | None = None

    @classmethod
    def fixed(cls, indices: Tensor, d_sae: int) -> Pattern:
        """The same number of latents in every row: indices [n, k]."""
        n, k = indices.shape
        out = cls(indices.reshape(-1), torch.arange(0, n * k + 1, k, device=indices.device), d_sae)
        out._k = k
        return out

    @classmethod
    def ragged(cls, rows: Tensor, indices: Tensor, n: int, d_sae: int) -> Pattern:
        """Entries (rows[i], indices[i]) in ascending order of rows."""
        out = cls(indices, torch.searchsorted(rows, torch.arange(n + 1, device=rows.device)), d_sae)
        out.rows = rows.contiguous()
        return out

    @property
    def n(self) -> int:
        return self.offsets.shape[0] - 1

    @cached_property
    def rows(self) -> Tensor:
        """The row of each entry, int64 [nnz]."""
        if self._k is not None:
            return torch.arange(self.indices.shape[0], device=self.indices.device) // self._k
        numbers = torch.arange(self.n, device=self.indices.device)
        return numbers.repeat_interleave(self.offsets.diff(), output_size=self.indices.shape[0])

    def keep(self, mask: Tensor) -> Pattern:
        """The entries where `mask` (bool [nnz]) holds; values are to be masked alike."""
        kept = mask.nonzero().squeeze(1)  # once: it makes a GPU wait, and so would every index with a mask
        return Pattern.ragged(self.rows[kept], self.indices[kept], self.n, self.d_sae)

    def decode(self, values: Tensor, W: Tensor) -> Tensor:
        """Σ over the entries of each row of value · W[latent]: [nnz], [d_sae, d] -> [n, d]."""
        if values.numel() == 0:
            return W.new_zeros(self.n, W.shape[1])
        return current(W).decode(values, self.indices, self.offsets, W)

    def dots(self, dense: Tensor, W: Tensor) -> Tensor:
        """⟨dense[row], W[latent]⟩ for each entry: [n, d], [d_sae, d] -> [nnz]."""
        if self.indices.numel() == 0:
            return dense.new_zeros(0)
        return current(W).dots(dense, W, self.indices, self.offsets, self.rows)

    @cached_property
    def _latent_major(self) -> tuple[Tensor, Tensor, Tensor]:
        """Entries ordered by latent: (order [nnz], their rows [nnz], offsets [d_sae + 1])."""
        ordered, order = self.indices.to(torch.int32).sort(stable=True)
        limits = torch.arange(self.d_sae + 1, device=ordered.device, dtype=torch.int32)
        return order, self.rows[order], torch.searchsorted(ordered, limits)

    def transposed(self, values: Tensor, dense: Tensor) -> Tensor:
        """Σ over the entries of each latent of value · dense[row]: [nnz], [n, d] -> [d_sae, d].

        A dense of m rows, m a divisor of n, is read as if it were repeated n / m times.
        """
        if values.numel() == 0:
            return dense.new_zeros(self.d_sae, dense.shape[1])
        order, rows, offsets = self._latent_major
        if dense.shape[0] != self.n:
            rows = rows % dense.shape[0]
        return current(dense).transposed(values[order], rows, offsets, dense)

    def sum(self, values: Tensor) -> Tensor:
        """Σ over the entries of each latent: [nnz] -> [d_sae]."""
        order, _, offsets = self._latent_major
        return torch.segment_reduce(values[order], "sum", offsets=offsets, unsafe=True)

    def sum_rows(self, values: Tensor) -> Tensor:
        """Σ over the entries of each row: [nnz] -> [n]."""
        return torch.segment_reduce(values, "sum", offsets=self.offsets, unsafe=True)
