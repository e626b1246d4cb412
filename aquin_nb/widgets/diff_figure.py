"""plotly figures of a diff, of its cohorts and of a trajectory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..cards import SaeDiffCard, SaeTrajectoryCard
from .diff import rule
from .figures import BLUE, GREY, ORANGE, finished
from .text import count, esc, number
from .trajectory import colour
from .trajectory import rule as trajectory_rule

if TYPE_CHECKING:
    import plotly.graph_objects as go

SCATTER = 20_000  # features in a scatter plot
BARS = 20
SMALLEST = 1e-5  # of the largest mean; what is below is drawn there
COHORT_FEATURES = 24
LINES = 8  # features of a trajectory


def diff_figure(card: SaeDiffCard, features: pd.DataFrame) -> go.Figure:
    """The most changed features as bars, and all of them as base against checkpoint.

    Grey is what may be chance or is small; orange is up and blue is down.

    Args:
        features: columns feature, mean_base, mean_checkpoint, delta and, unless the card is of version 0.1, q and
            changed; the 20,000 with the largest |delta| are drawn.
    """
    from plotly.subplots import make_subplots

    figure = make_subplots(1, 2, column_widths=[0.42, 0.58], horizontal_spacing=0.12)
    size = features["delta"].abs().to_numpy(np.float64)
    changed = features["changed"].to_numpy(np.bool_) if "changed" in features else size > card.threshold
    tested = "q" in features
    shown = features.assign(changed=changed, q=features["q"] if tested else np.nan)
    top = shown.iloc[np.lexsort((-size, ~changed))[:BARS]].iloc[::-1]
    figure.add_bar(
        x=top["delta"], y=[f"feature {int(feature)}" for feature in top["feature"]], orientation="h", name="Δ",
        marker_color=[_tone(delta, mark) for delta, mark in zip(top["delta"], top["changed"], strict=True)],
        customdata=top["q"], hovertemplate="%{y}<br>Δ %{x:.3g}<br>q %{customdata:.2g}<extra></extra>", row=1, col=1,
    )  # fmt: skip
    drawn = shown.iloc[np.argsort(-size, kind="stable")[:SCATTER]]
    up, down = (drawn["changed"] & (drawn["delta"] * sign > 0) for sign in (1, -1))
    moved = (drawn["delta"].abs() >= card.threshold) & ~drawn["changed"]
    groups = [("unchanged", drawn[~(up | down | moved)], GREY, 0.35), ("may be chance", drawn[moved], GREY, 0.9)]
    groups += [("up", drawn[up], ORANGE, 0.85), ("down", drawn[down], BLUE, 0.85)]
    means = drawn[["mean_base", "mean_checkpoint"]].to_numpy(np.float64)
    most = float(means.max(initial=0.0)) or 1.0
    least = max(float(means[means > 0].min(initial=most)), most * SMALLEST)
    for name, part, tone, opacity in groups:
        if len(part):
            x, y = (part[column].clip(lower=least) for column in ("mean_base", "mean_checkpoint"))
            figure.add_scattergl(
                x=x, y=y, mode="markers", name=f"{name} ({len(part):,})",
                marker={"size": 5, "color": tone, "opacity": opacity}, row=1, col=2,
                customdata=part[["feature", "q", "mean_base", "mean_checkpoint"]],
                hovertemplate="feature %{customdata[0]}<br>base %{customdata[2]:.3g}<br>checkpoint %{customdata[3]:.3g}"
                "<br>q %{customdata[1]:.2g}<extra></extra>",
            )  # fmt: skip
    figure.add_shape(
        type="line", x0=least, y0=least, x1=most, y1=most, line={"color": GREY, "width": 1, "dash": "dot"}, row=1, col=2
    )
    figure.update_xaxes(title_text="change of mean activation", row=1, col=1)
    figure.update_xaxes(
        type="log", dtick="D2", title_text="mean activation, base (logarithmic; 0 is on the edge)", row=1, col=2
    )
    figure.update_yaxes(type="log", dtick="D2", title_text="mean activation, checkpoint", row=1, col=2)
    figure.update_traces(showlegend=False, selector={"type": "bar"})
    sub = [f"{count(card.n_changed)} of {count(card.n_features)} changed: {rule(card)}"]
    if len(drawn) < len(features):
        sub.append(f"{count(len(drawn))} of {count(len(features))} features drawn")
    above = [f"Dictionary: {card.advice}. {card.advice_reason}"] if card.advice else []
    figure = finished(figure, card, sub, height=500, above=above, below=card.notes)
    return figure.update_layout(showlegend=True, legend={"x": 1, "xanchor": "right", "y": 0.02, "yanchor": "bottom"})


def _tone(delta: float, changed: bool) -> str:
    return GREY if not changed else ORANGE if delta > 0 else BLUE


def cohort_figure(card: SaeDiffCard, frame: pd.DataFrame, by: str) -> go.Figure:
    """Features against cohorts: delta as colour, a dot where it changed within the cohort.

    Args:
        frame: see `SaeDiff.cohorts`; the 24 features with the largest |delta| are drawn, changed ones first.
        by: the metadata key.
    """
    import plotly.graph_objects as go

    cohorts = list(dict.fromkeys(frame["cohort"]))
    delta = frame.pivot(index="feature", columns="cohort", values="delta")[cohorts]
    changed = frame.pivot(index="feature", columns="cohort", values="changed")[cohorts]
    order = np.lexsort((-delta.abs().max(axis=1).to_numpy(), ~changed.any(axis=1).to_numpy(np.bool_)))
    order = order[:COHORT_FEATURES][::-1]
    shown, marks = delta.iloc[order].to_numpy(np.float64), changed.iloc[order].to_numpy(np.bool_)
    names = [f"feature {int(feature)}" for feature in delta.index[order]]
    labels = [esc(cohort) for cohort in cohorts]
    most = float(np.abs(shown).max(initial=0.0)) or 1.0
    figure = go.Figure()
    figure.add_heatmap(
        z=shown, x=labels, y=names, zmin=-most, zmax=most, colorscale=[[0, BLUE], [0.5, "#f4f4f4"], [1, ORANGE]],
        colorbar={"title": "Δ", "thickness": 12}, hovertemplate="%{y}, %{x}<br>Δ %{z:.3g}<extra></extra>",
    )  # fmt: skip
    rows, columns = np.nonzero(marks)
    figure.add_scatter(
        x=[labels[at] for at in columns], y=[names[at] for at in rows], mode="markers", hoverinfo="skip",
        marker={"size": 6, "color": "#1f2328"},
    )  # fmt: skip
    figure.update_xaxes(type="category", title_text=esc(by))
    sub = [f"● changed within the cohort: {rule(card)}", f"{len(names)} of {count(len(delta))} features"]
    return finished(figure, card, sub, height=160 + 20 * len(names))


def trajectory_figure(card: SaeTrajectoryCard) -> go.Figure:
    """Δ of the features that moved most by step, how many changed, and the reconstruction error."""
    from plotly.subplots import make_subplots

    titles = ["Δ of mean activation", "Features changed", *(["FVU"] if card.fvu_base is not None else [])]
    widths = [0.5, 0.5] if len(titles) == 2 else [0.46, 0.27, 0.27]
    figure = make_subplots(1, len(titles), subplot_titles=titles, column_widths=widths, horizontal_spacing=0.08)
    steps = [stop.step for stop in card.stops]
    for at, path in enumerate(card.top[:LINES]):
        dash = "solid" if at < 6 else "dot"
        figure.add_scatter(
            x=steps, y=path.deltas, mode="lines+markers", name=f"feature {path.feature}", row=1, col=1,
            line={"color": colour(at), "width": 1.8, "dash": dash}, marker={"size": 5},
        )  # fmt: skip
    _line(figure, steps, [stop.n_changed for stop in card.stops], 2)
    if card.fvu_base is not None:
        _line(figure, steps, [stop.fvu for stop in card.stops], 3)
        figure.add_hline(y=card.fvu_base, line={"color": GREY, "width": 1, "dash": "dash"}, row=1, col=3)
    figure.update_xaxes(title_text="step")
    for at in range(2, len(titles) + 1):
        figure.update_yaxes(rangemode="tozero", row=1, col=at)
    sub = [f"{len(card.stops)} checkpoints", f"{number(card.n_prompts)} prompts", trajectory_rule(card)]
    figure = finished(figure, card, sub, height=440, below=card.notes)
    return figure.update_layout(showlegend=True, legend={"orientation": "h", "y": -0.18})


def _line(figure: Any, steps: list[int], values: list[Any], column: int) -> None:
    line = {"color": BLUE, "width": 1.8}
    figure.add_scatter(x=steps, y=values, mode="lines+markers", line=line, showlegend=False, row=1, col=column)
