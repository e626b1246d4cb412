"""One training step of each architecture: forward, loss and the gradients written by hand.

An architecture gets the parameters and a batch and leaves gradients in `.grad`; the loop in `trainer.py` knows nothing
else of it. `Selected` (topk, batchtopk, matryoshka) works on the pattern of active latents from the start; `Penalised`
(relu, jumprelu, gated) multiplies dense matrices until few enough latents are active, then does the same. Dense
pre-activations exist for one block of rows at a time. Tests compare every gradient with autograd in float64.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .config import SELECTED, TrainConfig
from .gates import gate
from .kernels import Pattern, above, top_positive
from .mesh import ALONE, Mesh
from .parameters import Parameters, grad
from .penalties import derivative

SLACK = 8
"""Candidates beyond k that a bfloat16 selection scores again."""

MARGIN = 0.9
"""BatchTopK looks at entries above this share of the last step's threshold."""

ALL = -1.0
"""BatchTopK's hint after a step in which every positive entry was active: the next one begins with all of them."""

SPARSE_BELOW = {torch.float32: 0.05, torch.float64: 0.05, torch.bfloat16: 0.02}
"""Share of active entries below which the sparse products of `Penalised` are cheaper than dense ones: a sparse entry
costs about as much as 20 dense ones, fewer where bfloat16 matrix units speed up the dense ones only."""

BLOCK_BYTES = {"cpu": 24 << 20, "cuda": 512 << 20}
"""Of a block's pre-activations. On a CPU it is kept below glibc's largest threshold for mmap, so that temporaries of a
block's size are recycled instead of being page-faulted in again; where there are none (`Selected`), larger blocks
spend less on packing the weights for each product."""
SELECTED_BLOCK_BYTES = {"cpu": 64 << 20, "cuda": 512 << 20}


@dataclass(frozen=True)
class Batch:
    """Scaled rows x [n, d_in], their targets y [n, d_out] (x itself for an autoencoder), and each row's weight in the
    loss: `weights` [n], summing to 1 for `error="sum"`. `total` is the number of rows over all data ranks."""

    x: Tensor
    y: Tensor
    weights: Tensor
    total: int


@dataclass(frozen=True)
class Now:
    """What the schedules say at this step: k, and the weights of the sparsity and the pre-activation penalty.

    `dead`: dead latents of the whole dictionary; None where a rank sees all of them."""

    k: int
    sparsity: float
    pre_act: float
    dead: int | None = None


@dataclass(frozen=True)
class StepResult:
    """What a step saw: x̂ - y [n, d_out], and how many rows each latent fired for (int64 [d_sae])."""

    residual: Tensor
    fired: Tensor


class Architecture(ABC):
    """Fills `.grad` of every parameter for one batch; every rank of a mesh does so for its rows and latents."""

    block_bytes = BLOCK_BYTES
    biased = True
    """Compiled selections add b_enc themselves: a product that adds it first copies it to all rows."""

    def __init__(
        self, config: TrainConfig, *, transcoder: bool = False, mesh: Mesh = ALONE, compiled: bool = False
    ) -> None:
        """`compiled`: with the kernels that `cpu.compiled_kernels` compiled; tensors are then float32 on the CPU."""
        self.config, self.transcoder, self.mesh, self.compiled = config, transcoder, mesh, compiled
        self.low = torch.bfloat16 if config.dtype == "bfloat16" else None
        self.block_rows = config.block_rows
        self._buffer = torch.empty(0)
        self.rows_at_once = 0
        """Rows of the block last asked for, whether or not there was room for it; 0 before the first step."""

    @abstractmethod
    def step(self, p: Parameters, batch: Batch, dead: Tensor, now: Now) -> StepResult:
        """`dead` int64 [m] are the latents that have not fired for long, of those this rank holds."""

    def state(self) -> dict[str, float]:
        """What the next step needs of this one, for a checkpoint."""
        return {}

    def restore(self, state: dict[str, float]) -> None:  # noqa: B027  most have no state
        """Take `state()` back."""

    def forget_buffers(self) -> None:
        """Free what is kept between steps."""
        self._buffer = torch.empty(0)

    def _centred(self, p: Parameters, x: Tensor) -> Tensor:
        return x if self.transcoder else x - p.b_dec

    def _output(self, p: Parameters, decoded: Tensor, x: Tensor) -> Tensor:
        """The latents' part, summed over the ranks that hold them, with bias and skip connection added."""
        out = self.mesh.over_latents(decoded).add_(p.b_dec)
        return out.addmm_(x, p.extra["skip"]) if "skip" in p.extra else out

    def _close(self, p: Parameters, batch: Batch, grad_out: Tensor) -> None:
        """Gradients of b_dec and of the skip connection, from d loss / d x̂.

        Called while `b_enc.grad` is Σ_b d loss / d pre of each latent: b_dec is added to the output and, in an
        autoencoder, subtracted from the input, and the second part is one matrix-vector product with that sum instead
        of the full gradient of the input.
        """
        p.b_dec.grad = grad_out.sum(0)
        if not self.transcoder:
            p.b_dec.grad -= self.mesh.over_latents(grad(p.b_enc) @ p.enc)
        if "skip" in p.extra:
            p.extra["skip"].grad = batch.x.T @ grad_out

    def _blocks(self, p: Parameters, centred: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Pre-activations [rows, d_sae], block by block, in a buffer that is used again; b_enc is added if `biased`.

        A fresh tensor of this size costs page faults on every step, and a block stays nearer to the processor.
        """
        n, d_sae = centred.shape[0], p.enc.shape[0]
        dtype = self.low or centred.dtype
        room = self.block_bytes.get(centred.device.type, 24 << 20)
        rows = self.block_rows or max(256, room // (d_sae * dtype.itemsize))
        self.rows_at_once = rows = min(rows, n)
        if self._buffer.shape != (rows, d_sae) or self._buffer.device != centred.device or self._buffer.dtype != dtype:
            self._buffer = torch.empty((rows, d_sae), device=centred.device, dtype=dtype)
        weight, bias, x = p.enc.to(dtype).T, p.b_enc.to(dtype), centred.to(dtype)
        for start in range(0, n, rows):
            place = slice(start, min(n, start + rows))
            out = self._buffer[: place.stop - start]
            if self.biased:
                torch.addmm(bias, x[place], weight, out=out)
            else:
                torch.mm(x[place], weight, out=out)
            yield place, out

    def _exact(self, p: Parameters, centred: Tensor, pattern: Pattern, approximate: Tensor) -> Tensor:
        """Pre-activations of a pattern's entries in the parameters' dtype."""
        if self.low is None:
            return approximate
        return pattern.dots(centred, p.enc) + p.b_enc[pattern.indices]


class Selected(Architecture):
    """topk, batchtopk and matryoshka: the largest pre-activations are kept, and dead latents pulled back by AuxK."""

    block_bytes = SELECTED_BLOCK_BYTES

    def __init__(
        self, config: TrainConfig, *, transcoder: bool = False, mesh: Mesh = ALONE, compiled: bool = False
    ) -> None:
        super().__init__(config, transcoder=transcoder, mesh=mesh, compiled=compiled)
        self.by_batch = config.architecture != "topk"
        self.groups = config.groups if config.architecture == "matryoshka" else None
        self.biased = not compiled
        self.hint = 0.0

    def state(self) -> dict[str, float]:
        return {"hint": self.hint}

    def restore(self, state: dict[str, float]) -> None:
        self.hint = state["hint"]

    def step(self, p: Parameters, batch: Batch, dead: Tensor, now: Now) -> StepResult:
        centred = self._centred(p, batch.x)
        aux: list[tuple[Tensor, Tensor]] = []
        # The number that all ranks know decides: those without a dead latent take part in the sums all the same.
        everywhere = dead.numel() if now.dead is None else now.dead
        wanted = min(self.config.aux_k or 0, everywhere) if self.config.aux_coefficient else 0
        pattern, z = self._select(p, centred, now.k, dead, wanted, aux)
        f = z.relu()
        if self.compiled and self.groups is None and self.mesh.latent_size == 1:
            residual, total_grad, fired = self._compiled_gradients(p, batch, centred, pattern, f)
            return self._finish(p, batch, centred, StepResult(residual, fired), total_grad, aux, wanted)
        if self.groups is None:
            decode, decoded = pattern, pattern.decode(f, p.dec)
            residual = self._output(p, decoded, batch.x).sub_(batch.y)
            total_grad = grad_out = residual * (2 * batch.weights).unsqueeze(1)
        else:
            decode, f, z = self._by_group(pattern, f, z)
            decoded = decode.decode(f, p.dec).view(len(self.groups), *batch.y.shape).cumsum(0)
            outs = [self._output(p, part, batch.x) for part in decoded]
            residual = outs[-1] - batch.y
            each = torch.stack([out - batch.y for out in outs]) * (2 / len(outs) * batch.weights).unsqueeze(1)
            total_grad = each.sum(0)
            # A latent of group s takes part in the prefixes s, s + 1, ...: it feels the sum of their gradients.
            grad_out = each.flip(0).cumsum(0).flip(0).flatten(0, 1)
        grad_z = decode.dots(grad_out, p.dec) * (z > 0)
        p.dec.grad = decode.transposed(f, grad_out)
        p.enc.grad = decode.transposed(grad_z, centred)
        p.b_enc.grad = decode.sum(grad_z)
        result = StepResult(residual, decode.sum((z > 0).to(z.dtype)).long())
        return self._finish(p, batch, centred, result, total_grad, aux, wanted)

    def _finish(
        self,
        p: Parameters,
        batch: Batch,
        centred: Tensor,
        result: StepResult,
        grad_out: Tensor,
        aux: list[tuple[Tensor, Tensor]],
        wanted: int,
    ) -> StepResult:
        """What is added to the gradients of the active latents."""
        if wanted:
            self._aux(p, batch, centred, result.residual, self._revivable(aux, wanted, p.enc.shape[0]))
        self._close(p, batch, grad_out)
        return result

    def _compiled_gradients(
        self, p: Parameters, batch: Batch, centred: Tensor, pattern: Pattern, f: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x̂ - y, d loss / d x̂ and how often each latent fired; fills the gradients of dec, enc and b_enc."""
        from .compiled_products import reconstruct, weight_gradients

        y = batch.y - batch.x @ p.extra["skip"] if "skip" in p.extra else batch.y
        residual, grad_out, grad_z = reconstruct(pattern, f, p.dec, p.b_dec, y, 2 * batch.weights)
        gradients = weight_gradients(pattern, f, grad_z, grad_out, centred, (p.dec.grad, p.enc.grad))
        p.dec.grad, p.enc.grad, p.b_enc.grad, fired = gradients
        return residual, grad_out, fired

    def _by_group(self, pattern: Pattern, f: Tensor, z: Tensor) -> tuple[Pattern, Tensor, Tensor]:
        """The pattern with rows numbered group by group: row g · n + b holds the entries of row b in group g."""
        assert self.groups is not None
        limits = torch.tensor(self.groups[:-1], device=z.device) - self._first_latent(pattern.d_sae)
        rows = torch.bucketize(pattern.indices, limits, right=True) * pattern.n + pattern.rows
        order = rows.argsort(stable=True)
        ragged = Pattern.ragged(rows[order], pattern.indices[order], len(self.groups) * pattern.n, pattern.d_sae)
        return ragged, f[order], z[order]

    def _first_latent(self, d_sae: int) -> int:
        """The number of this rank's first latent in the whole dictionary."""
        return int(self.mesh.latents(torch.arange(self.config.d_sae))[0]) if d_sae < self.config.d_sae else 0

    def _select(
        self, p: Parameters, centred: Tensor, k: int, dead: Tensor, wanted: int, aux: list[tuple[Tensor, Tensor]]
    ) -> tuple[Pattern, Tensor]:
        """The active entries and their exact pre-activations; fills `aux` with up to `wanted` dead latents of each row.

        With a bfloat16 product, more candidates are taken and all are scored again in full precision, so that rounding
        only matters where it moves an entry by more than `SLACK` ranks.
        """
        if self.by_batch:
            return self._select_batch(p, centred, k, dead, wanted, aux)
        d_sae = p.enc.shape[0]
        # Another rank may hold all k of a row's largest, or none of them.
        count = min(k + (SLACK if self.low else 0), d_sae)
        parts = []
        for _, pre in self._blocks(p, centred):
            parts.append(self._largest(pre, count, p.b_enc))
            self._strongest_dead(p, pre, dead, wanted, aux)
        values, indices = (torch.cat(part) for part in zip(*parts, strict=True))
        pattern = Pattern.fixed(indices, d_sae)
        exact = self._exact(p, centred, pattern, values.reshape(-1)).view(values.shape)
        if self.mesh.latent_size > 1:
            everywhere = self.mesh.gather_latents(exact, dim=1)
            least = everywhere.topk(k, dim=1).values[:, -1:]
            kept = (exact >= least).reshape(-1)
            return pattern.keep(kept), exact.reshape(-1)[kept]
        if count == k:
            return pattern, exact.reshape(-1)
        z, at = exact.topk(k, dim=1, sorted=False)
        return Pattern.fixed(indices.gather(1, at), d_sae), z.reshape(-1)

    def _select_batch(
        self, p: Parameters, centred: Tensor, k: int, dead: Tensor, wanted: int, aux: list[tuple[Tensor, Tensor]]
    ) -> tuple[Pattern, Tensor]:
        """The n · k largest positive entries of the whole batch.

        Only entries above a share of the last step's threshold are looked at; when they are too few, the share falls
        until they suffice or every positive entry was seen.
        """
        n, d_sae = centred.shape[0], p.enc.shape[0]
        if self.hint == 0.0:
            self.hint = float(self.mesh.gather(self._first_hint(p, centred, k)).mean())
        bound = max(0.0, self.hint * MARGIN)
        while True:
            found: list[tuple[Tensor, Tensor, Tensor]] = []
            seen: list[tuple[Tensor, Tensor]] = []
            for place, pre in self._blocks(p, centred):
                rows, indices, values = self._above(pre, bound, p.b_enc, k)
                found.append((rows + place.start, indices, values))
                self._strongest_dead(p, pre, dead, wanted, seen)
            rows, indices, values = (torch.cat(part) for part in zip(*found, strict=True))
            pattern = Pattern.ragged(rows, indices, n, d_sae)
            z = self._exact(p, centred, pattern, values.to(p.enc.dtype))
            pool = self.mesh.gather(z)
            keep = k * n * self.mesh.data_size
            if pool.numel() >= keep or bound <= 0:
                break
            bound = bound * 0.7 if bound > 0.05 * self.hint else 0.0
        aux.extend(seen)
        if pool.numel() > keep:
            least = pool.kthvalue(pool.numel() - keep + 1).values
            self.hint = max(float(least), 1e-6)
            kept = z >= least
            return pattern.keep(kept), z[kept]
        # As many as wanted, whose least is the threshold; or fewer, with which the next step is spared the search.
        self.hint = max(float(pool.min()), 1e-6) if pool.numel() == keep else ALL
        return pattern, z

    def _largest(self, pre: Tensor, count: int, bias: Tensor) -> tuple[Tensor, Tensor]:
        """`top_positive` of pre-activations as `_blocks` gives them."""
        if not self.compiled:
            return top_positive(pre, count)
        from .compiled_selection import top_k

        return top_k(pre, count, bias)

    def _above(self, pre: Tensor, bound: float, bias: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """`above` of pre-activations as `_blocks` gives them, of which about k a row are wanted."""
        if not self.compiled:
            return above(pre, bound)
        from .compiled_selection import above as compiled_above

        return compiled_above(pre, bound, bias, room=2 * k)

    def _strongest_dead(
        self, p: Parameters, pre: Tensor, dead: Tensor, wanted: int, out: list[tuple[Tensor, Tensor]]
    ) -> None:
        """Adds the dead latents' `wanted` largest pre-activations of each row, and which they are."""
        if not wanted:
            return
        count = min(wanted, dead.numel())
        if self.compiled:
            values, at = self._largest(pre[:, dead], count, p.b_enc[dead])
        else:
            values, at = pre[:, dead].topk(count, dim=1, sorted=False)
        out.append((values, dead[at]))

    def _first_hint(self, p: Parameters, centred: Tensor, k: int) -> Tensor:
        """The threshold [1] of the first 64 rows; for the first step only."""
        _, pre = next(self._blocks(p, centred[:64]))
        values = (pre.float() if self.biased else pre + p.b_enc).flatten()
        count = max(1, min(k * pre.shape[0], values.numel()) // self.mesh.latent_size)
        return values.topk(count).values[-1:].clamp(min=1e-6)

    def _revivable(self, found: list[tuple[Tensor, Tensor]], wanted: int, d_sae: int) -> Pattern:
        """The `wanted` strongest dead latents of each row, of those that this rank holds."""
        values, indices = (torch.cat(part) for part in zip(*found, strict=True))
        if self.mesh.latent_size == 1:
            return Pattern.fixed(indices, d_sae)
        offered = values.new_full((values.shape[0], wanted), -torch.inf)
        offered[:, : values.shape[1]] = values
        least = self.mesh.gather_latents(offered, dim=1).topk(wanted, dim=1).values[:, -1:]
        rows, at = (values >= least).nonzero(as_tuple=True)
        return Pattern.ragged(rows, indices[rows, at], values.shape[0], d_sae)

    def _aux(self, p: Parameters, batch: Batch, centred: Tensor, residual: Tensor, pattern: Pattern) -> None:
        """AuxK: dead latents model what the living left over, residual held constant (Gao et al. 2024, A.2).

        Adds the gradient of aux_coefficient · Σ_b w_b ‖ê_b - e_b‖² with e = y - x̂ and ê the part of the dead latents
        in `pattern`.
        """
        z = pattern.dots(centred, p.enc) + p.b_enc[pattern.indices]
        f = z.relu()
        weight = (2 * self.config.aux_coefficient * batch.weights).unsqueeze(1)
        grad_out = (self.mesh.over_latents(pattern.decode(f, p.dec)) + residual) * weight
        grad_z = pattern.dots(grad_out, p.dec) * (z > 0)
        grad(p.dec).add_(pattern.transposed(f, grad_out))
        grad(p.enc).add_(pattern.transposed(grad_z, centred))
        grad(p.b_enc).add_(pattern.sum(grad_z))


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


def build(config: TrainConfig, *, transcoder: bool = False, mesh: Mesh = ALONE, compiled: bool = False) -> Architecture:
    """The architecture that a resolved config names."""
    kind = Selected if config.architecture in SELECTED else Penalised
    return kind(config, transcoder=transcoder, mesh=mesh, compiled=compiled)
