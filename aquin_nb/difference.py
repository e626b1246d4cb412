"""What `sae_diff` hands back: base and checkpoint through one dictionary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .cards import SaeDiffCard
from .results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


class SaeDiff(Result):
    """Base and checkpoint through one dictionary.

    Attributes:
        frame: `feature, mean_base, mean_checkpoint, delta, rate_base, rate_checkpoint, changed`, one row a feature.
        n_changed, mean_abs_delta, max_abs_delta: over all features.
        path: the folder it was written to.
    """

    card: SaeDiffCard

    def __init__(self, path: Path, card: SaeDiffCard, frame: pd.DataFrame) -> None:
        self.path, self.card, self._frame = path, card, frame

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        return {"features": self._frame}

    @property
    def n_changed(self) -> int:
        return self.card.n_changed

    @property
    def mean_abs_delta(self) -> float:
        return self.card.mean_abs_delta

    @property
    def max_abs_delta(self) -> float:
        return self.card.max_abs_delta

    def figure(self) -> go.Figure:
        from .widgets.diff_figure import diff_figure

        return diff_figure(self.card, self._frame)

    def summary(self) -> str:
        c = self.card
        unit = "texts" if c.model is not None and c.model.mode == "embedding" else "tokens"
        return (
            f"SaeDiff {c.name}: {c.n_changed:,} of {c.n_features:,} features changed, mean |Δ| {c.mean_abs_delta:.4g},"
            f" max |Δ| {c.max_abs_delta:.4g} over {c.n_tokens:,} {unit}"
        )
