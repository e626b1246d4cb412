"""What a training says of itself while it runs: one point now and then, measured over the batches since the last."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import torch
from torch import Tensor

PIECE = 256

BINS = 40
"""Of the density histogram: log10 of the firing rate from -6 to 0, evenly."""


class Point(NamedTuple):
    """One logged point. Means are over the rows since the point before, unless said otherwise.

    step, tokens: so far. recon_mse: squared error summed over d_out, in the activations' own units. fvu: the same over
    the variance of a sample of the data (NaN when the rows do not vary); explained_variance: 1 - fvu. cosine: of x̂ and
    y, mean over the rows of the last batch. l0: active latents a row. dead: latents that fired for none of the last
    `dead_after_tokens` rows. lr: of this step. grad_norm: of this step, all parameters, as the optimiser saw it, scaled
    activations. tokens_per_second: since the point before.
    """

    step: int
    tokens: int
    recon_mse: float
    fvu: float
    explained_variance: float
    cosine: float
    l0: float
    dead: int
    lr: float
    grad_norm: float
    tokens_per_second: float


COLUMNS = Point._fields


class Window:
    """Sums since the last point. They stay on the device until it is logged: reading them would stall a GPU."""

    def __init__(self, d_sae: int, device: torch.device) -> None:
        self.rows = 0
        self.error = torch.zeros((), device=device, dtype=torch.float64)
        self.fired = torch.zeros(d_sae, device=device, dtype=torch.int64)
        self.began = time.monotonic()

    def add(self, squared_error: Tensor, fired: Tensor, rows: int) -> None:
        self.rows += rows
        self.error += squared_error
        self.fired += fired

    def clear(self) -> None:
        self.rows = 0
        self.error.zero_()
        self.fired.zero_()
        self.began = time.monotonic()

    def seconds(self) -> float:
        """Since the last point."""
        return time.monotonic() - self.began

    def density(self) -> list[int]:
        """Latents in each of `BINS` bins of log10(firing rate) from -6 to 0; the first also has the silent ones."""
        rate = self.fired.double() / max(1, self.rows)
        place = ((rate.clamp(min=1e-6).log10() + 6) * (BINS / 6)).long().clamp_(0, BINS - 1)
        counts: list[int] = torch.bincount(place, minlength=BINS).tolist()
        return counts

    def state(self) -> dict[str, Tensor | int | float]:
        sums = {"error": self.error.cpu().clone(), "fired": self.fired.cpu().clone()}
        return {"rows": self.rows, "seconds": self.seconds(), **sums}

    def restore(self, state: dict[str, Tensor | int | float]) -> None:
        error, fired, rows, seconds = (state[name] for name in ("error", "fired", "rows", "seconds"))
        assert isinstance(error, Tensor)
        assert isinstance(fired, Tensor)
        assert isinstance(rows, int)
        assert isinstance(seconds, float)
        self.rows = rows
        self.began = time.monotonic() - seconds  # NaN stays NaN until the next point
        self.error.copy_(error)
        self.fired.copy_(fired)


def mean_cosine(residual: Tensor, y: Tensor) -> float:
    """Mean over rows of the cosine of y + residual and y, both [n, d]; NaN for no row."""
    n = y.shape[0]
    # On a CPU in pieces that stay in the cache over the passes, and whose temporaries are small.
    piece = max(1, n) if y.is_cuda else PIECE
    total = y.new_zeros(())
    for error, row in zip(torch.split(residual, piece), torch.split(y, piece), strict=True):
        other = error + row
        lengths = torch.linalg.vector_norm(other, dim=1) * torch.linalg.vector_norm(row, dim=1)
        total += (torch.linalg.vecdot(other, row) / lengths.clamp_(min=1e-8)).sum()
    return float(total) / n if n else math.nan
