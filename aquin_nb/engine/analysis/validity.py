"""Is a dictionary of the base model still one of the checkpoint? The rule, and the advice that follows from it."""

from __future__ import annotations

from typing import Literal, TypeAlias

Advice: TypeAlias = Literal["keep", "align", "retrain"]

POOR = 0.5
"""FVU above which a dictionary does not describe what it is shown."""
KEEP = 1.1
"""Up to this multiple of the base's FVU the checkpoint is described as well as the base."""
RETRAIN = 1.5
"""Beyond this multiple the deltas leave out too much to be read."""


def advise(base: float | None, checkpoint: float | None) -> tuple[Advice | None, str]:
    """What to do with the dictionary, from its FVU (fraction of variance unexplained) of base and checkpoint.

        retrain  the checkpoint's FVU is above 0.5, or above 1.5 times the base's: train a dictionary on the checkpoint
        align    it is above 1.1 times the base's: the deltas hold for what this dictionary sees, and what the fine-tune
                 added is missing; train a second one on the checkpoint and align the two
        keep     otherwise: the deltas describe the checkpoint as well as the base

    (None, "") where FVU is not defined: the rows do not vary, or the dictionary is a transcoder.

    >>> advise(0.20, 0.21)[0], advise(0.20, 0.26)[0], advise(0.20, 0.40)[0], advise(0.7, 0.7)[0]
    ('keep', 'align', 'retrain', 'retrain')
    """
    if base is None or checkpoint is None:
        return None, ""
    told = f"FVU {base:.3f} in the base, {checkpoint:.3f} in the checkpoint"
    if base > POOR:
        return "retrain", (
            f"The dictionary leaves {base:.0%} of the variance of these prompts unexplained even in the base model"
            f" ({told}): they are unlike what it was trained on. Train one on texts like them before reading deltas."
        )
    if checkpoint > POOR or checkpoint > RETRAIN * base:
        return "retrain", (
            f"The dictionary explains the checkpoint much less well than the base ({told}): deltas describe only the"
            " part it can see. Train one on the checkpoint; sae.align then tells what of this one it keeps."
        )
    if checkpoint > KEEP * base:
        return "align", (
            f"The dictionary explains the checkpoint somewhat less well ({told}): these deltas hold, and what the"
            " fine-tune added is not in them. Train a second one on the checkpoint and sae.align the two: features"
            " without a partner are what is missing here."
        )
    return "keep", f"The dictionary explains the checkpoint as well as the base ({told}): the deltas can be read."
