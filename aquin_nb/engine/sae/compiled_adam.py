"""Adam for decoder rows of one norm on a CPU, compiled. Importing this module imports numba."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..compiled import compiled
from .workers import even, share


def _step_rows(
    rows: np.ndarray,
    grad: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    squares: np.ndarray,
    numbers: np.ndarray,
    start: int,
    stop: int,
) -> None:
    d = rows.shape[1]
    norm, step, root, epsilon, decay, new_mean, old_square, new_square = numbers
    scale = np.float32(1) / (norm * norm)
    for r in range(start, stop):
        along = np.float32(0)
        for j in range(d):
            along += grad[r, j] * rows[r, j]
        along *= scale
        length = size = np.float32(0)
        for j in range(d):
            g = grad[r, j] - along * rows[r, j]
            size += g * g
            m = mean[r, j] + new_mean * (g - mean[r, j])
            v = old_square * square[r, j] + new_square * (g * g)
            mean[r, j], square[r, j] = m, v
            # `np.divide`, as `/` would look for a zero and so not be vectorised.
            moved = decay * rows[r, j] - np.divide(step * m, root * np.sqrt(v) + epsilon)
            rows[r, j] = moved
            length += moved * moved
        squares[r] = size
        back = norm / max(np.sqrt(length), np.float32(1e-12))
        for j in range(d):
            rows[r, j] *= back


step_rows = compiled(_step_rows, reorder_sums=True)


def step(
    rows: Tensor,
    grad: Tensor,
    moments: dict[str, Tensor],
    *,
    norm: float,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    decay: float,
) -> Tensor:
    """One step of Adam with decoupled weight decay, in place, on rows [d_sae, d] that stay at `norm`.

    The gradient's part along a row is removed first (`parameters.remove_parallel`), and the row set back to its norm
    afterwards (`parameters.hold_norm`): one pass over memory instead of five.

    Args:
        grad: [d_sae, d]; left as it is. moments: exp_avg, exp_avg_sq and step, as `torch.optim.Adam` keeps them.
        lr, betas, eps, decay: of `torch.optim.AdamW`. All tensors are float32 and contiguous.

    Returns:
        The squared norm of each row's gradient without that part [d_sae].
    """
    moments["step"] += 1
    t = float(moments["step"])
    root = 1 / (1 - betas[1] ** t) ** 0.5
    numbers = (norm, lr / (1 - betas[0] ** t), root, eps, 1 - lr * decay, 1 - betas[0], betas[1], 1 - betas[1])
    squares = torch.empty(rows.shape[0], dtype=torch.float32)
    single = torch.tensor(numbers, dtype=torch.float32)
    tensors = (rows, grad, moments["exp_avg"], moments["exp_avg_sq"], squares, single)
    arrays: list[Any] = [tensor.numpy() for tensor in tensors]
    share(even(rows.shape[0]), partial(step_rows, *arrays))
    return squares
