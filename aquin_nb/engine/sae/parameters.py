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
LARGEST = 1e25
"""Root mean square of activations: squares of what is this large, or as small, leave float32's range."""
ROUNDING = 1e-10
"""Share of the mean square below which a variance is rounding."""


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
    """Σ over d_out of the variance of scale_out · y, which FVU divides by; 0 when the rows do not vary."""


def scaling(x: Tensor, y: Tensor, config: TrainConfig) -> Scaling:
    """Scales and variance from a sample x [n, d_in], y [n, d_out] of raw rows.

    Raises:
        DictionaryError: the sample is all zero, or too large or too small for float32 arithmetic.
    """
    scales, sizes = [], []
    for rows in (x, y):
        size = math.sqrt(_squares(rows) / rows.shape[1])
        if size == 0:
            raise DictionaryError("The activations are all zero; there is nothing to learn from.")
        if not 1 / LARGEST <= size <= LARGEST:
            raise DictionaryError(
                f"The activations are of size {size:.0e} (root mean square), too {'large' if size > 1 else 'small'} for"
                " float32. Multiply them by a constant first."
            )
        sizes.append(size)
        scales.append(1 / size if config.normalize == "dataset" else 1.0)
    variance = _squares((y - y.mean(0)) * scales[1])
    # Copies of one row differ by rounding only, and shares of that would mean nothing.
    varies = variance > ROUNDING * y.shape[1] * (sizes[1] * scales[1]) ** 2
    return Scaling(scales[0], scales[1], variance if varies else 0.0)


def _squares(rows: Tensor) -> float:
    """The mean over rows of the squared norm; in float64, where no float32 overflows."""
    return float(torch.linalg.vector_norm(rows, dtype=torch.float64)) ** 2 / rows.shape[0]


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

    A penalised architecture starts sparse: a latent is active where its pre-activation lies `config.threshold` standard
    deviations above the mean, which 2 % of normal ones do at the default of 2. That is JumpReLU's first θ; relu and
    gated have b_enc at its negative. From half of the latents active, 600 steps on a real model ended at four times the
    L0 and a higher error.
    """
    d_sae, d_in, d_out = config.d_sae, x.shape[1], y.shape[1]
    generator = torch.Generator().manual_seed(config.seed)

    def directions(width: int) -> Tensor:
        rows = torch.randn(d_sae, width, generator=generator, dtype=torch.float32, device="cpu")
        return (normalize(rows, dim=1) * config.decoder_norm).to(x.device)

    def full(value: float) -> Tensor:
        return torch.full((d_sae,), value, dtype=torch.float32, device=x.device)

    dec = directions(d_out)
    enc = directions(d_in) if transcoder else dec.clone()
    centre = {"mean": lambda: y.mean(0), "geometric_median": lambda: geometric_median(y)}.get(config.bias)
    b_dec = centre().clone() if centre is not None else torch.zeros_like(y[0])
    p = Parameters(enc, dec, full(0.0), b_dec)
    if config.encoder_scale == "search":
        enc.mul_(best_scale(p, x[:SEARCH_ROWS], y[:SEARCH_ROWS], config, transcoder=transcoder))
    else:
        enc.mul_(config.encoder_scale)
    if config.skip:
        p.extra["skip"] = torch.zeros(d_in, d_out, dtype=torch.float32, device=x.device)
    if config.architecture not in SELECTED:
        threshold = config.threshold * _spread(enc, x)
        p.b_enc.sub_(_offset(p, x, transcoder))
        if config.architecture == "jumprelu":
            p.extra["log_threshold"] = full(math.log(threshold))
        else:
            p.b_enc.sub_(threshold)
        if config.architecture == "gated":
            p.extra |= {"b_mag": full(0.0), "r_mag": full(0.0)}
    return p


def _spread(enc: Tensor, x: Tensor) -> float:
    """The standard deviation of the pre-activations x Wᵀ about each latent's mean, for rows of W in any direction."""
    centred = max(_squares(x - x.mean(0)), ROUNDING * _squares(x))
    return math.sqrt(centred / x.shape[1] * _squares(enc))


def _offset(p: Parameters, x: Tensor, transcoder: bool) -> Tensor:
    """The mean of each latent's pre-activation [d_sae], where b_dec does not take it away."""
    mean = x.mean(0)
    return p.enc @ (mean if transcoder else mean - p.b_dec)


def best_scale(p: Parameters, x: Tensor, y: Tensor, config: TrainConfig, *, transcoder: bool) -> float:
    """The factor on the encoder, of `SCALES` between 0.1 and 5, with the least squared error on a sample.

    One product encodes for all scales: k selects the same latents at each, and a threshold in standard deviations lets
    the same through, so that the error is a parabola in the scale.
    """
    scales = torch.logspace(math.log10(0.1), math.log10(5), SCALES, dtype=torch.float64)
    pre = (x if transcoder else x - p.b_dec) @ p.enc.T
    target = (y - p.b_dec).double()
    if config.architecture in SELECTED:
        values, indices = top_k(pre, min(config.k or 32, pre.shape[1]))
        out = Pattern.fixed(indices, pre.shape[1]).decode(values.relu().reshape(-1), p.dec).double()
    else:
        over = pre.sub_(_offset(p, x, transcoder)) - config.threshold * _spread(p.enc, x)
        f = over.relu_() if config.architecture == "relu" else pre * (over > 0)
        out = (f @ p.dec).double()
    square, product = float(out.square().sum()), float((out * target).sum())
    errors = (scales.square() * square - 2 * scales * product).tolist()
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
