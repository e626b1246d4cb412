"""plotly figures for papers and slides: they render in a notebook without a kernel and export well. Never FigureWidget.

plotly is imported inside the functions: it takes as long to import as all the rest.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..cards import ActivationCaptureCard, ActivationStoreCard, SaeTrainCard
from ..cards.base import Card
from . import words
from .axis import axis_for
from .decimate import keep_rows
from .text import count, esc

if TYPE_CHECKING:
    import plotly.graph_objects as go

BLUE, ORANGE, GREY = "#2b6cb0", "#d9822b", "#8a929b"
POINTS = 4000  # of a curve; a figure carries its data as text
WRAP = 96  # characters of a line of text below a figure


def training_figure(card: SaeTrainCard, history: pd.DataFrame) -> go.Figure:
    """Recon MSE (log), FVU, L0, dead latents, explained variance and cosine over steps, and the last firing rates.

    Panels of what was never measured are left out. Dashed lines are the steps at which the run was resumed.

    Args:
        history: columns step, recon_mse, fvu, explained_variance, cosine, l0, dead; more than 4,000 points are
            decimated, extremes kept.
    """
    from plotly.subplots import make_subplots

    dead = "Dead latents" if card.config is None else "Dead latents, %"
    curves = {"Recon MSE": ["recon_mse"], "FVU": ["fvu"], "L0": ["l0"], dead: ["dead"]}
    fit = [name for name in ("explained_variance", "cosine") if history[name].notna().any()]
    if fit:
        curves["EV (line), cosine (dots)" if len(fit) == 2 else fit[0].replace("_", " ").capitalize()] = fit
    density = card.latest.density
    titles = [*curves, *(["Latents by firing rate"] if density else [])]
    across = 2 if len(titles) <= 4 else 3
    figure = make_subplots(2, across, subplot_titles=titles, vertical_spacing=0.2, horizontal_spacing=0.08)
    names = [name for panel in curves.values() for name in panel]
    rows = keep_rows(history["step"].to_numpy(np.float64), history[names].to_numpy(np.float64).T, POINTS)
    shown = history.iloc[rows]
    for i, (title, panel) in enumerate(curves.items()):
        place = {"row": i // across + 1, "col": i % across + 1}
        for name, dash in zip(panel, ("solid", "dot"), strict=False):
            values = shown[name].astype(float)
            if name == "dead" and card.config is not None:
                values = 100 * values / card.config.d_sae
            line = {"color": BLUE, "width": 1.8, "dash": dash}
            called = title if len(panel) == 1 else name.replace("_", " ")
            figure.add_scatter(x=shown["step"], y=values, mode="lines", name=called, line=line, **place)
        for step in card.resumed_from:
            figure.add_vline(x=step, line={"color": GREY, "width": 1, "dash": "dash"}, **place)
        figure.update_xaxes(title_text="step", matches="x", **place)
        if title == "Recon MSE":
            figure.update_yaxes(type="log", **place)
        elif title == "L0":
            axis = axis_for(shown["l0"].to_numpy(np.float64), "auto", span=0.1)
            if axis is not None and not axis.log:
                figure.update_yaxes(range=[axis.low, axis.high], **place)
        else:
            figure.update_yaxes(rangemode="tozero", **place)
    if density:
        _density(figure, density, {"row": 2, "col": (len(titles) - 1) % across + 1})
    sub = [*([] if card.layer is None else [f"layer {card.layer}"]), card.verdict or card.status]
    if len(shown) < len(history):
        sub.append(f"{count(len(shown))} of {count(len(history))} points")
    below = [words.state(card), *(f"Advice: {text}" for text in card.advice)]
    return finished(figure, card, sub, height=560, above=words.held_out(card.held_out), below=below)


def _density(figure: Any, counts: list[int], place: dict[str, int]) -> None:
    """Bars over a logarithmic rate axis; hovering tells the range of a bar."""
    bins = len(counts)
    edges = np.array([words.rate_at(bins, at) for at in range(bins + 1)])
    figure.add_bar(
        x=np.sqrt(edges[:-1] * edges[1:]), y=counts, width=np.diff(edges), name="latents", hoverinfo="text",
        hovertext=[words.bin_text(counts, at) for at in range(bins)],
        marker_color=[GREY, *[BLUE] * (bins - 1)], **place,
    )  # fmt: skip
    figure.update_xaxes(
        type="log", range=[words.LOWEST, 0], tickvals=[1e-6, 1e-4, 1e-2, 1], title_text="share of rows", **place
    )
    figure.update_xaxes(ticktext=["1e-6", "1e-4", "0.01", "1"], ticklabelstandoff=5, **place)
    figure.update_yaxes(range=[0, 1.05 * words.ceiling(counts)], **place)


def capture_figure(card: ActivationCaptureCard, norms: pd.DataFrame | None = None) -> go.Figure:
    """Median and largest norm of the captured vectors by layer.

    Args:
        norms: columns layer, median, max; by default the card's.
    """
    import plotly.graph_objects as go

    if norms is None:
        norms = pd.DataFrame([norm.model_dump() for norm in card.norms], columns=["layer", "median", "max"])
    figure = go.Figure()
    for name, colour, dash in (("median", BLUE, "solid"), ("max", ORANGE, "dot")):
        figure.add_scatter(
            x=norms["layer"], y=norms[name], mode="lines+markers", name=name, line={"color": colour, "dash": dash}
        )
    figure.update_xaxes(title_text="layer")
    figure.update_yaxes(title_text="norm")
    figure = finished(figure, card, [f"{count(card.n_probes)} probes", f"position {card.position}"], height=380)
    return figure.update_layout(showlegend=True)


def store_figure(card: ActivationStoreCard, sites: pd.DataFrame) -> go.Figure:
    """Median, mean and largest norm of the stored rows by site.

    Args:
        sites: columns hook, median_norm, mean_norm, max_norm, outliers.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, colour, dash in (("median", BLUE, "solid"), ("mean", GREY, "dash"), ("max", ORANGE, "dot")):
        figure.add_scatter(
            x=[esc(hook) for hook in sites["hook"]], y=sites[f"{name}_norm"], mode="lines+markers", name=name,
            line={"color": colour, "dash": dash}, customdata=sites["outliers"].astype(object),
            hovertemplate="%{x}<br>%{y:.4g}, %{customdata} outliers",
        )  # fmt: skip
    figure.update_xaxes(type="category", tickangle=-35 if len(sites) > 3 else 0)
    figure.update_yaxes(title_text="norm", type="log")
    figure = finished(figure, card, [f"{count(card.rows)} {card.unit}s", card.dtype], height=400)
    return figure.update_layout(showlegend=True)


def finished(
    figure: Any, card: Card, sub: list[str], *, height: int, above: Sequence[str] = (), below: Sequence[str] = ()
) -> Any:
    """Title and a plain look, with lines of text above and below; plotly reads a little HTML, so texts are escaped."""
    lines = [" · ".join(sub), *(part for text in above for part in textwrap.wrap(text, WRAP))]
    title = esc(card.name) + "".join(f"<br><span style='font-size:12px'>{esc(line)}</span>" for line in lines)
    foot = [esc(part) for text in below if text for part in textwrap.wrap(text, WRAP)]
    top, bottom = 68 + 18 * len(lines), 50 + 18 * len(foot)
    if foot:
        figure.add_annotation(
            text="<br>".join(foot), showarrow=False, align="left", xref="paper", yref="paper", x=0, y=0, xanchor="left",
            yanchor="top", yshift=-52, font={"size": 12},
        )  # fmt: skip
    figure.update_annotations(selector={"yanchor": "bottom"}, font={"size": 13})  # titles of panels
    return figure.update_layout(
        template="plotly_white", title={"text": title, "x": 0.01, "y": 1, "yanchor": "top", "pad": {"t": 16}},
        height=height + top - 84 + bottom - 50, showlegend=False,
        margin={"l": 60, "r": 20, "t": top, "b": bottom}, font={"size": 12},
    )  # fmt: skip
