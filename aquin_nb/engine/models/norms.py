"""The inside of a norm: its value before gain and bias, by a formula that is checked on the norm itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .taps import Change


def is_norm(module: nn.Module) -> bool:
    """LayerNorm, RMSNorm and their like; told by the class, because a norm has no other mark."""
    return "norm" in type(module).__name__.lower()


def normaliser(module: nn.Module, x: Tensor, y: Tensor) -> Change | None:
    """How a norm's input becomes its value before gain and bias; None where neither formula explains `y` = norm(`x`).

    LayerNorm: (x - mean) · rsqrt(mean((x - mean)²) + eps); RMSNorm: x · rsqrt(mean(x²) + eps), over the last
    dimension, in float32 (float64 stays), returned in x's dtype.
    """
    own = getattr(module, "_modules", {}).get("_original_component", module)  # what TransformerLens has wrapped
    eps = next((getattr(own, name) for name in ("eps", "variance_epsilon", "epsilon") if hasattr(own, name)), None)
    if not isinstance(eps, float):
        return None
    gain, bias = getattr(own, "weight", None), getattr(own, "bias", None)
    offset = torch.zeros((), device=x.device) if bias is None else bias.float()
    tolerance = 1e-4 if x.dtype == torch.float32 else 2e-2
    for centred in (False, True):
        inside = _formula(centred, eps)
        value = inside(x.float())
        # gemma keeps its gain as a distance from 1
        for factor in (torch.ones_like(value),) if gain is None else (gain.float(), 1 + gain.float()):
            if torch.allclose(value * factor + offset, y.float(), rtol=tolerance, atol=tolerance):
                return inside
    return None


def _formula(centred: bool, eps: float) -> Change:
    def inside(x: Tensor) -> Tensor:
        wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
        if centred:
            wide = wide - wide.mean(-1, keepdim=True)
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)

    return inside
