"""`sae_align`: two dictionaries matched one to one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from .. import home
from ..alignment import SaeAlign
from ..cards import AlignedFeature, AlignThresholds, FeaturePair, Neighbour, SaeAlignCard
from ..collection import Activations
from ..control import Control
from ..engine.activations.store import Store
from ..engine.analysis.align import Alignment, On, Sample, align
from ..engine.analysis.alignment.classes import CLASSES, Thresholds
from ..engine.analysis.alignment.directions import named
from ..engine.analysis.alignment.firing import ROWS, firings
from ..engine.analysis.alignment.passages import text_rows
from ..engine.sae import SparseAutoencoder, load_dictionary
from ..errors import DictionaryError, StoreError
from ..files import claim_folder, refuse_taken
from ..jobs import Job
from ..progress import visible
from ..records import dictionary_ref
from ..results import SaeTrain
from ..telling import told_alone
from .sources import Rows, open_rows

if TYPE_CHECKING:
    import pandas as pd

    from ..engine.models import Model

LISTED, NEAREST = 50, 5
SMALL_MARGIN = 0.01
SIGNIFICANT = 0.01


def as_dictionary(given: SparseAutoencoder | SaeTrain | Job[SaeTrain] | str | Path) -> SparseAutoencoder:
    """A dictionary from itself, a training's result or finished job, or a path.

    Raises:
        DictionaryError: the path holds no dictionary.
    """
    if isinstance(given, Job):
        given = given.result
    if isinstance(given, SaeTrain):
        return given.dictionary
    if isinstance(given, SparseAutoencoder):
        return given
    return load_dictionary(given)


@told_alone("sae.align", "saeAlign")
def sae_align(
    a: SparseAutoencoder | SaeTrain | str | Path,
    b: SparseAutoencoder | SaeTrain | str | Path,
    *,
    on: On = "decoder",
    activations: Any = None,
    texts: Sequence[str] | None = None,
    model: Model | None = None,
    rows: int = ROWS,
    max_features: int | None = None,
    thresholds: Thresholds | dict[str, float] | None = None,
    time_limit: float | None = None,
    name: str | None = None,
    output: str | Path | None = None,
) -> SaeAlign:
    """Match the features of two dictionaries one to one by similarity, exactly, and say what became of each.

    Args:
        a, b: dictionaries, results of `sae.train`, or paths. They may differ in width (d_sae), not in d_out (by encoder
            in d_in; by firings in nothing but rows that both can encode).
        on: "decoder" (cosine of decoder rows), "encoder" (of encoder columns), "both" (matched by decoder rows, and
            the share of pairs that matching by encoder gives too), or "firings" (correlation of activations on the same
            rows, for when directions lie; it also compares dictionaries of different places).
        activations: rows to encode with both, which tells the dead features: a float tensor [n, d_in], or an activation
            store or a capture (folder or result). Of a store of several sites each dictionary reads its own. Needed for
            "firings".
        texts, model: instead of activations, texts to run through a loaded model. With activations, a model reads their
            tokens for the passages that the explorer shows.
        rows: how many of them to encode.
        max_features: match only the first that many of each.
        thresholds: where one class ends and the next begins: `Thresholds`, or a dict of some of its fields; its
            docstring has the definitions.
        time_limit: seconds for the matching; when they strike first, it is the best one so far with its proven gap.
        output: a folder that does not exist yet or is empty; default `$AQUIN_HOME/align/<name>`.

    Raises:
        DictionaryError: unreadable, of different d_out, or without a usable feature.
        StoreError: activations that cannot be read, or that nothing fires on.
        OutOfMemory: by firings, more than 33,554,432 pairs of features that fire.
        OutputError: the folder holds something else.

    >>> result = sae_align("seed0/sae_layer10.pt", "seed1/sae_layer10.pt")   # doctest: +SKIP
    >>> result.frame["class"].value_counts(), result.translate(17)           # doctest: +SKIP
    """
    left, right = as_dictionary(a), as_dictionary(b)
    limits = _thresholds(thresholds)
    run = name or home.run_name("align")
    folder = Path(output).expanduser() if output is not None else home.results_dir("align") / home.slugify(run)
    refuse_taken(folder, "card.json")
    card = SaeAlignCard(name=run, a=dictionary_ref(left), b=dictionary_ref(right))
    card.start()
    with visible("Aligning") as control:
        notes: list[str] = []
        sample = _sample(left, right, on, activations, texts, model, rows, control, notes)
        found = align(
            left, right, on=on, sample=sample, max_features=max_features, thresholds=limits, time_limit=time_limit,
            control=control,
        )  # fmt: skip
    _tell(card, found, "" if sample is None else sample.name)
    card.notes = [*found.notes, *notes]
    card.finish("completed")
    claim_folder(folder, "card.json")
    frames = {"features_a": found.features_a, "features_b": found.features_b, "pairs": found.pairs}
    result = SaeAlign(folder, card, frames, _arrays(found), (left, right))
    result.write()
    if texts is not None or isinstance(activations, str | Path | Store | Activations):
        result.explore(activations, texts=texts, model=model)
    return result


def _thresholds(given: Thresholds | dict[str, float] | None) -> Thresholds:
    if isinstance(given, Thresholds):
        return given
    values = given or {}
    known = asdict(Thresholds())
    for key in values:
        if key not in known:
            raise DictionaryError(f"thresholds has no {key!r}; there are {', '.join(known)}.")
    return Thresholds(**values)


def _sample(
    a: SparseAutoencoder,
    b: SparseAutoencoder,
    on: str,
    activations: Any,
    texts: Sequence[str] | None,
    model: Model | None,
    rows: int,
    control: Control,
    notes: list[str],
) -> Sample | None:
    """Both dictionaries on the same rows; None when none are given. What a reader must know of them goes to `notes`.

    Raises:
        StoreError, DictionaryError: as `sae_align`.
    """
    if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
        raise DictionaryError(f"rows must be a whole number of at least 1, not {rows!r}.")
    if texts is not None:
        if activations is not None:
            raise DictionaryError("Give activations or texts, not both.")
        if model is None:
            raise DictionaryError("texts need model=, the loaded model to run them through (session.model).")
        sources: list[Store | Tensor] = [text_rows(model, texts, sae, rows, control) for sae in (a, b)]
        what = f"{len(texts):,} texts"
    elif activations is not None:
        opened = [_own_rows(activations, sae) for sae in (a, b)]
        sources, what = [_kept(given) for given in opened], opened[0].corpus.name
        if opened[0].total != opened[1].total:
            raise StoreError("The two dictionaries read sites with different numbers of rows; they go row by row.")
        notes += [note for given, sae in zip(opened, (a, b), strict=True) for note in _mismatch(given, sae)]
    else:
        return None
    of_a, of_b = (
        firings(sae, source, rows, keep=on == "firings", control=control)
        for sae, source in zip((a, b), sources, strict=True)
    )
    return Sample(of_a, of_b, f"{of_a.rows:,} rows of {what}")


def _own_rows(given: Any, sae: SparseAutoencoder) -> Rows:
    """The rows a dictionary reads: its own hook or layer of a store or capture of several, else the only ones."""
    try:
        return open_rows(given)
    except StoreError:
        where = sae.cfg.hook or sae.cfg.layer
        if where is None:
            raise
        return open_rows(given, where)


def _mismatch(rows: Rows, sae: SparseAutoencoder) -> list[str]:
    """A sentence when the rows are not of the place or the model that the dictionary was trained on."""
    model = "" if rows.model is None else rows.model.name
    if rows.hook and sae.cfg.hook and rows.hook != sae.cfg.hook:
        return [f"T{named(sae)[1:]} was trained on {sae.cfg.hook} and encodes rows of {rows.hook}."]
    if model and sae.cfg.model and model != sae.cfg.model:
        return [f"T{named(sae)[1:]} was trained on {sae.cfg.model} and encodes rows of {model}."]
    return []


def _kept(rows: Rows) -> Store | Tensor:
    assert isinstance(rows.source, Store | Tensor)  # what makes its rows while it is read is no result of open_rows
    return rows.source


def _tell(card: SaeAlignCard, found: Alignment, sample: str) -> None:
    """Write what was found into the card."""
    pairs, cosine = found.pairs, found.pairs["cosine"]
    card.on, card.sample = found.on, sample
    card.n_pairs, card.n_a, card.n_b = len(pairs), len(found.features_a), len(found.features_b)
    card.zero_a, card.zero_b, card.dead_by = found.zero_a, found.zero_b, found.dead_by
    card.mean_cosine, card.median_cosine = found.mean_cosine, float(cosine.median())
    card.live_mean_cosine = found.live_mean
    card.quantiles = {f"{q:g}": float(cosine.quantile(q / 100)) for q in (5, 25, 50, 75, 95)}
    card.share_above_0_7, card.share_above_0_9 = float((cosine >= 0.7).mean()), float((cosine >= 0.9).mean())
    card.mean_max_a, card.mean_max_b = found.mean_max_a, found.mean_max_b
    card.mutual, card.agreement = found.mutual, found.agreement
    card.null_line, card.null_typical = found.null_line, found.null_typical
    card.null_isotropic, card.null_covariance = found.null_isotropic, found.null_covariance
    card.n_significant = int((pairs["q"] <= SIGNIFICANT).sum())
    card.objective, card.bound, card.gap = found.matching.objective, found.matching.bound, found.matching.gap
    card.verdict = found.matching.verdict
    card.thresholds = AlignThresholds(**asdict(found.thresholds))
    card.classes_a, card.classes_b = _counts(found.features_a), _counts(found.features_b)
    small = pairs["margin"] < SMALL_MARGIN
    low = cosine < found.thresholds.tau
    card.exchangeable_low = float(small[low].mean()) if low.any() else None
    card.exchangeable_high = float(small[~low].mean()) if (~low).any() else None
    card.histogram = found.histogram()
    ordered = pairs.sort_values("cosine", kind="stable")
    card.weakest, card.strongest = _pairs(ordered.head(LISTED)), _pairs(ordered[::-1].head(LISTED))
    card.weakest_a = _weakest(found.features_a, *found.nearest_a)
    card.weakest_b = _weakest(found.features_b, *found.nearest_b)


def _counts(features: pd.DataFrame) -> dict[str, int]:
    counts = features["class"].value_counts()
    return {name: int(counts[name]) for name in CLASSES if name in counts}


def _weakest(features: pd.DataFrame, ids: np.ndarray, cosines: np.ndarray) -> list[AlignedFeature]:
    """Living features whose nearest neighbour is least similar, the least similar first."""
    living = features[features["nearest_cosine"].notna() & (features["class"] != "dead")]
    found = []
    for row in living.sort_values("nearest_cosine", kind="stable").head(LISTED).to_dict("records"):
        at = row["feature"]
        near = [
            Neighbour(feature=int(i), cosine=float(c))
            for i, c in zip(ids[at, :NEAREST], cosines[at, :NEAREST], strict=True)
        ]
        matched = row["cosine"] == row["cosine"]
        found.append(
            AlignedFeature(
                feature=at, label=row["class"], neighbours=near, partner=int(row["partner"]) if matched else None,
                cosine=row["cosine"] if matched else None, margin=_finite(row["margin"]),
            )
        )  # fmt: skip
    return found


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _pairs(frame: pd.DataFrame) -> list[FeaturePair]:
    return [
        FeaturePair(a=row["a"], b=row["b"], cosine=row["cosine"], margin=_finite(row["margin"]))
        for row in frame.to_dict("records")
    ]


def _arrays(found: Alignment) -> dict[str, np.ndarray]:
    arrays = {"matching": found.picture}
    for side, (ids, cosines) in (("a", found.nearest_a), ("b", found.nearest_b)):
        arrays |= {f"nearest_{side}": ids, f"similarity_{side}": cosines.astype(np.float32)}
    if (of := found.clusters) is not None:
        arrays |= {"clusters": of.mean_cosine, "sizes_a": of.sizes_a, "sizes_b": of.sizes_b}
        for side, features, labels in (("a", found.features_a, of.of_a), ("b", found.features_b, of.of_b)):
            cluster = np.full(len(features), -1, np.int16)
            cluster[features["nearest"].notna().to_numpy()] = labels
            arrays[f"cluster_{side}"] = cluster
    return arrays
