"""Every architecture, loss and normalisation: hand-written gradients equal autograd's in float64."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from reference_losses import loss
from torch.nn.functional import normalize

from aquin_nb.engine.sae.architectures import Batch, Now, Penalised, build
from aquin_nb.engine.sae.config import TrainConfig
from aquin_nb.engine.sae.parameters import Parameters
from aquin_nb.engine.sae.weighting import row_weights

N, D, F, K = 24, 10, 64, 5
NOW = Now(k=K, sparsity=0.3, pre_act=0.0)


def parameters(config: TrainConfig, d_out: int = D, dtype: torch.dtype = torch.float64) -> Parameters:
    g = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    dec = normalize(normal(F, d_out), dim=1)
    if not config.unit_decoder:
        dec = dec * (0.5 + torch.rand(F, 1, generator=g, dtype=torch.float64).to(dtype))
    extra = {}
    if config.architecture == "jumprelu":
        extra["log_threshold"] = math.log(0.4) + 0.2 * normal(F)
    if config.architecture == "gated":
        extra = {"b_mag": 0.1 * normal(F), "r_mag": 0.2 * normal(F)}
    if config.skip:
        extra["skip"] = 0.1 * normal(D, d_out)
    return Parameters(0.5 * normal(F, D), dec, 0.1 * normal(F), 0.1 * normal(d_out), extra)


def batch(config: TrainConfig, d_out: int = D, dtype: torch.dtype = torch.float64, transcoder: bool = False) -> Batch:
    g = torch.Generator().manual_seed(1)
    x = torch.randn(N, D, generator=g, dtype=torch.float64).to(dtype)
    y = torch.randn(N, d_out, generator=g, dtype=torch.float64).to(dtype) if transcoder else x
    return Batch(x, y, row_weights(y, config.error), N)


def compare(
    config: TrainConfig, *, now: Now = NOW, dead: int = 0, transcoder: bool = False, sparse: bool = False
) -> None:
    d_out = 7 if transcoder else D
    silent = torch.arange(dead)
    data = batch(config, d_out, transcoder=transcoder)
    mine = parameters(config, d_out)
    arch = build(config, transcoder=transcoder)
    if isinstance(arch, Penalised) and sparse:
        arch.share = 0.0
    result = arch.step(mine, data, silent, now)
    leaves = parameters(config, d_out).map(lambda t: t.clone().requires_grad_(True))
    total, reconstruction = loss(config, leaves, data, silent, now, transcoder=transcoder)
    torch.testing.assert_close(result.residual + data.y, reconstruction.detach())
    theirs = torch.autograd.grad(total, leaves.all(), allow_unused=True)
    for (name, tensor), expected in zip(mine.named().items(), theirs, strict=True):
        assert tensor.grad is not None, name
        wanted = torch.zeros_like(tensor) if expected is None else expected
        torch.testing.assert_close(tensor.grad, wanted, msg=lambda text, name=name: f"{name}: {text}")


def config(architecture: str, **changes: Any) -> TrainConfig:
    values = {"d_sae": F, "k": K, "aux_k": 7, "batch_size": N, "steps": 10, "sparsity_coefficient": 0.3}
    if architecture == "matryoshka":
        values["groups"] = (8, 20, 64)
    values |= {"bandwidth": 0.3, "block_rows": 10}
    return TrainConfig(architecture=architecture, **(values | changes)).resolved(1000)


SELECTED = ("topk", "batchtopk", "matryoshka")
PENALISED = ("relu", "jumprelu", "gated")


@pytest.mark.parametrize("architecture", SELECTED)
@pytest.mark.parametrize("dead", [0, 3, 20])
def test_selected_with_dead_latents(architecture: str, dead: int) -> None:
    compare(config(architecture), dead=dead)


@pytest.mark.parametrize("architecture", PENALISED)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {"sparsity_loss": "lp"},
        {"sparsity_loss": "lp", "p": 2.0},
        {"sparsity_loss": "lp", "p": 0.5},
        {"sparsity_loss": "tanh", "tanh_scale": 2.0},
        {"sparsity_loss": "tanh-quadratic", "tanh_scale": 2.0, "frequency_scale": 0.1},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())),
)
@pytest.mark.parametrize("unit_decoder", [True, False])
def test_penalised(architecture: str, sparse: bool, settings: dict[str, Any], unit_decoder: bool) -> None:
    compare(config(architecture, unit_decoder=unit_decoder, **settings), sparse=sparse)


@pytest.mark.parametrize("sparse", [False, True])
def test_jumprelu_l0_and_pre_activation_penalty(sparse: bool) -> None:
    settings = config("jumprelu", sparsity_loss="l0")
    compare(settings, sparse=sparse)
    compare(settings, now=replace(NOW, pre_act=0.2), dead=9, sparse=sparse)


@pytest.mark.parametrize("architecture", SELECTED + PENALISED)
@pytest.mark.parametrize("error", ["sum", "variance", "row"])
def test_error_normalisations(architecture: str, error: str) -> None:
    compare(config(architecture, error=error), dead=4)


@pytest.mark.parametrize("architecture", SELECTED + PENALISED)
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_transcoders(architecture: str, skip: bool, sparse: bool) -> None:
    compare(config(architecture, skip=skip), transcoder=True, dead=4, sparse=sparse)


@pytest.mark.parametrize("architecture", SELECTED + PENALISED)
def test_blocks_change_nothing(architecture: str) -> None:
    """Memory is bounded by working block by block; how large the blocks are shows in rounding only."""
    grads = []
    for rows in (5, N):
        settings = config(architecture, block_rows=rows)
        p = parameters(settings)
        build(settings).step(p, batch(settings), torch.arange(4), NOW)
        grads.append([t.grad for t in p.all()])
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("architecture", SELECTED)
def test_a_bfloat16_selection_gives_the_float32_gradients(architecture: str) -> None:
    """Only which latents are looked at is decided in bfloat16; with some to spare, these rows pick the same ones."""
    grads = []
    for dtype in ("float32", "bfloat16"):
        settings = config(architecture, dtype=dtype)
        p = parameters(settings, dtype=torch.float32)
        build(settings).step(p, batch(settings, dtype=torch.float32), torch.arange(0), NOW)
        grads.append([t.grad for t in p.all()])
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", PENALISED)
@pytest.mark.parametrize("sparse", [False, True])
def test_bfloat16_products_stay_near_float32(architecture: str, sparse: bool) -> None:
    grads = []
    for dtype in ("float32", "bfloat16"):
        settings = config(architecture, dtype=dtype)
        p = parameters(settings, dtype=torch.float32)
        arch = build(settings)
        assert isinstance(arch, Penalised)
        arch.share = 0.0 if sparse else 1.0
        arch.step(p, batch(settings, dtype=torch.float32), torch.arange(0), NOW)
        grads.append(torch.cat([t.grad.flatten() for t in p.all()]))
    one, two = grads
    assert float((one - two).norm() / one.norm()) < 0.05


def test_batchtopk_keeps_the_largest_of_the_batch_whatever_the_hint() -> None:
    settings = config("batchtopk", aux_k=0)
    for hint in (0.0, 1e-6, 0.1, 50.0):
        arch = build(settings)
        arch.restore({"hint": hint})
        result = arch.step(parameters(settings), batch(settings), torch.arange(0), NOW)
        assert int(result.fired.sum()) == N * K
