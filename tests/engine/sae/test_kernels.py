"""The hand-written arithmetic equals autograd's in float64."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from aquin_nb.engine.sae.architectures import Parameters, ReLU, TopK
from aquin_nb.engine.sae.config import TrainOptions
from aquin_nb.engine.sae.kernels import Transposed, decode_sparse, row_dots, top_k

N, D, F, K = 12, 10, 64, 5


def parameters(seed: int = 0) -> Parameters:
    g = torch.Generator().manual_seed(seed)
    dec = normalize(torch.randn(F, D, generator=g, dtype=torch.float64), dim=1)
    return Parameters(
        torch.randn(F, D, generator=g, dtype=torch.float64),
        dec,
        0.1 * torch.randn(F, generator=g, dtype=torch.float64),
        0.1 * torch.randn(D, generator=g, dtype=torch.float64),
    )


def batch(seed: int = 1) -> torch.Tensor:
    return torch.randn(N, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(1, 6), st.sampled_from([8, 16, 40, 64, 128, 37]), st.integers(1, 8), st.integers(0, 10_000))
def test_two_stage_top_k_equals_topk(n: int, width: int, k: int, seed: int) -> None:
    pre = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    values, indices = top_k(pre, k)
    assert torch.equal(values.sort(dim=1, descending=True).values, pre.topk(k, dim=1).values)
    assert torch.equal(pre.gather(1, indices), values)
    assert all(len(set(row)) == k for row in indices.tolist())


def test_sparse_products_equal_dense_ones() -> None:
    W = parameters().dec
    values, indices = top_k(batch() @ parameters().enc.T, K)
    dense = torch.zeros(N, F, dtype=torch.float64).scatter_(1, indices, values)
    torch.testing.assert_close(decode_sparse(values, indices, W), dense @ W)
    grad = batch(2)
    torch.testing.assert_close(row_dots(grad, W, indices), (grad @ W.T).gather(1, indices))
    pattern = Transposed(indices, F)
    torch.testing.assert_close(pattern.matmul(values, grad), dense.T @ grad)
    torch.testing.assert_close(pattern.sum(values), dense.sum(0))


def by_autograd(p: Parameters, loss: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, p.all()))


def leaves(p: Parameters) -> Parameters:
    return Parameters(*(t.clone().requires_grad_(True) for t in p.all()))


@pytest.mark.parametrize("dead_share", [0.0, 0.3])
def test_topk_gradients_equal_autograd(dead_share: float) -> None:
    options = TrainOptions(d_sae=F, k=K, aux_k=7, batch_size=N, steps=10)
    dead = torch.zeros(F, dtype=torch.bool)
    dead[: int(F * dead_share)] = True
    x = batch()
    manual = parameters()
    result = TopK(options).step(manual, x, dead)

    p = leaves(parameters())
    pre = (x - p.b_dec) @ p.enc.T + p.b_enc
    values, indices = pre.topk(K, dim=1)
    f = torch.zeros(N, F, dtype=torch.float64).scatter(1, indices, values.relu())
    reconstruction = f @ p.dec + p.b_dec
    loss = (reconstruction - x).square().sum() / N
    if dead_share:
        masked = pre.masked_fill(~dead, float("-inf"))
        v, i = masked.topk(min(7, int(dead.sum())), dim=1)
        g = torch.zeros(N, F, dtype=torch.float64).scatter(1, i, v.relu())
        residual = (x - reconstruction).detach()
        loss = loss + options.aux_alpha * (g @ p.dec - residual).square().sum() / N
    torch.testing.assert_close(result.reconstruction, reconstruction.detach())
    assert torch.equal(result.fired, (f > 0).any(0))
    for mine, theirs in zip(manual.all(), by_autograd(p, loss), strict=True):
        torch.testing.assert_close(mine.grad, theirs)


def test_relu_gradients_equal_autograd() -> None:
    options = TrainOptions(architecture="relu", d_sae=F, l1=0.3, batch_size=N, steps=10)
    x, manual = batch(), parameters()
    ReLU(options).step(manual, x, torch.zeros(F, dtype=torch.bool))
    p = leaves(parameters())
    f = ((x - p.b_dec) @ p.enc.T + p.b_enc).relu()
    loss = (f @ p.dec + p.b_dec - x).square().sum() / N + 0.3 * f.sum() / N
    for mine, theirs in zip(manual.all(), by_autograd(p, loss), strict=True):
        torch.testing.assert_close(mine.grad, theirs)


def test_a_bfloat16_selection_gives_the_float32_gradients() -> None:
    """Only which latents are looked at is decided in bfloat16; with eight to spare, these rows pick the same ones."""
    options = TrainOptions(d_sae=F, k=K, aux_k=7, batch_size=N, steps=10)
    dead = torch.arange(F) < 16
    exact, low = (Parameters(*(t.float() for t in parameters().all())) for _ in range(2))
    x = batch().float()
    one = TopK(options).step(exact, x, dead)
    two = TopK(replace(options, matmul_dtype="bfloat16")).step(low, x, dead)
    torch.testing.assert_close(two.reconstruction, one.reconstruction)
    assert torch.equal(two.fired, one.fired)
    for mine, theirs in zip(low.all(), exact.all(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)
