"""One training step of relu, jumprelu and gated: dense products until few latents are active, then sparse ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .config import TrainConfig
from .gates import gate
from .kernels import Pattern, above
from .mesh import ALONE, Mesh
from .parameters import Parameters, grad
from .penalties import derivative
from .steps import Architecture, Batch, Now, StepResult

SPARSE_BELOW = {torch.float32: 0.05, torch.float64: 0.05, torch.bfloat16: 0.02}
"""Share of active entries below which the sparse products of `Penalised` are cheaper than dense ones: a sparse entry
costs about as much as 20 dense ones, fewer where bfloat16 matrix units speed up the dense ones only."""


class Penalised(Architecture):
    """relu, jumprelu and gated: every latent above its bound counts, and a penalty keeps them few."""

    def __init__(
        self, config: TrainConfig, *, transcoder: bool = False, mesh: Mesh = ALONE, compiled: bool = False
    ) -> None:
        super().__init__(config, transcoder=transcoder, mesh=mesh, compiled=compiled)
        self.gate = gate(config)
        self.share = 1.0

    def state(self) -> dict[str, float]:
        return {"share": self.share}

    def restore(self, state: dict[str, float]) -> None:
        self.share = state["share"]

    def step(self, p: Parameters, batch: Batch, dead: Tensor, now: Now) -> StepResult:
        centred = self._centred(p, batch.x)
        for parameter in p.all():
            parameter.grad = torch.zeros_like(parameter)
        norms = torch.linalg.vector_norm(p.dec, dim=1)
        frequency = self._frequency(p, centred, norms) if self.config.sparsity_loss == "tanh-quadratic" else None
        revived = dead if now.pre_act and "log_threshold" in p.extra else dead[:0]
        sparse = self.share < SPARSE_BELOW[self.low or centred.dtype]
        run = self._sparse if sparse else self._dense
        result, entries = run(p, batch, centred, norms, frequency, now, revived)
        # All ranks must take the same path: their sums meet block by block.
        mesh, count = self.mesh, torch.tensor(float(entries), dtype=torch.float32, device=centred.device)
        size = centred.shape[0] * mesh.data_size * p.enc.shape[0] * mesh.latent_size
        self.share = float(mesh.over_rows(mesh.over_latents(count))) / size
        return result

    def _sparse(
        self,
        p: Parameters,
        batch: Batch,
        centred: Tensor,
        norms: Tensor,
        frequency: Tensor | None,
        now: Now,
        revived: Tensor,
    ) -> tuple[StepResult, int]:
        n, d_sae = centred.shape[0], p.enc.shape[0]
        bound, found = self.gate.bound(p), []
        for place, pre in self._blocks(p, centred):
            rows, indices, values = above(pre, bound)
            found.append((rows + place.start, indices, values))
            self._revive(p, centred[place], pre, revived, now.pre_act / batch.total, norms)
        rows, indices, values = (torch.cat(part) for part in zip(*found, strict=True))
        pattern = Pattern.ragged(rows, indices, n, d_sae)
        z = self._exact(p, centred, pattern, values.to(p.enc.dtype))

        def take(tensor: Tensor) -> Tensor:
            return tensor[pattern.indices]

        def row_sums(tensor: Tensor) -> Tensor:
            return self.mesh.over_latents(pattern.sum_rows(tensor))[pattern.rows]

        heads = self.gate.heads(z, p, take)
        errors = [self._output(p, pattern.decode(head, p.dec), batch.x).sub_(batch.y) for head in heads]
        grads_out = [error * (2 * batch.weights).unsqueeze(1) for error in errors]
        grads = [pattern.dots(g, p.dec) for g in grads_out]
        at = self.gate.penalised
        norm = take(norms)
        slope = derivative(
            self.config, self._weighted(heads[at], norm), row_sums, take(frequency) if frequency is not None else None
        ).mul_(now.sparsity / batch.total)
        grads[at] = grads[at] + slope * norm
        l0 = now.sparsity / batch.total if self.config.sparsity_loss == "l0" else 0.0
        grad_z, others = self.gate.backward(z, grads, l0, p, take)
        grad(p.dec).add_(pattern.transposed(heads[0], grads_out[0]))
        grad(p.enc).add_(pattern.transposed(grad_z, centred))
        grad(p.b_enc).add_(pattern.sum(grad_z))
        self._norm_gradient(p, norms, lambda: pattern.sum(slope * heads[at]))
        self._close(p, batch, grads_out[0])
        for name, value in others.items():
            grad(p.named()[name]).add_(pattern.sum(value))
        return StepResult(errors[0], pattern.sum((heads[0] > 0).to(z.dtype)).long()), z.numel()

    def _dense(
        self,
        p: Parameters,
        batch: Batch,
        centred: Tensor,
        norms: Tensor,
        frequency: Tensor | None,
        now: Now,
        revived: Tensor,
    ) -> tuple[StepResult, int]:
        dtype = self.low or centred.dtype
        dec = p.dec.to(dtype)
        residual = torch.empty_like(batch.y)
        grad_out = torch.empty_like(batch.y)
        fired = torch.zeros(p.enc.shape[0], dtype=torch.int64, device=centred.device)
        by_norm, totals = torch.zeros_like(norms), dict[str, Tensor]()
        entries, at = 0, self.gate.penalised
        bound = self.gate.bound(p)
        for place, pre in self._blocks(p, centred):
            self._revive(p, centred[place], pre, revived, now.pre_act / batch.total, norms)
            heads = self.gate.heads(pre, p, _same)
            decoded = [(head @ dec).to(p.dec.dtype) for head in heads]
            errors = [self._output(p, part, batch.x[place]).sub_(batch.y[place]) for part in decoded]
            weights = (2 * batch.weights[place]).unsqueeze(1)
            grads_out = [error * weights for error in errors]
            grads = [g.to(dtype) @ dec.T for g in grads_out]
            norm = norms.to(dtype)
            slope = derivative(
                self.config,
                self._weighted(heads[at], norm),
                self._row_sums,
                frequency.to(dtype) if frequency is not None else None,
            ).mul_(now.sparsity / batch.total)
            grads[at].addcmul_(slope, norm)
            l0 = now.sparsity / batch.total if self.config.sparsity_loss == "l0" else 0.0
            grad_z, others = self.gate.backward(pre, grads, l0, p, _same)
            _add_product(grad(p.dec), heads[0], grads_out[0].to(dtype))
            _add_product(grad(p.enc), grad_z, centred[place].to(dtype))
            grad(p.b_enc).add_(_totals(grad_z, p.b_enc.dtype))
            for name, value in others.items():
                totals[name] = totals.get(name, 0) + _totals(value, p.b_enc.dtype)
            if not self.config.unit_decoder:
                by_norm += _totals(slope * heads[at], by_norm.dtype)
            residual[place], grad_out[place] = errors[0], grads_out[0]
            fired += heads[0].sign().sum(0, dtype=torch.float32).long()  # a count of booleans is many times slower
            if isinstance(bound, Tensor):
                entries += int((pre - bound.to(dtype)).sign_().relu_().sum(dtype=torch.float64))
        self._norm_gradient(p, norms, lambda: by_norm)
        self._close(p, batch, grad_out)
        for name, total in totals.items():
            grad(p.named()[name]).add_(total)
        return StepResult(residual, fired), entries or int(fired.sum())

    def _weighted(self, head: Tensor, norm: Tensor) -> Tensor:
        """g = f · ‖W_dec‖, which the derivative of a plain sum does not look at."""
        return head if self.config.sparsity_loss == "lp" and self.config.p == 1 else head * norm

    def _row_sums(self, tensor: Tensor) -> Tensor:
        return self.mesh.over_latents(tensor.sum(1, keepdim=True))

    def _frequency(self, p: Parameters, centred: Tensor, norms: Tensor) -> Tensor:
        """The batch mean of tanh(c · g) of each latent [d_sae]; it needs the whole batch before any gradient."""
        total = torch.zeros_like(norms)
        for _, pre in self._blocks(p, centred):
            g = self.gate.heads(pre, p, _same)[self.gate.penalised] * norms.to(pre.dtype)
            total += _totals(torch.tanh(g * self.config.tanh_scale), total.dtype)
        total = self.mesh.over_rows(total)
        return total / (centred.shape[0] * self.mesh.data_size)

    def _revive(self, p: Parameters, centred: Tensor, pre: Tensor, dead: Tensor, weight: float, norms: Tensor) -> None:
        """Gradient of weight · Σ relu(θ - pre) · ‖W_dec‖ over dead latents.

        The pre-activation loss of Anthropic's January 2025 update but for two things: that one sums over all latents,
        this one over the dead, which are those that need it; and ‖W_dec‖ is held constant, so that with
        `unit_decoder=False` no row of the decoder shrinks to make the loss small.
        """
        if dead.numel() == 0:
            return
        threshold = p.extra["log_threshold"].exp()[dead]
        pull = (pre[:, dead] < threshold).to(centred.dtype) * (weight * norms[dead])
        count = pull.sum(0)
        grad(p.enc).index_add_(0, dead, pull.T @ centred, alpha=-1)
        grad(p.b_enc).index_add_(0, dead, count, alpha=-1)
        grad(p.extra["log_threshold"]).index_add_(0, dead, count * threshold)

    def _norm_gradient(self, p: Parameters, norms: Tensor, by_norm: Callable[[], Tensor]) -> None:
        """The penalty's gradient in the decoder: d g / d W_dec = f · W_dec / ‖W_dec‖. Nothing along held rows."""
        if not self.config.unit_decoder:
            grad(p.dec).addcmul_(p.dec, (by_norm() / norms.clamp(min=1e-12)).unsqueeze(1))


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += leftᵀ right, summed in float32 between blocks."""
    if left.dtype == total.dtype:
        total.addmm_(left.T, right)
    else:
        total.add_(left.T @ right)


def _totals(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values.sum(0, dtype=dtype)
