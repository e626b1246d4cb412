"""plotly figures of an alignment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..cards import SaeAlignCard
from .figures import BLUE, finished
from .text import number, percent

if TYPE_CHECKING:
    import plotly.graph_objects as go


def align_figure(card: SaeAlignCard, pairs: pd.DataFrame) -> go.Figure:
    """Histogram of matched cosines, and the share of pairs above every cosine.

    Args:
        pairs: column cosine; rows without one (unmatched features) are left out.
    """
    from plotly.subplots import make_subplots

    cosine = np.sort(pairs["cosine"].dropna().to_numpy(np.float64))
    figure = make_subplots(1, 2, horizontal_spacing=0.12)
    counts, edges = np.histogram(cosine, bins=40, range=(-1, 1))
    figure.add_bar(x=(edges[:-1] + edges[1:]) / 2, y=counts, width=0.048, marker_color=BLUE, name="pairs", row=1, col=1)
    above = np.linspace(-1, 1, 201)
    share = 1 - np.searchsorted(cosine, above, side="right") / max(1, len(cosine))
    figure.add_scatter(x=above, y=share, mode="lines", line={"color": BLUE, "width": 1.8}, name="share", row=1, col=2)
    figure.update_xaxes(title_text="cosine of matched decoder rows", range=[-1, 1])
    figure.update_yaxes(title_text="pairs", row=1, col=1)
    figure.update_yaxes(title_text="share of pairs above", range=[0, 1.02], tickformat=".0%", row=1, col=2)
    sub = [f"mean {number(card.mean_cosine)}", f"{percent(card.share_above_0_7)} above 0.7"]
    return finished(figure, card, sub, height=400)
