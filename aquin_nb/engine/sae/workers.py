"""Shares of rows for as many threads as torch uses, each with the loops' lock-free machine code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def even(n: int) -> list[int]:
    """Limits of equal shares of n rows, one for each of torch's threads."""
    threads = max(1, min(torch.get_num_threads(), n))
    return [n * i // threads for i in range(threads + 1)]


def by_entries(offsets: Tensor) -> list[int]:
    """Limits of shares of ragged rows, offsets int64 [n + 1], with about as many rows and entries together in each."""
    n, threads = offsets.shape[0] - 1, torch.get_num_threads()
    work = offsets + torch.arange(n + 1)
    inner = torch.searchsorted(work, torch.arange(1, threads) * (int(work[-1]) // threads)).tolist()
    return [0, *inner, n]


def share(limits: Sequence[int], work: Callable[[int, int], T]) -> list[T]:
    """`work(start, stop)` of each share, in order; in threads where there are several shares.

    The threads live as long as the call: some 50 µs each, and none is left for a fork or an exit to trip over.
    """
    if len(limits) == 2:
        return [work(limits[0], limits[1])]
    with ThreadPoolExecutor(len(limits) - 1) as pool:
        return list(pool.map(work, limits[:-1], limits[1:]))
