"""Two dictionaries side by side: which feature of one is which feature of the other, and what the rest became."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...control import Control
from ...errors import DictionaryError
from ..sae.dictionary import SparseAutoencoder
from .alignment.classes import Thresholds
from .alignment.clusters import Clusters, cluster
from .alignment.correlation import ShiftNull, match_matrix
from .alignment.directions import Directions, Side, directions, listed, named
from .alignment.firing import LEAST, Firings, correlations
from .alignment.margins import centred
from .alignment.neighbours import Block, Neighbours, scan
from .alignment.null import null_of
from .alignment.tables import Compared, Gram, tables
from .assignment import Matching, match_directions
from .matching.similarity import full_float32

On = Literal["decoder", "encoder", "both", "firings"]

HISTOGRAM_BINS = 40
COPIES = 0.9999
EXACT_PAIRS = 2048**2
"""Up to this many pairs similarities are looked at in float64."""


@dataclass(frozen=True)
class Sample:
    """What both dictionaries do on the same rows, and what these rows are called."""

    a: Firings
    b: Firings
    name: str


@dataclass
class Alignment:
    """Two dictionaries matched one to one, and every feature's class (`alignment.classes.Thresholds`).

    features_a, features_b, pairs: see `alignment.tables.Tables`. With on="firings", cosines are correlations; with
    "both", pairs has a column encoder_agrees.

    null_line, null_typical: an unrelated feature's best cosine stays below the line with probability
    `thresholds.level`, and below the other with 0.5. mean_max_a: mean over the features of a of their best cosine
    (MMCS), mean_max_b likewise. mutual: share of the features with a direction, of both dictionaries, that are the
    nearest of their nearest. live_mean: mean over pairs of which neither is dead, None if there are none; dead_by: how
    that was told. zero_a, zero_b: features that took no part because they are dead. agreement: share of pairs that
    encoders and decoders agree on. nearest_a, nearest_b: (int64 [n, k], float64 [n, k]) features of the other side and
    how similar, best first, -1 for features that took no part. picture: see `neighbours.Neighbours`.
    """

    features_a: pd.DataFrame
    features_b: pd.DataFrame
    pairs: pd.DataFrame
    matching: Matching
    thresholds: Thresholds
    null_line: float
    null_typical: float
    null_isotropic: float | None
    null_covariance: float | None
    mean_max_a: float
    mean_max_b: float
    mutual: float
    live_mean: float | None
    dead_by: str
    zero_a: int
    zero_b: int
    nearest_a: tuple[np.ndarray, np.ndarray]
    nearest_b: tuple[np.ndarray, np.ndarray]
    picture: np.ndarray
    clusters: Clusters | None
    notes: list[str]
    on: On = "decoder"
    agreement: float | None = None

    @classmethod
    def of(cls, found: Compared, limits: Thresholds, **told: Any) -> Alignment:
        """From a matching by directions or by firings; `told` are the fields that only their maker knows."""
        written, seen = tables(found, limits), found.seen
        pairs = written.pairs
        living = ~(pairs["class_a"].eq("dead") | pairs["class_b"].eq("dead"))
        a, b = written.features
        return cls(
            features_a=a, features_b=b, pairs=pairs, matching=found.matching, thresholds=limits, null_line=found.line,
            mean_max_a=float(seen.a_similarity[:, 0].mean()), mean_max_b=float(seen.b_similarity[:, 0].mean()),
            mutual=float((a["mutual"].sum() + b["mutual"].sum()) / (len(found.ids[0]) + len(found.ids[1]))),
            live_mean=float(pairs.loc[living, "cosine"].mean()) if living.any() else None,
            nearest_a=_spread(found, 0), nearest_b=_spread(found, 1), picture=seen.picture, **told,
        )  # fmt: skip

    @property
    def mean_cosine(self) -> float:
        return float(self.pairs["cosine"].mean())

    def histogram(self) -> list[int]:
        """Pairs in `HISTOGRAM_BINS` equal bins of cosine from -1 to 1."""
        counts, _ = np.histogram(self.pairs["cosine"].clip(-1, 1), bins=HISTOGRAM_BINS, range=(-1, 1))
        return [int(c) for c in counts]


def align(
    a: SparseAutoencoder,
    b: SparseAutoencoder,
    *,
    on: On = "decoder",
    sample: Sample | None = None,
    max_features: int | None = None,
    thresholds: Thresholds | None = None,
    time_limit: float | None = None,
    control: Control | None = None,
) -> Alignment:
    """Match the features of two dictionaries one to one so that the sum of similarities is largest, and classify each.

    Args:
        on: "decoder" rows, "encoder" columns, "both" (matched by decoder, and by encoder to see whether they agree), or
            "firings" (correlation of activations on the sample).
        sample: tells dead features, and is needed for "firings".
        max_features: keep the first that many of each dictionary.
        time_limit: seconds for the matching, after which the best one so far is taken with its proven gap.

    Raises:
        DictionaryError: an argument of the wrong kind, dictionaries whose directions live in spaces of different width,
            or one without a usable feature.
        StoreError: the sample has nothing to correlate.
        OutOfMemory: too many features fire on the sample to correlate all pairs.
    """
    if on not in get_args(On):
        raise DictionaryError(f"on must be one of {', '.join(get_args(On))}, not {on!r}.")
    whole = isinstance(max_features, int) and not isinstance(max_features, bool)
    if max_features is not None and (not whole or max_features < 1):
        raise DictionaryError(f"max_features must be a whole number of at least 1, not {max_features!r}.")
    control, limits = control or Control(), thresholds or Thresholds()
    notes = _limit_notes(a, b, max_features) + _origin_notes(a, b)
    if on == "firings":
        if sample is None:
            raise DictionaryError('on="firings" correlates activations: give the rows to do it on (activations=).')
        return _by_firings(sample, max_features, limits, control, notes)
    side: Side = "encoder" if on == "encoder" else "decoder"
    ours = _by_direction(a, b, side, sample, max_features, limits, time_limit, control, notes)
    ours.on = on
    if on == "both":
        X, Y = _comparable(a, b, "encoder", max_features, notes)
        other = match_directions(X.rows, Y.rows, time_limit=time_limit, progress=control)
        theirs = dict(zip(X.ids[other.rows].tolist(), Y.ids[other.cols].tolist(), strict=True))
        agree = np.array([theirs.get(i) == j for i, j in zip(ours.pairs["a"], ours.pairs["b"], strict=True)], bool)
        ours.pairs["encoder_agrees"] = agree
        ours.agreement = float(agree.mean())
    return ours


def _by_direction(
    a: SparseAutoencoder,
    b: SparseAutoencoder,
    side: Side,
    sample: Sample | None,
    max_features: int | None,
    limits: Thresholds,
    time_limit: float | None,
    control: Control,
    notes: list[str],
) -> Alignment:
    X, Y = _comparable(a, b, side, max_features, notes)
    device = a.device if a.device.type == "cuda" else torch.device("cpu")
    A, B = X.rows.to(device), Y.rows.to(device)
    matched = match_directions(A, B, time_limit=time_limit, progress=control)
    exact = len(A) * len(B) <= EXACT_PAIRS
    dtype = torch.float64 if exact else torch.float32
    # The rounding of a product of unit rows: (d + 8) half units in the last place (Higham 2002, eq. 3.5), with room.
    error = (A.shape[1] + 8) * 2.0 ** (-53 if exact else -24)

    def block(rows: np.ndarray, cols: np.ndarray) -> Block:
        x = A[torch.from_numpy(rows).to(device)].to(dtype)
        y = B[torch.from_numpy(cols).to(device)].to(dtype).T
        return lambda part: (x[part] @ y).cpu()

    with torch.no_grad(), full_float32():
        if exact:
            matched = centred(matched, block(np.arange(len(A)), np.arange(len(B))))
        seen = _looked(matched, block, control)
    null = null_of(X.rows, Y.rows, seen.a_similarity[:, 0], seen.b_similarity[:, 0], limits.level)
    cosine = np.clip(matched.cosine, -1.0, 1.0)  # float32 unit rows are longer than 1 by rounding
    _copies_note(X.rows, Y.rows, cosine, same=a is b, notes=notes)
    if not matched.certified:
        notes.append(
            f"The time limit struck first: this matching is {matched.verdict}. Partners, margins and the class"
            " displaced are those of this matching; the other classes do not depend on it."
        )
    found = Compared(
        (X.total, Y.total), (X.ids, Y.ids), matched, cosine, null.p_values(matched.rows, matched.cols, cosine), seen,
        error, null.line, (_gram(X.rows), _gram(Y.rows)), None if sample is None else (sample.a, sample.b),
    )  # fmt: skip
    return Alignment.of(
        found, limits, null_typical=null.typical, null_isotropic=null.isotropic, null_covariance=null.covariance,
        dead_by="rows without a direction" if sample is None else f"no firing on {sample.name}",
        clusters=cluster(X.rows, Y.rows), zero_a=X.left_out, zero_b=Y.left_out, notes=notes,
    )  # fmt: skip


def _by_firings(
    sample: Sample,
    max_features: int | None,
    limits: Thresholds,
    control: Control,
    notes: list[str],
) -> Alignment:
    found = correlations(sample.a, sample.b, max_features, control)
    matched = match_matrix(found.matrix, control)

    def block(rows: np.ndarray, cols: np.ndarray) -> Block:
        return lambda part: torch.from_numpy(found.matrix[rows[part]][:, cols])

    matched = centred(matched, block(np.arange(len(found.a)), np.arange(len(found.b))))
    seen = _looked(matched, block, control)
    null = ShiftNull(found.best_by_chance, limits.level)
    counts = sample.a.counts[:max_features], sample.b.counts[:max_features]
    rare = [int(((fired > 0) & (fired < LEAST)).sum()) for fired in counts]
    if any(rare):
        notes.append(f"Fired on fewer than {LEAST} rows and left out: {rare[0]:,} features of a, {rare[1]:,} of b.")
    compared = Compared(
        (len(counts[0]), len(counts[1])), (found.a, found.b), matched, matched.cosine, null.p_values(matched.cosine),
        seen, 1e-12, null.line, (found.gram_a, found.gram_b), (sample.a, sample.b), LEAST,
    )  # fmt: skip
    return Alignment.of(
        compared, limits, null_typical=null.typical, null_isotropic=None, null_covariance=None, on="firings",
        dead_by=f"no firing on {sample.name}", clusters=None, zero_a=int((counts[0] == 0).sum()),
        zero_b=int((counts[1] == 0).sum()), notes=notes,
    )  # fmt: skip


def _looked(matched: Matching, block: Callable[[np.ndarray, np.ndarray], Block], control: Control) -> Neighbours:
    """A scan with pairs in falling order of similarity, and what has no partner at the end."""
    n_a, n_b = len(matched.row_price), len(matched.col_price)
    best = np.argsort(-matched.cosine, kind="stable")
    rows = np.concatenate([matched.rows[best], np.setdiff1d(np.arange(n_a), matched.rows)])
    cols = np.concatenate([matched.cols[best], np.setdiff1d(np.arange(n_b), matched.cols)])
    partner = np.where(np.arange(n_a) < len(best), np.arange(n_a), -1)
    seen = scan(block(rows, cols), partner, matched.row_price[rows], matched.col_price[cols], control)
    return seen.renumbered(rows, cols)


def _spread(found: Compared, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours of every feature looked at, by the numbers of the features."""
    seen = found.seen
    near, similar = (seen.a_ids, seen.a_similarity) if i == 0 else (seen.b_ids, seen.b_similarity)
    ids = np.full((found.widths[i], near.shape[1]), -1)
    values = np.full(ids.shape, np.nan)
    ids[found.ids[i]], values[found.ids[i]] = found.ids[1 - i][near], similar
    return ids, values


def _gram(rows: Tensor) -> Gram:
    def gram(chosen: np.ndarray) -> np.ndarray:
        x = rows[torch.from_numpy(chosen)].double()
        return (x @ x.T).numpy()

    return gram


def _comparable(
    a: SparseAutoencoder, b: SparseAutoencoder, side: Side, limit: int | None, notes: list[str]
) -> tuple[Directions, Directions]:
    """Directions of both in a space of the same width; notes what was left out."""
    widths = [sae.cfg.d_out if side == "decoder" else sae.cfg.d_in for sae in (a, b)]
    if widths[0] != widths[1]:
        verb = "writes" if side == "decoder" else "reads"
        raise DictionaryError(
            f"{named(a)} {verb} vectors of width {widths[0]} and {named(b)} of width {widths[1]}: their features"
            " live in different spaces, and a cosine between them would mean nothing."
        )
    places = [_place(sae, side) for sae in (a, b)]
    if all(places) and places[0] != places[1] and a.cfg.layer == b.cfg.layer:
        notes.append(f"Their {side}s live in different places ({places[0]} and {places[1]}).")
    X, Y = directions(a, side, limit), directions(b, side, limit)
    for which, part in (("a", X), ("b", Y)):
        if len(part.broken):
            notes.append(f"NaN or infinite {side} rows of {which}, left out: {listed(part.broken)}.")
    return X, Y


def _place(sae: SparseAutoencoder, side: Side) -> str:
    return (sae.cfg.hook_out or sae.cfg.hook) if side == "decoder" else sae.cfg.hook


def _limit_notes(a: SparseAutoencoder, b: SparseAutoencoder, limit: int | None) -> list[str]:
    if limit is None:
        return []
    if max(a.cfg.d_sae, b.cfg.d_sae) > limit:
        return [f"Only the first {limit:,} features of each dictionary were matched (max_features)."]
    return [f"max_features={limit:,} left nothing out: a has {a.cfg.d_sae:,} features and b {b.cfg.d_sae:,}."]


def _origin_notes(a: SparseAutoencoder, b: SparseAutoencoder) -> list[str]:
    notes = []
    if a.cfg.model_fingerprint and b.cfg.model_fingerprint and a.cfg.model_fingerprint != b.cfg.model_fingerprint:
        notes.append(
            "The two dictionaries were trained on different weights: a low cosine can mean that the basis moved,"
            " not that a feature was lost."
        )
    if a.cfg.layer != b.cfg.layer:
        notes.append(f"The dictionaries read different layers ({a.cfg.layer} and {b.cfg.layer}).")
    return notes


def _copies_note(A: Tensor, B: Tensor, cosine: np.ndarray, *, same: bool, notes: list[str]) -> None:
    copies = float((cosine > COPIES).mean())
    if copies >= 0.01 and not (same or torch.equal(A, B)):
        notes.append(
            f"{copies:.0%} of the pairs have a cosine above {COPIES}: they probably share an initialisation, and match"
            " through it rather than through what was learnt. Train one with another seed to compare learning."
        )
