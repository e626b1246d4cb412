"""The sparse products of a dictionary as Triton kernels, for a CUDA device.

How they were checked: no GPU was at hand when they were written. The tests run them in Triton's interpreter on a CPU
against dense float64, and compile them to machine code for NVIDIA's compute capabilities 8.0 and 9.0; they were never
run or timed on a device. That is why `dispatch.choose` compares and times them on the very machine before it lets them
in. Only `dispatch` imports this module, and only for a CUDA device: importing it imports `triton`.

Both kernels add in float32 in an order that the input alone fixes, without atomics, so a result is the same each time.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

ENTRIES = 8
"""Entries that a program gathers at once: enough loads in flight to hide a memory access, few enough registers."""

WARPS = 4


def columns_at_once(d: int) -> int:
    """Columns of a program's tile. At most 256, so that the slice of the gathered matrix that all programs read at the
    same time is narrow enough to stay in the cache."""
    return 64 if d <= 64 else 128 if d <= 128 else 256


@triton.jit  # type: ignore[untyped-decorator]
def segment_sums_kernel(
    out: tl.tensor,
    values: tl.tensor,
    indices: tl.tensor,
    offsets: tl.tensor,
    matrix: tl.tensor,
    d: tl.tensor,
    ENTRIES: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """One segment and `COLUMNS` columns: out[segment] = Σ over its entries of value · matrix[index]."""
    segment = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = columns < d
    begin = tl.load(offsets + segment)
    end = tl.load(offsets + segment + 1)
    total = tl.zeros((ENTRIES, COLUMNS), dtype=tl.float32)
    for start in range(begin, end, ENTRIES):
        entries = start + tl.arange(0, ENTRIES)
        live = entries < end
        value = tl.load(values + entries, mask=live, other=0.0).to(tl.float32)
        index = tl.load(indices + entries, mask=live, other=0)
        rows = tl.load(
            matrix + index[:, None] * d + columns[None, :], mask=live[:, None] & inside[None, :], other=0.0
        ).to(tl.float32)
        total += value[:, None] * rows
    tl.store(out + segment * d + columns, tl.sum(total, axis=0), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def row_dots_kernel(
    out: tl.tensor,
    dense: tl.tensor,
    matrix: tl.tensor,
    indices: tl.tensor,
    offsets: tl.tensor,
    d: tl.tensor,
    ENTRIES: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """One row: out[entry] = ⟨dense[row], matrix[index]⟩ for each of its entries."""
    row = tl.program_id(0).to(tl.int64)
    begin = tl.load(offsets + row)
    end = tl.load(offsets + row + 1)
    for start in range(begin, end, ENTRIES):
        entries = start + tl.arange(0, ENTRIES)
        live = entries < end
        index = tl.load(indices + entries, mask=live, other=0)
        total = tl.zeros((ENTRIES, COLUMNS), dtype=tl.float32)
        for first in range(0, d, COLUMNS):
            # The row is addressed once for each entry of the tile: a row loaded once would have to be spread over the
            # tile's layout through shared memory, with barriers in this loop. The copies come from the L1 cache.
            columns = first + tl.arange(0, COLUMNS)[None, :] + tl.zeros((ENTRIES, 1), dtype=tl.int32)
            inside = live[:, None] & (columns < d)
            own = tl.load(dense + row * d + columns, mask=inside, other=0.0).to(tl.float32)
            rows = tl.load(matrix + index[:, None] * d + columns, mask=inside, other=0.0).to(tl.float32)
            total += own * rows
        tl.store(out + entries, tl.sum(total, axis=1), mask=live)


def segment_sums(values: Tensor, indices: Tensor, offsets: Tensor, matrix: Tensor) -> Tensor:
    """Σ over the entries of each segment of value · matrix[index].

    Args:
        values: float32 or bfloat16 [nnz].
        indices: int64 [nnz], rows of `matrix`.
        offsets: int64 [s + 1], s ≥ 1; segment i owns the entries offsets[i] : offsets[i + 1], possibly none.
        matrix: float32 or bfloat16 [m, d].

    Returns:
        [s, d] in the dtype of `matrix`; zero where a segment has no entries.
    """
    d, segments = matrix.shape[1], offsets.shape[0] - 1
    out = torch.empty(segments, d, dtype=matrix.dtype, device=matrix.device)
    columns = columns_at_once(d)
    with torch.cuda.device_of(matrix):  # type: ignore[no-untyped-call]
        segment_sums_kernel[(segments, triton.cdiv(d, columns))](
            out,
            values.contiguous(),
            indices.contiguous(),
            offsets.contiguous(),
            matrix.contiguous(),
            d,
            ENTRIES=ENTRIES,
            COLUMNS=columns,
            num_warps=WARPS,
        )
    return out


def row_dots(dense: Tensor, matrix: Tensor, indices: Tensor, offsets: Tensor, rows: Tensor) -> Tensor:
    """⟨dense[row], matrix[index]⟩ for each entry.

    Args:
        dense: float32 or bfloat16 [n, d], n ≥ 1.
        matrix: float32 or bfloat16 [m, d].
        indices: int64 [nnz], rows of `matrix`.
        offsets: int64 [n + 1]; row b owns the entries offsets[b] : offsets[b + 1], possibly none.
        rows: the row of each entry; not needed here, plain torch asks for it.

    Returns:
        [nnz] in the dtype of `dense`.
    """
    d = dense.shape[1]
    out = torch.empty(indices.shape[0], dtype=dense.dtype, device=dense.device)
    with torch.cuda.device_of(dense):  # type: ignore[no-untyped-call]
        row_dots_kernel[(dense.shape[0],)](
            out,
            dense.contiguous(),
            matrix.contiguous(),
            indices.contiguous(),
            offsets.contiguous(),
            d,
            ENTRIES=ENTRIES,
            COLUMNS=columns_at_once(d),
            num_warps=WARPS,
        )
    return out
