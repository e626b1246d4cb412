"""Fused attention: torch's own kernels where a model would build the whole matrix of scores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from .untyped import HFModel, Untyped

PLAIN, FUSED = "eager", "sdpa"
"""transformers' names for a product, a softmax and a product, and for torch's scaled dot product attention."""

ROUNDING = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""How far the two may be apart, as a share of the norm: sums in another order, over all blocks."""


def fuse(model: HFModel, stream: Callable[[], Tensor]) -> bool:
    """Let `model` attend through the fused kernels, if it then computes the same to rounding; whether it does now.

    Some models cap or shift their scores in a way that the kernels do not know, and transformers does not always
    refuse those. So this compares, on ids that `stream` runs.

    Args:
        model: its configuration is changed in place.
        stream: what the last block gives for some rows of ids, in the way that the model is set to now.
    """
    before = model.config._attn_implementation
    if before != PLAIN:
        return bool(before == FUSED)
    plain = stream().float()
    try:
        model.set_attn_implementation(FUSED)
        fused = stream().float()
    except (ValueError, ImportError, RuntimeError, TypeError):  # a model that cannot: each says so in its own way
        model.set_attn_implementation(PLAIN)
        return False
    close = (fused - plain).norm() <= ROUNDING.get(model.dtype, 0.0) * plain.norm()
    if not bool(close):
        model.set_attn_implementation(PLAIN)
    return bool(close)


def delegate(part: Untyped) -> None:
    """Let a bridge's attention run Hugging Face's own, as long as nobody looks inside.

    The bridge computes attention anew so that scores and patterns have hook points; a hook on any of them brings that
    way back, for this part and this pass.
    """
    from transformer_lens.hook_points import HookPoint
    from transformer_lens.model_bridge.generalized_components import AttentionBridge

    watched, native = part.forward, partial(AttentionBridge.forward, part)
    outside = {id(part.hook_in), id(part.hook_out)}
    inside = [point for point in part.modules() if isinstance(point, HookPoint) and id(point) not in outside]

    def forward(*args: Untyped, **kwargs: Untyped) -> Untyped:
        return (watched if any(point.has_hooks() for point in inside) else native)(*args, **kwargs)

    part.__dict__["forward"] = forward  # setting an attribute of a bridge sets it on the module that it wraps


def undo(part: nn.Module) -> None:
    """Back to the bridge's own."""
    part.__dict__.pop("forward", None)
