"""`session.sae.diff` and `session.sae.trajectory`: fine-tuned checkpoints through the bound dictionary."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .. import home
from ..cards import CohortDelta, FeatureDelta, FeaturePath, SaeDiffCard, SaeTrajectoryCard, TrajectoryStop
from ..difference import PROBES, TOKENS, SaeDiff, SaeTrajectory
from ..engine.activations.probes import Probe, read_probes
from ..engine.analysis.cohorts import Cohort, cohorts, members
from ..engine.analysis.contrast import FDR, check_levels
from ..engine.analysis.diff import BASE, CHECKPOINT, Diff, diff
from ..engine.analysis.significance import Ints
from ..engine.analysis.sums import Sums
from ..engine.analysis.trajectory import Trajectory, trajectory, trajectory_frame
from ..engine.sae import SparseAutoencoder
from ..errors import CheckpointError, DictionaryError
from ..files import claim_folder, explained, refuse_taken, whole_file
from ..progress import visible
from ..records import dictionary_ref, model_ref, write_card, write_frame
from ..results import SaeTrain
from .align import as_dictionary

if TYPE_CHECKING:
    from ..session import Session

LISTED = 50
"""Features on a card; the frame has all."""
BY_COHORT = 20  # features shown by cohort
EXAMPLES = 4  # tokens of a feature on a card


def sae_diff(
    session: Session,
    checkpoint: str | Path,
    prompts: str | Path | Sequence[Any],
    *,
    layer: int | None = None,
    sae: SparseAutoencoder | SaeTrain | str | Path | None = None,
    by: str | None = None,
    threshold: float | None = None,
    fdr: float = FDR,
    name: str | None = None,
    output: str | Path | None = None,
) -> SaeDiff:
    """See `SaeVerbs.diff`."""
    dictionary, at = _dictionary(session, sae, layer)
    check_levels(threshold, fdr)
    probes = read_probes(prompts)
    metadata = [probe.metadata for probe in probes]
    if by is not None:
        members(metadata, by)
    run, folder = _place(name, output, "diff")
    card = SaeDiffCard(name=run, layer=at, dictionary=dictionary_ref(dictionary), by=by, fdr=fdr)
    card.start()
    with _beside(folder) as work:
        with visible("Comparing base and checkpoint") as control:
            tuned = session.tuned(checkpoint)
            card.model = model_ref(tuned.info)
            found = diff(
                session.model,
                tuned,
                [probe.text for probe in probes],
                dictionary.to(session.model.device),
                at,
                work,
                threshold=threshold,
                fdr=fdr,
                control=control,
            )
        _tell(card, found)
        if by is not None:
            sums = Sums.open(work / BASE), Sums.open(work / CHECKPOINT)
            threshold = found.contrast.threshold
            parts = cohorts(*sums, found.rows, card.n_features, metadata, by, threshold=threshold, fdr=fdr)
            _tell_cohorts(card, parts)
        card.finish("completed")
        claim_folder(folder, "card.json")
        with explained(folder):
            for part in (BASE, CHECKPOINT):
                shutil.move(work / part, folder / part)
        _write_probes(folder / PROBES, probes, found.rows)
        _write_lines(folder / TOKENS, found.tokens.to_dict("records"))
        write_frame(found.contrast.frame, folder / "features.csv")
        write_card(card, folder / "card.json")
    return SaeDiff(folder, card, found.contrast.frame)


def sae_trajectory(
    session: Session,
    checkpoints: Sequence[str | Path],
    prompts: str | Path | Sequence[Any],
    *,
    layer: int | None = None,
    sae: SparseAutoencoder | SaeTrain | str | Path | None = None,
    threshold: float | None = None,
    fdr: float = FDR,
    name: str | None = None,
    output: str | Path | None = None,
) -> SaeTrajectory:
    """See `SaeVerbs.trajectory`."""
    if isinstance(checkpoints, (str, Path)) or not isinstance(checkpoints, Sequence) or not checkpoints:
        raise CheckpointError("trajectory wants a list of checkpoints: trajectory([first, second], prompts).")
    dictionary, at = _dictionary(session, sae, layer)
    check_levels(threshold, fdr)
    probes = read_probes(prompts)
    run, folder = _place(name, output, "trajectory")
    card = SaeTrajectoryCard(name=run, layer=at, dictionary=dictionary_ref(dictionary), fdr=fdr)
    card.start()
    card.model = model_ref(session.model.info)
    with _beside(folder) as work, visible(f"Comparing {len(checkpoints)} checkpoints with their base") as control:
        found = trajectory(
            session.model,
            [partial(session.tuned, one) for one in checkpoints],
            [probe.text for probe in probes],
            dictionary.to(session.model.device),
            at,
            work,
            threshold=threshold,
            fdr=fdr,
            control=control,
        )
    frame = _tell_trajectory(card, found)
    card.finish("completed")
    claim_folder(folder, "card.json")
    write_frame(frame, folder / "features.csv")
    write_card(card, folder / "card.json")
    return SaeTrajectory(folder, card, frame)


def _dictionary(
    session: Session, sae: SparseAutoencoder | SaeTrain | str | Path | None, layer: int | None
) -> tuple[SparseAutoencoder, int]:
    if sae is None:
        dictionary, own = session.bound()
        return dictionary, session.model.check_layer(own if layer is None else layer)
    dictionary = as_dictionary(sae)
    found = layer if layer is not None else dictionary.cfg.layer
    if found is None:
        raise DictionaryError("The dictionary does not say which layer it reads; pass layer=.")
    return dictionary, session.model.check_layer(found)


def _place(name: str | None, output: str | Path | None, kind: str) -> tuple[str, Path]:
    run = name or home.run_name(kind)
    folder = Path(output).expanduser() if output is not None else home.results_dir(kind) / home.slugify(run)
    refuse_taken(folder, "card.json")
    return run, folder


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A folder on the same disk for what is written while it runs; gone afterwards."""
    with explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name[:50]}.", suffix=".part")
    with place as work:
        yield Path(work)


def _tell(card: SaeDiffCard, found: Diff) -> None:
    frame, whole = found.contrast.frame, found.contrast
    size = frame["delta"].abs()
    card.n_prompts, card.n_tokens, card.n_features = whole.probes, whole.tokens, len(frame)
    card.n_changed, card.n_over, card.n_tested = whole.changed, whole.over, whole.tested
    card.threshold = whole.threshold
    card.mean_abs_delta, card.max_abs_delta = float(size.mean()), float(size.max())
    card.fvu_base, card.fvu_checkpoint = found.fvu_base, found.fvu_checkpoint
    card.advice, card.advice_reason, card.notes = found.advice, found.why, found.notes
    card.same = found.same  # type: ignore[assignment]
    tokens = found.tokens.groupby("feature")["token"].agg(lambda some: list(dict.fromkeys(some))[:EXAMPLES]).to_dict()
    top = frame.loc[np.lexsort((-size, ~frame["changed"]))[:LISTED]]
    card.top = [
        FeatureDelta(**_finite(row), tokens=tokens.get(row["feature"], []))
        for row in top.to_dict("records")
    ]  # fmt: skip


def _finite(row: dict[Any, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}


def _tell_cohorts(card: SaeDiffCard, found: Sequence[Cohort]) -> None:
    deltas = np.array([one.contrast.frame["delta"] for one in found])
    changed = np.array([one.contrast.frame["changed"] for one in found])
    order = np.lexsort((-np.abs(deltas).max(0), ~changed.any(0)))[:BY_COHORT]
    shown = order[np.abs(deltas).max(0)[order] > 0]
    card.cohort_features = shown.tolist()
    card.cohorts = [
        CohortDelta(
            cohort=one.name,
            n_prompts=one.contrast.probes,
            n_tokens=one.contrast.tokens,
            n_changed=one.contrast.changed,
            n_over=one.contrast.over,
            n_tested=one.contrast.tested,
            mean_abs_delta=float(np.abs(delta).mean()),
            deltas=delta[shown].tolist(),
            changed=marks[shown].tolist(),
        )
        for one, delta, marks in zip(found, deltas, changed, strict=True)
    ]
    card.notes = [*card.notes, *(f"{one.name}: {note}" for one in found for note in one.contrast.notes)]


def _tell_trajectory(card: SaeTrajectoryCard, found: Trajectory) -> pd.DataFrame:
    """Fill the card, the checkpoints in the order of their steps; returns the frame."""
    known = [stop.info.checkpoint for stop in found.stops]
    steps = [one.step if one is not None else 0 for one in known]
    if len(set(steps)) < len(steps):
        found.notes.append("Checkpoints do not say their steps, or share one: they are numbered in the order given.")
        steps = list(range(1, len(steps) + 1))
    order = np.argsort(steps, kind="stable").tolist()
    found.stops, steps = [found.stops[at] for at in order], [steps[at] for at in order]
    frames = [stop.contrast.frame for stop in found.stops]
    card.n_prompts, card.n_tokens = len(found.rows), int(found.rows.sum())
    card.n_features, card.threshold, card.fvu_base = len(frames[0]), found.threshold, found.fvu_base
    card.notes = found.notes
    card.stops = []
    for step, stop in zip(steps, found.stops, strict=True):
        size = stop.contrast.frame["delta"].abs()
        reference = model_ref(stop.info).checkpoint
        assert reference is not None
        card.stops = [
            *card.stops,
            TrajectoryStop(
                step=step,
                checkpoint=reference,
                n_changed=stop.contrast.changed,
                n_over=stop.contrast.over,
                mean_abs_delta=float(size.mean()),
                max_abs_delta=float(size.max()),
                fvu=stop.fvu,
                advice=stop.advice,
            ),
        ]
    deltas = np.array([frame["delta"] for frame in frames])
    changed = np.array([frame["changed"] for frame in frames])
    top = np.lexsort((-np.abs(deltas).max(0), ~changed.any(0)))[:LISTED]
    base = frames[0]["mean_base"].to_numpy()
    card.top = [
        FeaturePath(feature=at, mean_base=base[at], deltas=deltas[:, at].tolist(), changed=changed[:, at].tolist())
        for at in top.tolist()
    ]
    return trajectory_frame(found, steps)


def _write_probes(path: Path, probes: Sequence[Probe], rows: Ints) -> None:
    lines = [{"text": p.text, "metadata": p.metadata, "rows": n} for p, n in zip(probes, rows.tolist(), strict=True)]
    _write_lines(path, lines)


def _write_lines(path: Path, lines: Sequence[Any]) -> None:
    with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
