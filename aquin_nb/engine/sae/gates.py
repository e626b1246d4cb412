"""From pre-activations to activations and back, entry by entry: ReLU, JumpReLU and the gated encoder.

The same code serves a dense block [n, d_sae] and the entries of a sparse pattern [nnz]: `take` brings a per-latent
tensor [d_sae] to the entries. `heads` gives one activation tensor for each reconstruction that the loss compares with
the target; the first is the dictionary's own, and only it trains the decoder.
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
        """From d loss / d head of each head: (d loss / d z, d loss / d parameter by entry). `l0` is the weight of one
        active entry."""
        ...


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
        return torch.ops.aten.threshold_backward(grads[0], z, 0), {}


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
        return [z * (z > self._threshold(z, p, take))]

    def backward(
        self, z: Tensor, grads: list[Tensor], l0: float, p: Parameters, take: Take
    ) -> tuple[Tensor, dict[str, Tensor]]:
        threshold = self._threshold(z, p, take)
        window = (z - threshold).abs() < self.width / 2
        by_threshold = (grads[0] * threshold + l0) * window * (-1 / self.width)
        return grads[0] * (z > threshold), {"log_threshold": by_threshold * threshold}

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
        return [self._magnitude(z, p, take).relu() * (z > 0), z.relu()]

    def backward(
        self, z: Tensor, grads: list[Tensor], l0: float, p: Parameters, take: Take
    ) -> tuple[Tensor, dict[str, Tensor]]:
        gain = take(p.extra["r_mag"].exp().to(z.dtype))
        bare = (z - take(p.b_enc.to(z.dtype))) * gain
        by_magnitude = grads[0] * ((z > 0) & (bare + take(p.extra["b_mag"].to(z.dtype)) > 0))
        by_gate = grads[1] * (z > 0)
        # z = projection + b_enc, and the magnitude sees the projection alone: b_enc gets the gate's part only.
        return by_gate + by_magnitude * gain, {
            "b_mag": by_magnitude,
            "r_mag": by_magnitude * bare,
            "b_enc": -by_magnitude * gain,
        }

    def _magnitude(self, z: Tensor, p: Parameters, take: Take) -> Tensor:
        bare = (z - take(p.b_enc.to(z.dtype))) * take(p.extra["r_mag"].exp().to(z.dtype))
        return bare + take(p.extra["b_mag"].to(z.dtype))


def gate(config: TrainConfig) -> Gate:
    """The gate of relu, jumprelu or gated."""
    if config.architecture == "jumprelu":
        return Jump(config)
    return Gated() if config.architecture == "gated" else Rectify()
