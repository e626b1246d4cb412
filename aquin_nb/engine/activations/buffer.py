"""A bounded buffer in memory that rows are mixed in: which rows leave it when, and the rows themselves.

The two are apart: `rounds` knows row numbers only, so that a place far into an epoch is found without reading a row,
and `mixed` then reads what is in the buffer there.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import StoreError
from .reuse import Reuse

GATHERED = 256  # rows whose values are copied and converted at a time: they stay in the processor's cache between

BLOCK_BYTES = 1 << 20  # read, copied and checked at a time: they stay in the processor's cache between
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # that move values as they are

Numbers = NDArray[np.int64]
Fill = Callable[[Numbers, Tensor, Numbers], None]
"""Writes the rows of these numbers, in any order, into these rows of a float tensor [n, width]."""

Leave = Callable[[np.random.Generator, int, int, int], Numbers]
"""`leave(random, kept, filled, give)`: the places 0 to `filled` of a buffer in the order in which they leave it; so
many leave now. The first `kept` of them were there before."""


class Round(NamedTuple):
    """One filling of the buffer: rows have places in it, first those that were kept, then the new ones.

    new: row numbers of the pieces that come in. order: all places in the order in which they leave. give: so many of
    them leave now; the others are kept and have the first places of the next round, in this order.
    """

    new: list[Numbers]
    order: Numbers
    give: int


def at_random(random: np.random.Generator, kept: int, filled: int, give: int) -> Numbers:
    """Any row may leave; one may stay for many rounds."""
    return random.permutation(filled)


def oldest_first(random: np.random.Generator, kept: int, filled: int, give: int) -> Numbers:
    """Rows that were kept all leave, in random order and mixed with new ones: no row stays for a third round."""
    new, early = kept + random.permutation(filled - kept), max(0, give - kept)
    leaving = np.concatenate([np.arange(kept), new[:early]])
    return np.concatenate([random.permutation(leaving), new[early:]])


def rounds(
    pieces: Iterable[Numbers],
    random: np.random.Generator,
    *,
    buffer_rows: int,
    piece_rows: int,
    batch_size: int,
    kept_rows: int,
    leave: Leave = at_random,
) -> Iterator[Round]:
    """Fill the buffer with pieces, give out all but about `kept_rows` of its rows, and so on to the last piece.

    Args:
        pieces: numbers of the rows that come in together, of at most `piece_rows` each.
        random: draws the orders.
        buffer_rows: at least twice `batch_size`, and `kept_rows` and two pieces besides one batch.
        batch_size: whole batches are given out; what is left at the end, fewer rows than a batch, is dropped.
        leave: which rows go first.
    """
    ahead = iter(pieces)
    piece = next(ahead, None)
    kept = 0
    while True:
        new: list[Numbers] = []
        filled = kept
        while piece is not None and filled + piece_rows <= buffer_rows:
            if len(piece):
                new.append(piece)
            filled += len(piece)
            piece = next(ahead, None)
        give = filled if piece is None else max(filled - kept_rows, batch_size)
        give -= give % batch_size
        yield Round(new, leave(random, kept, filled, give), give)
        if piece is None:
            return
        kept = filled - give


class Shape(NamedTuple):
    """The buffer [rows, width] of `dtype`, and the batches [batch_size, width] of `given` that leave it."""

    rows: int
    width: int
    dtype: torch.dtype
    batch_size: int
    given: torch.dtype


def mixed(rounds: Iterator[Round], fill: Fill, shape: Shape, skip: int = 0) -> Iterator[Tensor]:
    """The batches of all rounds but the first `skip`, whose rows are not read.

    New rows take the places of given ones: after each batch about as many are read as it took, so that every batch
    costs the same, and no row is moved.
    """
    numbers = np.empty(0, dtype=np.int64)  # of the row at each place
    skipped, now = skip * shape.batch_size, next(rounds, None)
    while now is not None:
        numbers = np.concatenate([numbers, *now.new])
        if skipped < now.give:
            break
        skipped -= now.give
        numbers, now = numbers[now.order[now.give :]], next(rounds, None)
    if now is None:
        return
    buffer = torch.empty(shape.rows, shape.width, dtype=shape.dtype)
    new = Reuse((shape.batch_size, shape.width), shape.given)
    slots = np.arange(shape.rows)  # of the buffer, of the row at each place; then those that are free
    needed = now.order[skipped:]
    fill(numbers[needed], buffer, needed)
    filled = len(numbers)
    while now is not None:
        following = next(rounds, None)
        coming = deque(following.new if following is not None else [])
        free = np.concatenate([slots[filled:], slots[now.order[: now.give]]])
        unused, taken = len(slots) - filled, 0
        for start in range(skipped, now.give, shape.batch_size):
            while coming and taken + len(coming[0]) <= unused + start:
                taken = _take(coming.popleft(), fill, buffer, free, taken)
            yield gathered(buffer, slots[now.order[start : start + shape.batch_size]], new())
        while coming:
            taken = _take(coming.popleft(), fill, buffer, free, taken)
        slots = np.concatenate([slots[now.order[now.give :]], free])
        filled, skipped, now = filled - now.give + taken, 0, following


def _take(piece: Numbers, fill: Fill, buffer: Tensor, free: Numbers, taken: int) -> int:
    fill(piece, buffer, free[taken : taken + len(piece)])
    return taken + len(piece)


def gathered(x: Tensor, numbers: Numbers, out: Tensor) -> Tensor:
    """`out` with these rows of x [n, d], in its dtype.

    Raises:
        StoreError: a value that float16 was asked to hold and cannot.
    """
    index = torch.from_numpy(numbers)
    if x.dtype == out.dtype and out.is_contiguous():
        return torch.index_select(x, 0, index, out=out)
    for start in range(0, len(numbers), GATHERED):
        out[start : start + GATHERED].copy_(torch.index_select(x, 0, index[start : start + GATHERED]))
    if out.dtype == torch.float16 and x.dtype != torch.float16 and not finite(out):
        raise StoreError("A value is too large for float16; ask for batches in bfloat16 or float32.")
    return out


def finite(x: Tensor) -> bool:
    """Whether every value of x is finite in float32."""
    if not x.numel():
        return True
    if x.dtype != torch.float64 and math.isfinite(float(x.sum())):  # twice as fast, and no proof where it overflows
        return True
    least, most = (float(value) for value in x.aminmax())  # both NaN where any value is
    limit = torch.finfo(torch.float32).max
    return -limit <= least and most <= limit


def put(out: Tensor, places: Numbers, rows: Tensor) -> None:
    """out[places] = rows, in the dtype of `out`."""
    bits = _BITS[out.dtype.itemsize]
    out.view(bits).numpy()[places] = rows.to(out.dtype).view(bits).numpy()  # four times as fast as torch's own


def blocks(count: int, x: Tensor) -> Iterator[tuple[int, int]]:
    """Ranges that cut `count` rows of `x` [n, d] into blocks of at most 1 MB."""
    size = max(1, BLOCK_BYTES // max(1, x.shape[1] * x.dtype.itemsize))
    for start in range(0, count, size):
        yield start, min(start + size, count)
