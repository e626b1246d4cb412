"""Several checkpoints of one training run against its base, through one dictionary."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ...control import Control
from ..models import Model, ModelInfo
from ..sae.dictionary import SparseAutoencoder
from .contrast import FDR, Contrast, check_levels, contrast
from .diff import BASE, CHECKPOINT, check_pair, look, said
from .passages import Passages
from .significance import Ints
from .sums import Sums, SumsWriter
from .tally import Tally
from .validity import Advice, advise


@dataclass
class Stop:
    """One checkpoint of the run; see `Contrast` and `validity.advise`."""

    info: ModelInfo
    contrast: Contrast
    fvu: float | None
    advice: Advice | None
    why: str


@dataclass
class Trajectory:
    """What `trajectory` found.

    Attributes:
        stops: one a checkpoint, in the order given.
        rows: analysed tokens of every probe, int64 [probes].
        fvu_base: of the base; None where the rows do not vary.
        threshold: on |delta|, the same for all checkpoints.
        notes: what a reader must know.
    """

    stops: list[Stop]
    rows: Ints
    fvu_base: float | None
    threshold: float
    notes: list[str] = field(default_factory=list)


@torch.no_grad()
def trajectory(
    base: Model,
    load: Sequence[Callable[[], Model]],
    texts: Sequence[str],
    sae: SparseAutoencoder,
    layer: int,
    folder: Path,
    *,
    threshold: float | None = None,
    fdr: float = FDR,
    control: Control | None = None,
) -> Trajectory:
    """Run the base once and each checkpoint once over `texts`, and compare each with the base as `diff` does.

    One checkpoint is loaded at a time: `load[i]()` gives it. The base's sums stay in `folder` / "base".

    Args:
        threshold: on |delta|; default: a tenth of the mean activation of the features alive in the base or the first
            checkpoint, for all checkpoints.

    Raises:
        as `diff`, and what `load` raises.
    """
    control = control or Control()
    check_levels(threshold, fdr)
    sae.check_input(base.d_model, f"layer {layer} of {base.info.name}")
    passages = Passages(base, texts)
    total, done = len(passages) * (1 + len(load)), 0

    def run(model: Model, place: Path) -> Tally:
        nonlocal done
        with SumsWriter(place) as writer:
            tally = Tally(sae, writer)
            for batch in passages.batches():
                look(model, batch, layer, tally)
                done += len(batch.probes)
                control.tick("trajectory", done, total, "probes")
        return tally

    fvu_base = run(base, folder / BASE).fvu
    stops: list[Stop] = []
    for one in load:
        model = one()
        check_pair(base, model, sae, layer)
        fvu = run(model, folder / CHECKPOINT).fvu
        sums = Sums.open(folder / BASE), Sums.open(folder / CHECKPOINT)
        found = contrast(*sums, passages.rows, sae.cfg.d_sae, threshold=threshold, fdr=fdr)
        threshold = found.threshold
        if not bool((np.asarray(found.frame["probes"]) > 0).any()):
            told = model.info.checkpoint
            name = told.path if told else model.info.name
            found.notes.append(f"No change: {name} gives the base's activations bit for bit.")
        stops.append(Stop(model.info, found, fvu, *advise(fvu_base, fvu)))
        del model  # before the next one is loaded
        shutil.rmtree(folder / CHECKPOINT)
    assert threshold is not None
    notes = [*said(base, sae, layer, texts, passages), *dict.fromkeys(note for s in stops for note in s.contrast.notes)]
    return Trajectory(stops, passages.rows, fvu_base, threshold, notes)


def trajectory_frame(found: Trajectory, steps: Sequence[int]) -> pd.DataFrame:
    """`step, feature, mean_base, mean, delta, rate, p, q, changed`, step after step.

    Features that are silent in the base and at every checkpoint are left out.
    """
    frames = [stop.contrast.frame for stop in found.stops]
    alive = np.any([(frame["rate_base"] + frame["rate_checkpoint"]).to_numpy() > 0 for frame in frames], axis=0)
    renamed = {"mean_checkpoint": "mean", "rate_checkpoint": "rate"}
    parts = [frame[alive].assign(step=step).rename(columns=renamed) for frame, step in zip(frames, steps, strict=True)]
    columns = ["step", "feature", "mean_base", "mean", "delta", "rate", "p", "q", "changed"]
    return pd.concat(parts, ignore_index=True)[columns]
