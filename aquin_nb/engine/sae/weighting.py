"""How much each row of a batch counts in the squared error."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def row_weights(y: Tensor, error: Literal["sum", "variance", "row"]) -> Tensor:
    """w [n] of the loss Σ_b w_b ‖x̂_b - y_b‖² over the targets y [n, d_out] of a whole batch.

    sum       1 / n: the squared error summed over d_out, averaged over rows
    variance  1 / Σ_b ‖y_b - ȳ‖²: the batch's fraction of variance unexplained
    row       1 / (n ‖y_b - ȳ‖²): the mean over rows of each row's own fraction
    """
    n = y.shape[0]
    if error == "sum":
        return torch.full((n,), 1 / n, dtype=y.dtype, device=y.device)
    distances = (y - y.mean(0)).square().sum(1)
    # Copies of one row differ by rounding only; a weight of 1 / rounding would blow the step up.
    floor = 1e-6 * y.square().sum(1).mean()
    floor = floor + (floor == 0)
    if error == "variance":
        return (1 / distances.sum().clamp(min=floor)).expand(n)
    return 1 / (n * distances.clamp(min=floor))
