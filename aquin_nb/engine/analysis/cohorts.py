"""A diff by cohort: the same comparison within each value of a metadata key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import ProbeError, did_you_mean
from .contrast import Contrast, contrast
from .significance import Ints
from .sums import Sums

MOST = 50
"""Values of a key that make cohorts; a key with more is a number or a name, not a kind of text."""
UNLABELLED = "(none)"  # the cohort of probes that lack the key


@dataclass
class Cohort:
    """The probes with one value of the key, and how they compare; see `Contrast`."""

    name: str
    among: NDArray[np.bool_]
    contrast: Contrast


def cohorts(
    base: Sums,
    checkpoint: Sums,
    rows: Ints,
    d_sae: int,
    metadata: Sequence[Mapping[str, Any]],
    by: str,
    *,
    threshold: float,
    fdr: float,
) -> list[Cohort]:
    """Compare base and checkpoint within each cohort, in the order in which the cohorts appear.

    Each has its own p, and its own q over the features tested within it; `threshold` is the same for all.

    Raises:
        ProbeError: see `members`.
    """
    found = []
    for name, among in members(metadata, by).items():
        one = contrast(base, checkpoint, rows, d_sae, among=among, threshold=threshold, fdr=fdr)
        found.append(Cohort(name, among, one))
    return found


def members(metadata: Sequence[Mapping[str, Any]], by: str) -> dict[str, NDArray[np.bool_]]:
    """Which probes are in each cohort, bool [probes]; those without the key are the cohort "(none)".

    Raises:
        ProbeError: no probe has the key, a value is a list or an object, or there are more than 50 values.

    >>> {name: among.tolist() for name, among in members([{"lang": "en"}, {"lang": "fr"}, {}], "lang").items()}
    {'en': [True, False, False], 'fr': [False, True, False], '(none)': [False, False, True]}
    """
    keys = list(dict.fromkeys(key for row in metadata for key in row))
    if not isinstance(by, str) or by not in keys:
        known = did_you_mean(str(by), keys) if keys else "The probes have no metadata at all."
        raise ProbeError(f"by={by!r:.60}: no probe has this metadata key. {known}")
    labels = []
    for number, row in enumerate(metadata, 1):
        value = row.get(by)
        if isinstance(value, (list, dict)):
            raise ProbeError(f"row {number}: {by} is a {type(value).__name__}; cohorts are made of texts and numbers.")
        labels.append(UNLABELLED if value is None else str(value))
    names = list(dict.fromkeys(labels))
    if len(names) > MOST:
        raise ProbeError(
            f"by={by!r}: {len(names):,} different values make no cohorts; choose a key with at most {MOST}, or bin it."
        )
    return {name: np.array([label == name for label in labels]) for name in names}


def cohort_frame(found: Sequence[Cohort]) -> pd.DataFrame:
    """`cohort` and the columns of `Contrast.frame`, cohort after cohort; features silent in all are left out."""
    frames = [one.contrast.frame for one in found]
    alive = np.any([(frame["rate_base"] + frame["rate_checkpoint"]).to_numpy() > 0 for frame in frames], axis=0)
    parts = [frame[alive].assign(cohort=one.name) for one, frame in zip(found, frames, strict=True)]
    whole = pd.concat(parts, ignore_index=True)
    return whole[["cohort", *frames[0].columns]]
