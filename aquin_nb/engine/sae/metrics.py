"""Reconstruction metrics, with the reduction each one uses said in words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .dictionary import SparseAutoencoder


@dataclass(frozen=True)
class Metrics:
    """Figures over `rows` rows.

    recon_mse: mean over rows of the squared error summed over d_in, in the activations' own units squared.
    fvu: fraction of variance unexplained, Σ‖x - x̂‖² / Σ‖x - mean(x)‖²; 1 is what the mean alone gives. NaN when the
        rows do not vary.
    l0: mean number of active latents a row.
    never_fired: latents that fired for none of these rows.
    """

    rows: int
    recon_mse: float
    fvu: float
    l0: float
    never_fired: int


@torch.no_grad()
def evaluate(sae: SparseAutoencoder, x: Tensor, batch_size: int = 2048) -> Metrics:
    """Metrics of `sae` on raw activations x [n, d_in]."""
    mean = x.to(torch.float32).mean(0).to(sae.device)
    error = variance = active = 0.0
    fired = torch.zeros(sae.cfg.d_sae, dtype=torch.bool, device=sae.device)
    for batch in torch.split(x, batch_size):
        rows = batch.to(sae.device, torch.float32)
        if sae.cfg.architecture == "topk":
            values, indices = sae.encode_sparse(rows)
            fired[indices[values > 0]] = True
            active += float((values > 0).sum())
        else:
            f = sae.encode(rows)
            fired |= (f > 0).any(0)
            active += float((f > 0).sum())
        error += float((rows - sae.reconstruct(rows)).square().sum())
        variance += float((rows - mean).square().sum())
    n = x.shape[0]
    return Metrics(
        rows=n,
        recon_mse=error / n,
        fvu=error / variance if variance > 0 else float("nan"),
        l0=active / n,
        never_fired=int((~fired).sum()),
    )
