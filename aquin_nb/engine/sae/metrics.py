"""Reconstruction metrics, with the reduction each one uses said in words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .dictionary import SparseAutoencoder
from .kernels import decode_sparse


@dataclass(frozen=True)
class Metrics:
    """Figures over `rows` rows.

    recon_mse: mean over rows of the squared error summed over d_out, in the activations' own units squared.
    fvu: fraction of variance unexplained, Σ‖y - ŷ‖² / Σ‖y - mean(y)‖²; 1 is what the mean alone gives. NaN when the
        rows do not vary.
    cosine: mean over rows of the cosine between reconstruction and target.
    l0: mean number of active latents a row.
    never_fired: latents that fired for none of these rows.
    """

    rows: int
    recon_mse: float
    fvu: float
    cosine: float
    l0: float
    never_fired: int


@torch.no_grad()
def evaluate(sae: SparseAutoencoder, x: Tensor, y: Tensor | None = None, batch_size: int = 1024) -> Metrics:
    """Metrics of `sae` on raw activations x [n, d_in], against y [n, d_out] for a transcoder (default: x itself)."""
    y = x if y is None else y
    mean = y.double().mean(0).to(sae.device)
    error = variance = cosine = active = 0.0
    fired = torch.zeros(sae.cfg.d_sae, dtype=torch.bool, device=sae.device)
    for batch, wanted in zip(torch.split(x, batch_size), torch.split(y, batch_size), strict=True):
        rows, target = batch.to(sae.device, torch.float32), wanted.to(sae.device, torch.float32)
        if sae.cfg.architecture == "topk":
            values, indices = sae.encode_sparse(rows)
            fired[indices[values > 0]] = True
            active += float((values > 0).sum())
            out = decode_sparse(values, indices, sae.W_dec) + sae.b_dec
        else:
            f = sae.encode(rows)
            fired |= (f > 0).any(0)
            active += float((f > 0).sum())
            out = sae.decode(f)
        if sae.W_skip is not None:
            out = out + rows @ sae.W_skip
        # In float64: squares of what is very large or small leave float32's range.
        out, target = out.double(), target.double()
        error += float((target - out).square().sum())
        cosine += float(torch.nn.functional.cosine_similarity(out, target, dim=1, eps=1e-60).sum())
        variance += float((target - mean).square().sum())
    n = x.shape[0]
    return Metrics(
        rows=n,
        recon_mse=error / n,
        fvu=error / variance if variance > 0 else float("nan"),
        cosine=cosine / n,
        l0=active / n,
        never_fired=int((~fired).sum()),
    )
