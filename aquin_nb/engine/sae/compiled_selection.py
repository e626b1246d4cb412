"""Choosing the largest pre-activations of each row on a CPU, compiled. Importing this module imports numba.

Numbers are compared by their bits: read as an integer, and with the lower bits of negative ones turned over, a float's
bits order as the float does, integers compare in vectors without regard to NaN, and a threshold is found by bisection.
Results depend on the input alone, not on the number of threads.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..compiled import compiled
from .workers import even, share

MEMBERS, MERGED = 8, 4
"""Strided columns of a group, and groups of a larger one, whose maxima tell where the largest entries can be."""

SLACK = 4
"""Entries more than k that a first threshold may let through: the last few steps of a bisection cost more."""

SHIFT = {torch.float32: 0, torch.bfloat16: 16}
"""Zero bits that make a float32 of it."""


@compiled
def _key(bits: np.int32, shift: int, bias: np.float32) -> np.int32:
    """The order of a number plus its bias among all such sums; -0 is below 0, and NaN beyond infinity."""
    total = np.float32(np.int32(np.int32(bits) << shift).view(np.float32) + bias)
    key = np.int32(total.view(np.int32))
    return np.int32(key ^ ((key >> 31) & np.int32(0x7FFFFFFF)))


@compiled
def _number(key: np.int32) -> np.float32:
    """The float32 of a key."""
    bits = np.int32(key ^ ((key >> 31) & np.int32(0x7FFFFFFF)))
    return np.int32(bits).view(np.float32)


@compiled
def _reached(keys: np.ndarray, count: int, k: int, slack: int) -> np.int32:
    """A bound that at least k of keys[:count] reach; at most k + slack, unless more are equal to it."""
    least = most = keys[0]
    for j in range(count):
        least = min(least, keys[j])
        most = max(most, keys[j])
    low, high = np.int64(least), np.int64(most) + 1  # k or more reach low, fewer reach high
    while high - low > 1:
        middle = np.int32((low + high) >> 1)
        reach = np.int32(0)
        for j in range(count):
            reach += np.int32(keys[j] >= middle)
        if reach < k:
            high = np.int64(middle)
        else:
            low = np.int64(middle)
            if reach <= k + slack:
                break
    return np.int32(low)


@compiled
def _top_rows(
    bits: np.ndarray,
    shift: int,
    bias: np.ndarray,
    k: int,
    values: np.ndarray,
    indices: np.ndarray,
    start: int,
    stop: int,
) -> None:
    width = bits.shape[1]
    large = width // (MEMBERS * MERGED)
    grouped = width % (MEMBERS * MERGED) == 0 and large >= k
    members = MEMBERS if grouped else 1
    groups = width // members
    best = np.empty(groups, np.int32)
    merged = np.empty(large, np.int32)
    keys = np.empty(width, np.int32)
    columns = np.empty(width, np.int32)
    for r in range(start, stop):
        row = bits[r]
        for j in range(groups):
            best[j] = _key(row[j], shift, bias[j])
        count = 0
        if grouped:
            for member in range(1, members):
                first = member * groups
                for j in range(groups):
                    best[j] = max(best[j], _key(row[first + j], shift, bias[first + j]))
            for j in range(large):
                merged[j] = best[j]
            for part in range(1, MERGED):
                for j in range(large):
                    merged[j] = max(merged[j], best[part * large + j])
            # k groups reach the bound, each with an entry that does: no smaller entry belongs to the k largest.
            bound = _reached(merged, large, k, SLACK)
            for j in range(large):
                if merged[j] >= bound:
                    for part in range(MERGED):
                        group = part * large + j
                        if best[group] >= bound:
                            for member in range(members):
                                column = member * groups + group
                                key = _key(row[column], shift, bias[column])
                                if key >= bound:
                                    keys[count] = key
                                    columns[count] = column
                                    count += 1
        else:
            bound = _reached(best, groups, k, SLACK)
            for j in range(groups):
                if best[j] >= bound:
                    keys[count] = best[j]
                    columns[count] = j
                    count += 1
        bound = _reached(keys, count, k, 0)
        # Where equal ones would make more than k, those of the lowest columns are taken.
        above = equal = 0
        for j in range(count):
            if keys[j] > bound:
                values[r, above] = _number(keys[j])
                indices[r, above] = columns[j]
                above += 1
            elif keys[j] == bound:
                columns[equal] = columns[j]
                equal += 1
        for j in range(equal):
            keys[j] = -columns[j]
        last = _reached(keys, equal, k - above, 0)
        for j in range(equal):
            if keys[j] >= last:
                values[r, above] = _number(bound)
                indices[r, above] = columns[j]
                above += 1


def top_k(pre: Tensor, k: int, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k largest entries of each row of pre + bias, in an order that the entries alone decide.

    Exactly `torch.topk`'s values and, where no equal ones stand at the limit, its columns; of those the lowest columns
    are taken. Groups of strided columns whose maxima do not reach the k-th largest maximum are passed over, which is
    one vectorised pass over a row and little more.

    Args:
        pre: float32 or bfloat16 [n, width], contiguous. k: at most width. bias: float32 [width], zero if not given; the
            sum is rounded to float32.

    Returns:
        values float32 [n, k] of pre + bias, and their columns int64 [n, k].
    """
    n, width = pre.shape
    values = torch.empty(n, k, dtype=torch.float32)
    indices = torch.empty(n, k, dtype=torch.int64)
    if bias is None:
        bias = torch.zeros(width, dtype=torch.float32)
    share(even(n), partial(_top_rows, _bits(pre), SHIFT[pre.dtype], bias.numpy(), k, values.numpy(), indices.numpy()))
    return values, indices


@compiled
def _above_rows(
    bits: np.ndarray,
    shift: int,
    bias: np.ndarray,
    bound: float,
    rows: np.ndarray,
    indices: np.ndarray,
    values: np.ndarray,
    start: int,
    stop: int,
) -> int:
    """How many there are; those that the arrays have no room for are only counted."""
    width = bits.shape[1]
    limit = _key(np.float32(bound).view(np.int32), 0, np.float32(0))
    members = MEMBERS if width % MEMBERS == 0 else 1
    groups = width // members
    best = np.empty(groups, np.int32)
    count = 0
    for r in range(start, stop):
        row = bits[r]
        for j in range(groups):
            best[j] = _key(row[j], shift, bias[j])
        for member in range(1, members):
            first = member * groups
            for j in range(groups):
                best[j] = max(best[j], _key(row[first + j], shift, bias[first + j]))
        for j in range(groups):
            if best[j] > limit:
                for member in range(members):
                    column = member * groups + j
                    key = _key(row[column], shift, bias[column])
                    if key > limit:
                        if count < len(values):
                            rows[count] = r
                            indices[count] = column
                            values[count] = _number(key)
                        count += 1
    return count


def above(pre: Tensor, bound: float, bias: Tensor, room: int) -> tuple[Tensor, Tensor, Tensor]:
    """Entries of pre + bias that exceed `bound`, row by row, in an order that the entries alone decide.

    Args:
        pre: float32 or bfloat16 [n, width], contiguous. bound: not NaN. bias: float32 [width]. room: a guess at how
            many there are in a row; with more than that, all is done twice.

    Returns:
        rows int64 [nnz], columns int64 [nnz], values float32 [nnz] of pre + bias.
    """
    bits, added, shift = _bits(pre), bias.numpy(), SHIFT[pre.dtype]

    def found(start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        size = room * (stop - start)
        while True:
            rows, indices = torch.empty(2, size, dtype=torch.int64)
            values = torch.empty(size, dtype=torch.float32)
            out = rows.numpy(), indices.numpy(), values.numpy()
            count = int(_above_rows(bits, shift, added, bound, *out, start, stop))
            if count <= size:
                return rows[:count], indices[:count], values[:count]
            size = count

    rows, indices, values = (torch.cat(part) for part in zip(*share(even(pre.shape[0]), found), strict=True))
    return rows, indices, values


def _bits(pre: Tensor) -> np.ndarray:
    return pre.view(torch.int32 if pre.dtype == torch.float32 else torch.int16).numpy()
