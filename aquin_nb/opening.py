"""Opens a stored training with the way to go on with it: reading is `results`, resuming a verb above it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import results

if TYPE_CHECKING:
    from .live import LiveTraining


def open_training(path: str | Path) -> results.SaeTrain:
    """Open a trained dictionary's `.pt` with the card and history beside it, as `train` returned them.

    One that was stopped can be gone on with: `sae_resume(path)`, or the Resume button of its view.

    Raises:
        StoreError: the card or the history is missing or damaged.

    >>> open_training("runs/sae.pt").verdict          # doctest: +SKIP
    'usable'
    """
    result = results.open_training(path)

    def again() -> LiveTraining:
        from .verbs.bare import resumed  # computes, and needs torch

        return resumed(result.path)

    result.resume_with(again)
    return result
