"""One class an architecture: forward, loss and the gradients written by hand, so that a step touches only what fired.

An architecture gets the parameters and a batch and leaves gradients in `.grad`; the loop in `trainer.py` knows nothing
else of it. Loss and gradients are those of `TrainOptions`; tests compare each with autograd in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .config import TrainOptions
from .kernels import Transposed, decode_sparse, row_dots, top_k

SLACK = 8
"""Candidates beyond k that a bfloat16 selection scores again."""


@dataclass
class Parameters:
    """Trainable tensors, both matrices latent-major so that a latent is one contiguous row.

    enc [d_sae, d_in], dec [d_sae, d_out] with unit rows, b_enc [d_sae], b_dec [d_out].
    """

    enc: Tensor
    dec: Tensor
    b_enc: Tensor
    b_dec: Tensor

    def all(self) -> list[Tensor]:
        return [self.enc, self.dec, self.b_enc, self.b_dec]


@dataclass(frozen=True)
class StepResult:
    """What a step saw: the reconstruction [n, d], the mean L0 and the latents that fired (bool [d_sae])."""

    reconstruction: Tensor
    l0: Tensor
    fired: Tensor


class Architecture(Protocol):
    """Fills `.grad` of every parameter for one batch x [n, d] float32."""

    def step(self, p: Parameters, x: Tensor, dead: Tensor) -> StepResult:
        """`dead` is a bool [d_sae] mask of latents that have not fired for long."""
        ...


class TopK:
    """Keep the k largest pre-activations of each row; latents that died are pulled back by AuxK."""

    def __init__(self, options: TrainOptions) -> None:
        self.k, self.aux_k, self.aux_alpha = options.k, options.aux_k, options.aux_alpha
        self._low = torch.bfloat16 if options.matmul_dtype == "bfloat16" else None
        self._buffer = torch.empty(0)

    def step(self, p: Parameters, x: Tensor, dead: Tensor) -> StepResult:
        n, d_sae = x.shape[0], p.enc.shape[0]
        centred = x - p.b_dec
        pre = self._pre_activations(p, centred)
        raw, indices = self._select(p, centred, pre, self.k)
        values = raw.relu()
        reconstruction = decode_sparse(values, indices, p.dec) + p.b_dec
        grad_out = (reconstruction - x) * (2 / n)
        grad_values = row_dots(grad_out, p.dec, indices) * (raw > 0)

        pattern = Transposed(indices, d_sae)
        p.dec.grad = pattern.matmul(values, grad_out)
        p.enc.grad = pattern.matmul(grad_values, centred)
        p.b_enc.grad = pattern.sum(grad_values)
        # b_dec is added to the output and subtracted from the input: the second term is one matrix-vector product
        # instead of the full gradient of the input.
        p.b_dec.grad = grad_out.sum(0) - p.b_enc.grad @ p.enc
        fired = pattern.sum((raw > 0).to(values.dtype)) > 0
        self._aux(p, centred, pre, x - reconstruction, dead)
        return StepResult(reconstruction, (raw > 0).sum() / n, fired)

    def _pre_activations(self, p: Parameters, centred: Tensor) -> Tensor:
        """[n, d_sae] in a buffer that is kept: a fresh one of this size costs page faults on every step."""
        shape, dtype = (centred.shape[0], p.enc.shape[0]), self._low or centred.dtype
        if self._buffer.shape != shape or self._buffer.device != centred.device:
            self._buffer = torch.empty(shape, device=centred.device, dtype=dtype)
        return torch.addmm(p.b_enc.to(dtype), centred.to(dtype), p.enc.to(dtype).T, out=self._buffer)

    def _select(self, p: Parameters, centred: Tensor, pre: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k largest pre-activations of each row, exact to the parameters' dtype: (values [n, k], indices [n, k]).

        With a bfloat16 product, `SLACK` more candidates are taken and all are scored again in full precision, so that
        rounding only matters where it moves an entry by more than `SLACK` ranks.
        """
        if self._low is None:
            return top_k(pre, k)
        _, candidates = top_k(pre, min(k + SLACK, pre.shape[1]))
        exact = row_dots(centred, p.enc, candidates) + p.b_enc[candidates]
        values, at = exact.topk(k, dim=1, sorted=False)
        return values, candidates.gather(1, at)

    def _aux(self, p: Parameters, centred: Tensor, pre: Tensor, residual: Tensor, dead: Tensor) -> None:
        """AuxK: dead latents model what the living left over, residual held constant (Gao et al. 2024, A.2).

        Adds the gradient of α · mean ‖residual - Σ_top aux_k dead‖² scaled by nothing else: both losses are squared
        errors summed over d.
        """
        candidates = dead.nonzero().squeeze(1)
        count = min(self.aux_k, candidates.numel())
        if count == 0 or self.aux_alpha == 0:
            return
        n, d_sae = pre.shape
        indices = candidates[pre[:, candidates].topk(count, dim=1, sorted=False).indices]
        raw = row_dots(centred, p.enc, indices) + p.b_enc[indices]
        values = raw.relu()
        grad_out = (decode_sparse(values, indices, p.dec) - residual) * (2 * self.aux_alpha / n)
        grad_values = row_dots(grad_out, p.dec, indices) * (raw > 0)
        pattern = Transposed(indices, d_sae)
        grad_b_enc = pattern.sum(grad_values)
        _grad(p.dec).add_(pattern.matmul(values, grad_out))
        _grad(p.enc).add_(pattern.matmul(grad_values, centred))
        _grad(p.b_enc).add_(grad_b_enc)
        _grad(p.b_dec).sub_(grad_b_enc @ p.enc)


class ReLU:
    """Every positive pre-activation counts; an L1 penalty keeps them few.

    Decoder rows are held at unit norm, so the plain sum of activations is the decoder-norm-weighted L1.
    """

    def __init__(self, options: TrainOptions) -> None:
        self.l1 = options.l1
        self.warmup_steps = max(1, options.steps // 20)
        self._step = 0

    def step(self, p: Parameters, x: Tensor, dead: Tensor) -> StepResult:
        n = x.shape[0]
        self._step += 1
        # The penalty rises over the first 5 % of the run: at full strength from the start it kills latents for good.
        l1 = self.l1 * min(1.0, self._step / self.warmup_steps)
        centred = x - p.b_dec
        f = torch.addmm(p.b_enc, centred, p.enc.T).relu_()
        active = f > 0
        reconstruction = torch.addmm(p.b_dec, f, p.dec)
        grad_out = (reconstruction - x) * (2 / n)
        p.dec.grad = f.T @ grad_out
        grad_pre = (grad_out @ p.dec.T).add_(l1 / n).mul_(active)
        p.enc.grad = grad_pre.T @ centred
        p.b_enc.grad = grad_pre.sum(0)
        p.b_dec.grad = grad_out.sum(0) - p.b_enc.grad @ p.enc
        return StepResult(reconstruction, active.sum() / n, active.any(0))


def _grad(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def build(options: TrainOptions) -> Architecture:
    """The architecture that `options` names."""
    return TopK(options) if options.architecture == "topk" else ReLU(options)
