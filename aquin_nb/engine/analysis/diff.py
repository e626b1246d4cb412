"""A fine-tuned checkpoint seen through the base model's dictionary, on the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from ...control import Control
from ...errors import DictionaryError, ModelError
from ..models import Model
from ..sae.dictionary import SparseAutoencoder
from .contrast import FDR, Contrast, check_levels, contrast
from .drivers import TopTokens, with_context
from .passages import Batch, Passages, vectors
from .significance import Ints
from .sums import Sums, SumsWriter
from .tally import Active, Tally
from .validity import Advice, advise

LISTED = 500
"""Features whose tokens are kept with their context: the changed ones, then those with the largest |delta|."""
BASE, CHECKPOINT = "base", "checkpoint"  # folders of sums


@dataclass
class Diff:
    """What `diff` found.

    Attributes:
        contrast: the frame, threshold, FDR and counts; see `Contrast`.
        rows: analysed tokens of every probe, int64 [probes] (1 each for texts).
        tokens: the tokens on which the listed features change most; columns as `drivers.TOKEN_COLUMNS`. Empty for an
            embedding model, whose rows are whole texts.
        fvu_base, fvu_checkpoint: fraction of variance unexplained; None where the rows do not vary.
        advice: "keep", "align" or "retrain"; why: the sentence. See `validity.advise`.
        same: "weights" where base and checkpoint are equal bit for bit, "activations" where only what this layer gives
            on these probes is, else "".
        notes: what a reader must know.
    """

    contrast: Contrast
    rows: Ints
    tokens: pd.DataFrame
    fvu_base: float | None
    fvu_checkpoint: float | None
    advice: Advice | None
    why: str
    same: str
    notes: list[str] = field(default_factory=list)


@torch.no_grad()
def diff(
    base: Model,
    checkpoint: Model,
    texts: Sequence[str],
    sae: SparseAutoencoder,
    layer: int,
    folder: Path,
    *,
    threshold: float | None = None,
    fdr: float = FDR,
    control: Control | None = None,
) -> Diff:
    """Run both models over `texts` and compare what each feature does.

    Language models are compared on every token but BOS, position 0 and special ones; embedding models on one
    mean-pooled vector a text. Each probe's sums go to `folder` (`base/` and `checkpoint/`, see `Sums`) as they come, so
    memory does not grow with the probes but for their tokens.

    Args:
        threshold, fdr: see `contrast`.

    Raises:
        ModelError: the models differ in tokeniser or width.
        DictionaryError: the dictionary's d_in is not the models' width, or a model gives NaN or infinity.
        ProbeError: a probe has no token to look at; names the row.
        AquinError: a threshold or an FDR that is none.
    """
    control = control or Control()
    check_levels(threshold, fdr)
    check_pair(base, checkpoint, sae, layer)
    passages = Passages(base, texts)
    top = TopTokens(sae.cfg.d_sae)
    with SumsWriter(folder / BASE) as left, SumsWriter(folder / CHECKPOINT) as right:
        tallies = Tally(sae, left), Tally(sae, right)
        done = 0
        for batch in passages.batches():
            before, after = look(base, batch, layer, tallies[0]), look(checkpoint, batch, layer, tallies[1])
            if base.mode == "llm":
                top.add(before, after, batch.probes[batch.owner], batch.position)
            done += len(batch.probes)
            control.tick("diff", done, len(passages), "probes")
    found = contrast(
        Sums.open(folder / BASE), Sums.open(folder / CHECKPOINT), passages.rows, sae.cfg.d_sae,
        threshold=threshold, fdr=fdr,
    )  # fmt: skip
    listed = found.frame.sort_values(["changed", "delta"], key=lambda c: -c.abs(), kind="stable")["feature"][:LISTED]
    fvu = tallies[0].fvu, tallies[1].fvu
    advice, why = advise(*fvu)
    same = _same(base, checkpoint, found)
    notes = [*said(base, sae, layer, texts, passages), *found.notes]
    if same == "weights":
        notes.insert(0, "No change: the checkpoint's weights equal the base model's bit for bit.")
    elif same:
        notes.insert(
            0,
            f"No change at layer {layer}: the checkpoint's weights differ, and on these probes the output of the layer"
            " is the same bit for bit. What was trained lies above it; look at a later layer.",
        )
    if fvu[0] is None and not sae.cfg.transcoder:
        notes.append("The prompts give a single vector, or copies of one: there is no variance to explain, so no FVU.")
    return Diff(found, passages.rows, with_context(top.of(listed), passages, base), *fvu, advice, why, same, notes)


def check_pair(base: Model, checkpoint: Model, sae: SparseAutoencoder, layer: int) -> None:
    """Raise `ModelError` where two models do not read the same tokens, `DictionaryError` where the width differs."""
    if base.info.tokenizer_fingerprint != checkpoint.info.tokenizer_fingerprint:
        raise ModelError("Base and checkpoint have different tokenisers; a diff needs the same tokens on both sides.")
    sae.check_input(base.d_model, f"layer {layer} of {base.info.name}")


def look(model: Model, batch: Batch, layer: int, tally: Tally) -> Active:
    """One forward pass through the dictionary.

    Raises:
        DictionaryError: the model gives NaN or infinity.
    """
    active = tally.add(vectors(model, batch.tokens, layer), batch.owner, batch.probes)
    if not tally.finite:
        told = model.info.checkpoint
        name = f"The checkpoint {told.path}" if told else model.info.name
        raise DictionaryError(f"{name} gives NaN or infinite activations at layer {layer}; nothing was compared.")
    return active


def said(model: Model, sae: SparseAutoencoder, layer: int, texts: Sequence[str], passages: Passages) -> list[str]:
    """What a reader must know of the probes and of where the dictionary is used."""
    notes = []
    if sae.cfg.layer is not None and sae.cfg.layer != layer:
        notes.append(f"The dictionary was trained on layer {sae.cfg.layer} and is used on layer {layer}.")
    if sae.cfg.transcoder:
        notes.append("The dictionary is a transcoder: it predicts another place, so there is no FVU of its input.")
    repeated = len(texts) - len(set(texts))
    if repeated:
        notes.append(
            f"{repeated:,} of {len(texts):,} probes repeat the text of another. The test takes probes for independent,"
            " so its p are too small; leave copies out."
        )
    if passages.cut:
        notes.append(
            f"{passages.cut:,} of {len(texts):,} probes are longer than {model.text_limit:,} tokens; the rest of them"
            " was not read."
        )
    return notes


def same_weights(a: Model, b: Model) -> bool:
    """Whether two models compute with the same weights, bit for bit, whatever files these came from."""
    first, second = _weights(a), _weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _weights(model: Model) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path, module in model.backend.modules.items():
        if isinstance(module, nn.Module) and "." not in path:
            found |= {f"{path}.{name}": value for name, value in module.named_parameters()}
    return found


def _same(base: Model, checkpoint: Model, found: Contrast) -> str:
    if bool((np.asarray(found.frame["probes"]) > 0).any()):
        return ""
    return "weights" if same_weights(base, checkpoint) else "activations"
