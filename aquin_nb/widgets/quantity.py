"""plotly figures of quantity: what activations went where, and what a dictionary's strength owes to their number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..cards.base import Card
from .figures import BLUE, GREY, ORANGE, finished
from .parts import TONES, VERDICTS
from .text import count, esc, number, percent, plural

if TYPE_CHECKING:
    import plotly.graph_objects as go

Mode = Literal["corpus", "probes", "tensors"]

MODES = {"corpus": "Corpus", "probes": "Probes", "tensors": "Tensors in memory"}
FATES = {
    "training": "Training", "held_out": "Held-out checks", "unused": "Not used", "kept": "Kept, not trained on",
}  # fmt: skip
COLOURS = {
    "corpus": BLUE, "probes": ORANGE, "tensors": GREY,
    "training": BLUE, "held_out": TONES["good"], "unused": GREY, "kept": GREY,
}  # fmt: skip
COUNTED = (
    "Counted are vectors: one a token, text or probe at one site, however many epochs repeat them. Held-out checks:"
    " rows that no batch holds. Not used: short of a batch at the end of an epoch, or after the last step. A store or"
    " capture that a dictionary here was trained on is counted with that dictionary."
)
ROWS_LINE, EXPLAINED_LINE = 2_000, 0.6
"""Where `engine.sae.verdict`, which is not to be had without torch, draws its lines."""

LABELLED = 24  # points with their names beside them; the others tell theirs when pointed at


@dataclass(frozen=True)
class Volume:
    """Vectors of one result, by what became of them.

    mode: how they were collected; name: the result's; training, held_out, unused: of a dictionary's; kept: of a store
    or capture, not trained on.
    """

    mode: Mode
    name: str
    training: int = 0
    held_out: int = 0
    unused: int = 0
    kept: int = 0

    @property
    def total(self) -> int:
        return self.training + self.held_out + self.unused + self.kept


@dataclass(frozen=True)
class Strength:
    """A dictionary's strength and what it was trained on.

    rows: of activations that training drew from; explained_variance: 1 - FVU; held_out: whether on rows that training
    never saw, or, for want of them, on training rows.
    """

    name: str
    rows: int
    d_sae: int
    explained_variance: float
    held_out: bool
    dead_share: float | None
    verdict: str | None


def volume_figure(volumes: Sequence[Volume]) -> go.Figure:
    """Sankey diagram: collection mode, result, and what became of the vectors."""
    import plotly.graph_objects as go

    volumes = [volume for volume in volumes if volume.total]
    modes = [mode for mode in MODES if any(v.mode == mode for v in volumes)]
    fates = [fate for fate in FATES if any(getattr(v, fate) for v in volumes)]
    ends = {mode: sum(v.total for v in volumes if v.mode == mode) for mode in modes}
    ends |= {fate: sum(getattr(v, fate) for v in volumes) for fate in fates}
    names = {**MODES, **FATES}
    nodes = [*modes, *fates]
    labels = [f"{names[node]}: {count(ends[node])}" for node in nodes]
    labels += [f"{esc(v.name)}: {count(v.total)}" for v in volumes]
    colours = [COLOURS[node] for node in nodes] + [COLOURS[v.mode] for v in volumes]
    links = []
    for place, volume in enumerate(volumes, start=len(nodes)):
        links.append((nodes.index(volume.mode), place, volume.total, COLOURS[volume.mode]))
        links += [
            (place, nodes.index(fate), getattr(volume, fate), COLOURS[fate]) for fate in fates if getattr(volume, fate)
        ]
    figure = go.Figure()
    figure.add_sankey(
        arrangement="snap", valueformat=",d", valuesuffix=" vectors",
        node={"label": labels, "color": colours, "pad": 18, "thickness": 14, "line": {"width": 0}},
        link={
            "source": [link[0] for link in links], "target": [link[1] for link in links],
            "value": [link[2] for link in links], "color": [_pale(link[3]) for link in links],
        },
    )  # fmt: skip
    total = sum(volume.total for volume in volumes)
    sub = [f"{count(total)} vectors", plural(len(volumes), "result")]
    height = 300 + 34 * max(0, len(volumes) - 4)
    figure = finished(figure, Card(name="Activation volume"), sub, height=height, below=[COUNTED])
    figure.update_annotations(yshift=-16)
    return figure.update_layout(margin={"l": 20, "b": figure.layout.margin.b - 30})


def strength_figure(strengths: Sequence[Strength], *, rows: int, explained_variance: float) -> go.Figure:
    """Explained variance against rows of activations (log), coloured by verdict, in four quadrants.

    Args:
        rows: below so many a dictionary can only memorise; the vertical line.
        explained_variance: below so much a dictionary is no longer usable; the horizontal line.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    low = min([0.0, *(s.explained_variance for s in strengths)])
    bottom = max(-1.0, low) - 0.06  # one that is far worse than the mean stands on the edge
    powers = [math.log10(max(1, s.rows)) for s in strengths] + [math.log10(rows)]
    left = min(powers) - 0.45
    right = max(powers) + 0.25 * (max(powers) - left) + 0.3  # a name stands right of its point
    places = _label_places(strengths)
    for verdict in [*VERDICTS, None]:
        drawn = [i for i, s in enumerate(strengths) if s.verdict == verdict]
        if not drawn:
            continue
        tone, title = VERDICTS.get(verdict or "", ("idle", "No verdict"))
        own = [strengths[i] for i in drawn]
        figure.add_scatter(
            x=[max(1, s.rows) for s in own], y=[max(s.explained_variance, bottom + 0.02) for s in own], name=title,
            mode="markers+text" if len(strengths) <= LABELLED else "markers",
            text=[esc(s.name) for s in own], textposition=[places[i] for i in drawn], textfont={"size": 11},
            hovertext=[_told(s) for s in own], hoverinfo="text", cliponaxis=False,
            marker={
                "size": 11, "color": TONES[tone], "symbol": ["circle" if s.held_out else "circle-open" for s in own],
                "line": {"width": 2, "color": TONES[tone]},
            },
        )  # fmt: skip
    figure.add_vline(x=rows, line={"color": GREY, "width": 1, "dash": "dash"})
    figure.add_hline(y=explained_variance, line={"color": GREY, "width": 1, "dash": "dash"})
    corners = {
        ("left", "top"): "memorised", ("left", "bottom"): "a smoke test",
        ("right", "top"): "usable, if few latents are dead", ("right", "bottom"): "enough rows, little explained",
    }  # fmt: skip
    for (side, end), text in corners.items():
        figure.add_annotation(
            text=text, showarrow=False, xref="paper", yref="paper", x=0.008 if side == "left" else 0.992,
            y=0.985 if end == "top" else 0.015, xanchor=side, yanchor=end, font={"size": 12, "color": GREY},
        )  # fmt: skip
    figure.update_xaxes(type="log", range=[left, right], dtick=1, title_text="rows of activations to train on (log)")
    figure.update_yaxes(range=[bottom, 1.06], title_text="explained variance, 1 − FVU", tickformat=".0%")
    sub = [plural(len(strengths), "dictionary", "dictionaries")]
    below = [
        f"Lines: {count(rows)} rows, below which a dictionary can only memorise, and {percent(explained_variance)} of"
        " the variance, which the word usable asks for. Measured on rows that training never saw; open circles: there"
        " were too few to hold any out, so on training rows, which flatters."
    ]
    figure = finished(figure, Card(name="Dictionary strength and activation scale"), sub, height=460, below=below)
    figure.update_annotations(selector={"yanchor": "bottom"}, font={"size": 12})
    legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.01, "yanchor": "bottom"}
    return figure.update_layout(showlegend=True, legend=legend)


def _told(strength: Strength) -> str:
    where = "held-out rows" if strength.held_out else "training rows"
    lines = [
        f"<b>{esc(strength.name)}</b>",
        f"{number(strength.explained_variance)} of the variance explained, on {where}",
        f"{count(strength.rows)} rows for {count(strength.d_sae)} latents, {percent(strength.dead_share)} dead",
        strength.verdict or "",
    ]
    return "<br>".join(line for line in lines if line)


def _label_places(strengths: Sequence[Strength]) -> list[str]:
    """Where each point's name stands: neighbours take turns, so that a sweep's do not cover one another."""
    order = sorted(range(len(strengths)), key=lambda i: (strengths[i].rows, strengths[i].explained_variance))
    turns = ("middle right", "middle left")
    places, turn = ["middle right"] * len(strengths), 0
    for before, i in zip([None, *order], order, strict=False):
        near = before is not None and _near(strengths[before], strengths[i])
        turn = (turn + 1) % len(turns) if near else 0
        places[i] = turns[turn]
    return places


def _near(a: Strength, b: Strength) -> bool:
    apart = abs(math.log10(max(1, a.rows)) - math.log10(max(1, b.rows)))
    return apart < 0.2 and abs(a.explained_variance - b.explained_variance) < 0.04


def _pale(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.3)"
