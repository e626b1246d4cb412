"""Similarities of two sets of directions: fast ones in blocks, with a proven error, and exact ones of chosen pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ...numerics import fast_dtype

BLOCK = {"cpu": 1024, "cuda": 8192}
"""Rows and columns of a block. On a CPU it stays in the cache while it is searched."""

CHUNK = 256
"""Rows whose lengths are computed at once, from the cache."""

GATHERED = 1 << 25
"""Numbers that are gathered at once for exact pairs on a GPU."""


class Similarities:
    """A Bᵀ of float32 rows A [n_a, d] and B [n_b, d] on one device.

    An entry x of a block obeys |x - a·b| ≤ row_error[i] + col_error[j] + slope · |x|, where a·b is the product of the
    float32 rows in exact arithmetic. What is in it:

    - the sum of d products in float32, in any order: at most γ |a||b| with γ = (d + 8) 2⁻²⁴ (Higham 2002, eq. 3.5, with
      room for its second-order term), and twice that on a GPU, whose units may cut off where a CPU rounds;
    - rows rounded to bfloat16, a' and b': at most |a - a'||b| + |a'||b - b'| (Cauchy-Schwarz);
    - the entry rounded to bfloat16, which has 8 significant bits: at most 2⁻⁸ of it.

    It holds while `full_float32()` is in force.
    """

    def __init__(self, A: Tensor, B: Tensor, *, low: torch.dtype | None = None) -> None:
        """low: dtype of the blocks' product, bfloat16, float32 or float64; by default what is fastest here of the first
        two (float32 on a GPU)."""
        on_cpu = A.device.type == "cpu"
        self.low = low or (fast_dtype("cpu", A.shape[1]) if on_cpu else torch.float32)
        self.A, self.B = A, B
        self.compiled = on_cpu
        """Blocks are searched by compiled loops; on a GPU, torch does it."""
        self._A, self._B = A.to(self.low), B.to(self.low)
        self.size = BLOCK["cpu" if on_cpu else "cuda"]
        lengths_a, lengths_b = _lengths(A), _lengths(B)
        self._lengths = lengths_a, lengths_b
        longest_a, longest_b = lengths_a.max(initial=0.0), lengths_b.max(initial=0.0)
        gamma = (A.shape[1] + 8) * 2.0 ** ((-53 if self.low == torch.float64 else -24) + (0 if on_cpu else 1))
        # |a||b| is below both |a| · longest_b and longest_a · |b|, so also below half of each.
        self.row_error = 0.5 * gamma * longest_b * lengths_a
        self.col_error = 0.5 * gamma * longest_a * lengths_b
        self.slope = 0.0
        if self.low == torch.bfloat16:
            self.slope = 1.01 * 2.0**-8
            longer = 1 + 2.0**-8  # |a'| ≤ longer · |a|
            self.row_error = longer**2 * self.row_error + _lengths(A, self._A) * longest_b
            self.col_error = longer**2 * self.col_error + _lengths(B, self._B) * longer * longest_a
        space = min(self.size, A.shape[0]) * min(self.size, B.shape[0])
        self._product = torch.empty(space, dtype=self.low, device=A.device)
        self._entries = torch.empty(space, device=A.device) if self.low == torch.bfloat16 else self._product

    def finer(self) -> Similarities:
        """The same with blocks of the next larger dtype, as far as there is one."""
        finer = {torch.bfloat16: torch.float32, torch.float32: torch.float64}
        return Similarities(self.A, self.B, low=finer[self.low]) if self.low in finer else self

    @property
    def error(self) -> float:
        """The largest error of any entry up to 1."""
        return float(self.row_error.max() + self.col_error.max()) + self.slope

    @property
    def shape(self) -> tuple[int, int]:
        return self.A.shape[0], self.B.shape[0]

    @property
    def device(self) -> torch.device:
        return self.A.device

    def at_most(self, row_floor: np.ndarray, col_floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the similarity of a pair is at most whose entry in a block is at most row_floor[i] and col_floor[j]:
        both of two float64 bounds, [n_rows] and [n_cols]."""
        row = row_floor + self.slope * np.abs(row_floor) + self.row_error + self.col_error.max()
        col = col_floor + self.slope * np.abs(col_floor) + self.col_error + self.row_error.max()
        return row, col

    def crudest(self) -> tuple[np.ndarray, np.ndarray]:
        """Gains [n_a] and prices [n_b] that need the lengths of the rows only (Cauchy-Schwarz)."""
        return self._lengths[0] * self._lengths[1].max(initial=0.0), np.zeros(self.shape[1])

    def rows(self, chosen: np.ndarray | slice) -> Tensor:
        """Rows of A for `block`, of its dtype."""
        return self._A[_index(chosen)]

    def cols(self, chosen: np.ndarray | slice) -> Tensor:
        """Rows of B for `block`, of its dtype."""
        return self._B[_index(chosen)]

    def block(self, rows: Tensor, cols: Tensor) -> Tensor:
        """[rows, cols] of at most `size` each, with the error that the class states; the next call reuses its memory.

        float32, or float64 if that is `low`.
        """
        shape = rows.shape[0], cols.shape[0]
        count = shape[0] * shape[1]
        product = torch.mm(rows, cols.T, out=self._product[:count].view(shape))
        return self._entries[:count].view(shape).copy_(product) if self.low == torch.bfloat16 else product

    def exact_block(self, rows: np.ndarray | slice, cols: np.ndarray | slice) -> Tensor:
        """float64 [rows, cols], wrong by at most d 2⁻⁵³ |a||b|."""
        return self.A[_index(rows)].double() @ self.B[_index(cols)].double().T

    def exact(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """float64 [pairs], wrong by at most d 2⁻⁵³ |a||b|: similarities of rows[p] and cols[p]."""
        out = np.empty(len(rows))
        if self.compiled:
            from .selection_kernels import dot_pairs

            dot_pairs(self.A.numpy(), self.B.numpy(), rows, cols, out)
            return out
        step = max(1, GATHERED // max(1, self.A.shape[1]))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            a = self.A[_index(rows[part])].double()
            out[part] = a.mul_(self.B[_index(cols[part])]).sum(dim=1).cpu().numpy()
        return out


def _index(chosen: np.ndarray | slice) -> Tensor | slice:
    return chosen if isinstance(chosen, slice) else torch.from_numpy(chosen.astype(np.int64, copy=False))


def _lengths(X: Tensor, rounded: Tensor | None = None) -> np.ndarray:
    """float64 [n], length of each row, or of what rounding took from it; a little above rather than below.

    What rounding takes away is exact in float32. The margins are those of a float32 sum of squares, and of squares too
    small for it.
    """
    out = np.empty(X.shape[0])
    for start in range(0, X.shape[0], CHUNK):
        part = X[start : start + CHUNK]
        if rounded is not None:
            part = part - rounded[start : start + CHUNK].float()
        out[start : start + CHUNK] = torch.linalg.vector_norm(part, dim=1).cpu().numpy()
    return out * (1 + (X.shape[1] + 8) * 2.0**-24) + math.sqrt(X.shape[1]) * 1e-19


@contextmanager
def full_float32() -> Iterator[None]:
    """Inside, float32 products are float32: TF32 and bfloat16 modes that somebody switched on for speed are off.

    They are settings of the whole process; a product in another thread runs at full precision meanwhile.
    """
    backends = [torch.backends.mkldnn, torch.backends.cuda]
    settings = [backend.matmul for backend in backends if hasattr(getattr(backend, "matmul", None), "fp32_precision")]
    if not settings:  # torch before 2.9
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
        return
    kept = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        yield
    finally:
        for setting, value in zip(settings, kept, strict=True):
            setting.fp32_precision = value
