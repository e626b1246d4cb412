"""The training loop: batches in, a dictionary and its history out."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...control import Control
from ...errors import Cancelled, DictionaryError, OutOfMemory
from ...files import human_bytes
from ..activations.stream import ShuffledStream
from .architectures import Architecture, Parameters, build
from .config import SaeConfig, TrainOptions
from .dictionary import SparseAutoencoder
from .metrics import Metrics, evaluate
from .verdict import Verdict, cut_short, judge

SAMPLE_ROWS = 16_384
MIN_HELD_OUT = 32

Point = tuple[int, int, float, float, float, float, float, int, float, float, float]
"""step, tokens, recon_mse, fvu, explained_variance, cosine, l0, dead, lr, grad_norm, tokens_per_second."""


@dataclass
class TrainOutcome:
    """What a run leaves: the dictionary on CPU, the logged points, the held-out figures and the verdict."""

    dictionary: SparseAutoencoder
    history: list[Point]
    held_out: Metrics | None
    verdict: Verdict
    dead: int
    notes: list[str] = field(default_factory=list)


class Interrupted(Cancelled):
    """A cancelled training; `outcome` is the dictionary as it was when the cancel arrived."""

    def __init__(self, outcome: TrainOutcome, step: int, steps: int) -> None:
        super().__init__(f"Cancelled at step {step:,} of {steps:,}.")
        self.outcome = outcome


def fit(
    stream: ShuffledStream,
    cfg: SaeConfig,
    options: TrainOptions,
    *,
    device: str | torch.device = "cpu",
    control: Control | None = None,
    on_point: Callable[[Point], None] | None = None,
) -> TrainOutcome:
    """Train a dictionary on the rows of `stream`.

    Rows are scaled so that their mean squared norm is d_in, and the scale is folded back at the end: the dictionary
    works on raw activations. Decoder rows are held at unit norm and the gradient's part along them is removed; the
    encoder starts as the decoder's transpose and b_dec as the mean. Adam with a linear warm-up and decay.

    Args:
        stream: float32 batches [batch, d_in]; `stream.held_out` rows are never trained on.
        cfg: shape and provenance of the dictionary; `step` and `rows` are filled in.
        options: see `TrainOptions`.
        on_point: called with each logged point, from this thread.

    Raises:
        Interrupted: cancelled; carries the dictionary so far.
        DictionaryError: the loss became NaN or infinite; names the step and what to try.
        OutOfMemory: more than the device has; names a size to try.
    """
    control = control or Control()
    require_memory(cfg, options, torch.device(device))
    run = _Run(stream, cfg, options, torch.device(device))
    history: list[Point] = []
    try:
        for step in range(1, options.steps + 1):
            point = run.step(step)
            if point is not None:
                history.append(point)
                if on_point is not None:
                    on_point(point)
            control.tick("train", step, options.steps, "steps")
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            f"{device} ran out of memory at step {run.steps_done + 1:,}. Try"
            f" batch_size={max(1, options.batch_size // 2)} or d_sae={max(1, cfg.d_sae // 2)}."
        ) from error
    except Cancelled as cancelled:
        raise Interrupted(run.outcome(history, complete=False), run.steps_done, options.steps) from cancelled
    return run.outcome(history, complete=True)


def require_memory(cfg: SaeConfig, options: TrainOptions, device: torch.device) -> None:
    """Refuse at once what cannot fit: weights, gradients and two moments, and a batch's pre-activations.

    Raises:
        OutOfMemory: with both figures and a width that would fit.
    """
    a_latent = 4 * (4 * (cfg.d_in + cfg.d_out + 1) + 2 * options.batch_size)
    if device.type == "cuda":
        available = torch.cuda.mem_get_info(device)[0]
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        return
    needed = a_latent * cfg.d_sae
    if needed > available:
        raise OutOfMemory(
            f"A dictionary of d_sae={cfg.d_sae:,} needs about {human_bytes(needed)} to train and {device} has"
            f" {human_bytes(available)}. At most d_sae={available // a_latent:,} fits."
        )


class _Run:
    """State of one training: parameters, optimiser, dead-latent clock, and the window since the last logged point."""

    def __init__(self, stream: ShuffledStream, cfg: SaeConfig, options: TrainOptions, device: torch.device) -> None:
        self.stream, self.cfg, self.options, self.device = stream, cfg, options, device
        self.batches = iter(stream)
        sample = _sample(stream).to(device)
        mean_square = float(sample.square().sum(1).mean())
        if not math.isfinite(mean_square) or mean_square <= 0:
            raise DictionaryError("The activations are all zero or not finite; there is nothing to learn from.")
        self.scale = math.sqrt(cfg.d_in / mean_square)
        mean = sample.mean(0) * self.scale
        self.variance = float((sample * self.scale - mean).square().sum(1).mean())
        self.p = _initial(cfg, mean, options.seed, device)
        self.architecture: Architecture = build(options)
        self.optimizer = torch.optim.Adam(self.p.all(), lr=options.lr, betas=(0.9, 0.999), fused=True)
        self.silent_rows = torch.zeros(cfg.d_sae, dtype=torch.int64, device=device)
        self.steps_done = 0
        self.tokens = 0
        self._clear_window()

    def _clear_window(self) -> None:
        # Sums stay on the device until a point is logged: reading them on each step would stall a GPU.
        self.window_rows = 0
        self.window_error = torch.zeros((), device=self.device)
        self.window_l0 = torch.zeros((), device=self.device)
        self.window_steps = 0

    @torch.no_grad()
    def step(self, step: int) -> Point | None:
        x = next(self.batches).to(self.device, non_blocking=True) * self.scale
        lr = self.options.learning_rate(step - 1)
        dead = self.silent_rows >= self.options.dead_after_tokens
        result = self.architecture.step(self.p, x, dead)
        _remove_parallel(self.p)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.p.dec.copy_(normalize(self.p.dec, dim=1))

        n = x.shape[0]
        self.silent_rows = (self.silent_rows + n).masked_fill_(result.fired, 0)
        self.tokens += n
        self.steps_done = step
        self.window_rows += n
        self.window_steps += 1
        self.window_error += (x - result.reconstruction).square().sum()
        self.window_l0 += result.l0
        if step % self.options.log_every and step not in (1, self.options.steps):
            return None
        error = float(self.window_error) / self.window_rows
        if not math.isfinite(error):
            raise DictionaryError(
                f"The reconstruction error became {error} at step {step:,}. Try a lower lr (now {self.options.lr:g})."
            )
        point: Point = (
            step,
            self.tokens,
            error / self.scale**2,
            # Copies of one row differ by rounding only, and a ratio to that would mean nothing.
            error / self.variance if self.variance > 1e-6 * self.cfg.d_in else float("nan"),
            math.nan,
            math.nan,
            float(self.window_l0) / self.window_steps,
            int((self.silent_rows >= self.options.dead_after_tokens).sum()),
            lr,
            math.nan,
            math.nan,
        )
        self._clear_window()
        return point

    def outcome(self, history: list[Point], *, complete: bool) -> TrainOutcome:
        sae = self._dictionary(complete)
        held = self.stream.held_out(SAMPLE_ROWS)
        held_out = evaluate(sae, held.to(self.device)) if held.shape[0] >= MIN_HELD_OUT else None
        dead = int((self.silent_rows >= self.options.dead_after_tokens).sum())
        tail = [point[3] for point in history[-max(1, len(history) // 10) :]]
        train_fvu = sum(tail) / len(tail) if tail else float("nan")
        recon = [point[2] for point in history]
        verdict = judge(self.stream.rows, self.cfg.d_sae, dead, recon, train_fvu, held_out)
        if not complete:
            verdict = cut_short(verdict, self.steps_done, self.options.steps)
        notes = list(self.stream.notes)
        if self.tokens < self.stream.rows:
            notes.append(f"Training saw {self.tokens:,} of {self.stream.rows:,} rows; more steps would use the rest.")
        if held_out is None:
            notes.append(
                f"Too few rows ({self.stream.rows:,}) to hold any out: the figures are those of training rows."
            )
        return TrainOutcome(sae.to("cpu"), history, held_out, verdict, dead, notes)

    def _dictionary(self, complete: bool) -> SparseAutoencoder:
        """Fold the scale s back (x was s·x): W_enc stays sW_enc, outputs are divided by s, W_dec keeps unit rows.

        With pre = (s x - b) W + c, activations f and x̂ = (f W_dec + b) / s, dividing the pre-activation by s moves
        the scale out of f without changing the decoder's unit rows: f / s = σ((x - b/s) W + c/s).
        """
        cfg = SaeConfig.from_dict(
            self.cfg.to_dict() | {"step": self.steps_done, "rows": self.stream.rows, "complete": complete}
        )
        return SparseAutoencoder(
            cfg,
            self.p.enc.detach().T.contiguous(),
            self.p.dec.detach().clone(),
            self.p.b_enc.detach() / self.scale,
            self.p.b_dec.detach() / self.scale,
        )


def _sample(stream: ShuffledStream) -> Tensor:
    """Up to `SAMPLE_ROWS` training rows in random order, for the scale, the mean and the variance."""
    batches = islice(stream.epoch(0), max(1, SAMPLE_ROWS // stream.batch_size))
    return torch.cat(list(batches))


def _initial(cfg: SaeConfig, mean: Tensor, seed: int, device: torch.device) -> Parameters:
    generator = torch.Generator().manual_seed(seed)
    dec = normalize(torch.randn(cfg.d_sae, cfg.d_out, generator=generator), dim=1).to(device)
    return Parameters(dec.clone(), dec, torch.zeros(cfg.d_sae, device=device), mean.clone())


def _remove_parallel(p: Parameters) -> None:
    """Project the decoder gradient onto the tangent of the unit sphere, row by row."""
    gradient = p.dec.grad
    assert gradient is not None
    gradient.sub_((gradient * p.dec).sum(1, keepdim=True) * p.dec)
