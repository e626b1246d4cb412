"""plotly figures of a diff."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..cards import SaeDiffCard
from .figures import BLUE, GREY, ORANGE, finished
from .text import count, number

if TYPE_CHECKING:
    import plotly.graph_objects as go

SCATTER = 20_000  # features in a scatter plot


def diff_figure(card: SaeDiffCard, features: pd.DataFrame) -> go.Figure:
    """The most changed features as bars, and all of them as base against checkpoint.

    Args:
        features: columns feature, mean_base, mean_checkpoint, delta; the 20,000 with the largest |delta| are drawn.
    """
    from plotly.subplots import make_subplots

    figure = make_subplots(1, 2, column_widths=[0.42, 0.58], horizontal_spacing=0.12)
    order = features["delta"].abs().sort_values(ascending=False, kind="stable").index
    top = features.loc[order[:20]].iloc[::-1]
    figure.add_bar(
        x=top["delta"], y=[f"feature {int(feature)}" for feature in top["feature"]], orientation="h", name="Δ",
        marker_color=[ORANGE if delta > 0 else BLUE for delta in top["delta"]], row=1, col=1,
    )  # fmt: skip
    drawn = features.loc[order[:SCATTER]]
    changed = drawn["delta"].abs() > card.threshold
    for name, part, colour in (("unchanged", drawn[~changed], GREY), ("changed", drawn[changed], ORANGE)):
        figure.add_scattergl(
            x=part["mean_base"], y=part["mean_checkpoint"], mode="markers", name=name, customdata=part["feature"],
            marker={"size": 4, "color": colour, "opacity": 0.7},
            hovertemplate="feature %{customdata}<br>base %{x:.3g}<br>checkpoint %{y:.3g}<extra></extra>", row=1, col=2,
        )  # fmt: skip
    most = float(np.nanmax([drawn["mean_base"].max(), drawn["mean_checkpoint"].max(), 1e-9])) if len(drawn) else 1.0
    figure.add_shape(
        type="line", x0=0, y0=0, x1=most, y1=most, line={"color": GREY, "width": 1, "dash": "dot"}, row=1, col=2
    )
    figure.update_xaxes(title_text="change of mean activation", row=1, col=1)
    figure.update_xaxes(title_text="mean activation, base", row=1, col=2)
    figure.update_yaxes(title_text="mean activation, checkpoint", row=1, col=2)
    sub = [f"{count(card.n_changed)} of {count(card.n_features)} changed", f"mean |Δ| {number(card.mean_abs_delta)}"]
    if len(drawn) < len(features):
        sub.append(f"{count(len(drawn))} of {count(len(features))} features drawn")
    return finished(figure, card, sub, height=480)
