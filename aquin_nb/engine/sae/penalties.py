"""Penalties that make activations sparse, as derivatives: what a step adds to the gradient of an activation.

A penalty sees g = f · ‖W_dec‖ (activations weighted by the norm of their decoder row, so that shrinking f and growing
W_dec gains nothing). The same functions serve a dense block [n, d_sae] and the entries of a sparse pattern [nnz]; the
caller passes what differs: how a row is summed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .config import TrainConfig

TINY = 1e-6


def derivative(
    config: TrainConfig, g: Tensor, row_sums: Callable[[Tensor], Tensor], frequency: Tensor | None = None
) -> Tensor:
    """d penalty / d g for each entry of g ≥ 0, of the penalty of one row; a scalar where all entries share it.

    lp              ‖g‖_p = (Σ g^p)^(1/p)
    tanh            Σ tanh(c g), c = tanh_scale
    tanh-quadratic  Σ_i q_i (1 + q_i / s), s = frequency_scale, q_i = `frequency`: the batch mean of tanh(c g_i); the
                    derivative is of n times that sum, to be divided by n like the others
    l0              0 here: only the threshold feels it (`gates.Jump`)

    `row_sums(t)` gives Σ of each entry's row, broadcast to the entries. Entries with g = 0 get the one-sided limit, and
    the caller masks those through which no gradient passes. lp's derivative does not change when a row is multiplied by
    a number, and is taken of the row divided by its sum, so that no power of a large or small row overflows.
    """
    kind, c = config.sparsity_loss, config.tanh_scale
    if kind == "lp":
        if config.p == 1:
            return torch.ones((), dtype=g.dtype, device=g.device)
        smallest = torch.finfo(g.dtype).tiny
        share, active = (g / row_sums(g).clamp(min=smallest)).clamp(min=TINY), g > 0
        sums = row_sums(share**config.p * active).clamp(min=smallest)
        return share ** (config.p - 1) * sums ** (1 / config.p - 1) * active
    if kind == "l0":
        return torch.zeros((), dtype=g.dtype, device=g.device)
    slope = c * (1 - torch.tanh(c * g).square())
    if kind == "tanh-quadratic":
        assert frequency is not None
        slope = slope * (1 + 2 * frequency / config.frequency_scale)
    return slope
