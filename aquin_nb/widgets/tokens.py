"""A text as a dictionary sees it: tokens against the strongest features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from . import parts
from .html import upgradable_tables
from .text import count, esc, number

TOKEN_ROWS = 60
TEXT_TOKENS = 600  # of the running text
CELL = "padding:2px 7px;text-align:right;white-space:nowrap;font-size:12px"


def tokens_html(
    tokens: Sequence[str],
    features: Sequence[int],
    values: ArrayLike,
    *,
    positions: Sequence[int] | None = None,
    title: str = "",
    live: bool = True,
) -> str:
    """Tokens × features as a shaded table, under the text tinted by each token's strongest feature.

    Args:
        tokens: n token strings as the tokenizer splits the text.
        features: m feature numbers, strongest first.
        values: activations [n, m]; 0 or NaN where a feature does not fire.
        positions: the n tokens' positions in the model's input; default: 0, 1, 2, ...

    Raises:
        ValueError: the shapes disagree.
    """
    table = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0)
    if table.shape != (len(tokens), len(features)):
        raise ValueError(f"values must be [{len(tokens)}, {len(features)}] (tokens, features), got {list(table.shape)}")
    places = range(len(tokens)) if positions is None else positions
    most = float(table.max(initial=0.0)) or 1.0
    rows = [
        f'<tr><td style="{CELL};opacity:0.6">{position}</td>'
        f'<td style="{CELL};text-align:left;white-space:pre">{_visible(token)}</td>'
        + "".join(_cell(value, most) for value in values_here)
        + "</tr>"
        for position, token, values_here in list(zip(places, tokens, table, strict=True))[:TOKEN_ROWS]
    ]
    heads = "".join(f'<th style="{CELL};font-weight:600">{int(feature)}</th>' for feature in features)
    head = f'<th style="{CELL}"></th><th style="{CELL};text-align:left;font-weight:600">token</th>{heads}'
    said = f"{count(len(rows))} of {count(len(tokens))} tokens" if len(tokens) > len(rows) else ""
    heading = f'<b style="font-size:13px">{esc(title)}</b>' if title else ""
    body = (
        f'{heading}{_text(tokens, features, table, most)}<div data-aquin-scroll="1" style="max-height:440px;'
        f'overflow:auto;margin-top:8px"><table data-aquin-table="sort" style="{parts.TABLE}">'
        f"<thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>{parts.line(said, top=4)}"
    )
    return upgradable_tables(body, live)


def _cell(value: float, most: float) -> str:
    if value <= 0:
        return f'<td style="{CELL};opacity:0.35" data-sort="0">·</td>'
    return f'<td style="{CELL};background-color:{_tint(value / most)}" data-sort="{value:.9g}">{number(value)}</td>'


def _tint(share: float) -> str:
    return f"rgba(217, 130, 43, {0.08 + 0.52 * min(1.0, share):.2f})"


def _text(tokens: Sequence[str], features: Sequence[int], table: np.ndarray, most: float) -> str:
    """The running text, or its beginning; a tooltip names each token's strongest feature."""
    pieces = []
    for token, row in zip(tokens[:TEXT_TOKENS], table, strict=False):
        if len(row) == 0 or row.max() <= 0:
            pieces.append(esc(token))
            continue
        best = int(row.argmax())
        tip = f"feature {int(features[best])}: {number(float(row[best]))}"
        tint = _tint(float(row[best]) / most)
        pieces.append(f'<span style="background-color:{tint};border-radius:2px" title="{esc(tip)}">{esc(token)}</span>')
    if len(tokens) > TEXT_TOKENS:
        pieces.append(" …")
    style = "margin-top:4px;line-height:1.9;white-space:pre-wrap;overflow-wrap:anywhere"
    return f'<div style="{style}">{"".join(pieces)}</div>'


def _visible(token: str) -> str:
    """White space as signs, so that a token of one space is seen."""
    shown = token.replace("\n", "⏎").replace("\t", "⇥").replace("\r", "␍")
    return esc(shown.replace(" ", "␣") if not shown.strip() else shown)
