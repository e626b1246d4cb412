"""What the step of every architecture shares: what goes in and comes out, and pre-activations block by block.

An architecture gets the parameters and a batch and leaves gradients in `.grad`, written by hand; the loop in
`trainer.py` knows nothing else of it. Tests compare every gradient with autograd in float64.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .config import TrainConfig
from .kernels import Pattern
from .mesh import ALONE, Mesh
from .parameters import Parameters, grad

BLOCK_BYTES = {"cpu": 24 << 20, "cuda": 512 << 20}
"""Of a block's pre-activations. On a CPU it is kept below glibc's largest threshold for mmap, so that temporaries of a
block's size are recycled instead of being page-faulted in again."""


@dataclass(frozen=True)
class Batch:
    """Scaled rows x [n, d_in], their targets y [n, d_out] (x itself for an autoencoder), and each row's weight in the
    loss: `weights` [n], summing to 1 for `error="sum"`. `total` is the number of rows over all data ranks."""

    x: Tensor
    y: Tensor
    weights: Tensor
    total: int


@dataclass(frozen=True)
class Now:
    """What the schedules say at this step: k, and the weights of the sparsity and the pre-activation penalty.

    `dead`: dead latents of the whole dictionary; None where a rank sees all of them."""

    k: int
    sparsity: float
    pre_act: float
    dead: int | None = None


@dataclass(frozen=True)
class StepResult:
    """What a step saw: x̂ - y [n, d_out], and how many rows each latent fired for (int64 [d_sae])."""

    residual: Tensor
    fired: Tensor


class Architecture(ABC):
    """Fills `.grad` of every parameter for one batch; every rank of a mesh does so for its rows and latents."""

    block_bytes = BLOCK_BYTES
    biased = True
    """Compiled selections add b_enc themselves: a product that adds it first copies it to all rows."""

    def __init__(
        self, config: TrainConfig, *, transcoder: bool = False, mesh: Mesh = ALONE, compiled: bool = False
    ) -> None:
        """`compiled`: with the kernels that `cpu.compiled_kernels` compiled; tensors are then float32 on the CPU."""
        self.config, self.transcoder, self.mesh, self.compiled = config, transcoder, mesh, compiled
        self.low = torch.bfloat16 if config.dtype == "bfloat16" else None
        self.block_rows = config.block_rows
        self._buffer = torch.empty(0)
        self.rows_at_once = 0
        """Rows of the block last asked for, whether or not there was room for it; 0 before the first step."""

    @abstractmethod
    def step(self, p: Parameters, batch: Batch, dead: Tensor, now: Now) -> StepResult:
        """`dead` int64 [m] are the latents that have not fired for long, of those this rank holds."""

    def state(self) -> dict[str, float]:
        """What the next step needs of this one, for a checkpoint."""
        return {}

    def restore(self, state: dict[str, float]) -> None:  # noqa: B027  most have no state
        """Take `state()` back."""

    def forget_buffers(self) -> None:
        """Free what is kept between steps."""
        self._buffer = torch.empty(0)

    def _centred(self, p: Parameters, x: Tensor) -> Tensor:
        return x if self.transcoder else x - p.b_dec

    def _output(self, p: Parameters, decoded: Tensor, x: Tensor) -> Tensor:
        """The latents' part, summed over the ranks that hold them, with bias and skip connection added."""
        out = self.mesh.over_latents(decoded).add_(p.b_dec)
        return out.addmm_(x, p.extra["skip"]) if "skip" in p.extra else out

    def _close(self, p: Parameters, batch: Batch, grad_out: Tensor) -> None:
        """Gradients of b_dec and of the skip connection, from d loss / d x̂.

        Called while `b_enc.grad` is Σ_b d loss / d pre of each latent: b_dec is added to the output and, in an
        autoencoder, subtracted from the input, and the second part is one matrix-vector product with that sum instead
        of the full gradient of the input.
        """
        p.b_dec.grad = grad_out.sum(0)
        if not self.transcoder:
            p.b_dec.grad -= self.mesh.over_latents(grad(p.b_enc) @ p.enc)
        if "skip" in p.extra:
            p.extra["skip"].grad = batch.x.T @ grad_out

    def _blocks(self, p: Parameters, centred: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Pre-activations [rows, d_sae], block by block, in a buffer that is used again; b_enc is added if `biased`.

        A fresh tensor of this size costs page faults on every step, and a block stays nearer to the processor.
        """
        n, d_sae = centred.shape[0], p.enc.shape[0]
        dtype = self.low or centred.dtype
        room = self.block_bytes.get(centred.device.type, 24 << 20)
        rows = self.block_rows or max(256, room // (d_sae * dtype.itemsize))
        self.rows_at_once = rows = min(rows, n)
        if self._buffer.shape != (rows, d_sae) or self._buffer.device != centred.device or self._buffer.dtype != dtype:
            self._buffer = torch.empty((rows, d_sae), device=centred.device, dtype=dtype)
        weight, bias, x = p.enc.to(dtype).T, p.b_enc.to(dtype), centred.to(dtype)
        for start in range(0, n, rows):
            place = slice(start, min(n, start + rows))
            out = self._buffer[: place.stop - start]
            if self.biased:
                torch.addmm(bias, x[place], weight, out=out)
            else:
                torch.mm(x[place], weight, out=out)
            yield place, out

    def _exact(self, p: Parameters, centred: Tensor, pattern: Pattern, approximate: Tensor) -> Tensor:
        """Pre-activations of a pattern's entries in the parameters' dtype."""
        if self.low is None:
            return approximate
        return pattern.dots(centred, p.enc) + p.b_enc[pattern.indices]
