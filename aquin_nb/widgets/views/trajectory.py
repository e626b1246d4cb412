"""What the view of a trajectory carries inside, and what it asks the kernel for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd

from ...cards import SaeTrajectoryCard

CELLS: Final = 12_000
"""Features times checkpoints that a page carries; of more, the features that moved most."""
ASKED: Final = 4_000_000  # and that a kernel sends


def trajectory_data(card: SaeTrajectoryCard, frame: pd.DataFrame, *, cells: int = CELLS) -> dict[str, Any]:
    """The digest: the card without its own `top`, and `paths`.

    Args:
        frame: see `SaeTrajectory.frame`.

    Returns:
        `paths`: `rows`, `complete` (whether these are all features that ever fire), `feature` int32 [rows], `mean_base`
        float32 [rows], `delta` float32 [rows, stops] (NaN where a step lacks the feature) and `changed` uint8 [rows,
        stops]; features changed at some checkpoint first, then by the largest |delta| of all.
    """
    steps = list(dict.fromkeys(stop.step for stop in card.stops))
    unique = frame.drop_duplicates(["feature", "step"])
    delta = unique.pivot(index="feature", columns="step", values="delta").reindex(columns=steps)
    changed = unique.pivot(index="feature", columns="step", values="changed").reindex(columns=steps)
    base = unique.groupby("feature")["mean_base"].first().reindex(delta.index)
    values = delta.to_numpy(np.float32)
    marks = changed.fillna(0).to_numpy().astype(np.uint8)
    size = np.nan_to_num(np.abs(values), nan=0.0, posinf=float(np.finfo(np.float32).max)).max(axis=1, initial=0.0)
    order = np.lexsort((-size, ~marks.any(axis=1)))
    kept = order[: max(1, cells // max(len(steps), 1))]
    paths = {
        "rows": len(kept),
        "complete": len(kept) == len(order),
        "feature": delta.index.to_numpy(np.int32)[kept],
        "mean_base": base.to_numpy(np.float32)[kept],
        "delta": values[kept],
        "changed": marks[kept],
    }
    return {"card": card.model_dump(mode="json", exclude={"top"}), "paths": paths}


def trajectory_answers(
    card: SaeTrajectoryCard, frame: pd.DataFrame
) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    """What the view asks for: `paths` of all features."""
    return {"paths": lambda _params: {"paths": trajectory_data(card, frame, cells=ASKED)["paths"]}}
