"""The sparse products of one step on a CPU, compiled. Importing this module imports numba.

A row's decoder rows are read twice while they are in the cache, and each latent's gradient is added up where it stays.
Every sum has one order, whatever the number of threads. Formulas are those of `kernels`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..compiled import compiled
from .kernels import Pattern
from .workers import by_entries, even, share


def _reconstruct_rows(
    offsets: np.ndarray,
    indices: np.ndarray,
    f: np.ndarray,
    W: np.ndarray,
    bias: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    residual: np.ndarray,
    grad_out: np.ndarray,
    grad_f: np.ndarray,
    start: int,
    stop: int,
) -> None:
    d = W.shape[1]
    total = np.empty(d, np.float32)
    for r in range(start, stop):
        for j in range(d):
            total[j] = bias[j] - y[r, j]
        begin, end = offsets[r], offsets[r + 1]
        e = begin
        while e + 4 <= end:  # four at once, so that the sum is loaded and stored a quarter as often
            i0, i1, i2, i3 = indices[e], indices[e + 1], indices[e + 2], indices[e + 3]
            f0, f1, f2, f3 = f[e], f[e + 1], f[e + 2], f[e + 3]
            for j in range(d):
                total[j] += f0 * W[i0, j] + f1 * W[i1, j] + f2 * W[i2, j] + f3 * W[i3, j]
            e += 4
        while e < end:
            i0, f0 = indices[e], f[e]
            for j in range(d):
                total[j] += f0 * W[i0, j]
            e += 1
        weight = weights[r]
        for j in range(d):
            residual[r, j] = total[j]
            total[j] *= weight
            grad_out[r, j] = total[j]
        for e in range(begin, end):
            i0, dot = indices[e], np.float32(0)
            for j in range(d):
                dot += total[j] * W[i0, j]
            grad_f[e] = dot if f[e] > 0 else np.float32(0)


def _segment_sums(
    order: np.ndarray,
    rows: np.ndarray,
    offsets: np.ndarray,
    values: np.ndarray,
    dense: np.ndarray,
    out: np.ndarray,
    start: int,
    stop: int,
) -> None:
    d = dense.shape[1]
    for segment in range(start, stop):
        for j in range(d):
            out[segment, j] = np.float32(0)
        e, end = offsets[segment], offsets[segment + 1]
        while e + 4 <= end:
            e0, e1, e2, e3 = order[e], order[e + 1], order[e + 2], order[e + 3]
            r0, r1, r2, r3 = rows[e0], rows[e1], rows[e2], rows[e3]
            v0, v1, v2, v3 = values[e0], values[e1], values[e2], values[e3]
            for j in range(d):
                out[segment, j] += v0 * dense[r0, j] + v1 * dense[r1, j] + v2 * dense[r2, j] + v3 * dense[r3, j]
            e += 4
        while e < end:
            r0, v0 = rows[order[e]], values[order[e]]
            for j in range(d):
                out[segment, j] += v0 * dense[r0, j]
            e += 1


reconstruct_rows = compiled(_reconstruct_rows, reorder_sums=True)
segment_sums = compiled(_segment_sums, reorder_sums=True)


@compiled
def turn(
    indices: np.ndarray,
    f: np.ndarray,
    grad_f: np.ndarray,
    offsets: np.ndarray,
    order: np.ndarray,
    sums: np.ndarray,
    fired: np.ndarray,
) -> None:
    """Latent-major order by counting, the same as a stable sort's, and what is summed by latent on the way."""
    for e in range(len(indices)):
        latent = indices[e]
        offsets[latent + 1] += 1
        sums[latent] += grad_f[e]
        if f[e] > 0:
            fired[latent] += 1
    for latent in range(len(sums)):
        offsets[latent + 1] += offsets[latent]
    place = offsets.copy()
    for e in range(len(indices)):
        latent = indices[e]
        order[place[latent]] = e
        place[latent] += 1


class Reconstruction(NamedTuple):
    """x̂ - y [n, d], the loss's gradient in x̂ [n, d], and that in the pre-activations [nnz]."""

    residual: Tensor
    grad_out: Tensor
    grad_z: Tensor


def reconstruct(pattern: Pattern, f: Tensor, W: Tensor, bias: Tensor, y: Tensor, weights: Tensor) -> Reconstruction:
    """Decode, take the error and both gradients. Floats are float32, matrices contiguous.

    Args:
        f: relu of the pre-activations [nnz]. W: decoder [d_sae, d]. bias: [d]. y: targets [n, d].
        weights: d loss / d x̂ is weights [n] times x̂ - y.
    """
    residual, grad_out, grad_z = torch.empty_like(y), torch.empty_like(y), torch.empty_like(f)
    tensors = (pattern.offsets, pattern.indices, f, W, bias, y, weights.contiguous(), residual, grad_out, grad_z)
    arrays: list[Any] = [tensor.numpy() for tensor in tensors]
    share(even(pattern.n), partial(reconstruct_rows, *arrays))
    return Reconstruction(residual, grad_out, grad_z)


class WeightGradients(NamedTuple):
    """Of dec [d_sae, d_out], enc [d_sae, d_in], b_enc [d_sae]; and the rows in which each fired, int64 [d_sae]."""

    dec: Tensor
    enc: Tensor
    b_enc: Tensor
    fired: Tensor


def weight_gradients(
    pattern: Pattern,
    f: Tensor,
    grad_z: Tensor,
    grad_out: Tensor,
    x: Tensor,
    room: tuple[Tensor | None, Tensor | None] = (None, None),
) -> WeightGradients:
    """fᵀ grad_out and grad_zᵀ x over the pattern's entries, latent by latent. Floats are float32 and contiguous.

    `room`: tensors to write the first two into, from the step before: fresh ones of this size cost page faults.
    """
    latents = pattern.d_sae
    order, offsets = torch.empty_like(pattern.indices), torch.zeros(latents + 1, dtype=torch.int64)
    sums, fired = torch.zeros(latents, dtype=torch.float32), torch.zeros(latents, dtype=torch.int64)
    tensors = (pattern.indices, f, grad_z, offsets, order, sums, fired)
    turn(*(tensor.numpy() for tensor in tensors))
    limits, rows = by_entries(offsets), pattern.rows
    out = []
    for values, dense, kept in ((f, grad_out, room[0]), (grad_z, x, room[1])):
        total = kept if kept is not None else torch.empty(latents, dense.shape[1], dtype=torch.float32)
        arrays: list[Any] = [tensor.numpy() for tensor in (order, rows, offsets, values, dense, total)]
        share(limits, partial(segment_sums, *arrays))
        out.append(total)
    return WeightGradients(out[0], out[1], sums, fired)
