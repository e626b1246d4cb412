"""Norms, cosines and places in a byte or two each: widgets/src/capture/model.ts reads them back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def coded(norm: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Norms [layers, n] in a byte each, 0 for NaN: from a layer's lowest (1) to its highest (255), even steps of the
    logarithm where that is more than 20 times as much, else even steps."""
    finite = np.where(np.isfinite(norm), norm, np.nan)
    empty = np.isnan(finite).all(axis=1) if norm.shape[1] else np.ones(len(norm), np.bool_)
    low, high = np.zeros(len(norm)), np.zeros(len(norm))
    low[~empty], high[~empty] = np.nanmin(finite[~empty], axis=1), np.nanmax(finite[~empty], axis=1)
    wide = (low > 0) & (high > 20 * low)
    with np.errstate(divide="ignore", invalid="ignore"):
        even = (finite - low[:, None]) / (high - low)[:, None]
        steep = np.log(finite / low[:, None]) / np.log(high / low)[:, None]
    share = np.nan_to_num(np.where(wide[:, None], steep, even).clip(0, 1), nan=0.0)
    codes = np.where(np.isnan(finite), 0, 1 + np.rint(254 * share)).astype(np.uint8)
    return codes, low.astype(np.float32), high.astype(np.float32)


def coded_cosine(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Cosines in a byte each: 0 for NaN, 1 for −1, 255 for 1."""
    return np.where(np.isnan(values), 0, 1 + np.rint(127 * (np.nan_to_num(values).clip(-1, 1) + 1))).astype(np.uint8)


def coded_places(xy: NDArray[Any]) -> tuple[NDArray[np.uint16], tuple[float, float, float, float]]:
    """Places [n, 2] as uint16 between the ends of either axis (x low, x high, y low, y high); 65535 for NaN."""
    there = np.isfinite(xy).all(axis=1)
    known = xy[there]
    low, high = (known.min(axis=0), known.max(axis=0)) if len(known) else (np.zeros(2), np.zeros(2))
    share = (xy - low) / np.where(high > low, high - low, 1.0)
    codes = np.where(there[:, None], np.rint(65_534 * np.nan_to_num(share)), 65_535).astype(np.uint16)
    return codes, (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
