"""The probes and tokens that drive a feature's change, as HTML."""

from __future__ import annotations

from typing import Any

import pandas as pd

from . import parts
from .html import upgradable_tables
from .tables import Render, index_cell, table
from .text import esc, percent

PROBES = 12


def drivers_html(title: str, probes: pd.DataFrame, tokens: pd.DataFrame, *, live: bool = True) -> str:
    """Tokens in their context with both activations, then the probes by their share of the change.

    Args:
        probes: see `Drivers.frame`; tokens: see `Drivers.tokens`.
        live: append the script that makes the tables sortable.
    """
    body = f'<b style="font-size:15px">{esc(title)}</b>'
    if len(tokens):
        shown = tokens[["probe", "base", "checkpoint"]].copy()
        cuts = zip(tokens["before"], tokens["token"], tokens["after"], strict=True)
        shown["where it changes most"] = list(cuts)
        render: dict[str, Render] = {"probe": index_cell, "where it changes most": _context}
        body += '<div style="height:6px"></div>' + table(shown, limit=len(shown), search=False, render=render)
    if not len(probes):
        return upgradable_tables(body + parts.line("It fires on no probe in either model."), live)
    order = ["probe", "base", "checkpoint", "delta", "share", "tokens"]
    rest = [name for name in probes if name not in (*order, "text")]
    labels = {"base": "mean, base", "checkpoint": "checkpoint", "delta": "Δ", "share": "of the change"}
    render = {"probe": index_cell, "share": percent}
    body += '<div style="height:12px"></div>' + table(
        probes[[*order, *rest, "text"]], limit=PROBES, height=380, labels=labels, render=render
    )
    return upgradable_tables(body, live)


def _context(cut: tuple[Any, Any, Any]) -> str:
    before, token, after = (esc(str(part)).replace("\n", "⏎") for part in cut)
    mark = f'<span style="background-color:rgba(217, 130, 43, 0.38);border-radius:2px">{token}</span>'
    return f'<span style="white-space:pre-wrap;overflow-wrap:anywhere">{before}{mark}{after}</span>'
