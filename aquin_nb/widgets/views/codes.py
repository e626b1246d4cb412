"""Numbers of many features in two bytes each: what a page carries of a table whose rows it cannot carry whole."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

ZERO: Final = 0
INFINITE: Final = 65_534
MISSING: Final = 65_535
_LAST: Final = 65_533
TINY: Final = 1e-40


def log_codes(values: ArrayLike, *, exact: float | None = None) -> dict[str, Any]:
    """Values ≥ 0 as uint16 on a logarithmic grid between the smallest and the largest of them.

    Code 0 is 0, 1 to 65,533 are `exp(low + (code - 1) * step)`, 65,534 is infinity and 65,535 missing. Ten decades
    leave a relative error of 0.02 %. Below 1e-40 a value counts as 1e-40.

    Args:
        exact: a limit that lies on the grid; values are then rounded up, so that value ≤ limit stays what it was.

    >>> found = log_codes([0.0, 0.01, 1.0, np.nan])
    >>> found["codes"].tolist()
    [0, 1, 65532, 65535]
    """
    given = np.asarray(values, np.float64).ravel()
    usual = np.isfinite(given) & (given > 0)
    logs = np.log(np.maximum(given[usual], TINY))
    limit = None if exact is None or not 0 < exact < math.inf else math.log(exact)
    ends = logs if limit is None else np.r_[logs, limit]
    low, high = (float(ends.min()), float(ends.max())) if len(ends) else (0.0, 0.0)
    step = max((high - low) / (_LAST - 2), 1e-9)
    if limit is not None:
        low = limit - math.ceil((limit - low) / step - 1e-6) * step  # so that the limit is a point of the grid
        places = np.ceil((logs - low) / step - 1e-6)
    else:
        places = np.rint((logs - low) / step)
    codes = np.zeros(given.shape, np.uint16)
    codes[usual] = 1 + np.clip(places, 0, _LAST - 1).astype(np.uint16)
    codes[np.isposinf(given)] = INFINITE
    codes[np.isnan(given) | (given < 0)] = MISSING
    return {"codes": codes, "low": low, "step": step}


def from_codes(found: dict[str, Any]) -> NDArray[np.float64]:
    """What a page reads back, float64; `widgets/src/diff/codes.ts` does the same.

    >>> from_codes(log_codes([0.0, 2.0])).round(6).tolist()
    [0.0, 2.0]
    """
    codes = np.asarray(found["codes"], np.uint16)
    values: NDArray[np.float64] = np.exp(found["low"] + (codes.astype(np.float64) - 1) * found["step"])
    values[codes == ZERO] = 0.0
    values[codes == INFINITE] = np.inf
    values[codes == MISSING] = np.nan
    return values
