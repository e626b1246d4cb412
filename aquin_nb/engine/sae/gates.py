"""From pre-activations to activations and back, entry by entry: ReLU, JumpReLU and the gated encoder.

The same code serves a dense block [n, d_sae] and the entries of a sparse pattern [nnz]: `take` brings a per-latent
tensor [d_sae] to the entries. `heads` gives one activation tensor for each reconstruction that the loss compares with
the target; the first is the dictionary's own, and only it trains the decoder.

Masks are written with torch's own backward operators: a comparison and a product with its result are several times
slower than the one vectorised pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from .config import TrainConfig
from .parameters import Parameters

Take = Callable[[Tensor], Tensor]


class Gate(Protocol):
    """An elementwise encoder nonlinearity and its derivative."""

    penalised: int
    """Which head the sparsity penalty is on."""

    def bound(self, p: Parameters) -> Tensor | float:
        """Below it a pre-activation has neither value nor gradient."""
        ...

    def heads(self, z: Tensor, p: Parameters, take: Take) -> list[Tensor]:
        """Activations ≥ 0 of each head; z may be overwritten, as long as `backward` still understands it."""
        ...

    def backward(
        self, z: Tensor, grads: list[Tensor], l0: float, p: Parameters, take: Take
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """From d loss / d head of each head, which may be overwritten: (d loss / d z, d loss / d parameter by entry).

        `l0` is the weight of one active entry.
        """
        ...


def where_positive(values: Tensor, test: Tensor) -> Tensor:
    """values where test > 0, else 0; overwrites `values`."""
    kept: Tensor = torch.ops.aten.threshold_backward.grad_input(values, test, 0, grad_input=values)
    return kept


def where_within(values: Tensor, test: Tensor, half: float) -> Tensor:
    """values where |test| < half, else 0."""
    kept: Tensor = torch.ops.aten.hardtanh_backward(values, test, -half, half)
    return kept


class Rectify:
    """f = relu(z)."""

    penalised = 0

    def bound(self, p: Parameters) -> float:
        return 0.0

    def heads(self, z: Tensor, p: Parameters, take: Take) -> list[Tensor]:
        return [z.relu_()]  # in place: backward needs only the sign

    def backward(
        self, z: Tensor, grads: list[Tensor], l0: float, p: Parameters, take: Take
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return where_positive(grads[0], z), {}


class Jump:
    """f = z where z > θ, else 0, with θ = exp(log_threshold) (Rajamanoharan et al. 2024, arXiv 2407.14435).

    Straight-through, rectangular kernel of width ε (section 4, equations 11 and 12 there):
    ∂f/∂θ = -(θ/ε) [|z - θ| < ε/2] and ∂[z > θ]/∂θ = -(1/ε) [|z - θ| < ε/2].
    """

    penalised = 0

    def __init__(self, config: TrainConfig) -> None:
        self.width = config.bandwidth

    def bound(self, p: Parameters) -> Tensor:
        return p.extra["log_threshold"].exp() - self.width / 2

    def heads(self, z: Tensor, p: Parameters, take: Take) -> list[Tensor]:
        return [where_positive(z.clone(), z - self._threshold(z, p, take))]

    def backward(
        self, z: Tensor, grads: list[Tensor], l0: float, p: Parameters, take: Take
    ) -> tuple[Tensor, dict[str, Tensor]]:
        threshold = self._threshold(z, p, take)
        over = z - threshold
        by_threshold = where_within((grads[0] * threshold).add_(l0), over, self.width / 2)
        by_threshold.mul_(threshold).mul_(-1 / self.width)
        return where_positive(grads[0], over), {"log_threshold": by_threshold}

    def _threshold(self, z: Tensor, p: Parameters, take: Take) -> Tensor:
        return take(p.extra["log_threshold"].exp().to(z.dtype))


class Gated:
    """f = relu(exp(r_mag) (z - b_enc) + b_mag) where z > 0 (Rajamanoharan et al. 2024, arXiv 2404.16014, section 3.2).

    The second head relu(z) is penalised and reconstructs through a decoder held constant, which trains the gate.
    """

    penalised = 1

    def bound(self, p: Parameters) -> float:
        return 0.0

    def heads(self, z: Tensor, p: Parameters, take: Take) -> list[Tensor]:
        bare, b_mag = self._magnitude(z, p, take)
        return [where_positive(bare.add_(b_mag).relu_(), z), z.relu()]

    def backward(
        self, z: Tensor, grads: list[Tensor], l0: float, p: Parameters, take: Take
    ) -> tuple[Tensor, dict[str, Tensor]]:
        gain = take(p.extra["r_mag"].exp().to(z.dtype))
        bare, b_mag = self._magnitude(z, p, take)
        by_magnitude = where_positive(where_positive(grads[0], z), bare + b_mag)
        through = by_magnitude * gain
        # z = projection + b_enc, and the magnitude sees the projection alone: b_enc gets the gate's part only.
        return where_positive(grads[1], z).add_(through), {
            "b_mag": by_magnitude,
            "r_mag": bare.mul_(by_magnitude),
            "b_enc": through.neg_(),
        }

    def _magnitude(self, z: Tensor, p: Parameters, take: Take) -> tuple[Tensor, Tensor]:
        """exp(r_mag) (z - b_enc), fresh, and b_mag."""
        bare = (z - take(p.b_enc.to(z.dtype))).mul_(take(p.extra["r_mag"].exp().to(z.dtype)))
        return bare, take(p.extra["b_mag"].to(z.dtype))


def gate(config: TrainConfig) -> Gate:
    """The gate of relu, jumprelu or gated."""
    if config.architecture == "jumprelu":
        return Jump(config)
    return Gated() if config.architecture == "gated" else Rectify()
