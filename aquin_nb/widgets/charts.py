"""Static charts: lines as a PNG with their labels as HTML text, and a histogram of plain boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .axis import Axis, axis_for, linear_ticks
from .parts import LINE, MUTED
from .png import Line, data_url, lines_png
from .text import count, esc, tick
from .words import LOWEST, bin_text, ceiling, median_rate

HEIGHT = 104
WIDTH = 280
LABEL = 14  # height of an axis label
BLUE = (0x3D, 0x7F, 0xD9)
NOTHING = f'<div style="font-size:12px;{MUTED}">no points</div>'


def line_panel(
    title: str,
    value: str,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    *,
    scale: Literal["linear", "log", "auto"] = "linear",
    floor: float | None = None,
    clip: float | None = None,
    span: float = 0.0,
    marks: Sequence[float] = (),
) -> str:
    """One small chart with its latest value; `x` ascending. NaN and infinite y are gaps; `marks` are dashed lines."""
    axis = axis_for(y, scale, floor=floor, clip=clip, span=span)
    body = NOTHING if axis is None else _plot(title, [(x, y, BLUE)], axis, marks, "step")
    return _panel(title, value, body, note="log" if axis is not None and axis.log else "")


def lines_panel(
    title: str,
    lines: Sequence[Line],
    *,
    along: str,
    note: str = "",
    scale: Literal["linear", "log", "auto"] = "linear",
    floor: float | None = None,
) -> str:
    """One small chart of several lines (x ascending, y, colour), the first on top; `along` names what x counts."""
    axis = axis_for(np.concatenate([y for _, y, _ in lines]), scale, floor=floor)
    body = NOTHING if axis is None else _plot(title, lines, axis, (), along)
    return _panel(title, "", body, note="log" if axis is not None and axis.log else note)


def density_panel(counts: Sequence[int]) -> str:
    """How many latents fire how often, from 1e-6 to 1 on a logarithmic axis; bins as `TrainMetrics.density`."""
    most = ceiling(counts)
    boxes = ""
    for i, n in enumerate(counts):
        tall = max(2, round(HEIGHT * min(n, most) / most)) if n else 0
        colour = "rgba(128, 128, 128, 0.8)" if i == 0 else LINE
        style = f"flex:1 1 0px;margin-right:1px;height:{tall}px;background-color:{colour}"
        boxes += f'<div title="{bin_text(counts, i)}" style="{style}"></div>'
    ticks = "".join(f"<span>{tick(10.0**power)}</span>" for power in (LOWEST, -4, -2, 0))
    body = (
        f'<div style="display:flex;align-items:flex-end;margin-top:8px;height:{HEIGHT + 4}px;box-sizing:border-box;'
        f'padding-bottom:3px;border-bottom:1px solid rgba(128, 128, 128, 0.3)">{boxes}</div>'
        f'<div style="display:flex;justify-content:space-between;font-size:10px;{MUTED}">{ticks}</div>'
    )
    return _panel("Firing rate", median_rate(counts), body, note="median")


def _panel(title: str, value: str, body: str, *, note: str) -> str:
    head = (
        f'<div style="display:flex;justify-content:space-between;align-items:baseline;font-size:12px">'
        f'<span>{esc(title)}<span style="font-size:11px;{MUTED}">{f" {note}" if note else ""}</span></span>'
        f'<b style="font-size:14px">{esc(value)}</b></div>'
    )
    return f'<div style="flex:1 1 190px;min-width:180px;max-width:320px;margin:10px 18px 0px 0px">{head}{body}</div>'


def _plot(title: str, lines: Sequence[Line], axis: Axis, marks: Sequence[float], along: str) -> str:
    places = np.concatenate([x for x, _, _ in lines])
    low, high = float(places.min()), float(places.max())
    width = high - low or 1.0
    shares = tuple(float(axis.at(value)) for value in axis.ticks)
    png = lines_png(
        [((x - low) / width, _heights(y, axis), colour) for x, y, colour in lines], width=2 * WIDTH, height=2 * HEIGHT,
        grid=shares, marks=tuple((mark - low) / width for mark in marks),
    )  # fmt: skip
    labels, used = "", 0.0
    for share, tick_value in sorted(zip(shares, axis.ticks, strict=True), reverse=True):
        top = (1 - share) * HEIGHT - LABEL / 2
        gap = max(0.0, top - used) if labels else top  # only the first may stick out above the picture
        style = f"margin-top:{gap:.0f}px;height:{LABEL}px;line-height:{LABEL}px"
        labels += f'<div style="{style}">{tick(tick_value)}</div>'
        used = max(used, top) + LABEL if labels else top + LABEL
    ends = f"<span>{tick(low)}</span><span>{along} {tick(high)}</span>"
    return (
        f'<div style="display:flex;margin-top:8px;height:{HEIGHT + 4}px">'
        f'<div style="width:34px;padding-right:6px;font-size:10px;text-align:right;{MUTED}">{labels}</div>'
        f'<img src="{data_url(png)}" alt="{esc(title)} by {along}" style="width:100%;height:{HEIGHT}px;'
        f'min-width:0px;flex:1 1 auto"></div>'
        f'<div style="display:flex;justify-content:space-between;padding-left:40px;font-size:10px;{MUTED}">'
        f"{ends}</div>"
    )


def _heights(y: NDArray[np.float64], axis: Axis) -> NDArray[np.float64]:
    heights = axis.at(np.where(np.isfinite(y), y, np.nan))
    return np.where(np.isnan(heights), np.nan, np.clip(heights, 0.0, 1.0))


def histogram(counts: Sequence[int], low: float, high: float, *, height: int = 84) -> str:
    """Equal bins from `low` to `high` as boxes, with a labelled axis below and the counts as tooltips."""
    most = max(counts, default=0)
    if most == 0:
        return f'<div style="font-size:12px;{MUTED}">nothing to count</div>'
    step = (high - low) / len(counts)
    boxes = "".join(
        f'<div title="{count(n)} between {low + i * step:.2f} and {low + (i + 1) * step:.2f}" style="flex:1 1 0px;'
        f"margin-right:1px;height:{max(2, round(height * n / most)) if n else 0}px;"
        f'background-color:{LINE}"></div>'
        for i, n in enumerate(counts)
    )
    ticks = "".join(f"<span>{tick(value)}</span>" for value in linear_ticks(low, high, 4))
    return (
        f'<div style="max-width:520px;margin-top:8px"><div style="display:flex;align-items:flex-end;height:{height}px;'
        f'border-bottom:1px solid rgba(128, 128, 128, 0.6)">{boxes}</div>'
        f'<div style="display:flex;justify-content:space-between;font-size:10px;{MUTED}">{ticks}</div></div>'
    )
