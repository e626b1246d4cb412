"""Fewer points, same extremes. The TypeScript half (widgets/src/core/decimate.ts) keeps the same rows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def keep_rows(steps: NDArray[np.float64], metrics: NDArray[np.float64], limit: int) -> NDArray[np.intp]:
    """Ascending rows to keep, at most `limit`, of metrics [m, rows] logged at ascending `steps` [rows].

    Kept are the first, the last, and per bucket of steps (not of rows: a history that was thinned before must stay
    even) the rows where each metric is smallest and largest, plus one row with
    a gap (NaN or infinite) if the bucket has any, so that gaps stay visible.

    >>> keep_rows(np.arange(8.0), np.array([[0.0, 9.0, 1.0, -5.0, 2.0, 3.0, 0.5, 1.0]]), 5).tolist()
    [0, 1, 3, 7]
    """
    count, rows = metrics.shape
    if rows <= limit:
        return np.arange(rows)
    buckets = max(1, (limit - 2) // (2 * count + 1))
    finite = np.isfinite(metrics)
    lows, highs = np.where(finite, metrics, np.inf), np.where(finite, metrics, -np.inf)
    gaps: NDArray[np.bool_] = np.any(~finite, axis=0)
    keep = {0, rows - 1}
    inner = steps[0] + (steps[-1] - steps[0]) * np.arange(1, buckets) / buckets
    edges = [0, *np.searchsorted(steps, inner).tolist(), rows]
    for start, stop in pairwise(edges):
        if start == stop:
            continue
        low, high = lows[:, start:stop].argmin(axis=1), highs[:, start:stop].argmax(axis=1)
        for metric in range(count):
            if finite[metric, start + low[metric]]:
                keep.update((start + int(low[metric]), start + int(high[metric])))
        if gaps[start:stop].any():
            keep.add(start + int(gaps[start:stop].argmax()))
    return np.array(sorted(keep))
