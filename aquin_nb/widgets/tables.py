"""Tables from pandas frames, with a limit on rows and honest about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from .parts import CELL, MUTED, RIGHT, TABLE
from .text import count, esc, number

Render = Callable[[Any], str]  # a cell's value to HTML that is already safe
LONG = 400  # characters of a text cell shown; the rest is in the frame


def table(
    frame: pd.DataFrame,
    *,
    limit: int = 50,
    render: Mapping[str, Render] | None = None,
    labels: Mapping[str, str] | None = None,
    total: int | None = None,
    height: int | None = None,
    search: bool = True,
) -> str:
    """A frame's first `limit` rows as an HTML table, and "n of N rows" when there are more.

    Args:
        frame: any frame; a named or non-default index becomes the first column.
        render: cell functions by column, which must escape what they show; others are shown as numbers or text.
        labels: what to call a column in the head.
        total: rows in all, when `frame` is itself a part.
        height: pixels after which the table scrolls.
        search: offer a search box where scripts may run and there are many rows.
    """
    if frame.index.name is not None or not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    shown = frame.head(limit)
    total = len(frame) if total is None else total
    renders = [(render or {}).get(str(name)) for name in frame.columns]
    numeric = [pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype) for dtype in frame.dtypes]
    head = "".join(
        f'<th style="{RIGHT if right else CELL};font-weight:600;white-space:nowrap">'
        f"{esc((labels or {}).get(str(name), name))}</th>"
        for name, right in zip(frame.columns, numeric, strict=True)
    )
    rows = [
        "<tr>" + "".join(_cell(v, r, n) for v, r, n in zip(row, renders, numeric, strict=True)) + "</tr>"
        for row in shown.itertuples(index=False, name=None)
    ]
    scroll = (
        f'data-aquin-scroll="1" style="max-height:{height}px;overflow:auto"' if height else 'style="overflow-x:auto"'
    )
    use = "search" if search else "sort"
    said = f"{count(len(shown))} of {count(total)} rows" if total > len(shown) else ""
    return (
        f'<div {scroll}><table data-aquin-table="{use}" style="{TABLE}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        + (f'<div style="font-size:12px;margin-top:4px;{MUTED}">{said}</div>' if said else "")
    )


def _cell(value: Any, render: Render | None, right: bool) -> str:
    # The front end sorts by this; the shown text is rounded.
    sort = ""
    if right:
        key = "" if _missing(value) else f"{float(value):.9g}".replace("inf", "Infinity")
        sort = f' data-sort="{key}"'
    shown = render(value) if render is not None else plain(value)
    return f'<td style="{RIGHT if right else CELL}"{sort}>{shown}</td>'


def plain(value: Any) -> str:
    """A value as escaped text: integers with thousands separators, floats with three digits, long texts cut."""
    if _missing(value):
        return "–"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return str(int(value)) if abs(int(value)) < 10_000 else count(int(value))  # 1984 may be a year or a row
    if isinstance(value, (float, np.floating)):
        return number(float(value))
    text = str(value)
    return esc(text if len(text) <= LONG else text[: LONG - 1] + "…")


def index_cell(value: Any) -> str:
    """A feature or row number: an identifier, so no thousands separators."""
    return "–" if _missing(value) else str(int(value))


def _missing(value: Any) -> bool:
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    return isinstance(value, (float, np.floating)) and math.isnan(value)
