"""The derivatives of penalties where powers of activations are very large or very small."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from aquin_nb.engine.sae import TrainConfig
from aquin_nb.engine.sae.penalties import derivative


def row_sums(tensor: Tensor) -> Tensor:
    return tensor.sum(1, keepdim=True)


@pytest.mark.parametrize("p", [0.1, 0.5, 2.0, 10.0])
@pytest.mark.parametrize("size", [1e-12, 1e-4, 1.0, 1e12])
def test_lp_is_that_of_float64_whatever_the_size_of_a_row(p: float, size: float) -> None:
    g = torch.rand(20, 50, generator=torch.Generator().manual_seed(0)) * size + 0.1 * size
    g[:, ::3] = 0
    g[7] = 0
    config = TrainConfig(architecture="relu", p=p).resolved(1000)
    exact = g.double().requires_grad_()
    active = exact.detach() > 0
    powers = torch.where(active, exact, 1.0) ** p * active
    norms = torch.where(active.any(1), powers.sum(1), 1.0) ** (1 / p)
    (expected,) = torch.autograd.grad(norms.sum(), exact)
    torch.testing.assert_close(derivative(config, g, row_sums), (expected * active).float(), rtol=1e-3, atol=1e-7)
