"""The face of a comparison of captures: what differs layer by layer, without any script."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from . import parts
from .charts import lines_panel
from .html import upgradable_tables
from .png import Colour, Line, data_url, encode
from .tables import Render, index_cell, table
from .text import count, esc, number, percent

if TYPE_CHECKING:
    from ..engine.analysis.compare import Comparison

PALETTE: tuple[Colour, ...] = (
    (0x3D, 0x7F, 0xD9),
    (0xD9, 0x82, 0x2B),
    (0x2F, 0x9E, 0x6E),
    (0xA0, 0x5F, 0xD0),
    (0xC9, 0x47, 0x5B),
    (0x9A, 0x8B, 0x1E),
)
GREY: Colour = (0x8A, 0x92, 0x9B)
FLAGGED_ROWS = 25
FACTS = 8
CELL = 12  # pixels of a pair of layers in the heat map


def hex_colour(at: int) -> str:
    """The colour of the capture at a place in the list; they repeat after the sixth."""
    return "#{:02x}{:02x}{:02x}".format(*PALETTE[at % len(PALETTE)])


def comparison_html(found: Comparison, *, live: bool = True) -> str:
    """A comparison as HTML: captures, the figures that matter, charts and a table by layer, probes that differ, notes.

    Args:
        found: see `engine.analysis.compare.Comparison`.
        live: append the script that makes the tables sortable.
    """
    body = (
        _header(found)
        + parts.facts(_facts(found))
        + f'<div style="display:flex;flex-wrap:wrap">{_charts(found)}</div>'
        + '<div style="height:10px"></div>'
        + _layer_table(found)
        + _heat_maps(found)
        + _flagged(found.probes)
        + "".join(parts.line(esc(note), top=8 if i == 0 else 2) for i, note in enumerate(found.notes))
        + parts.details("How this was measured", [(str(i), text) for i, text in enumerate(found.methods, 1)])
    )
    return upgradable_tables(body, live)


def names(found: Comparison) -> list[str]:
    """The captures, in order."""
    return [str(name) for name in found.captures["capture"]]


def keys(found: Comparison) -> list[str]:
    """The labels that were measured."""
    return [str(key) for key in found.labels["label"].unique()]


def rows_with(found: Comparison, capture: str, column: str) -> list[dict[str, Any]]:
    """The layer rows of a capture in which a column is known."""
    if column not in found.layers:
        return []
    layers = found.layers[(found.layers["capture"] == capture) & found.layers[column].notna()]
    return [{str(name): value for name, value in row.items()} for row in layers.to_dict("records")]


def best(found: Comparison, capture: str, key: str) -> dict[str, Any] | None:
    """The layer row where a label is separated best, the first of equals; None where it was not measured."""
    column = f"accuracy_{key}"
    return max(rows_with(found, capture, column), key=lambda row: float(row[column]), default=None)


def grids(found: Comparison) -> list[tuple[str, list[int], list[int], NDArray[np.float64]]]:
    """A capture, its layers, those of the first capture, and their CKA [layers, layers of the first]."""
    if found.cka is None:
        return []
    out = []
    for name in names(found)[1:]:
        rows = found.cka[found.cka["capture"] == name]
        if not rows.empty:
            own, first = (sorted({int(at) for at in rows[column]}) for column in ("layer", "first_layer"))
            table = rows.set_index(["layer", "first_layer"])["cka"].to_dict()
            values = [[float(table[here, there]) for there in first] for here in own]
            out.append((name, own, first, np.array(values)))
    return out


def _header(found: Comparison) -> str:
    several = len(found.captures) > 1
    lines = []
    for at, row in enumerate(found.captures.to_dict("records")):
        model = row["model"] + (f" + {row['checkpoint']}" if isinstance(row["checkpoint"], str) else "")
        words = [model, row["site"], row["position"], f"{count(row['probes'])} probes"]
        words.append(f"{row['layers']} layers × {count(row['d_model'])}")
        if several and at == 0:
            words.append("the others are compared with it")
        elif several:
            matched = row["matched_by"]
            words.append(f"matched by {matched}" if isinstance(matched, str) else "no probe matches")
        mark = (
            f'<span style="display:inline-block;width:10px;height:10px;border-radius:5px;margin-right:7px;'
            f'background-color:{hex_colour(at)}"></span>'
        )
        said = f'<span style="{parts.MUTED}">{esc(" · ".join(words))}</span>'
        lines.append(f'<div style="font-size:12px;margin-top:2px">{mark}<b>{esc(row["capture"])}</b> {said}</div>')
    kind = "Comparison of captures" if several else "A capture by layer"
    return f'<div><b style="font-size:15px">{kind}</b></div>{"".join(lines)}'


def _facts(found: Comparison) -> list[tuple[str, str, str]]:
    facts = []
    several = len(found.captures) > 1
    for key in keys(found):
        for name in names(found):
            if row := best(found, name, key):
                where = f"{key}{f' in {name}' if several else ''}, layer {row['layer']}"
                guess = percent(row[f"baseline_{key}"])
                why = (
                    f"best accuracy of all layers, ± {percent(row[f'spread_{key}'])} over folds; always guessing the"
                    f" largest class gives {guess}. The best of many layers flatters it."
                )
                facts.append((percent(row[f"accuracy_{key}"]), f"{where} · guessing {guess}", why))
    for name in names(found)[1:]:
        if rows := rows_with(found, name, "cka"):
            least = min(rows, key=lambda row: float(row["cka"]))
            why = "CKA of equal layers: 1 is the same geometry, 0 nothing in common"
            facts.append((number(least["cka"]), f"lowest CKA of {name}, layer {least['layer']}", why))
    return facts[:FACTS]


def _charts(found: Comparison) -> str:
    panels = lines_panel("Median norm", _lines(found, "norm_median"), along="layer", scale="auto", floor=0)
    if lines := _lines(found, "cosine_median"):
        others = [(x, y, GREY) for x, y, _ in _lines(found, "cosine_others")]
        panels += lines_panel("Median cosine", [*lines, *others], along="layer", floor=0, note="grey: other probes")
    if lines := _lines(found, "cka"):
        panels += lines_panel("CKA", lines, along="layer", floor=0)
    for key in keys(found):
        guesses = [(x, y, GREY) for x, y, _ in _lines(found, f"baseline_{key}")]
        lines = [*_lines(found, f"accuracy_{key}"), *guesses]
        panels += lines_panel(f"Accuracy: {key}", lines, along="layer", note="grey: guessing")
    return panels


def _lines(found: Comparison, column: str) -> list[Line]:
    lines = []
    for at, name in enumerate(names(found)):
        if rows := rows_with(found, name, column):
            x, y = (np.array([float(row[of]) for row in rows]) for of in ("layer", column))
            lines.append((x, y, PALETTE[at % len(PALETTE)]))
    return lines


def _layer_table(found: Comparison) -> str:
    columns = {"layer": "layer", "capture": "capture", "norm_median": "median norm"}
    columns |= {"cosine_median": "median cosine", "cosine_others": "with other probes", "cka": "CKA"}
    render: dict[str, Render] = {"layer": index_cell, "cka": lambda share: _barred(number(share), share)}
    for key in keys(found):
        columns |= {f"accuracy_{key}": f"accuracy: {key}", f"spread_{key}": "± over folds"}
        render |= {f"accuracy_{key}": lambda share: _barred(percent(share), share), f"spread_{key}": percent}
    if len(found.captures) == 1:
        del columns["capture"]
    shown = found.layers[[name for name in columns if name in found.layers and found.layers[name].notna().any()]]
    return table(shown, limit=len(shown), height=300, search=False, render=render, labels=columns)


def _barred(text: str, share: float) -> str:
    bar = "" if math.isnan(share) else parts.bar(share, width=90)
    return (
        f'<div style="display:flex;justify-content:flex-end">{bar}<span style="min-width:52px">{esc(text)}</span></div>'
    )


def _heat_maps(found: Comparison) -> str:
    first, blocks = names(found)[0], ""
    for name, own, others, values in grids(found):
        share = np.nan_to_num(values[::-1]).clip(0, 1)  # layer 0 at the bottom
        image = np.zeros((*share.shape, 4), dtype=np.uint8)
        image[..., :3] = PALETTE[0]
        image[..., 3] = np.round(255 * (0.06 + 0.94 * share))
        png = encode(np.repeat(np.repeat(image, CELL, axis=0), CELL, axis=1))
        words = [f"up: layers {own[0]}–{own[-1]} of {name}", f"right: layers {others[0]}–{others[-1]} of {first}"]
        if np.isfinite(values).any():
            here, there = np.unravel_index(np.nanargmax(values), values.shape)
            words.append(f"most alike: {own[here]} and {others[there]}, {number(values[here, there])}")
        blocks += (
            f'<div style="margin:12px 28px 0px 0px"><b style="font-size:12px">CKA of every pair of layers</b>'
            f"{parts.line(esc(' · '.join(words)), top=0)}"
            f'<img src="{data_url(png)}" alt="CKA of every pair of layers of {esc(first)} and {esc(name)}"'
            f' style="margin-top:6px;max-width:100%"></div>'
        )
    return f'<div style="display:flex;flex-wrap:wrap">{blocks}</div>' if blocks else ""


def _flagged(probes: pd.DataFrame) -> str:
    if probes.empty:
        return ""
    render: dict[str, Render] = {"probe": index_cell, "first_probe": index_cell}
    labels = {"first_probe": "probe of the first"}
    return (
        '<div style="margin-top:12px"><b style="font-size:12px">Probes that differ</b>'
        f"{table(probes, limit=FLAGGED_ROWS, height=260, render=render, labels=labels)}</div>"
    )
