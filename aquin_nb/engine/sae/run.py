"""One dictionary in training: parameters, optimiser, dead-latent clock, and all that a checkpoint must hold."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...errors import DictionaryError
from .architectures import Batch, Now, StepResult, build
from .config import TrainConfig
from .cpu import compiled_kernels
from .dispatch import prepare
from .history import BINS, Point, Window, mean_cosine
from .mesh import ALONE, Mesh
from .parameters import Parameters, Scaling, grad, hold_norm, remove_parallel
from .record import SaeConfig
from .weighting import row_weights

Snapshot = dict[str, Any]
"""What `Run.state` gives and a checkpoint holds: tensors and plain values."""

DEAD_EVERY = 16
"""Steps between looks at which latents are dead: finding them makes a GPU wait, and they do not change in a moment."""

WATCHED = 64
"""Decoder rows whose movement tells whether the weights still move."""

SHARED = ("b_dec", "skip")
"""Tensors that every rank of a mesh holds whole; of the others it holds its latents."""


class Run:
    """A dictionary in training. Deterministic: no random number is drawn after the initial weights.

    Attributes:
        p: the parameters. step, tokens: done so far. history: logged points. density: of the last point.
        notes, advice: sentences for the card.
    """

    def __init__(
        self,
        cfg: SaeConfig,
        config: TrainConfig,
        parameters: Parameters,
        scaling: Scaling,
        device: torch.device,
        mesh: Mesh = ALONE,
        *,
        compiled: bool | None = None,
    ) -> None:
        """`parameters` are the whole dictionary's; a rank of a mesh takes its latents of them.

        `compiled`: whether a run that this one continues used compiled kernels.
        """
        self.cfg, self.config, self.scaling, self.device, self.mesh = cfg, config, scaling, device, mesh
        self.p = parameters
        for name, tensor in parameters.named().items():
            own = tensor if name in SHARED else mesh.latents(tensor)
            self._set(name, own.to(device, torch.float32).contiguous())
        self.compiled, refusal = compiled_kernels(config, cfg.d_in, device, compiled)
        self.architecture = build(config, transcoder=cfg.transcoder, mesh=mesh, compiled=self.compiled)
        coupled = config.optimizer == "adam" and config.weight_decay > 0
        self.held = self.compiled and config.unit_decoder and not coupled
        self.optimizer = _optimizer(self.p, config, skip="dec" if self.held else None)
        self.mean = self.p.clone() if config.ema is not None else None
        local = self.p.enc.shape[0]
        self.silent = torch.zeros(local, dtype=torch.int64, device=device)
        self.dead = torch.empty(0, dtype=torch.int64, device=device)
        self.dead_everywhere = 0
        self.window = Window(local, device)
        self.step = self.tokens = 0
        self.history: list[Point] = []
        self.density: list[int] = [0] * BINS
        self.notes = prepare(self.p.enc, self.p.dec, rows=config.batch_size // mesh.data_size, active=config.k or 32)
        self.notes += [refusal] if refusal else []
        self.advice: list[str] = []
        self._watched = self.p.dec[:WATCHED].clone()

    def _set(self, name: str, tensor: Tensor) -> None:
        if name in self.p.extra:
            self.p.extra[name] = tensor
        else:
            setattr(self.p, name, tensor)

    @torch.no_grad()
    def advance(self, x: Tensor, y: Tensor) -> Point | None:
        """One step on raw rows x [n, d_in] with targets y [n, d_out], whole batches on every rank.

        Gives the point when this step is logged. Nothing has changed when it raises for want of memory.
        """
        config, mesh = self.config, self.mesh
        x = x * self.scaling.scale_in
        y = x if not self.cfg.transcoder else y * self.scaling.scale_out
        n = x.shape[0]
        weights = row_weights(y, config.error)
        batch = Batch(mesh.rows(x), mesh.rows(y), mesh.rows(weights), n)
        if self.step % DEAD_EVERY == 0:
            assert config.dead_after_tokens is not None
            self.dead = (self.silent >= config.dead_after_tokens).nonzero().squeeze(1)
            self.dead_everywhere = int(mesh.over_latents(torch.tensor(self.dead.numel(), device=self.device)))
        result = self._architecture_step(batch)
        for parameter in self.p.all():
            mesh.over_rows(grad(parameter))
        # A compiled step of the decoder does that and the norm on the way, unless it must wait for the norm.
        deferred = self.held and config.grad_clip is None
        if config.unit_decoder and not deferred:
            remove_parallel(self.p, config.decoder_norm)
        assert config.steps is not None
        assert config.log_every is not None
        logged = (self.step + 1) % config.log_every == 0 or self.step == 0 or self.step + 1 == config.steps
        norm = self._clip() if (logged and not deferred) or config.grad_clip is not None else None
        lr = config.learning_rate(self.step)
        dec_squares = self._update(lr)
        if logged and deferred:
            norm = self._norm(dec_squares)

        fired = mesh.over_rows(result.fired)
        self.silent = (self.silent + n).masked_fill_(fired > 0, 0)
        self.tokens += n
        self.step += 1
        self.window.add(_square(result.residual), fired, n)
        return self._point(lr, norm, batch, result) if logged and norm is not None else None

    def _architecture_step(self, batch: Batch) -> StepResult:
        config = self.config
        share = config.sparsity_share(self.step)
        now = Now(
            k=config.active(self.step) if config.k is not None else 0,
            sparsity=share * (config.sparsity_coefficient or 0.0),
            pre_act=share * config.pre_act_coefficient,
            dead=self.dead_everywhere,
        )
        before = self.architecture.state()
        try:
            return self.architecture.step(self.p, batch, self.dead, now)
        except RuntimeError:
            self.architecture.restore(before)
            raise

    def _norm(self, dec_squares: Tensor | None = None) -> Tensor:
        """The norm of the whole gradient; `dec_squares`: of the decoder's rows, where they are known."""
        squares = {
            name: dec_squares.sum() if name == "dec" and dec_squares is not None else _square(grad(t))
            for name, t in self.p.named().items()
        }
        shared = [squares.pop(name) for name in SHARED if name in squares]
        own = self.mesh.over_latents(torch.stack(list(squares.values())).sum())
        return (own + torch.stack(shared).sum()).sqrt()

    def _clip(self) -> Tensor:
        """The norm of the whole gradient; with `grad_clip` it is scaled down to that."""
        norm = self._norm()
        if self.config.grad_clip is not None:
            factor = (self.config.grad_clip / norm.clamp(min=1e-12)).clamp(max=1.0)
            for parameter in self.p.all():
                grad(parameter).mul_(factor)
            norm = norm * factor
        return norm

    def _update(self, lr: float) -> Tensor | None:
        """One step of the optimiser; where the compiled one serves, the squared norms of the decoder's gradient."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        self.optimizer.step()
        dec_squares = None
        if self.held:
            dec_squares = self._step_decoder(lr)
        elif self.config.unit_decoder:
            hold_norm(self.p, self.config.decoder_norm)
        if self.mean is not None:
            assert self.config.ema is not None
            # A short memory at first, so that the mean does not remember the random start.
            share = 1 - min(self.config.ema, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.mean.all(), self.p.all(), share)
        return dec_squares

    def _step_decoder(self, lr: float) -> Tensor:
        from .compiled_adam import step

        dec, defaults = self.p.dec, self.optimizer.defaults
        return step(
            dec,
            grad(dec),
            self.optimizer.state[dec],
            norm=self.config.decoder_norm,
            lr=lr,
            betas=defaults["betas"],
            eps=defaults["eps"],
            decay=self.config.weight_decay,
        )

    def _point(self, lr: float, norm: Tensor, batch: Batch, result: StepResult) -> Point:
        window, mesh, variance = self.window, self.mesh, self.scaling.variance
        error = float(mesh.over_rows(window.error.clone())) / window.rows
        if not math.isfinite(error):
            raise self._diverged(f"The reconstruction error became {error} at step {self.step:,}.")
        fvu = error / variance if variance > 0 else math.nan
        mean = mean_cosine(result.residual, batch.y) / mesh.data_size
        cosine = torch.tensor(mean, dtype=torch.float32, device=self.device)
        fired = mesh.over_latents(window.fired.sum())
        seconds = window.seconds()
        point = Point(
            step=self.step,
            tokens=self.tokens,
            recon_mse=error / self.scaling.scale_out**2,
            fvu=fvu,
            explained_variance=1 - fvu,
            cosine=float(mesh.over_rows(cosine)),
            l0=float(fired) / window.rows,
            dead=self.dead_count(),
            lr=lr,
            grad_norm=float(norm),
            tokens_per_second=window.rows / seconds if seconds > 0 else math.nan,
        )
        counts = mesh.over_latents(torch.tensor(window.density(), device=self.device))
        self.density = counts.tolist()
        window.clear()
        return point

    def _diverged(self, what: str) -> DictionaryError:
        return DictionaryError(f"{what} Try a lower lr (now {self.config.lr:g}), or grad_clip=1.0.")

    @property
    def settled(self) -> int:
        """The step from which penalty and k have their final strength."""
        c = self.config
        falling = c.initial_k is not None and c.initial_k != c.k
        waits = [c.sparsity_warmup if c.sparsity_loss else 0, c.k_hold, c.k_warmup if falling else 0]
        return max(int(waits[0]), int(waits[1]) + int(waits[2]))

    def dead_count(self) -> int:
        """Latents that fired for none of the last `dead_after_tokens` rows."""
        assert self.config.dead_after_tokens is not None
        return int(self.mesh.over_latents((self.silent >= self.config.dead_after_tokens).sum()))

    def movement(self) -> float:
        """How far the watched decoder rows moved since the last call, relative to their norm."""
        now = self.p.dec[:WATCHED]
        moved = float((now - self._watched).norm() / self._watched.norm().clamp(min=1e-12))
        self._watched = now.clone()
        return moved

    def shrink(self) -> bool:
        """Halve the rows whose pre-activations are in memory at once; False when it is one row already."""
        rows = self.architecture.rows_at_once
        if rows <= 1:
            return False
        # Both: memory may run out before a block is asked for, and then none says how many rows it had.
        self.architecture.block_rows = self.architecture.rows_at_once = rows // 2
        self.architecture.forget_buffers()
        self.notes.append(
            f"Memory ran out at step {self.step + 1:,}: blocks of {rows // 2:,} rows instead of {rows:,} are used from"
            " here on. The result is the same, a little slower."
        )
        return True

    def end_steps(self) -> None:
        """Free what only another step would need, so that there is room for a dictionary beside the parameters."""
        self.architecture.forget_buffers()
        for parameter in self.p.all():
            parameter.grad = None

    def require_finite(self) -> None:
        """Raise before a checkpoint or a dictionary would hold NaN.

        Raises:
            DictionaryError: what to try.
        """
        tensors = self.p.all() + (self.mean.all() if self.mean is not None else [])
        norms = torch.stack([torch.linalg.vector_norm(tensor) for tensor in tensors])
        if self.mesh.agree(not bool(torch.isfinite(norms).all())):
            raise self._diverged(f"The weights became NaN or infinite by step {self.step:,}.")

    def best(self) -> Parameters:
        """The whole dictionary's weights, for the first rank: the exponential mean where one is kept.

        On the CPU where it was in parts: they were put there because one device is too small.
        """
        p = self.mean or self.p
        if self.mesh.latent_size == 1:
            return p.clone()
        named = {name: self._whole(name, tensor) for name, tensor in p.named().items()}
        return Parameters(named.pop("enc"), named.pop("dec"), named.pop("b_enc"), named.pop("b_dec"), named)

    def _whole(self, name: str, tensor: Tensor) -> Tensor:
        """A copy on the CPU, of all latents on the first rank and of none on the others, which only give their part."""
        every = tensor if name in SHARED else self.mesh.gather_latents(tensor.detach(), dim=0)
        # A copy in either case: the training goes on while a checkpoint is being written or looked at.
        return every.detach().cpu().clone() if self.mesh.first else every.new_empty(0, device="cpu")

    def state(self) -> Snapshot:
        """Everything the next step depends on, on the CPU and of the whole dictionary.

        All ranks of a mesh call it; the first one has the result.
        """
        mesh, whole = self.mesh, self._whole
        moments = {name: self.optimizer.state[tensor] for name, tensor in self.p.named().items()}
        window = self.window.state()
        window["fired"] = whole("fired", self.window.fired)
        window["error"] = mesh.over_rows(self.window.error.clone()).cpu()
        return {
            "cfg": self.cfg.to_dict(),
            "scaling": {"in": self.scaling.scale_in, "out": self.scaling.scale_out, "variance": self.scaling.variance},
            "step": self.step,
            "tokens": self.tokens,
            "parameters": {name: whole(name, t) for name, t in self.p.named().items()},
            "optimizer": {
                name: {key: whole(name, value) if value.ndim else value.cpu().clone() for key, value in moment.items()}
                for name, moment in moments.items()
            },
            "mean": {name: whole(name, t) for name, t in self.mean.named().items()} if self.mean else None,
            "architecture": self.architecture.state(),
            "silent": whole("silent", self.silent),
            "dead": self._numbers(self.dead),
            "window": window,
            "history": torch.tensor([list(point) for point in self.history], dtype=torch.float64).reshape(
                -1, len(Point._fields)
            ),
            "density": list(self.density),
            "notes": list(self.notes),
            "threads": torch.get_num_threads(),
            "compiled": self.compiled,
        }

    def _numbers(self, local: Tensor) -> Tensor:
        """Latent numbers of this rank as numbers in the whole dictionary, from all ranks."""
        mask = torch.zeros(self.p.enc.shape[0], dtype=torch.bool, device=self.device)
        mask[local] = True
        return self.mesh.gather_latents(mask, dim=0).nonzero().squeeze(1).cpu()

    @classmethod
    def resumed(
        cls, cfg: SaeConfig, config: TrainConfig, state: Snapshot, device: torch.device, mesh: Mesh = ALONE
    ) -> Run:
        """A run as `state()` found it."""
        named = dict(state["parameters"])
        parameters = Parameters(named.pop("enc"), named.pop("dec"), named.pop("b_enc"), named.pop("b_dec"), named)
        scales = state["scaling"]
        scaling = Scaling(scales["in"], scales["out"], scales["variance"])
        # Earlier versions had no compiled kernels, and did not say so.
        run = cls(cfg, config, parameters, scaling, device, mesh, compiled=state.get("compiled", False))

        def own(name: str, tensor: Tensor) -> Tensor:
            part = tensor if name in SHARED or tensor.ndim == 0 else mesh.latents(tensor)
            return part.to(device).clone()

        for name, tensor in run.p.named().items():
            moment = {key: own(name, value) for key, value in state["optimizer"][name].items()}
            # The fused optimiser keeps its step count beside the tensor; torch's own loading does the same.
            run.optimizer.state[tensor] = moment
        if run.mean is not None:
            for name, tensor in run.mean.named().items():
                tensor.copy_(own(name, state["mean"][name]))
        run.architecture.restore(state["architecture"])
        run.silent = own("silent", state["silent"])
        mask = torch.zeros(cfg.d_sae, dtype=torch.bool)
        mask[state["dead"]] = True
        run.dead = mesh.latents(mask).nonzero().squeeze(1).to(device)
        run.dead_everywhere = int(state["dead"].numel())
        window = state["window"]
        run.window.restore(
            {
                "rows": window["rows"],
                "fired": mesh.latents(window["fired"]),
                # Only one rank carries on the sum that all of them will add up.
                "error": window["error"] if mesh.data_rank == 0 else torch.zeros_like(window["error"]),
                "seconds": window.get("seconds", math.nan),  # which earlier versions did not keep
            }
        )
        run.step, run.tokens = state["step"], state["tokens"]
        run.history = [_point(row) for row in state["history"].tolist()]
        run.density = list(state["density"])
        run.notes = [*dict.fromkeys([*state["notes"], *run.notes])]
        run._watched = run.p.dec[:WATCHED].clone()
        if state["threads"] != torch.get_num_threads():
            run.notes.append(
                f"Resumed at step {run.step:,} with {torch.get_num_threads()} threads instead of {state['threads']}:"
                " sums round differently, so the weights are equal to those of an uninterrupted run but not to the bit."
            )
        return run


def _square(tensor: Tensor) -> Tensor:
    """Σ of squares, without a tensor of them."""
    norm: Tensor = torch.linalg.vector_norm(tensor)
    return norm.square()


def _point(row: list[float]) -> Point:
    values: dict[str, Any] = dict(zip(Point._fields, row, strict=True))
    return Point(**values | {name: int(values[name]) for name in ("step", "tokens", "dead")})


def _optimizer(p: Parameters, config: TrainConfig, skip: str | None = None) -> torch.optim.Optimizer:
    """Adam or AdamW, fused; thresholds have their own learning rate, and only matrices decay.

    `skip`: the tensor that the optimiser keeps moments for and leaves as it is."""
    groups = [
        {
            "params": [tensor],
            "factor": config.threshold_lr if name == "log_threshold" else 1.0,
            "weight_decay": config.weight_decay if tensor.ndim == 2 else 0.0,
        }
        for name, tensor in p.named().items()
        if name != skip
    ]
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    assert config.lr is not None
    optimizer = kind(groups, lr=config.lr, betas=config.betas, fused=p.enc.device.type in ("cpu", "cuda"))
    for tensor in p.all():
        # Now, not in the first step: memory that runs out there would leave some tensors updated and some not.
        moments = {name: torch.zeros_like(tensor) for name in ("exp_avg", "exp_avg_sq")}
        optimizer.state[tensor] = {"step": torch.zeros((), dtype=torch.float32, device=tensor.device)} | moments
    return optimizer
