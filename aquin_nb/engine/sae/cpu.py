"""Whether a training on a CPU runs on compiled kernels or on plain torch.

The configuration alone decides, never a clock or what happens to be compiled already: the two round differently, and
the same training is to end with the same weights each time. A checkpoint keeps the choice.
"""

from __future__ import annotations

import torch

from .config import SELECTED, TrainConfig

WORTH = 10**12
"""Multiply-adds of a training's encoder products from which kernels are compiled: ten seconds of one core, and twice
that or more for the training. Compiling takes four seconds once on a machine, and saves a fifth to a third of every
training."""


def compiled_kernels(
    config: TrainConfig, d_in: int, device: torch.device, kept: bool | None = None
) -> tuple[bool, str | None]:
    """Whether to use them for a resolved config, and a sentence where they were meant to be and cannot.

    They are compiled here, or read from the disk. `kept`: what an interrupted training's checkpoint says.
    """
    assert config.steps is not None
    if device.type != "cpu" or config.architecture not in SELECTED:
        return False, None  # a step of the others is dense products for the most part: 1 % was all that was saved
    if not (config.steps * config.batch_size * d_in * config.d_sae >= WORTH if kept is None else kept):
        return False, None
    try:
        _compile(torch.bfloat16 if config.dtype == "bfloat16" else torch.float32)
    # A compiler can fail in any way, and so can the disk that it writes to: neither is a reason not to train.
    except Exception as error:
        text = str(error).strip().splitlines()
        why = "numba is not installed" if isinstance(error, ImportError) else f"numba failed ({text[0][:120]})"
        change = " Sums round differently from here on, so the weights will not be equal to the bit." if kept else ""
        return False, f"Plain torch's kernels, which are a quarter slower than compiled ones: {why}.{change}"
    return True, None


def _compile(dtype: torch.dtype) -> None:
    """Call every kernel with the types that a training gives it."""
    from .compiled_adam import step
    from .compiled_products import reconstruct, weight_gradients
    from .compiled_selection import above, top_k
    from .kernels import Pattern

    pre, bias = torch.ones(2, 64, dtype=dtype), torch.zeros(64)
    above(pre, 0.0, bias, room=64)
    values, indices = top_k(pre, 2, bias)
    pattern, f = Pattern.fixed(indices, 64), values.flatten()
    dec, x = torch.ones(64, 4), torch.ones(2, 4)
    residual, grad_out, grad_z = reconstruct(pattern, f, dec, x[0], x, x[:, 0])
    gradient = weight_gradients(pattern, f, grad_z, grad_out, residual).dec
    moments = {"step": torch.zeros(()), "exp_avg": torch.zeros(64, 4), "exp_avg_sq": torch.zeros(64, 4)}
    step(dec, gradient, moments, norm=1.0, lr=0.1, betas=(0.9, 0.98), eps=1e-8, decay=0.0)
