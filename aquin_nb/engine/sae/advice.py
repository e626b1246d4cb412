"""Readable warnings about a run that is going wrong, while it can still be stopped."""

from __future__ import annotations

from collections.abc import Sequence

from .history import Point
from .verdict import NEVER_FIRED

DEAD_SHARE = 0.1
STILL = 1e-5
"""Relative movement of the decoder between two points below which it is standing still."""
UNSTABLE = 1.5
SPARSER = 0.9
RECENT = 5


def advise(history: Sequence[Point], d_sae: int, movement: float, settled: int = 0) -> list[str]:
    """Sentences, causes before what follows from them; empty for a healthy run.

    Args:
        history: the points so far.
        movement: how far the decoder moved since the last point, relative to its norm.
        settled: the step at which penalty and k reach their final strength; the error may rise until then.
    """
    if len(history) < 2:
        return []
    if not any(point.l0 for point in history):
        return [NEVER_FIRED]
    last, words = history[-1], []
    falling = last.lr < 0.1 * max(point.lr for point in history)
    if movement < STILL and not falling:
        words.append(
            f"The weights are not moving ({movement:.1e} of their norm since the last point)."
            f" Raise lr, now {last.lr:g}."
        )
    points = [point for point in history if point.step > settled]
    if len(points) > 2 * RECENT:
        best = min(points, key=lambda point: point.recon_mse)
        recent = min(point.recon_mse for point in points[-RECENT:])
        # A penalty goes on making codes sparser after its warm-up, which costs some error.
        traded = last.l0 < SPARSER * best.l0 and last.fvu < 1
        if recent > UNSTABLE * best.recon_mse and not traded:
            words.append(
                f"The loss is unstable: recon MSE is {recent / best.recon_mse:.1f} times its best so far."
                " Lower lr, or set grad_clip=1.0."
            )
    if last.dead > DEAD_SHARE * d_sae:
        words.append(
            f"{last.dead / d_sae:.0%} of the latents are dead (above {DEAD_SHARE:.0%}). A smaller d_sae or more rows"
            " leaves fewer; so does a lower sparsity_coefficient or a longer sparsity_warmup where there is one."
        )
    return words
