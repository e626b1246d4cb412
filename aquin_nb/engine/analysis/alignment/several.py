"""Several dictionaries, each matched with each: how alike they are, and which features all of them have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from ....control import Control
from ....errors import DictionaryError
from ...sae.dictionary import SparseAutoencoder
from ..assignment import match_directions
from .directions import Side, directions, named
from .null import isotropic_line

LEAST = 0.7


@dataclass(frozen=True)
class Several:
    """How N dictionaries resemble each other.

    matrix: N x N, mean cosine of matched features, 1 on the diagonal; rows and columns are the names.
    pairs: `first, second, pairs, mean, median, above_0_7, above_0_9, by_chance`; by_chance is what the best of as many
        unrelated isotropic directions typically has.
    stable: one row for each set of features, one of each dictionary, of which every two are matched with each other at
        a cosine of at least `least`: the names (feature numbers), mean_cosine and least_cosine over the pairs.
    sizes: features with a direction, by name.
    """

    matrix: pd.DataFrame
    pairs: pd.DataFrame
    stable: pd.DataFrame
    sizes: dict[str, int]
    least: float
    side: Side


def compare(
    dictionaries: Sequence[SparseAutoencoder],
    names: Sequence[str],
    *,
    side: Side = "decoder",
    least: float = LEAST,
    max_features: int | None = None,
    control: Control | None = None,
) -> Several:
    """Match every two of several dictionaries.

    Raises:
        DictionaryError: fewer than two, names that are not one each, dictionaries of different width, or one without
            a feature that has a direction.
    """
    control = control or Control()
    if len(dictionaries) < 2:
        raise DictionaryError("Give at least two dictionaries to compare.")
    if len(names) != len(dictionaries) or len(set(names)) < len(names):
        raise DictionaryError(f"{len(dictionaries)} dictionaries need as many different names, not {list(names)}.")
    if isinstance(least, bool) or not isinstance(least, int | float) or not 0 < least <= 1:
        raise DictionaryError(f"least must be a cosine between 0 and 1, not {least!r}.")
    widths = [sae.cfg.d_out if side == "decoder" else sae.cfg.d_in for sae in dictionaries]
    for sae, width in zip(dictionaries, widths, strict=True):
        if width != widths[0]:
            raise DictionaryError(
                f"{named(dictionaries[0])} has vectors of width {widths[0]} and {named(sae)} of width {width}: a cosine"
                " between them would mean nothing."
            )
    found = [directions(sae, side, max_features) for sae in dictionaries]
    n, every = len(found), list(combinations(range(len(found)), 2))
    matrix, rows = np.eye(n), []
    partners: dict[tuple[int, int], dict[int, tuple[int, float]]] = {}
    for at, (i, j) in enumerate(every):
        control.tick("pairs of dictionaries", at, len(every), "pairs")
        m = match_directions(found[i].rows, found[j].rows)
        cosine = np.clip(m.cosine, -1.0, 1.0)
        matrix[i, j] = matrix[j, i] = cosine.mean()
        of_i, of_j = found[i].ids[m.rows].tolist(), found[j].ids[m.cols].tolist()
        kept = [(a, b, c) for a, b, c in zip(of_i, of_j, cosine.tolist(), strict=True) if c >= least]
        partners[i, j] = {a: (b, c) for a, b, c in kept}
        chance = isotropic_line(max(len(found[i].ids), len(found[j].ids)), widths[0], 0.5)
        rows.append(
            (
                names[i], names[j], len(cosine), cosine.mean(), np.median(cosine), (cosine >= 0.7).mean(),
                (cosine >= 0.9).mean(), chance,
            )
        )  # fmt: skip
    columns = ["first", "second", "pairs", "mean", "median", "above_0_7", "above_0_9", "by_chance"]
    sizes = {name: len(part.ids) for name, part in zip(names, found, strict=True)}
    return Several(
        pd.DataFrame(matrix, index=list(names), columns=list(names)), pd.DataFrame(rows, columns=columns),
        _stable(partners, names), sizes, float(least), side,
    )  # fmt: skip


def _stable(partners: dict[tuple[int, int], dict[int, tuple[int, float]]], names: Sequence[str]) -> pd.DataFrame:
    """Sets of one feature of each dictionary, every two of them matched."""
    n, rows = len(names), []
    for first in partners[0, 1]:
        found = [partners[0, k].get(first) for k in range(1, n)]
        if any(pair is None for pair in found):
            continue
        features = [first, *(pair[0] for pair in found if pair is not None)]
        cosines = []
        for i, j in combinations(range(n), 2):
            partner, cosine = partners[i, j].get(features[i], (-1, 0.0))
            if partner != features[j]:
                break
            cosines.append(cosine)
        else:
            rows.append((*features, float(np.mean(cosines)), min(cosines)))
    frame = pd.DataFrame(rows, columns=[*names, "mean_cosine", "least_cosine"])
    return frame.sort_values("mean_cosine", ascending=False, kind="stable", ignore_index=True)
