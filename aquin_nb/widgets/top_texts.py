"""Passages of two partners side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from . import parts
from .text import esc, number


def top_texts_html(
    frame: pd.DataFrame, pairs: Sequence[tuple[int, int | None]], names: Sequence[str], told: Sequence[str]
) -> str:
    """A block a pair, the passages of a on the left and of b on the right; script-free.

    Args:
        told: what is said of each pair.
    """
    blocks = ""
    for (a, b), words in zip(pairs, told, strict=True):
        columns = ""
        for side, feature, name in (("a", a, names[0]), ("b", b, names[1])):
            title = f"{name}: feature {feature}" if feature is not None else f"{name}: no partner"
            of = frame["b"].fillna(-1) == (-1 if b is None else b)
            shown = frame[(frame["a"] == a) & of & (frame["side"] == side)]
            rows = "".join(_passage(row) for row in shown.to_dict("records"))
            if feature is not None and not rows:
                rows = f'<div style="font-size:12px;{parts.MUTED}">fires nowhere in these texts</div>'
            columns += (
                f'<div style="flex:1 1 300px;min-width:260px;margin:6px 18px 0px 0px">'
                f'<b style="font-size:12px">{esc(title)}</b>{rows}</div>'
            )
        blocks += parts.line(esc(words), top=4)
        blocks += f'<div style="display:flex;flex-wrap:wrap;margin-bottom:8px">{columns}</div>'
    return f'<div style="{parts.BOX}">{blocks}</div>'


def _passage(row: dict[Any, Any]) -> str:
    token = (
        f'<span style="font-weight:600;border-radius:3px;background-color:rgba(61, 127, 217, 0.28)">'
        f"{_visible(row['token'])}</span>"
    )
    return (
        f'<div style="font-size:12px;margin-top:4px;padding-bottom:3px;border-bottom:1px solid {parts.RULE}">'
        f'<span style="{parts.MUTED}">{number(float(row["activation"]))}</span> '
        f'<span style="overflow-wrap:anywhere">{_visible(row["before"])}{token}{_visible(row["after"])}</span></div>'
    )


def _visible(text: str) -> str:
    return esc(str(text).replace("\n", "⏎"))
