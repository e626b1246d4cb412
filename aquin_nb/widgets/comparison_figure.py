"""A plotly figure of a comparison of captures: one panel a measure, one line a capture, by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .comparison import grids, hex_colour, keys, names, rows_with
from .figures import GREY
from .text import esc, number, percent

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from ..engine.analysis.compare import Comparison

ACROSS = 2
PANEL = 300  # pixels of height
FAR_APART = 20.0  # largest norm to smallest, above which the axis is logarithmic
MEASURES = {"norm_median": "Norm, median", "cosine_median": "Cosine of the same probe, median", "cka": "CKA, debiased"}


def comparison_figure(found: Comparison) -> go.Figure:
    """Norms, cosines, CKA and the accuracy of every label by layer; a heat map a capture where all pairs were compared.

    A dotted grey line is the largest class's share, which any accuracy is to be read against.
    """
    from plotly.subplots import make_subplots

    captures, first = names(found), esc(names(found)[0])
    panels = [(of, words) for of, words in MEASURES.items() if any(rows_with(found, name, of) for name in captures)]
    panels += [(f"accuracy_{key}", f"Accuracy: {esc(key)}") for key in keys(found)]
    maps = grids(found)
    titles = [words for _, words in panels] + [f"CKA: {esc(name)} with {first}" for name, *_ in maps]
    down = -(-len(titles) // ACROSS)
    figure = make_subplots(down, ACROSS, subplot_titles=titles, vertical_spacing=0.28 / down, horizontal_spacing=0.1)
    places = [{"row": i // ACROSS + 1, "col": i % ACROSS + 1} for i in range(len(titles))]
    for (column, _), place in zip(panels, places, strict=False):
        _panel(figure, found, column, place)
    for (name, own, others, values), place in zip(maps, places[len(panels) :], strict=True):
        hover = f"{first} layer %{{x}}<br>{esc(name)} layer %{{y}}<br>CKA %{{z:.3f}}<extra></extra>"
        figure.add_heatmap(z=values, x=others, y=own, coloraxis="coloraxis", hovertemplate=hover, **place)
        figure.update_xaxes(title_text=f"layer of {first}", **place)
        figure.update_yaxes(title_text=f"layer of {esc(name)}", **place)
    figure.update_annotations(selector={"yanchor": "bottom"}, font={"size": 13})
    height = PANEL * down + 110
    return figure.update_layout(
        template="plotly_white", height=height, font={"size": 12}, margin={"l": 60, "r": 20, "t": 80, "b": 80},
        title={"text": ", ".join(map(esc, captures)), "x": 0.01, "y": 1, "yanchor": "top", "pad": {"t": 16}},
        legend={"orientation": "h", "x": 0, "y": -46 / (height - 160), "yanchor": "top"},
        coloraxis={"colorscale": "Blues", "cmin": 0, "cmax": 1, "colorbar": {"thickness": 12, "title": "CKA"}},
    )  # fmt: skip


def _panel(figure: Any, found: Comparison, column: str, place: dict[str, int]) -> None:
    baselines: dict[float, None] = {}
    values: list[float] = []
    for at, capture in enumerate(names(found)):
        rows = rows_with(found, capture, column)
        if not rows:
            continue
        values += [float(row[column]) for row in rows]
        error = None
        if key := _label(column):
            baselines |= dict.fromkeys(float(row[f"baseline_{key}"]) for row in rows)
            error = {"array": [row[f"spread_{key}"] for row in rows], "thickness": 0.7, "width": 2}
        figure.add_scatter(
            x=[row["layer"] for row in rows], y=[row[column] for row in rows], mode="lines+markers", error_y=error,
            name=esc(capture), legendgroup=capture, showlegend=column == "norm_median",
            hovertext=[_said(row, column) for row in rows], hoverinfo="text",
            line={"color": hex_colour(at), "width": 1.8}, marker={"size": 5}, **place,
        )  # fmt: skip
    for baseline in baselines:
        figure.add_hline(
            y=baseline, line={"color": GREY, "dash": "dot", "width": 1.2}, annotation_position="bottom right",
            annotation={"text": f"guessing {percent(baseline)}", "font": {"size": 11, "color": GREY}}, **place,
        )  # fmt: skip
    figure.update_xaxes(title_text="layer", **place)
    if baselines:
        figure.update_yaxes(tickformat=".0%", **place)
    elif column == "norm_median" and max(values) > FAR_APART * min(values) > 0:
        figure.update_yaxes(type="log", dtick="D2", **place)
    else:
        figure.update_yaxes(rangemode="tozero", **place)


def _label(column: str) -> str:
    """The label whose accuracy a column holds; "" for other columns."""
    return column.removeprefix("accuracy_") if column.startswith("accuracy_") else ""


def _said(row: dict[str, Any], column: str) -> str:
    """What hovering over a point tells."""
    head = f"<b>{esc(row['capture'])}</b>, layer {row['layer']}"
    if key := _label(column):
        accuracy, spread, baseline = (percent(row[f"{what}_{key}"]) for what in ("accuracy", "spread", "baseline"))
        return f"{head}<br>{accuracy} ± {spread} over folds<br>guessing the largest class {baseline}"
    text = f"{head}<br>{number(row[column])}"
    if column != "cka":
        measure = column.removesuffix("_median")
        text += f"<br>quartiles {number(row[f'{measure}_q25'])} – {number(row[f'{measure}_q75'])}"
    if column == "cosine_median":
        text += f"<br>with other probes {number(row['cosine_others'])} (mean)"
    return text
