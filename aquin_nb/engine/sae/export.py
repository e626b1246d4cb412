"""From training's parameters to a dictionary that works on raw activations."""

from __future__ import annotations

import torch
from torch import Tensor

from .dictionary import SparseAutoencoder
from .kernels import top_k
from .parameters import Parameters, Scaling
from .record import SaeConfig

SPREAD = 4
BLOCK = 1024


def dictionary(cfg: SaeConfig, p: Parameters, scaling: Scaling, calibration: Tensor | None = None) -> SparseAutoencoder:
    """The dictionary of parameters that saw s·x and t·y (s = scale_in, t = scale_out).

    With pre = s x W + c, activations f and t x̂ = f W_dec + b, dividing everything by t gives f / t = σ(x (s W / t) +
    c / t): the decoder keeps its rows, the encoder becomes s W / t, biases and thresholds are divided by t.

    `calibration`: scaled rows [n, d_in] that set the threshold of batchtopk and matryoshka.
    """
    s, t = scaling.scale_in, scaling.scale_out
    extra: dict[str, Tensor] = {}
    if "log_threshold" in p.extra:
        extra["threshold"] = p.extra["log_threshold"].exp() / t
    if "r_mag" in p.extra:
        extra |= {"r_mag": p.extra["r_mag"].clone(), "b_mag": p.extra["b_mag"] / t}
    if "skip" in p.extra:
        extra["W_skip"] = p.extra["skip"] * (s / t)
    if calibration is not None:
        assert cfg.k is not None
        value = threshold(p, calibration, cfg.k, transcoder=cfg.transcoder) / t
        extra["threshold"] = torch.full((cfg.d_sae,), value, dtype=torch.float32, device=p.enc.device)
    return SparseAutoencoder(cfg, (p.enc * (s / t)).T.contiguous(), p.dec.clone(), p.b_enc / t, p.b_dec / t, **extra)


@torch.no_grad()
def threshold(p: Parameters, x: Tensor, k: int, *, transcoder: bool) -> float:
    """The number that k pre-activations a row exceed on average over the scaled rows x [n, d_in]; never below 0.

    It lies halfway between the (n·k)-th and the next largest of all, so that no rounding decides about either of them;
    found among the largest `SPREAD`·k of each row, or more of them where a row has more above it.
    """
    n, d_sae = x.shape[0], p.enc.shape[0]
    count = min(SPREAD * k, d_sae)
    while True:
        parts = [
            top_k(torch.addmm(p.b_enc, rows if transcoder else rows - p.b_dec, p.enc.T), count)[0]
            for rows in torch.split(x, BLOCK)
        ]
        values = torch.cat(parts)
        if values.numel() <= n * k:
            return 0.0
        below, above = (float(values.flatten().kthvalue(values.numel() - n * k + i).values) for i in (0, 1))
        if count == d_sae or not bool((values.min(dim=1).values > below).any()):
            return max((below + above) / 2, 0.0)
        count = min(2 * count, d_sae)
