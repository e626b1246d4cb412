"""Axis ranges and round tick values for static charts; the same rules as widgets/src/core/ticks.ts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Axis:
    """A range with ticks; `at` maps values to 0 (low) … 1 (high)."""

    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]

    def at(self, values: NDArray[np.float64] | float) -> NDArray[np.float64]:
        if self.log:
            with np.errstate(divide="ignore", invalid="ignore"):
                shares = (np.log(values) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
            return np.asarray(shares, dtype=np.float64)
        return np.asarray((np.asarray(values) - self.low) / ((self.high - self.low) or 1.0), dtype=np.float64)


def linear_ticks(low: float, high: float, count: int) -> tuple[float, ...]:
    """Round values from low to high, at most `count` + 1 of them.

    >>> linear_ticks(0, 1, 4)
    (0.0, 0.25, 0.5, 0.75, 1.0)
    """
    raw = (high - low) / max(1, count)
    if not (raw > 0 and math.isfinite(raw)):
        return (low,)
    unit = 10.0 ** math.floor(math.log10(raw))
    for multiple in (1, 2, 2.5, 5, 10):
        step = multiple * unit
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first <= count:
            break
    return tuple(float(f"{i * step:.12g}") for i in range(first, last + 1))


def log_ticks(low: float, high: float, count: int) -> tuple[float, ...]:
    """1-2-5 values between low and high, thinned to decades when there are many.

    >>> log_ticks(0.5, 3000, 3)
    (1.0, 10.0, 100.0, 1000.0)
    """
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [float(f"{m}e{e}") for e in exponents for m in (1, 2, 5)]
    inside = [value for value in every if low * 0.999 <= value <= high * 1.001]
    if len(inside) <= count + 1:
        return tuple(inside) if len(inside) >= 2 else linear_ticks(low, high, count)
    decades = [value for value in inside if math.isclose(math.log10(value), round(math.log10(value)), abs_tol=1e-9)]
    if len(decades) < 2:
        return tuple(inside[:: math.ceil(len(inside) / count)])
    return tuple(decades[:: math.ceil(len(decades) / (count + 1))])


def axis_for(
    values: NDArray[np.float64],
    scale: Literal["linear", "log", "auto"],
    *,
    floor: float | None = None,
    clip: float | None = None,
    span: float = 0.0,
    count: int = 3,
) -> Axis | None:
    """The axis for the finite values; None when there are none.

    "auto" is logarithmic when all values are positive and span more than a factor of 50. Linear axes start at `floor`
    unless a value is lower, and end at `clip` while the typical value is below it. A linear axis
    is at least `span` times its highest value long, so that a flat curve looks flat.
    """
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return None
    low, high = float(values.min()), float(values.max())
    positive = values[values > 0]
    if len(positive) and (scale == "log" or (scale == "auto" and low > 0 and high / low > 50)):
        pad = max(1.05, (high / float(positive.min())) ** 0.06)
        start, end = float(positive.min()) / pad, high * pad
        return Axis(start, end, True, log_ticks(start, end, count))
    if clip is not None and high > clip and (values <= clip).sum() > len(values) / 2:
        high = clip
    if floor is not None:
        low = min(low, floor)
    if (short := span * abs(high) - (high - low)) > 0:
        low, high = low - short / 2, high + short / 2
    if high == low:
        pad = abs(high) * 0.1 or 1.0
        start, end = (low if low == floor else low - pad), high + pad
    else:
        pad = (high - low) * 0.06
        start, end = (low if low == floor else low - pad), high + pad
    return Axis(start, end, False, linear_ticks(start, end, count))
