"""Go or no-go: what a trained dictionary may be used for, with the reasons in sentences.

The thresholds are ours, chosen so that the three words mean what a careful colleague would say; each reason names its
figure, so that a reader can disagree. `docs/training.md` discusses them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .metrics import Metrics

Word = Literal["usable", "weak", "smoke test only"]

PROBE_SCALE_ROWS = 2_000
MAX_DEAD_USABLE = 0.2
MAX_DEAD = 0.5
MAX_FVU_USABLE = 0.4
MAX_FVU = 0.95
MIN_FALL = 0.05
MAX_GENERALISATION_RATIO = 2.0

NEVER_FIRED = (
    "No latent ever fired: nothing was learnt. Lower threshold (relu, jumprelu, gated) or sparsity_coefficient; with a"
    " k, lower lr."
)


@dataclass(frozen=True)
class Verdict:
    word: Word
    reasons: list[str]


def cut_short(verdict: Verdict, step: int, steps: int) -> Verdict:
    """The verdict on a run that was stopped: at best weak, whatever its figures say."""
    word: Word = "weak" if verdict.word == "usable" else verdict.word
    return Verdict(word, [f"Stopped at step {step:,} of {steps:,}.", *verdict.reasons])


def judge(
    rows: int,
    d_sae: int,
    dead: int,
    recon: Sequence[float],
    train_fvu: float,
    held_out: Metrics | None,
    l0: Sequence[float] = (),
) -> Verdict:
    """Judge a run.

    Args:
        rows: rows of activations that training drew from.
        d_sae: width of the dictionary.
        dead: latents that were silent at the end of the run, see `TrainConfig.dead_after_tokens`.
        recon: the logged training recon MSE, first to last.
        train_fvu: training FVU at the end (mean of the last tenth of the logged points).
        held_out: figures on rows that training never saw; None when there were too few rows to set any aside.
        l0: the logged active latents a row, first to last.
    """
    dead_share = dead / d_sae
    stop: list[str] = []
    if rows < PROBE_SCALE_ROWS:
        stop.append(
            f"Probe-scale data: {rows:,} rows of activations for {d_sae:,} latents. A dictionary needs a corpus; below"
            f" {PROBE_SCALE_ROWS:,} rows it can only memorise."
        )
    silent = bool(l0) and not any(l0)
    if math.isnan(train_fvu):
        if recon:
            stop.append("The rows do not vary: there is nothing to explain.")
    elif silent:
        stop.append(NEVER_FIRED)
    elif held_out is not None and not math.isfinite(held_out.recon_mse):
        stop.append("The training diverged: the error on held-out rows is not finite. Lower lr, or set grad_clip=1.0.")
    elif train_fvu > MAX_FVU:
        stop.append(
            f"The training diverged or learnt nothing: FVU {train_fvu:.3g}, where the mean alone gives 1. Lower lr, or"
            " sparsity_coefficient where there is one."
        )
    elif (fall := _fall(recon)) is not None and fall < MIN_FALL:
        stop.append(f"The reconstruction error is flat: it fell by {max(fall, 0):.1%} from first to last.")
    if dead_share > MAX_DEAD and not silent:
        stop.append(f"{_above(dead_share, MAX_DEAD)} of the latents are dead (limit {MAX_DEAD:.0%}).")
    if stop:
        return Verdict("smoke test only", stop)

    weak: list[str] = []
    fvu = held_out.fvu if held_out is not None else train_fvu
    if not fvu <= MAX_FVU_USABLE:
        weak.append(
            f"{_above(fvu, MAX_FVU_USABLE)} of the variance is unexplained on held-out rows"
            f" (limit {MAX_FVU_USABLE:.0%})."
        )
    if dead_share > MAX_DEAD_USABLE:
        weak.append(f"{_above(dead_share, MAX_DEAD_USABLE)} of the latents are dead (limit {MAX_DEAD_USABLE:.0%}).")
    if held_out is not None and train_fvu > 0 and held_out.fvu > MAX_GENERALISATION_RATIO * train_fvu:
        weak.append(
            f"It memorises: FVU is {train_fvu:.3f} on training rows and {held_out.fvu:.3f} on held-out rows."
            " More activations would help, more steps would not."
        )
    if weak:
        return Verdict("weak", weak)
    where = "held-out rows" if held_out is not None else "training rows"
    return Verdict(
        "usable", [f"FVU {fvu:.3f} on {where}, {dead_share:.1%} dead latents, {rows:,} rows of activations."]
    )


def _fall(recon: Sequence[float]) -> float | None:
    """Relative fall of the error between the first logged point and the mean of the last tenth."""
    if len(recon) < 2 or recon[0] <= 0:
        return None
    tail = recon[-max(1, len(recon) // 10) :]
    return 1 - (sum(tail) / len(tail)) / recon[0]


def _above(share: float, limit: float) -> str:
    """A share in percent, with as many digits as it takes to differ from the limit that it exceeds."""
    digits = next((digits for digits in range(4) if f"{share:.{digits}%}" != f"{limit:.{digits}%}"), 4)
    return f"{share:.{digits}%}"
