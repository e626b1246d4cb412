"""Statistics of activations: their mean vector, their norms and outliers, gathered chunk by chunk in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

BINS_PER_OCTAVE = 64  # a bin is 1.1 % wide: how exactly the median and the outliers' border are known
LOWEST, HIGHEST = -40, 60  # powers of two that the histogram spans
OUTLIER_FACTOR = 10.0
BLOCK_BYTES = 256 << 10  # of float32 values looked at together: they stay in the processor's cache
PARTS = ("sum", "norms", "bins", "counts")


class NormStatistics:
    """Mean vector, and mean, spread and outliers of row norms.

    Sums are float64, the median comes from a logarithmic histogram. A store keeps them chunk by chunk and combines
    them in the order of the chunks, so that they do not depend on how often a collection was interrupted.

    >>> first, second = NormStatistics(2), NormStatistics(2)
    >>> first.add(torch.tensor([[3.0, 4.0]])), second.add(torch.tensor([[0.0, 1.0]]))
    (None, None)
    >>> first.combine(second)
    >>> first.mean(), first.summary()["mean_norm"]
    (tensor([1.5000, 2.5000]), 3.0)
    """

    def __init__(self, d_in: int) -> None:
        self.rows = 0
        self._sum = torch.zeros(d_in, dtype=torch.float64)
        self._norms = torch.zeros(3, dtype=torch.float64)  # their sum, the sum of their squares, the largest
        self._histogram = torch.zeros((HIGHEST - LOWEST) * BINS_PER_OCTAVE, dtype=torch.int64)

    def add(self, x: Tensor) -> None:
        """Take in rows x [n, d_in], any float dtype."""
        if not len(x):
            return
        norms = torch.empty(len(x), dtype=torch.float64)
        step = max(1, BLOCK_BYTES // (4 * x.shape[1]))
        for start in range(0, len(x), step):
            values = x[start : start + step].float()
            self._sum += values.sum(dim=0, dtype=torch.float64)
            # float64, because the squares of large bfloat16 values overflow float32
            norms[start : start + step] = torch.linalg.vector_norm(values, dim=1, dtype=torch.float64)
        self._norms[0] += norms.sum()
        self._norms[1] += norms.square().sum()
        self._norms[2] = max(self._norms[2], norms.amax())
        place = (norms.clamp_min(2.0**LOWEST).log2() - LOWEST) * BINS_PER_OCTAVE
        place = place.long().clamp_(0, len(self._histogram) - 1)
        self._histogram += torch.bincount(place, minlength=len(self._histogram))
        self.rows += len(x)

    def combine(self, other: NormStatistics) -> None:
        """Take in the rows that `other` has seen."""
        self.rows += other.rows
        self._sum += other._sum
        self._norms[:2] += other._norms[:2]
        self._norms[2] = max(self._norms[2], other._norms[2])
        self._histogram += other._histogram

    def tensors(self) -> dict[str, Tensor]:
        """What `from_tensors` needs.

        sum: float64 [d_in]; norms: float64 [3], their sum, the sum of their squares and the largest; bins int32 [m] and
        counts int64 [m]: the histogram of norms, 64 bins to an octave from 2**-40 on, without its empty bins.
        """
        bins = self._histogram.nonzero().flatten()
        return {"sum": self._sum, "norms": self._norms, "bins": bins.int(), "counts": self._histogram[bins]}

    @classmethod
    def from_tensors(cls, parts: Mapping[str, Tensor]) -> NormStatistics:
        """The statistics that `tensors` gave.

        Raises:
            ValueError: tensors of other shapes, or bins outside the histogram.
        """
        bins, counts = parts["bins"].long(), parts["counts"]
        if parts["sum"].ndim != 1 or parts["norms"].shape != (3,) or bins.shape != counts.shape or bins.ndim != 1:
            raise ValueError("statistics of another shape")
        found = cls(len(parts["sum"]))
        if len(bins) and not 0 <= int(bins.min()) <= int(bins.max()) < len(found._histogram):
            raise ValueError("statistics with bins that there are not")
        found.rows = int(counts.sum())
        found._sum += parts["sum"]
        found._norms += parts["norms"]
        found._histogram[bins] = counts
        return found

    def mean(self) -> Tensor:
        """The mean vector, float32 [d_in]; zeros before the first row."""
        return (self._sum / max(1, self.rows)).float()

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
        total, squares, largest = self._norms.tolist()
        return {
            "rows": self.rows,
            "mean_norm": total / self.rows,
            "median_norm": median,
            "max_norm": largest,
            "mean_squared_norm": squares / self.rows,
            "norm_of_mean": float((self._sum / self.rows).norm()),
            "outliers": int(self._histogram[border + 1 :].sum()),
        }

    def _median(self) -> float:
        place = int(torch.searchsorted(self._histogram.cumsum(0), (self.rows + 1) // 2))
        return float(2.0 ** ((place + 0.5) / BINS_PER_OCTAVE + LOWEST))
