"""A fine-tuned checkpoint seen through the base model's dictionary, on the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor

from ...control import Control
from ...errors import DictionaryError, ModelError, ProbeError
from ..models import Model, Tokens
from ..sae.dictionary import SparseAutoencoder

BATCH_PROMPTS = 16
ENCODE_ROWS = 1024
CHANGED_SHARE = 0.1
POOR_FVU = 0.5


@dataclass
class Diff:
    """frame: one row a feature, `feature, mean_base, mean_checkpoint, delta, rate_base, rate_checkpoint, changed`.

    Means are over all analysed tokens (or texts), silent ones included; a rate is the share of them on which the
    feature fires. `changed` marks |delta| > threshold, a tenth of the mean activation of the features alive in either.
    """

    frame: pd.DataFrame
    threshold: float
    n_prompts: int
    n_tokens: int
    fvu_base: float | None
    fvu_checkpoint: float | None
    notes: list[str] = field(default_factory=list)


class _Side:
    """Running sums of one model's features."""

    def __init__(self, sae: SparseAutoencoder) -> None:
        self.sae = sae
        self.total = torch.zeros(sae.cfg.d_sae, dtype=torch.float64)
        self.fired = torch.zeros(sae.cfg.d_sae, dtype=torch.int64)
        self.error = 0.0
        self.square = 0.0
        self.sum = torch.zeros(sae.cfg.d_in, dtype=torch.float64)
        self.rows = 0

    def add(self, x: Tensor) -> None:
        """Take rows [n, d_in]; encoded a slice at a time, because the dense activations are [n, d_sae]."""
        for rows in torch.split(x, ENCODE_ROWS):
            self._add(rows)

    def _add(self, x: Tensor) -> None:
        f = self.sae.encode(x)
        x = x.float()
        self.total += f.sum(0).cpu().double()
        self.fired += (f > 0).sum(0).cpu()
        self.error += float((x - self.sae.decode(f)).square().sum())
        self.square += float(x.square().sum().double())
        self.sum += x.sum(0).cpu().double()
        self.rows += x.shape[0]

    @property
    def fvu(self) -> float | None:
        """None when the rows do not vary (a single one, or copies)."""
        variance = self.square - float(self.sum.square().sum()) / self.rows
        return self.error / variance if variance > 1e-6 * self.square else None


@torch.no_grad()
def diff(
    base: Model,
    checkpoint: Model,
    prompts: Sequence[str],
    sae: SparseAutoencoder,
    layer: int,
    *,
    control: Control | None = None,
) -> Diff:
    """Run both models over `prompts` and compare each feature's mean activation.

    Language models are compared on every token but BOS, position 0 and special ones; embedding models on one
    mean-pooled vector a text.

    Raises:
        ModelError: the models differ in tokeniser or width.
        DictionaryError: the dictionary's d_in is not the models' width.
        ProbeError: no prompt has a token to look at.
    """
    control = control or Control()
    if base.info.tokenizer_fingerprint != checkpoint.info.tokenizer_fingerprint:
        raise ModelError("Base and checkpoint have different tokenisers; a diff needs the same tokens on both sides.")
    sae.check_input(base.d_model, f"layer {layer} of {base.info.name}")
    sides = _Side(sae), _Side(sae)
    notes: list[str] = []
    if sae.cfg.layer is not None and sae.cfg.layer != layer:
        notes.append(f"The dictionary was trained on layer {sae.cfg.layer} and is used on layer {layer}.")
    for start in range(0, len(prompts), BATCH_PROMPTS):
        tokens = base.tokenize(prompts[start : start + BATCH_PROMPTS])
        for side, model in zip(sides, (base, checkpoint), strict=True):
            x = vectors(model, tokens, layer)
            if x.shape[0]:
                side.add(x)
        control.tick("diff", min(start + BATCH_PROMPTS, len(prompts)), len(prompts), "prompts")
    left, right = sides
    if left.rows == 0:
        raise ProbeError("None of the prompts has a token to look at: each is empty or a single special token.")
    for side, name in ((left, base.info.name), (right, "the checkpoint")):
        if not bool(torch.isfinite(side.total).all()):
            raise DictionaryError(f"{name} gives NaN or infinite activations at layer {layer}; nothing was compared.")
    means = left.total / left.rows, right.total / right.rows
    delta = means[1] - means[0]
    alive = (left.fired > 0) | (right.fired > 0)
    threshold = CHANGED_SHARE * float(torch.maximum(*means)[alive].mean()) if bool(alive.any()) else 0.0
    frame = pd.DataFrame(
        {
            "feature": range(sae.cfg.d_sae),
            "mean_base": means[0].numpy(),
            "mean_checkpoint": means[1].numpy(),
            "delta": delta.numpy(),
            "rate_base": (left.fired / left.rows).numpy(),
            "rate_checkpoint": (right.fired / right.rows).numpy(),
            "changed": (delta.abs() > threshold).numpy(),
        }
    )
    if left.fvu is None or right.fvu is None:
        notes.append("The prompts give a single vector, or copies of one: there is no variance to explain, so no FVU.")
    elif left.fvu > POOR_FVU:
        notes.append(
            f"The dictionary leaves {left.fvu:.0%} of the variance of these prompts unexplained even in the base model:"
            " they are unlike what it was trained on."
        )
    if left.fvu is not None and right.fvu is not None and right.fvu > 1.5 * left.fvu:
        notes.append(
            f"The dictionary explains the checkpoint much less well than the base (FVU {right.fvu:.3f} against"
            f" {left.fvu:.3f}): deltas describe only the part it can see. Train one on the checkpoint and align."
        )
    return Diff(frame, threshold, len(prompts), left.rows, left.fvu, right.fvu, notes)


def vectors(model: Model, tokens: Tokens, layer: int) -> Tensor:
    """The rows a dictionary sees: analysed tokens of a language model, or one pooled vector a text. [n, d_model]."""
    if model.mode == "embedding":
        return model.pooled(tokens, [layer])[layer]
    return model.residuals(tokens, [layer])[layer][tokens.analysed.to(model.device)]
