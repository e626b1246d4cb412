"""Base against checkpoint, feature by feature: means, rates, and which changes are more than chance."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import AquinError
from .significance import Floats, Ints, false_discovery, fewest_pairs, sign_flip
from .sums import Sums

FDR = 0.05
CHANGED_SHARE = 0.1
"""The usual threshold on |delta|, as a share of the mean activation of the features alive in either model."""
ENTRIES = 1 << 21  # differences looked at together
ADVISED = 50
"""Probes with which hundreds of changed features are usually told from chance."""


@dataclass
class Contrast:
    """frame: one row a feature.

        feature                              its number
        mean_base, mean_checkpoint           activation over all analysed tokens (texts), silent ones included
        delta                                mean_checkpoint - mean_base
        mean_on_base, mean_on_checkpoint     activation over those on which it fires; NaN where it never does
        rate_base, rate_checkpoint           share of them on which it fires
        probes                               how many probes differ in it
        p                                    sign-flip test of delta over probes (`significance.sign_flip`); NaN where
                                             no probe differs
        q                                    its false discovery rate over the tested features; NaN where not tested
        changed                              q ≤ fdr and |delta| ≥ threshold

    The test's unit is the probe, because tokens of one text are not independent, and what it flips are the probes'
    shares of delta itself: Σ over the probe's tokens of the change. Tested are features with enough probes that differ
    for p ≤ fdr to be possible at all (6 at 0.05); leaving the others out cannot make a discovery false, because it does
    not depend on any sign (Tarone 1990).

    Attributes:
        threshold: on |delta|, in units of activation. fdr: on q. tested: features with a q.
        over: features with |delta| ≥ threshold, whatever their p.
        notes: what a reader must know.
    """

    frame: pd.DataFrame
    threshold: float
    fdr: float
    probes: int
    tokens: int
    tested: int
    over: int
    notes: list[str] = field(default_factory=list)

    @property
    def changed(self) -> int:
        return int(self.frame["changed"].sum())


def contrast(
    base: Sums,
    checkpoint: Sums,
    tokens: Ints,
    d_sae: int,
    *,
    among: NDArray[np.bool_] | None = None,
    threshold: float | None = None,
    fdr: float = FDR,
) -> Contrast:
    """Compare two models' sums over the same probes.

    Args:
        base, checkpoint: see `Sums`. tokens: analysed tokens of every probe, int64 [probes] (1 each for texts).
        among: the probes that count, bool [probes]; default: all.
        threshold: on |delta|; default: a tenth of the mean activation of the features alive in either.
        fdr: see `check_levels`.

    Entries are read in pieces and differences held for about two million at a time, however many probes there are.

    Raises:
        AquinError: see `check_levels`.
    """
    check_levels(threshold, fdr)
    chosen = np.ones(len(tokens), np.bool_) if among is None else among
    count, probes = int(tokens[chosen].sum()), int(chosen.sum())
    found = [_totals(sums, chosen, d_sae) for sums in (base, checkpoint)]
    (left, fired_left, _), (right, fired_right, _) = found
    means = left / max(count, 1), right / max(count, 1)
    delta = means[1] - means[0]
    alive = (fired_left > 0) | (fired_right > 0)
    if threshold is None:
        threshold = CHANGED_SHARE * float(np.maximum(*means)[alive].mean()) if alive.any() else 0.0
    p, pairs = np.full(d_sae, np.nan), np.zeros(d_sae, np.int64)
    for low, high in _blocks(found[0][2] + found[1][2]):
        values, offsets = _differences(base, checkpoint, chosen, low, high)
        pairs[low:high] = np.diff(offsets)
        p[low:high] = sign_flip(values, offsets)
    testable = pairs >= fewest_pairs(fdr)
    q = false_discovery(np.where(testable, p, np.nan))
    over = (np.abs(delta) >= threshold) & (delta != 0)
    frame = pd.DataFrame(
        {
            "feature": np.arange(d_sae),
            "mean_base": means[0],
            "mean_checkpoint": means[1],
            "delta": delta,
            "mean_on_base": _on(left, fired_left),
            "mean_on_checkpoint": _on(right, fired_right),
            "rate_base": fired_left / max(count, 1),
            "rate_checkpoint": fired_right / max(count, 1),
            "probes": pairs,
            "p": p,
            "q": q,
            "changed": over & (np.nan_to_num(q, nan=1.0) <= fdr),
        }
    )
    notes = few(probes, int(testable.sum()), int(over.sum()), fdr) if bool((pairs > 0).any()) else []
    return Contrast(frame, threshold, fdr, probes, count, int(testable.sum()), int(over.sum()), notes)


def check_levels(threshold: float | None, fdr: float) -> None:
    """Raise `AquinError` unless 0 < fdr < 1 and the threshold is None or a number of at least 0."""
    if isinstance(fdr, bool) or not isinstance(fdr, (int, float)) or not 0 < fdr < 1:
        raise AquinError(f"fdr={fdr!r:.40} is no share between 0 and 1; 0.05 is usual.")
    number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
    if threshold is not None and not (number and math.isfinite(threshold) and threshold >= 0):
        raise AquinError(f"threshold={threshold!r:.40} is no number of at least 0; it is compared with |delta|.")


def few(probes: int, tested: int, over: int, fdr: float) -> list[str]:
    """What has to be said when there are too few probes for one feature to be told from chance."""
    least = 2.0 ** (1 - probes)
    if probes < fewest_pairs(fdr):
        return [
            f"{probes} {'probe is' if probes == 1 else 'probes are'} too few to tell any change from chance: the"
            f" smallest p there can be is {least:.3g}, above the FDR of {fdr:g}. So no feature is called changed,"
            f" though {over:,} move by the threshold or more. Give at least {fewest_pairs(fdr)} probes, better"
            f" {ADVISED}."
        ]
    alone = fewest_pairs(fdr, tested)
    if probes < alone:
        together = math.ceil(least * tested / fdr)
        return [
            f"With {probes} probes the smallest p there can be is {least:.3g}: of {tested:,} features tested, at least"
            f" {together:,} have to reach it together before any is called changed. With {alone} probes one can alone."
        ]
    return []


def _totals(sums: Sums, chosen: NDArray[np.bool_], d_sae: int) -> tuple[Floats, Ints, Ints]:
    """Of every feature: its sum, the tokens on which it fires, and its entries."""
    total, fired, entries = np.zeros(d_sae), np.zeros(d_sae, np.int64), np.zeros(d_sae, np.int64)
    for probe, at in sums.pieces():
        kept = chosen[probe]
        feature = sums.feature[at][kept]
        total += np.bincount(feature, sums.total[at][kept], d_sae)
        fired += np.bincount(feature, sums.fired[at][kept], d_sae).astype(np.int64)
        entries += np.bincount(feature, minlength=d_sae)
    return total, fired, entries


def _on(total: Floats, fired: Ints) -> Floats:
    return np.where(fired > 0, total / np.maximum(fired, 1), np.nan)


def _blocks(entries: Ints) -> Iterator[tuple[int, int]]:
    """Ranges of features with about `ENTRIES` entries each, one at least."""
    ends, low = np.cumsum(entries), 0
    while low < len(entries):
        before = int(ends[low - 1]) if low else 0
        high = max(low + 1, int(np.searchsorted(ends, before + ENTRIES, side="right")))
        yield low, high
        low = high


def _differences(base: Sums, checkpoint: Sums, chosen: NDArray[np.bool_], low: int, high: int) -> tuple[Floats, Ints]:
    """checkpoint - base on every probe that differs, feature after feature: values, and where each feature begins."""
    keys, values = [], []
    for sums, sign in ((base, -1.0), (checkpoint, 1.0)):
        for probe, at in sums.pieces():
            feature = np.asarray(sums.feature[at])
            kept = np.flatnonzero(chosen[probe] & (feature >= low) & (feature < high))
            keys.append((feature[kept].astype(np.int64) - low) * len(chosen) + probe[kept])
            values.append(sign * sums.total[at][kept].astype(np.float64))
    key, value = np.concatenate(keys or [np.zeros(0, np.int64)]), np.concatenate(values or [np.zeros(0)])
    order = np.argsort(key, kind="stable")
    key, value = key[order], value[order]
    first = np.flatnonzero(np.r_[True, key[1:] != key[:-1]][: len(key)])
    difference = np.add.reduceat(value, first) if len(first) else value
    owner = key[first] // len(chosen)
    differs = difference != 0
    return difference[differs], np.searchsorted(owner[differs], np.arange(high - low + 1))
