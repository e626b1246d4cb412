"""Which probes and which tokens drive a feature's change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .sums import Sums

if TYPE_CHECKING:
    from ..models import Model
    from .passages import Passages
    from .tally import Active

KEPT = 8
"""Tokens kept of each feature: those on which its activation changes most."""
CONTEXT = 10  # tokens shown on either side
PENDING = 1 << 18  # candidates between two clearings
TOKEN_COLUMNS = ("feature", "rank", "probe", "position", "before", "token", "after", "base", "checkpoint")
_FIELDS = {"feature": np.int64, "size": np.float32, "probe": np.int64, "position": np.int64, "base": np.float32}
_FIELDS |= {"checkpoint": np.float32}


class TopTokens:
    """The tokens on which each feature changes most, kept while both models run over the same batches.

    Ties go to the earlier probe and position, so that the order of batches makes no difference. Memory is that of
    `KEPT` tokens a feature and of about 260,000 candidates.
    """

    def __init__(self, d_sae: int) -> None:
        self._d_sae = d_sae
        self._least = np.zeros(d_sae, np.float32)  # what a new token must reach
        self._kept = {name: np.zeros(0, dtype) for name, dtype in _FIELDS.items()}
        self._new: list[dict[str, NDArray[Any]]] = []
        self._pending = 0

    def add(self, base: Active, checkpoint: Active, probe: NDArray[np.int64], position: NDArray[np.int64]) -> None:
        """What fires on the same rows in both models; probe and position are those of every row."""
        keys = [active.row * self._d_sae + active.feature for active in (base, checkpoint)]
        at = np.minimum(np.searchsorted(keys[0], keys[1]), max(len(keys[0]) - 1, 0))
        both = keys[0][at] == keys[1] if len(keys[0]) else np.zeros(len(keys[1]), np.bool_)
        before = np.zeros(len(keys[1]), np.float32)
        before[both] = base.value[at[both]]
        gone = np.ones(len(keys[0]), np.bool_)
        gone[at[both]] = False
        row = np.concatenate([checkpoint.row, base.row[gone]])
        feature = np.concatenate([checkpoint.feature, base.feature[gone]])
        left = np.concatenate([before, base.value[gone]])
        right = np.concatenate([checkpoint.value, np.zeros(int(gone.sum()), np.float32)])
        size = np.abs(right - left)
        new = np.flatnonzero((size > 0) & (size >= self._least[feature]))
        self._new.append(
            {
                "feature": feature[new],
                "size": size[new],
                "probe": probe[row[new]],
                "position": position[row[new]],
                "base": left[new],
                "checkpoint": right[new],
            }
        )
        self._pending += len(new)
        if self._pending > PENDING:
            self._clear()

    def _clear(self) -> None:
        parts = [self._kept, *self._new]
        all_of = {name: np.concatenate([part[name] for part in parts]) for name in _FIELDS}
        order = np.lexsort((all_of["position"], all_of["probe"], -all_of["size"], all_of["feature"]))
        feature = all_of["feature"][order]
        rank = np.arange(len(feature)) - np.searchsorted(feature, feature)
        kept = order[rank < KEPT]
        self._kept = {name: values[kept] for name, values in all_of.items()}
        last = order[rank == KEPT - 1]
        self._least[all_of["feature"][last]] = all_of["size"][last]
        self._new, self._pending = [], 0

    def of(self, features: Iterable[int]) -> pd.DataFrame:
        """`feature, rank, probe, position, base, checkpoint` of the given features, the largest change first."""
        self._clear()
        wanted = np.isin(self._kept["feature"], np.fromiter(features, np.int64))
        frame = pd.DataFrame({name: values[wanted] for name, values in self._kept.items() if name != "size"})
        frame.insert(1, "rank", frame.groupby("feature").cumcount())
        return frame


def with_context(tokens: pd.DataFrame, passages: Passages, model: Model) -> pd.DataFrame:
    """`TopTokens.of` with the text of each token and of up to ten before and after it; columns as `TOKEN_COLUMNS`."""
    cuts: list[tuple[str, str, str]] = []
    for probe, position in zip(tokens["probe"], tokens["position"], strict=True):
        ids, at = passages.ids(int(probe)), int(position)
        first = max(at - CONTEXT, len(model.policy.prefix))
        strings = model.token_strings(ids[first : at + CONTEXT + 1])
        cuts.append(("".join(strings[: at - first]), strings[at - first], "".join(strings[at - first + 1 :])))
    frame = tokens.copy()
    frame[["before", "token", "after"]] = pd.DataFrame(cuts, columns=["before", "token", "after"], index=frame.index)
    return frame[list(TOKEN_COLUMNS)]


def driving_probes(
    base: Sums,
    checkpoint: Sums,
    tokens: NDArray[np.int64],
    feature: int,
    texts: Sequence[str],
    metadata: Sequence[Mapping[str, Any]],
) -> pd.DataFrame:
    """One row a probe on which a feature fires in either model, the largest share of the change first.

    `probe` (row, from 0), `base` and `checkpoint` (mean activation over the probe's tokens), `delta`, `share` (of the
    sum of the changes over all probes, by which shares add up to 1; NaN where that is 0), `tokens`, `text`, and the
    probe's metadata.
    """
    left, right = base.of(feature, len(tokens))[0], checkpoint.of(feature, len(tokens))[0]
    change = right - left
    seen = np.flatnonzero((left > 0) | (right > 0))
    seen = seen[np.argsort(-np.abs(change[seen]), kind="stable")]
    whole = float(change.sum())
    frame = pd.DataFrame(
        {
            "probe": seen,
            "base": left[seen] / tokens[seen],
            "checkpoint": right[seen] / tokens[seen],
            "delta": change[seen] / tokens[seen],
            "share": change[seen] / whole if whole else np.full(len(seen), np.nan),
            "tokens": tokens[seen],
            "text": [texts[int(at)] for at in seen],
        }
    )
    for key in dict.fromkeys(key for row in metadata for key in row):
        name = key if key not in frame else f"{key} (metadata)"
        frame[name] = [metadata[int(at)].get(key) for at in seen]
    return frame
