"""plotly figure of a sweep: how well each layer is reconstructed, and what that does not mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from ..cards import SaeSweepCard
from .figures import BLUE, GREY, ORANGE, finished
from .text import count, esc

if TYPE_CHECKING:
    import plotly.graph_objects as go


def numbered(sites: pd.DataFrame) -> bool:
    """Whether a layer's number names each row (columns layer and hook): all of them are outputs of blocks."""
    return bool(sites["layer"].notna().all() and sites["hook"].str.endswith(".hook_resid_post").all())


def sweep_figure(card: SaeSweepCard, layers: pd.DataFrame) -> go.Figure:
    """FVU, recon MSE (log, with the mean norm) and dead share by layer.

    Args:
        layers: columns layer, hook, fvu, recon_mse, dead_share, mean_norm.
    """
    from plotly.subplots import make_subplots

    titles = ["FVU", "Recon MSE, and mean norm (dots)", "Dead latents, %"]
    figure = make_subplots(1, 3, subplot_titles=titles, horizontal_spacing=0.07)
    by_layer = numbered(layers)
    x = layers["layer"].astype(float) if by_layer else [esc(hook) for hook in layers["hook"]]
    hooks = [esc(hook) for hook in layers["hook"]]
    curves = [
        (1, "fvu", layers["fvu"].astype(float), BLUE, "solid"),
        (2, "recon MSE", layers["recon_mse"].astype(float), BLUE, "solid"),
        (2, "mean norm", layers["mean_norm"].astype(float), GREY, "dot"),
        (3, "dead, %", 100 * layers["dead_share"].astype(float), ORANGE, "solid"),
    ]
    for column, name, values, colour, dash in curves:
        figure.add_scatter(
            x=x, y=values, mode="lines+markers", name=name, line={"color": colour, "dash": dash}, text=hooks,
            hovertemplate="%{text}<br>" + name + " %{y:.4g}<extra></extra>", row=1, col=column,
        )  # fmt: skip
    for column in (1, 2, 3):
        figure.update_xaxes(title_text="layer" if by_layer else "", row=1, col=column)
    figure.update_yaxes(rangemode="tozero", row=1, col=1)
    figure.update_yaxes(type="log", row=1, col=2)
    figure.update_yaxes(rangemode="tozero", row=1, col=3)
    rows = card.corpus.tokens if card.corpus else 0
    sub = [f"{len(layers)} dictionaries", f"{count(rows)} rows of the same tokens"]
    return finished(figure, card, sub, height=380, below=[card.caution])
