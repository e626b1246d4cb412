"""What a solver hands back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Found:
    """row_col: int64 [n_rows], the column of each row. bound: no one-to-one matching has a larger sum of
    similarities. rounds: how often the assignment problem was solved."""

    row_col: np.ndarray
    bound: float
    rounds: int
