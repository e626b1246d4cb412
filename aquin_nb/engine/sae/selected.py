"""One training step of topk, batchtopk and matryoshka: only the active latents take part, from the first step."""

from __future__ import annotations

import torch
from torch import Tensor

from .config import TrainConfig
from .kernels import Pattern, above, top_positive
from .mesh import ALONE, Mesh
from .parameters import Parameters, grad
from .steps import Architecture, Batch, Now, StepResult

SLACK = 8
"""Candidates beyond k that a bfloat16 selection scores again."""

MARGIN = 0.9
"""BatchTopK looks at entries above this share of the last step's threshold."""

ALL = -1.0
"""BatchTopK's hint after a step in which every positive entry was active: the next one begins with all of them."""

BLOCK_BYTES = {"cpu": 64 << 20, "cuda": 512 << 20}
"""No temporary has a block's size here, and larger blocks spend less on packing the weights for each product."""


class Selected(Architecture):
    """topk, batchtopk and matryoshka: the largest pre-activations are kept, and dead latents pulled back by AuxK."""

    block_bytes = BLOCK_BYTES

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
