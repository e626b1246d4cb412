"""Several dictionaries side by side: the matrix, each two of them, and the features they all have."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from . import parts
from .html import upgradable_tables
from .tables import index_cell, table
from .text import count, esc, number, percent

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from ..engine.analysis.alignment.several import Several

SHOWN = 20


def stability_html(found: Several, *, live: bool = True) -> str:
    """As HTML; script-free unless `live`."""
    names = list(found.sizes)
    head = f'<div><b style="font-size:15px">{esc(f"{len(names)} dictionaries")}</b></div>' + parts.line(
        esc(" · ".join(f"{name} ({count(size)})" for name, size in found.sizes.items())), top=0
    )
    facts = parts.facts(
        [
            (number(float(found.pairs["mean"].mean())), "mean cosine", "over matched pairs, averaged over each two"),
            (number(float(found.pairs["by_chance"].max())), "by chance", "what unrelated directions typically have"),
            (count(len(found.stable)), f"features in all, ≥ {found.least:g}", "every two matched with each other"),
            (percent(len(found.stable) / min(found.sizes.values())), "of the smallest", "stable features"),
        ]
    )
    matrix = found.matrix.map(_Cell).rename_axis("").reset_index()
    cells = dict.fromkeys(names, str)
    body = _titled("Mean cosine of matched features", table(matrix, limit=len(matrix), search=False, render=cells))
    bars = found.pairs.assign(**{" ": found.pairs["mean"]})[
        ["first", "second", "mean", " ", "median", "above_0_7", "above_0_9", "by_chance"]
    ]
    labels = {"above_0_7": "above 0.7", "above_0_9": "above 0.9", "by_chance": "by chance"}
    shares: dict[str, Callable[[float], str]] = {" ": _bar, "above_0_7": percent, "above_0_9": percent}
    body += _titled("Each two", table(bars, height=320, search=len(bars) > 12, labels=labels, render=shares))
    if len(found.stable):
        numbers = dict.fromkeys(names, index_cell)
        said = {"mean_cosine": "mean cosine", "least_cosine": "least cosine"}
        body += _titled(
            "Most stable features", table(found.stable, limit=SHOWN, search=False, labels=said, render=numbers)
        )
    return upgradable_tables(head + facts + f'<div style="display:flex;flex-wrap:wrap">{body}</div>', live)


def summary_lines(found: Several) -> list[str]:
    """What the terminal says."""
    least = min(found.sizes.values())
    lines = [
        f"DictionaryComparison of {', '.join(found.sizes)}: {len(found.stable):,} features in all of them at a cosine"
        f" of {found.least:g} or more ({percent(len(found.stable) / least)} of the smallest)"
    ]
    for row in found.pairs.to_dict("records"):
        lines.append(
            f"{row['first']} and {row['second']}: mean {row['mean']:.4f}, {percent(row['above_0_7'])} ≥ 0.7"
            f" (unrelated: {number(row['by_chance'])})"
        )
    return lines


def stability_figure(found: Several) -> go.Figure:
    """The matrix as a heat map with its numbers."""
    import plotly.graph_objects as go

    names = [esc(name) for name in found.sizes]
    values = found.matrix.to_numpy()
    figure = go.Figure(
        go.Heatmap(
            z=values, x=names, y=names, zmin=0, zmax=1, colorscale="Blues", texttemplate="%{z:.2f}",
            hovertemplate="%{y} and %{x}<br>mean cosine %{z:.4f}<extra></extra>",
            colorbar={"title": {"text": "mean cosine", "side": "right"}, "thickness": 12},
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", scaleanchor="x", showgrid=False, type="category")
    figure.update_xaxes(constrain="domain", showgrid=False, type="category")
    title = f"{count(len(found.stable))} features in all of {len(names)}, at a cosine of {found.least:g} or more"
    return figure.update_layout(
        template="plotly_white", height=460, font={"size": 12}, margin={"l": 60, "r": 20, "t": 60, "b": 60},
        title={"text": title, "x": 0.01},
    )  # fmt: skip


def _bar(cosine: float) -> str:
    return parts.bar(cosine, width=80)


class _Cell:
    """A cosine on a ground as blue as it is high."""

    def __init__(self, cosine: float) -> None:
        self._cosine = cosine

    def __str__(self) -> str:
        style = f"padding:1px 7px;background-color:rgba(61, 127, 217, {0.6 * max(0.0, self._cosine):.2f})"
        return f'<span style="{style}">{number(self._cosine)}</span>'


def _titled(title: str, body: str) -> str:
    return f'<div style="margin:12px 36px 0px 0px"><b style="font-size:12px">{esc(title)}</b>{body}</div>'
