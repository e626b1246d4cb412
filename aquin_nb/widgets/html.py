"""A finished result as one HTML output: a snapshot that needs no script, then a script that brings it to life in place.

A widget whose kernel is gone shows "model not found". This shows its story: a reader whom the notebook does not trust
sees the static part (Lab's sanitiser drops the script), and everywhere else (trusted notebook, nbconvert, nbviewer,
VS Code, a file on disk) the same view as the live widget takes its place, with the data embedded and no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from ..cards import (
    ActivationCaptureCard,
    ActivationStoreCard,
    Card,
    SaeAlignCard,
    SaeDiffCard,
    SaeSweepCard,
    SaeTrainCard,
    SaeTrajectoryCard,
    SessionCard,
)
from ..errors import AquinError
from . import parts, snapshots
from .align import align_snapshot
from .assets import bundle
from .curves import kept_rows, wire
from .diff import diff_snapshot
from .tables import table
from .text import esc, script_json
from .trajectory import trajectory_snapshot
from .view_page import view_html
from .views.train import EMBEDDED_POINTS, train_data

FRAMES: Final = {
    "saeTrain": "history",
    "activationCapture": "probes",
    "activationStore": "sites",
    "saeSweep": "layers",
    "saeDiff": "features",
    "saeTrajectory": "features",
    "saeAlign": "pairs",
}
"""The frame that each kind of result may show beside its card."""


def result_html(card: Card, frames: Mapping[str, pd.DataFrame] | None = None, *, live: bool = True) -> str:
    """A result as HTML, interactive where scripts may run.

    Args:
        card: any kind, in any status.
        frames: at most one frame, named as in `FRAMES`: a training's `history` (columns as
            `protocol.COLUMNS`), a capture's `probes`, a diff's `features`, an alignment's `pairs`. Without it the part
            of it that the card holds is shown.
        live: append the script; without it the HTML is only text, tables and pictures.

    Raises:
        AquinError: a frame of a name that this kind does not show, or without a column it needs.
    """
    frames = dict(frames or {})
    kind = str(getattr(card, "kind", ""))
    wanted = FRAMES.get(kind)
    data = frames.pop(wanted, None) if wanted else None
    if frames:
        shows = f"the frame {wanted!r}" if wanted else "no frame"
        raise AquinError(f"A {kind or type(card).__name__} result shows {shows}, not {', '.join(map(repr, frames))}.")
    try:
        return (
            _train(card, data, live) if isinstance(card, SaeTrainCard) else upgradable_tables(_body(card, data), live)
        )
    except KeyError as error:
        raise AquinError(f"The frame {wanted!r} of a {kind} result lacks the column {error}.") from error


def card_html(card: Card) -> str:
    """Any card as static HTML, from the card alone."""
    return result_html(card, live=False)


def frame_html(frame: pd.DataFrame, *, limit: int = 50, title: str = "", live: bool = True) -> str:
    """A frame as a table of at most `limit` rows ("n of N rows"), sortable and searchable where scripts may run."""
    heading = f'<b style="font-size:13px">{esc(title)}</b>' if title else ""
    return upgradable_tables(heading + table(frame, limit=limit, height=440), live)


def _body(card: Card, data: pd.DataFrame | None) -> str:
    if isinstance(card, ActivationCaptureCard):
        return snapshots.capture(card, data)
    if isinstance(card, ActivationStoreCard):
        return snapshots.store(card)
    if isinstance(card, SaeSweepCard):
        return snapshots.sweep(card)
    if isinstance(card, SaeDiffCard):
        return diff_snapshot(card, data)
    if isinstance(card, SaeTrajectoryCard):
        return trajectory_snapshot(card)
    if isinstance(card, SaeAlignCard):
        return align_snapshot(card, data)
    if isinstance(card, SessionCard):
        return snapshots.session(card)
    raise AquinError(f"There is no view for {type(card).__name__}.")


def upgradable_tables(body: str, live: bool) -> str:
    """The outer box around safe HTML whose tables (`data-aquin-table`) become sortable where scripts may run."""
    return _upgradable("table", body, "", "result-table.js", live)


def _train(card: SaeTrainCard, history: pd.DataFrame | None, live: bool) -> str:
    kept = None
    if history is not None:
        points = wire(history)
        kept = history.iloc[kept_rows(points, EMBEDDED_POINTS)]
        card = card.model_copy(update={"history_points": max(card.history_points, points.shape[1])})
    static = f'<div style="{parts.BOX}">{snapshots.train(card, kept)}{snapshots.train_details(card)}</div>'
    return view_html("train", train_data(card, history), static) if live else static


def _upgradable(kind: str, static: str, data: Any, script: str, live: bool) -> str:
    if not live:
        return f'<div style="{parts.BOX}">{static}</div>'
    embedded = f'<script type="application/json">{script_json(data)}</script>' if data else ""
    # The bundle's own text must not end its element either; "<\/" means the same in every JavaScript string.
    code = bundle(script).replace("</script", "<\\/script")
    return f'<div data-aquin="{kind}" style="{parts.BOX}">{static}{embedded}</div><script type="module">{code}</script>'
