"""What the view of a training that is over embeds, and what it may ask: points at a finer grain, other trainings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...cards import SaeTrainCard
from ...errors import SelectionError
from ..curves import thinned, wire
from ..desk import Handler
from ..protocol import MAX_POINTS, WIRE

EMBEDDED_POINTS: Final = 700  # 90 kB of base64; more points than a chart has pixels
OTHER_POINTS: Final = 1000
MOST_OTHERS: Final = 7
"""Other trainings that are drawn behind one: with its own as many curves as there are colours to tell apart."""


def train_data(
    card: SaeTrainCard,
    history: pd.DataFrame | None,
    *,
    others: Iterable[dict[str, Any]] = (),
    resumable: bool = False,
    standing: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What `widgets/src/monitor/train.ts` calls TrainData.

    Args:
        history: columns as `protocol.COLUMNS`; None draws no curves.
        others: trainings to draw behind this one, each as `other` makes it.
        resumable: whether the kernel answers "resume".
        standing: where the dictionary stands, as `sweep.standing_data` makes it; None where nobody knows.

    Raises:
        KeyError: the history lacks a column.
    """
    points = wire(history) if history is not None else np.empty((len(WIRE), 0))
    card = card.model_copy(update={"history_points": max(card.history_points, points.shape[1])})
    found = _curve(points, EMBEDDED_POINTS)
    return {
        "card": card.model_dump(mode="json"),
        **found,
        "others": list(others),
        "resumable": resumable,
        "standing": standing,
    }


def other(card: SaeTrainCard, history: pd.DataFrame) -> dict[str, Any]:
    """A training as another one draws it behind itself."""
    d_sae = card.config.d_sae if card.config is not None else 0
    return {"id": card.id, "name": card.name, "d_sae": d_sae, **_curve(wire(history), OTHER_POINTS)}


def points_answer(points: Callable[[], NDArray[np.float64]]) -> Handler:
    """Answers which points lie between two steps, thinned only where they are more than `MAX_POINTS`.

    Args:
        points: gives the run's points so far, float64 [12, rows], steps ascending.
    """

    def answer(params: dict[str, Any]) -> dict[str, Any]:
        columns = points()
        first, last = (_step(params, name) for name in ("from", "to"))
        start = max(0, int(np.searchsorted(columns[0], first)) - 1)  # one more on each side: lines leave the chart
        stop = int(np.searchsorted(columns[0], last, side="right")) + 1
        return training_curve(columns[:, start:stop])

    return answer


def training_curve(columns: NDArray[np.float64]) -> dict[str, Any]:
    """A whole run as a view follows it, of float64 [12, rows]."""
    return _curve(columns, MAX_POINTS)


def _curve(columns: NDArray[np.float64], limit: int) -> dict[str, Any]:
    rows = columns.shape[1]
    return {"curve": thinned(columns, limit).ravel() if rows else np.empty(0), "total": rows}


def _step(params: dict[str, Any], name: str) -> float:
    value = params.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SelectionError(f"{name!r} must be a step, not {str(value)[:40]!r}.")
    return float(value)
