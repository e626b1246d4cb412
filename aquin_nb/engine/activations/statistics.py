"""Norm statistics of activations, gathered row by row in bounded memory."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

BINS_PER_OCTAVE = 64  # a bin is 1.1 % wide: how exactly the median and the outliers' border are known
LOWEST, HIGHEST = -40, 60  # powers of two that the histogram spans
OUTLIER_FACTOR = 10.0


class NormStatistics:
    """Mean, spread and outliers of row norms; sums are float64, the median comes from a logarithmic histogram."""

    def __init__(self, d_in: int) -> None:
        self.rows = 0
        self._sum = torch.zeros(d_in, dtype=torch.float64)
        self._norms = self._squares = self._max = 0.0
        self._histogram = torch.zeros((HIGHEST - LOWEST) * BINS_PER_OCTAVE, dtype=torch.int64)

    def add(self, x: Tensor) -> None:
        """Take in rows x [n, d_in], any float dtype."""
        if not len(x):
            return
        for start in range(0, len(x), 16384):  # bounds the float32 copies
            values = x[start : start + 16384].float()
            norms = torch.linalg.vector_norm(values, dim=1, dtype=torch.float64)  # squares overflow float32
            self._sum += values.sum(dim=0, dtype=torch.float64)
            self._norms += float(norms.sum())
            self._squares += float(norms.square().sum())
            self._max = max(self._max, float(norms.amax()))
            place = (norms.clamp_min(2.0**LOWEST).log2() - LOWEST) * BINS_PER_OCTAVE
            place = place.long().clamp_(0, len(self._histogram) - 1)
            self._histogram += torch.bincount(place, minlength=len(self._histogram))
        self.rows += len(x)

    def summary(self) -> dict[str, Any]:
        """What the manifest says; every figure is None before the first row.

        `mean_norm`, `median_norm` (to 1 %), `max_norm`: of the rows' Euclidean norms. `mean_squared_norm` minus
        `norm_of_mean` squared is the total variance. `outliers`: rows whose norm is above 10 times the median (to
        1 %); they are in the store.
        """
        if not self.rows:
            names = ("mean_norm", "median_norm", "max_norm", "mean_squared_norm", "norm_of_mean", "outliers")
            return {"rows": 0, **dict.fromkeys(names)}
        median = self._median()
        border = int((math.log2(median * OUTLIER_FACTOR) - LOWEST) * BINS_PER_OCTAVE)
        return {
            "rows": self.rows,
            "mean_norm": self._norms / self.rows,
            "median_norm": median,
            "max_norm": self._max,
            "mean_squared_norm": self._squares / self.rows,
            "norm_of_mean": float((self._sum / self.rows).norm()),
            "outliers": int(self._histogram[border + 1 :].sum()),
        }

    def _median(self) -> float:
        place = int(torch.searchsorted(self._histogram.cumsum(0), (self.rows + 1) // 2))
        return float(2.0 ** ((place + 0.5) / BINS_PER_OCTAVE + LOWEST))
