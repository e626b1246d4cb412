"""The trainable tensors of a dictionary, and their first values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...errors import DictionaryError
from .config import SELECTED, TrainConfig
from .kernels import Pattern, top_k

SCALES = 64
"""Encoder scales that a search tries, evenly in log between 0.1 and 5."""
SEARCH_ROWS = 512
PIECE = 1024


@dataclass
class Parameters:
    """Both matrices latent-major, so that a latent is one contiguous row.

    enc [d_sae, d_in], dec [d_sae, d_out], b_enc [d_sae], b_dec [d_out]; `extra` holds what only some architectures
    have: log_threshold [d_sae] (jumprelu), b_mag and r_mag [d_sae] (gated), skip [d_in, d_out] (transcoder).
    """

    enc: Tensor
    dec: Tensor
    b_enc: Tensor
    b_dec: Tensor
    extra: dict[str, Tensor] = field(default_factory=dict)

    def named(self) -> dict[str, Tensor]:
        return {"enc": self.enc, "dec": self.dec, "b_enc": self.b_enc, "b_dec": self.b_dec} | self.extra

    def all(self) -> list[Tensor]:
        return list(self.named().values())

    def clone(self) -> Parameters:
        return self.map(lambda tensor: tensor.detach().clone())

    def map(self, change: object) -> Parameters:
        """The same set with `change(tensor)` in the place of each tensor."""
        assert callable(change)
        extra = {name: change(tensor) for name, tensor in self.extra.items()}
        return Parameters(change(self.enc), change(self.dec), change(self.b_enc), change(self.b_dec), extra)


def grad(parameter: Tensor) -> Tensor:
    """The gradient that a step left."""
    assert parameter.grad is not None
    return parameter.grad


@dataclass(frozen=True)
class Scaling:
    """Training sees scale_in · x and scale_out · y; both have a mean squared norm of their width."""

    scale_in: float
    scale_out: float
    variance: float
    """Σ over d_out of the variance of scale_out · y, which FVU divides by."""


def scaling(x: Tensor, y: Tensor, config: TrainConfig) -> Scaling:
    """Scales and variance from a sample x [n, d_in], y [n, d_out] of raw rows.

    Raises:
        DictionaryError: the sample is all zero or overflows.
    """
    scales = []
    for rows in (x, y):
        square = float(rows.square().sum(1).mean())
        if not math.isfinite(square) or square <= 0:
            raise DictionaryError("The activations are all zero or not finite; there is nothing to learn from.")
        scales.append(math.sqrt(rows.shape[1] / square) if config.normalize == "dataset" else 1.0)
    variance = float(((y - y.mean(0)) * scales[1]).square().sum(1).mean())
    return Scaling(scales[0], scales[1], variance)


def geometric_median(rows: Tensor, iterations: int = 100, tolerance: float = 1e-6) -> Tensor:
    """The point with the smallest sum of distances to rows [n, d], by Weiszfeld's algorithm (Weiszfeld 1937).

    Stops when a step moves it by less than `tolerance` of its distance scale.
    """
    median = rows.mean(0)
    for _ in range(iterations):
        distances = torch.linalg.vector_norm(rows - median, dim=1).clamp_(min=1e-8)
        weights = 1 / distances
        moved = (rows * weights.unsqueeze(1)).sum(0) / weights.sum()
        step = float(torch.linalg.vector_norm(moved - median))
        median = moved
        if step < tolerance * float(distances.mean()):
            break
    return median


def initial(config: TrainConfig, x: Tensor, y: Tensor, *, transcoder: bool) -> Parameters:
    """First values from a sample of scaled rows x [n, d_in], y [n, d_out].

    Decoder rows are random directions of norm `decoder_norm`; an autoencoder's encoder is the decoder's transpose times
    `encoder_scale`, a transcoder's is random of the same norm; b_dec is as `config.bias` says.

    A penalised architecture starts sparse: JumpReLU with the threshold `config.threshold`, relu and gated with b_enc at
    its negative; with unit rows and the default 2, 2 % of the latents are active. From half of them active, 600 steps
    on a real model ended at four times the L0 and a higher error.
    """
    d_sae, d_in, d_out = config.d_sae, x.shape[1], y.shape[1]
    generator = torch.Generator().manual_seed(config.seed)
    dec = normalize(torch.randn(d_sae, d_out, generator=generator), dim=1) * config.decoder_norm
    if transcoder:
        enc = normalize(torch.randn(d_sae, d_in, generator=generator), dim=1) * config.decoder_norm
    else:
        enc = dec.clone()
    zeros = torch.zeros(d_sae)
    extra: dict[str, Tensor] = {}
    if config.architecture == "jumprelu":
        extra["log_threshold"] = torch.full((d_sae,), math.log(config.threshold))
    if config.architecture == "gated":
        extra |= {"b_mag": zeros.clone(), "r_mag": zeros.clone()}
    if config.skip:
        extra["skip"] = torch.zeros(d_in, d_out)
    centre = {"mean": lambda: y.mean(0), "geometric_median": lambda: geometric_median(y)}.get(config.bias)
    b_dec = centre() if centre is not None else torch.zeros(d_out)
    b_enc = torch.full((d_sae,), -config.threshold) if config.architecture in ("relu", "gated") else zeros
    p = Parameters(enc.to(x.device), dec.to(x.device), b_enc.to(x.device), b_dec.to(x.device).clone(), {})
    p.extra = {name: tensor.to(x.device) for name, tensor in extra.items()}
    if config.encoder_scale == "search":
        p.enc.mul_(best_scale(p, x[:SEARCH_ROWS], y[:SEARCH_ROWS], config, transcoder=transcoder))
    else:
        p.enc.mul_(config.encoder_scale)
    return p


def best_scale(p: Parameters, x: Tensor, y: Tensor, config: TrainConfig, *, transcoder: bool) -> float:
    """The factor on the encoder, of `SCALES` between 0.1 and 5, with the least squared error on a sample.

    One product encodes for all scales. Where k selects, the selection does not depend on the scale and the error is a
    parabola in it; with a threshold or a bias, each scale has its own active latents and is decoded on its own.
    """
    scales = torch.logspace(math.log10(0.1), math.log10(5), SCALES, dtype=torch.float64)
    pre = (x if transcoder else x - p.b_dec) @ p.enc.T
    target = (y - p.b_dec).double()
    if config.architecture in SELECTED:
        values, indices = top_k(pre, min(config.k or 32, pre.shape[1]))
        out = Pattern.fixed(indices, pre.shape[1]).decode(values.relu().reshape(-1), p.dec).double()
        square, product = float(out.square().sum()), float((out * target).sum())
        errors = (scales.square() * square - 2 * scales * product).tolist()
    else:
        errors = []
        for scale in scales.tolist():
            z = pre * scale
            f = z.sub_(config.threshold).relu_() if config.architecture == "relu" else z * (z > config.threshold)
            errors.append(float(((f @ p.dec).double() - target).square().sum()))
    return float(scales[min(range(SCALES), key=errors.__getitem__)])


@torch.no_grad()
def hold_norm(p: Parameters, norm: float) -> None:
    """Decoder rows back to their norm."""
    p.dec.mul_(norm / torch.linalg.vector_norm(p.dec, dim=1, keepdim=True).clamp_(min=1e-12))


@torch.no_grad()
def remove_parallel(p: Parameters, norm: float) -> None:
    """Project the decoder gradient onto the tangent of the sphere of rows of `norm`, which is no free direction."""
    # In pieces that stay in the cache between the two passes, and whose temporaries cost no page faults.
    piece = PIECE if p.dec.device.type == "cpu" else p.dec.shape[0]
    for gradient, rows in zip(torch.split(grad(p.dec), piece), torch.split(p.dec, piece), strict=True):
        gradient.addcmul_(rows, torch.linalg.vecdot(gradient, rows).div_(norm**2).unsqueeze(1), value=-1)
