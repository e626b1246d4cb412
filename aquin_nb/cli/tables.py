"""Results as text: a summary whose lines hang below their first word, and the rows to look at first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .output import hanging, lively, width

if TYPE_CHECKING:
    import pandas as pd

    from ..results import Result

ROWS = 12
TEXT, LEAST = 24, 12
"""Characters from which a column gives way to the others, and what it keeps."""


def shown(found: Result) -> str:
    """A summary and the head of the main table, as wide as the terminal."""
    name, frame = next(iter(found.frames.items()))
    return "\n".join([hanging(found.summary()), "", *_table(name, frame)])


def first(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows to look at first, and which they are: what moved furthest, what is most alike, a curve end to end."""
    import numpy as np

    if "delta" in frame:
        return frame.sort_values("delta", key=abs, ascending=False).head(ROWS), "largest |delta| first"
    if "cosine" in frame and "partner" in frame:
        return frame.sort_values("cosine", ascending=False).head(ROWS), "highest cosine first"
    if "step" in frame and len(frame) > ROWS:
        return frame.iloc[np.linspace(0, len(frame) - 1, ROWS).round().astype(int)], "from first to last"
    return frame.head(ROWS), ""


def _table(name: str, frame: pd.DataFrame) -> list[str]:
    rows, which = first(frame)
    cells = {str(column): [_cell(value) for value in rows[column]] for column in rows}
    widths = _widths(cells)
    told = f"{name}: {len(rows):,} of {len(frame):,} rows" + (f", {which}" if which and len(rows) < len(frame) else "")
    if not widths:
        return [told]
    right = {name for name in widths if frame[name].dtype.kind in "iuf"}
    head = _line(widths, right, list(widths))
    lines = [told, f"\x1b[1m{head}\x1b[0m" if lively() else head]
    lines += [_line(widths, right, [cells[name][row] for name in widths]) for row in range(len(rows))]
    if left := len(cells) - len(widths):
        lines.append(f"{left} more {'columns' if left > 1 else 'column'}; --html FILE shows all of it.")
    return lines


def _widths(cells: dict[str, list[str]]) -> dict[str, int]:
    """The columns that there is room for, in their order, and how wide each is; long texts give way."""
    from rich.cells import cell_len

    whole = {name: max(map(cell_len, [name, *column])) for name, column in cells.items()}
    room, fitting = width(), dict[str, int]()
    for name, wide in whole.items():
        least = min(wide, LEAST if wide > TEXT else wide)
        if fitting and room < least + 2:
            break
        fitting[name] = least
        room -= least + 2
    for name in fitting:
        more = max(0, min(whole[name] - fitting[name], room))
        fitting[name] += more
        room -= more
    return fitting


def _line(widths: dict[str, int], right: set[str], values: list[str]) -> str:
    from rich.cells import cell_len, set_cell_size

    parts = []
    for (name, wide), value in zip(widths.items(), values, strict=True):
        if cell_len(value) > wide:
            value = f"{set_cell_size(value, wide - 1)}…"
        space = " " * (wide - cell_len(value))
        parts.append(space + value if name in right else value + space)
    return ("  " + "  ".join(parts)).rstrip()


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    if isinstance(value, list | tuple):
        return " ".join(_cell(one) for one in value)
    return "" if value is None else " ".join(str(value).split())
