"""Shares of rows for as many threads as torch uses, each with the loops' lock-free machine code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
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

    The threads live as long as the call: some 50 µs each, and none is left for a fork or an exit to trip over. They are
    plain ones: a training that is stopped when Python ends still takes a step, and executors refuse work by then.
    """
    shares = list(pairwise(limits))
    if len(shares) == 1:
        return [work(*shares[0])]
    done: dict[int, T] = {}
    failed: list[BaseException] = []

    def one(number: int) -> None:
        try:
            done[number] = work(*shares[number])
        except BaseException as error:  # raised again in the caller's thread
            failed.append(error)

    others = [threading.Thread(target=one, args=(number,)) for number in range(1, len(shares))]
    for thread in others:
        thread.start()
    one(0)
    for thread in others:
        thread.join()
    if failed:
        raise failed[0]
    return [done[number] for number in range(len(shares))]
