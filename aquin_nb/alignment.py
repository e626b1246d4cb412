"""What `sae_align` hands back: two dictionaries matched one to one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .cards import SaeAlignCard
from .results import Result

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


class SaeAlign(Result):
    """Two dictionaries matched one to one.

    Attributes:
        frame: `a, b, cosine, kind`, one row a pair.
        mean_cosine, objective, bound, gap: as `engine.analysis.assignment.Matching`.
        path: the folder it was written to; `map.csv` inside is the frame.
    """

    card: SaeAlignCard

    def __init__(self, path: Path, card: SaeAlignCard, frame: pd.DataFrame) -> None:
        self.path, self.card, self._frame = path, card, frame

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        return {"pairs": self._frame}

    @property
    def mean_cosine(self) -> float:
        return self.card.mean_cosine

    @property
    def objective(self) -> float:
        return self.card.objective

    @property
    def bound(self) -> float:
        return self.card.bound

    @property
    def gap(self) -> float:
        return self.card.gap

    def figure(self) -> go.Figure:
        from .widgets.align_figure import align_figure

        return align_figure(self.card, self._frame)

    def summary(self) -> str:
        c = self.card
        return (
            f"SaeAlign {c.name}: {c.n_pairs:,} pairs of {c.a.name} and {c.b.name}, mean cosine {c.mean_cosine:.4f},"
            f" {c.share_above_0_7:.0%} ≥ 0.7, gap {c.gap:g}"
        )
