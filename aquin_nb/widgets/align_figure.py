"""plotly figures of an alignment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..cards import SaeAlignCard
from .align import COLOURS
from .figures import BLUE, GREY, finished
from .text import count, number, percent

NOBODY = "no partner"

if TYPE_CHECKING:
    import plotly.graph_objects as go


def align_figure(card: SaeAlignCard, pairs: pd.DataFrame) -> go.Figure:
    """Histogram of matched cosines with the null's line, and the share of pairs above every cosine.

    Args:
        pairs: column cosine; rows without one (unmatched features) are left out.
    """
    from plotly.subplots import make_subplots

    cosine = np.sort(pairs["cosine"].dropna().to_numpy(np.float64))
    low = -1.0 if len(cosine) and cosine[0] < -0.2 else -0.2
    figure = make_subplots(1, 2, horizontal_spacing=0.12)
    edges = np.linspace(low, 1, 61)
    counts, _ = np.histogram(cosine, bins=edges)
    width = edges[1] - edges[0]
    figure.add_bar(
        x=(edges[:-1] + edges[1:]) / 2, y=counts, width=0.94 * width, marker_color=BLUE, name="pairs", row=1, col=1
    )
    above = np.linspace(low, 1, 201)
    share = 1 - np.searchsorted(cosine, above, side="right") / max(1, len(cosine))
    figure.add_scatter(x=above, y=share, mode="lines", line={"color": BLUE, "width": 1.8}, name="share", row=1, col=2)
    if card.null_line is not None:
        line = {"color": GREY, "width": 1.4, "dash": "dash"}
        told = {"text": "chance, 99 %", "font": {"size": 11, "color": GREY}}
        figure.add_vline(x=card.null_line, line=line, annotation=told, annotation_position="top right", row=1, col=1)
        figure.add_vline(x=card.null_line, line=line, row=1, col=2)
    word = "correlation of matched features" if card.on == "firings" else "cosine of matched features"
    figure.update_xaxes(title_text=word, range=[low, 1.02])
    figure.update_yaxes(title_text="pairs", row=1, col=1)
    figure.update_yaxes(title_text="share of pairs above", range=[0, 1.02], tickformat=".0%", row=1, col=2)
    sub = [f"mean {number(card.mean_cosine)}", f"{percent(card.share_above_0_7)} above 0.7"]
    if card.null_line is not None:
        sub.append(f"an unrelated feature's best is below {number(card.null_line)}")
    return finished(figure, card, sub, height=400)


def heatmap_figure(card: SaeAlignCard, arrays: Mapping[str, np.ndarray], order: str) -> go.Figure:
    """a from top to bottom against b from left to right, in blocks.

    Args:
        arrays: of a `SaeAlign`: matching [bins, bins], clusters [k, k], sizes_a, sizes_b [k].
        order: matching (largest cosine of a block) or clusters (mean cosine of a block).
    """
    import plotly.graph_objects as go

    picture = arrays[order].astype(np.float64)
    if order == "matching":
        sides = ["features in falling order of matched cosine"] * 2
        title, hover = "largest cosine", "a near %{y:.0f}, b near %{x:.0f}<br>largest cosine %{z:.3f}<extra></extra>"
        words = [f"{picture.shape[0]} × {picture.shape[1]} blocks, partners on the diagonal"]
        steps = [n / bins for n, bins in zip((card.n_a, card.n_b), picture.shape, strict=True)]
        data: dict[str, object] = {"z": picture, "zmin": 0.0, "zmax": 1.0, "colorscale": "Blues"}
        data |= {"y0": steps[0] / 2, "dy": steps[0], "x0": steps[1] / 2, "dx": steps[1]}
    else:
        of_a, of_b = arrays["sizes_a"], arrays["sizes_b"]
        sides = [f"{int(sizes.sum()):,} in {len(sizes)} clusters" for sizes in (of_a, of_b)]
        title, hover = "mean cosine", "%{customdata}<br>mean cosine %{z:.3f}<extra></extra>"
        words = ["clusters of a; features of b go to the nearest"]
        names = [[f"{count(m)} of a, {count(n)} of b" for n in of_b] for m in of_a]
        most = float(np.abs(picture).max()) or 1.0
        data = {"z": picture, "zmin": -most, "zmax": most, "colorscale": "RdBu", "reversescale": True}
        data["customdata"] = names
    bar = {"title": {"text": title, "side": "right"}, "thickness": 12}
    figure = go.Figure(go.Heatmap(**data, hovertemplate=hover, colorbar=bar))
    figure.update_xaxes(title_text=f"b: {sides[1]}", constrain="domain", showgrid=False)
    figure.update_yaxes(title_text=f"a: {sides[0]}", autorange="reversed", scaleanchor="x", showgrid=False)
    return finished(figure, card, words, height=560)


def sankey_figure(card: SaeAlignCard, features_a: pd.DataFrame, features_b: pd.DataFrame) -> go.Figure:
    """Classes of a on the left, of b on the right, matched pairs between them; features without a partner end.

    Args:
        features_a, features_b: columns feature, class, partner, cosine.
    """
    import plotly.graph_objects as go

    kinds_b = dict(zip(features_b["feature"].tolist(), features_b["class"].tolist(), strict=True))
    flows: dict[tuple[str, str], list[float]] = {}
    for kind, partner, cosine in features_a[["class", "partner", "cosine"]].itertuples(index=False, name=None):
        other = NOBODY if partner is pd.NA else kinds_b[int(partner)]
        flows.setdefault((kind, other), []).append(cosine)
    for kind in features_b.loc[features_b["partner"].isna(), "class"].tolist():
        flows.setdefault((NOBODY, kind), []).append(np.nan)
    order = [*COLOURS, NOBODY]
    flows = {key: flows[key] for key in sorted(flows, key=lambda key: (order.index(key[0]), order.index(key[1])))}
    sizes = {(side, kind): 0 for side in (0, 1) for kind in order}
    for key, cosines in flows.items():
        for side in (0, 1):
            sizes[side, key[side]] += len(cosines)
    nodes = [node for node, size in sizes.items() if size]
    labels = [f"{'ab'[side]}: {kind} {count(sizes[side, kind])}" for side, kind in nodes]
    told = [
        f"{count(len(cosines))} without a partner"
        if NOBODY in key
        else f"{count(len(cosines))} pairs, mean cosine {number(float(np.mean(cosines)))}"
        for key, cosines in flows.items()
    ]
    figure = go.Figure(
        go.Sankey(
            node={
                "label": labels, "color": [COLOURS.get(kind, GREY) for _, kind in nodes], "pad": 14, "thickness": 14,
                "hovertemplate": "%{label}<extra></extra>",
            },
            link={
                "source": [nodes.index((0, kind)) for kind, _ in flows],
                "target": [nodes.index((1, kind)) for _, kind in flows],
                "value": [len(cosines) for cosines in flows.values()],
                "color": [_pale(COLOURS[kind if kind in COLOURS else other]) for kind, other in flows],
                "customdata": told, "hovertemplate": "%{customdata}<extra></extra>",
            },
        )
    )  # fmt: skip
    return finished(
        figure, card, ["features of a (left) and of b (right) by class; flows are matched pairs"], height=480
    )


def _pale(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.35)"
