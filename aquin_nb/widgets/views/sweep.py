"""What the views of a sweep and of standing embed: layers side by side, and what dictionaries owe to how many rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from ...cards import SaeSweepCard
from ..pack import columns
from ..quantity import COUNTED, FATES, MODES, Strength, Volume
from ..sweep_figure import numbered

MEASURES = ("fvu", "explained_variance", "recon_mse", "cosine", "l0", "dead_share", "mean_norm")


def sweep_data(card: SaeSweepCard, layers: pd.DataFrame, standing: dict[str, Any]) -> dict[str, Any]:
    """What `widgets/src/sweep/view.ts` calls SweepData.

    Args:
        layers: columns of `sweep.COLUMNS`, one row a dictionary.
        standing: as `standing_data` makes it.
    """
    shown = layers[["layer", "hook", *MEASURES, "verdict"]].copy()
    shown[list(MEASURES)] = shown[list(MEASURES)].astype(float)
    shown.insert(0, "row", range(len(shown)))
    return {
        "card": card.model_dump(mode="json"),
        "layers": columns(shown),
        "by_layer": len(layers) > 0 and numbered(layers),
        "standing": standing,
    }


def standing_data(
    strengths: Sequence[Strength],
    volumes: Sequence[Volume],
    *,
    rows: int,
    explained_variance: float,
    problems: Sequence[str] = (),
) -> dict[str, Any]:
    """What `widgets/src/standing/parts.ts` calls StandingData.

    Args:
        rows, explained_variance: the lines, as `quantity.strength_figure` draws them.
        problems: sentences on what could not be read.
    """
    return {
        "strengths": [asdict(one) for one in strengths],
        "volumes": [asdict(one) | {"mode": MODES[one.mode]} for one in volumes if one.total],
        "fates": FATES,
        "counted": COUNTED,
        "lines": {"rows": rows, "explained_variance": explained_variance},
        "problems": list(problems),
    }
