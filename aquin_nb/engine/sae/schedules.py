"""Learning rate, sparsity coefficient and k as functions of the step, counted from 0."""

from __future__ import annotations

import math
from typing import Literal


def lr_at(
    step: int,
    *,
    total: int,
    schedule: Literal["constant", "linear", "cosine", "wsd"],
    warmup: int,
    decay: int,
    end: float,
) -> float:
    """Share of the peak rate: a linear rise over `warmup` steps, then the schedule, down to `end` at the last step.

    linear and wsd fall over the last `decay` steps (Hu et al. 2024, arXiv 2404.06395, for wsd: a long plateau and a
    short fall); cosine falls over everything after the warm-up; constant does not fall.

    >>> [round(lr_at(s, total=10, schedule="linear", warmup=2, decay=8, end=0.0), 2) for s in (0, 1, 2, 9)]
    [0.5, 1.0, 1.0, 0.12]
    """
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    if schedule == "constant":
        return rise
    if schedule == "cosine":
        length = max(1, total - warmup)
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0, step - warmup) / length)))
    else:
        fall = min(1.0, (total - step) / decay) if decay else 1.0
    return rise * (end + (1 - end) * fall)


def coefficient_at(step: int, warmup: int) -> float:
    """Share of a coefficient: at full strength from the start a penalty kills latents for good."""
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def k_at(step: int, first: int, final: int, *, hold: int, warmup: int, kind: Literal["linear", "exponential"]) -> int:
    """k: `first` for `hold` steps, then down to `final` over `warmup` steps.

    >>> [k_at(s, 64, 4, hold=2, warmup=4, kind="exponential") for s in range(8)]
    [64, 64, 64, 32, 16, 8, 4, 4]
    """
    if first == final or step >= hold + warmup:
        return final
    if step < hold:
        return first
    share = (step - hold) / warmup
    value = first * (final / first) ** share if kind == "exponential" else first + (final - first) * share
    return max(final, round(value))
