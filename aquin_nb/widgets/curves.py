"""A training's logged points as views take them: the columns of `protocol.WIRE`, thinned where they are many."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .decimate import keep_rows
from .protocol import COLUMNS, METRICS, WIRE

_METRIC_ROWS = [WIRE.index(name) for name in METRICS]


def wire(history: pd.DataFrame) -> NDArray[np.float64]:
    """A history as float64 [12, rows].

    Raises:
        KeyError: a column of `protocol.COLUMNS` is missing.
    """
    logged = history[list(COLUMNS)].to_numpy(np.float64).T
    tokens, rate = (logged[COLUMNS.index(name)] for name in ("tokens", "tokens_per_second"))
    return np.vstack([logged, elapsed(tokens, rate)])


def elapsed(
    tokens: NDArray[np.float64], rate: NDArray[np.float64], tokens_before: float = 0.0, rate_before: float = np.nan
) -> NDArray[np.float64]:
    """Seconds of training from the point before until each point: tokens between points over tokens a second.

    The time that a stopped run lay still is not in it. Where no rate was logged the last known one stands in.

    >>> elapsed(np.array([100.0, 300.0, 500.0]), np.array([50.0, 100.0, np.nan])).tolist()
    [2.0, 4.0, 6.0]
    """
    rates = np.concatenate(([rate_before], rate))
    known = np.isfinite(rates) & (rates > 0)
    # Each point's last known rate, and the first one before there is any; pandas takes 50 times as long for one point.
    last = np.maximum.accumulate(np.where(known, np.arange(len(rates)), -1))
    first = int(known.argmax())
    filled = np.where(known[first], rates[np.maximum(last, first)], np.nan)[1:]
    took = (tokens - np.concatenate(([tokens_before], tokens[:-1]))) / filled
    return np.cumsum(np.where(np.isfinite(took) & (took > 0), took, 0.0))


def kept_rows(columns: NDArray[np.float64], limit: int) -> NDArray[np.intp]:
    """Which of the points [12, rows] stay, at most `limit`: the first, the last and the extremes of each metric."""
    return keep_rows(columns[0], columns[_METRIC_ROWS], limit)


def thinned(columns: NDArray[np.float64], limit: int) -> NDArray[np.float64]:
    """The points that stay of [12, rows], see `kept_rows`."""
    return columns[:, kept_rows(columns, limit)]
