"""What a trajectory shows without any script, and in a terminal."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from ..cards import SaeTrajectoryCard
from . import parts
from .charts import lines_panel
from .diff import tinted
from .png import Colour, Line
from .snapshots import dictionary_words, end, model_rows
from .tables import Render, table
from .text import count, esc, number, plural

PALETTE: tuple[Colour, ...] = (
    (0x3D, 0x7F, 0xD9),
    (0xD9, 0x82, 0x2B),
    (0x2F, 0x9E, 0x6E),
    (0xA0, 0x5F, 0xD0),
    (0xC9, 0x47, 0x5B),
    (0x9A, 0x8B, 0x1E),
)
FEATURES = 12
STEPS = 12  # columns of the table of features


def trajectory_snapshot(card: SaeTrajectoryCard) -> str:
    """Header, curves over steps, one row a checkpoint, and the features that moved most."""
    head = parts.header(card, [parts.model_words(card), f"layer {card.layer}", dictionary_words(card.dictionary)])
    said = [parts.ended(card), plural(len(card.stops), "checkpoint"), plural(card.n_prompts, "prompt"), rule(card)]
    body = parts.line(esc(" · ".join(filter(None, said))))
    if card.stops:
        body += f'<div style="display:flex;flex-wrap:wrap">{_charts(card)}</div>' + _stops(card) + _paths(card)
    return head + body + end(card) + parts.details("Details", model_rows(card))


def rule(card: SaeTrajectoryCard) -> str:
    """What makes a feature count as changed."""
    return f"changed: q ≤ {card.fdr:g} and |Δ| ≥ {number(card.threshold)}"


def trajectory_lines(card: SaeTrajectoryCard) -> list[str]:
    """What a terminal shows: one line, one a checkpoint, and the notes."""
    lines = [
        f"SaeTrajectory {card.name}: {plural(len(card.stops), 'checkpoint')} through {card.n_features:,} features on"
        f" {plural(card.n_tokens, 'row')}; {rule(card)}"
    ]
    for stop in card.stops:
        fvu = "" if stop.fvu is None else f", FVU {number(card.fvu_base)} → {number(stop.fvu)}"
        advice = f" ({stop.advice})" if stop.advice else ""
        lines.append(f"step {stop.step:,}: {stop.n_changed:,} changed, mean |Δ| {stop.mean_abs_delta:.4g}{fvu}{advice}")
    return [*lines, *card.notes]


def colour(at: int) -> str:
    """The colour of a feature's line; they repeat after the sixth."""
    return "#{:02x}{:02x}{:02x}".format(*PALETTE[at % len(PALETTE)])


def _charts(card: SaeTrajectoryCard) -> str:
    x = np.array([stop.step for stop in card.stops], np.float64)

    def line(values: list[float | None], tone: Colour = PALETTE[0]) -> Line:
        return x, np.array([np.nan if value is None else value for value in values], np.float64), tone

    top = [line(list(path.deltas), PALETTE[at]) for at, path in enumerate(card.top[: len(PALETTE)])]
    panels = lines_panel("Δ of the top features", top, along="step", note=f"{len(top)} features") if top else ""
    panels += lines_panel("Changed", [line([stop.n_changed for stop in card.stops])], along="step", floor=0)
    panels += lines_panel("Mean |Δ|", [line([stop.mean_abs_delta for stop in card.stops])], along="step", floor=0)
    if card.fvu_base is not None:
        grey = line([card.fvu_base] * len(x), (0x8A, 0x92, 0x9B))
        fvu = [line([stop.fvu for stop in card.stops]), grey]
        panels += lines_panel("FVU", fvu, along="step", note="grey: base", floor=0)
    return panels


def _stops(card: SaeTrajectoryCard) -> str:
    rows = pd.DataFrame(
        {
            "step": [stop.step for stop in card.stops],
            "changed": [stop.n_changed for stop in card.stops],
            "moved": [stop.n_over for stop in card.stops],
            "mean |Δ|": [stop.mean_abs_delta for stop in card.stops],
            "max |Δ|": [stop.max_abs_delta for stop in card.stops],
            "FVU": [np.nan if stop.fvu is None else stop.fvu for stop in card.stops],
            "dictionary": [stop.advice for stop in card.stops],
            "checkpoint": [PurePath(stop.checkpoint.path).name for stop in card.stops],
        }
    )
    render: dict[str, Render] = {"step": lambda step: count(int(step))}
    return '<div style="height:10px"></div>' + table(rows, limit=len(rows), height=300, search=False, render=render)


def _paths(card: SaeTrajectoryCard) -> str:
    """Δ of the features that moved most, checkpoint by checkpoint."""
    paths, last = card.top[:FEATURES], len(card.stops)
    if not paths:
        return ""
    picked = sorted({round(at) for at in np.linspace(0, last - 1, min(last, STEPS))})
    most = max((abs(path.deltas[at]) for path in paths for at in picked), default=0.0) or 1.0
    cells: dict[str, list[Any]] = {"feature": list(enumerate(path.feature for path in paths))}
    cells["mean, base"] = [path.mean_base for path in paths]
    for at in picked:
        cells[f"step {card.stops[at].step}"] = [(path.deltas[at], path.changed[at]) for path in paths]
    render: dict[str, Render] = {name: lambda cell: tinted(cell[0], most, bold=cell[1]) for name in list(cells)[2:]}
    said = "Δ by step; bold: changed" + (f"; {len(picked)} of {last} checkpoints" if len(picked) < last else "")
    shown = table(pd.DataFrame(cells), limit=len(paths), search=False, render=render | {"feature": _named})
    return parts.line(esc(said), top=10) + shown


def _named(cell: tuple[int, int]) -> str:
    """A feature's number, with the colour of its line where it has one."""
    at, feature = cell
    tone = colour(at) if at < len(PALETTE) else "transparent"
    mark = f'<span style="display:inline-block;width:9px;height:9px;border-radius:5px;background-color:{tone}"></span>'
    return f"{mark} {feature}"
