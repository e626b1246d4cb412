"""The losses of every architecture in dense autograd, slow and plain: what the hand-written steps are held against."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aquin_nb.engine.sae.architectures import Batch, Now
from aquin_nb.engine.sae.config import TrainConfig
from aquin_nb.engine.sae.parameters import Parameters


class JumpSTE(torch.autograd.Function):
    """z · [z > θ] with the straight-through gradient of Rajamanoharan et al. 2024, equation 11."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, threshold: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(z, threshold)
        ctx.width = width
        return z * (z > threshold)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        z, threshold = ctx.saved_tensors
        window = ((z - threshold).abs() < ctx.width / 2).to(z.dtype)
        return grads[0] * (z > threshold), (-grads[0] * threshold / ctx.width * window).sum(0), None


class StepSTE(torch.autograd.Function):
    """[z > θ], equation 12."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, threshold: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(z, threshold)
        ctx.width = width
        return (z > threshold).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        z, threshold = ctx.saved_tensors
        window = ((z - threshold).abs() < ctx.width / 2).to(z.dtype)
        return None, (-grads[0] / ctx.width * window).sum(0), None


def penalty(config: TrainConfig, g: Tensor, pre: Tensor, threshold: Tensor | None) -> Tensor:
    """Summed over the batch, to be divided by n."""
    n, c = g.shape[0], config.tanh_scale
    if config.sparsity_loss == "lp" and config.p == 1:
        return g.sum()
    if config.sparsity_loss == "lp":
        positive = g > 0
        return (torch.where(positive, g, 1.0).pow(config.p) * positive).sum(1).pow(1 / config.p).sum()
    if config.sparsity_loss == "tanh":
        return torch.tanh(c * g).sum()
    if config.sparsity_loss == "tanh-quadratic":
        q = torch.tanh(c * g).mean(0)
        return n * (q * (1 + q / config.frequency_scale)).sum()
    assert threshold is not None
    return StepSTE.apply(pre, threshold, config.bandwidth).sum()


def loss(
    config: TrainConfig, p: Parameters, batch: Batch, dead: Tensor, now: Now, *, transcoder: bool
) -> tuple[Tensor, Tensor]:
    """(loss, reconstruction) of one batch; gradients follow by autograd."""
    x, y, n = batch.x, batch.y, batch.x.shape[0]
    pre = (x if transcoder else x - p.b_dec) @ p.enc.T + p.b_enc
    norms = p.dec.norm(dim=1)

    def error(out: Tensor) -> Tensor:
        return (batch.weights * (out - y).square().sum(1)).sum()

    def output(f: Tensor) -> Tensor:
        out = f @ p.dec + p.b_dec
        return out + x @ p.extra["skip"] if "skip" in p.extra else out

    kind = config.architecture
    if kind in ("topk", "batchtopk", "matryoshka"):
        if kind == "topk":
            chosen = torch.zeros_like(pre).scatter(1, pre.topk(now.k, dim=1).indices, 1.0)
        else:
            chosen = torch.zeros_like(pre).flatten()
            chosen[pre.flatten().topk(n * now.k).indices] = 1.0
            chosen = chosen.view_as(pre)
        f = pre.relu() * chosen
        reconstruction = output(f)
        if kind == "matryoshka":
            assert config.groups is not None
            prefixes = [output(f * (torch.arange(f.shape[1]) < size)) for size in config.groups]
            total = torch.stack([error(out) for out in prefixes]).mean()
        else:
            total = error(reconstruction)
        if dead.numel() and config.aux_k:
            masked = torch.full_like(pre, float("-inf"))
            masked[:, dead] = pre[:, dead]
            values, indices = masked.topk(min(config.aux_k, dead.numel()), dim=1)
            g = torch.zeros_like(pre).scatter(1, indices, values.relu())
            residual = (y - reconstruction).detach()
            weights = batch.weights
            total = total + config.aux_coefficient * (weights * (g @ p.dec - residual).square().sum(1)).sum()
        return total, reconstruction
    threshold = None
    if kind == "jumprelu":
        threshold = p.extra["log_threshold"].exp()
        f = penalised = JumpSTE.apply(pre, threshold, config.bandwidth)
        total = error(output(f))
    elif kind == "gated":
        projection = pre - p.b_enc
        f = (projection * p.extra["r_mag"].exp() + p.extra["b_mag"]).relu() * (pre > 0)
        penalised = pre.relu()
        frozen = penalised @ p.dec.detach() + p.b_dec.detach()
        if "skip" in p.extra:
            frozen = frozen + x @ p.extra["skip"].detach()
        total = error(output(f)) + error(frozen)
    else:
        f = penalised = pre.relu()
        total = error(output(f))
    if config.unit_decoder:
        norms = norms.detach()
    total = total + now.sparsity / n * penalty(config, penalised * norms, pre, threshold)
    if now.pre_act and dead.numel() and threshold is not None:
        total = total + now.pre_act / n * ((threshold - pre).relu()[:, dead] * p.dec.detach().norm(dim=1)[dead]).sum()
    return total, output(f)
