"""The buffer: every row leaves once, in an order that its caller's seed decides, however far one skips ahead."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aquin_nb.engine.activations.buffer import (
    Leave,
    Numbers,
    Round,
    Shape,
    at_random,
    finite,
    gathered,
    mixed,
    oldest_first,
    put,
    rounds,
)
from aquin_nb.errors import StoreError

BUFFER, MOST, BATCH = 96, 9, 10


def cut(sizes: list[int]) -> list[Numbers]:
    """Pieces of so many rows that are numbered through."""
    ends = np.cumsum([0, *sizes])
    return [np.arange(start, stop) for start, stop in pairwise(ends.tolist())]


def filled(pieces: list[Numbers], leave: Leave, seed: int = 0):
    return rounds(
        pieces,
        np.random.default_rng(seed),
        buffer_rows=BUFFER,
        piece_rows=MOST,
        batch_size=BATCH,
        kept_rows=BUFFER // 3,
        leave=leave,
    )


def source(read: list[int] | None = None) -> Callable[[Numbers, torch.Tensor, Numbers], None]:
    """Rows [n, 3] that hold their number; `read` gets those that were asked for."""

    def fill(numbers: Numbers, out: torch.Tensor, places: Numbers) -> None:
        assert len(set(numbers.tolist())) == len(set(places.tolist())) == len(numbers)
        if read is not None:
            read.extend(numbers.tolist())
        put(out, places, torch.from_numpy(numbers).float()[:, None].repeat(1, 3))

    return fill


def order_of(given: list[Round]) -> list[list[int]]:
    """Row numbers that leave in each round."""
    kept, left = np.empty(0, dtype=np.int64), []
    for one in given:
        there = np.concatenate([kept, *one.new])
        assert len(there) <= BUFFER
        assert sorted(one.order.tolist()) == list(range(len(there)))
        left.append(there[one.order[: one.give]].tolist())
        kept = there[one.order[one.give :]]
    return left


pieces = st.lists(st.integers(0, MOST), max_size=80)
ways = st.sampled_from([at_random, oldest_first])


@settings(max_examples=80, deadline=None)
@given(sizes=pieces, leave=ways, seed=st.integers(0, 5))
def test_every_row_leaves_once_in_whole_batches(sizes, leave, seed):
    total = sum(sizes)
    left = [row for part in order_of(list(filled(cut(sizes), leave, seed))) for row in part]
    assert len(left) == len(set(left)) == total - total % BATCH
    assert set(left) <= set(range(total))


@settings(max_examples=80, deadline=None)
@given(sizes=pieces, leave=ways, skip=st.integers(0, 30))
def test_batches_are_the_rows_that_leave_and_skipped_ones_are_not_read(sizes, leave, skip):
    wanted = [row for part in order_of(list(filled(cut(sizes), leave))) for row in part][skip * BATCH :]
    read: list[int] = []
    shape = Shape(BUFFER, 3, torch.float32, BATCH, torch.float32)
    got = list(mixed(filled(cut(sizes), leave), source(read), shape, skip))
    assert [int(row) for batch in got for row in batch[:, 2]] == wanted
    assert all(batch.shape == (BATCH, 3) for batch in got)
    assert len(read) == len(set(read))
    assert set(wanted) <= set(read)
    if not wanted:
        assert not read


def test_no_row_stays_for_a_third_round_when_the_oldest_go_first():
    came: dict[int, int] = {}
    given = list(filled(cut([MOST] * 300), oldest_first))
    for number, (one, left) in enumerate(zip(given, order_of(given), strict=True)):
        came |= {row: number for piece in one.new for row in piece.tolist()}
        assert all(number - came[row] <= 1 for row in left)
    middle = [number - came[row] for number, left in enumerate(order_of(given)[:-1]) for row in left]
    assert 0.3 < np.mean(middle) < 0.7  # about half of what leaves was there before


def test_reading_is_spread_over_the_batches():
    """Once the buffer is full, no batch has to wait for more than about its own number of rows."""
    read: list[int] = []
    shape = Shape(BUFFER, 3, torch.float32, BATCH, torch.float32)
    before, waits = 0, []
    for _ in mixed(filled(cut([5] * 400), at_random), source(read), shape):
        waits.append(len(read) - before)
        before = len(read)
    assert waits[0] > BUFFER - MOST
    assert max(waits[1:]) <= BATCH + 2 * MOST


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_value_that_float32_cannot_hold_is_seen(dtype):
    peak = min(torch.finfo(dtype).max, torch.finfo(torch.float32).max)
    x = torch.full((7, 33), peak, dtype=dtype)
    x[3] = -peak
    assert finite(x)
    assert finite(x[:0])
    for bad in ("nan", "inf", "-inf"):
        spoilt = x.clone()
        spoilt[5, 31] = float(bad)
        assert not finite(spoilt)
    assert dtype is not torch.float64 or not finite(x * 2)


def test_rows_are_put_and_gathered_as_they_are():
    x = torch.randn(600, 5, generator=torch.Generator().manual_seed(0))
    x[3] = -0.0
    order = np.random.default_rng(0).permutation(600)
    for held in (torch.float16, torch.bfloat16, torch.float32):
        buffer = torch.zeros(700, 8, dtype=held)
        put(buffer[:, 2:7], order, x)
        assert torch.equal(buffer[torch.from_numpy(order), 2:7], x.to(held))
        assert not buffer[:, [0, 1, 7]].any()
        for dtype in (torch.float16, torch.bfloat16, torch.float32):
            out = torch.empty(600, 8, dtype=dtype)
            assert gathered(buffer, order, out) is out
            assert torch.equal(out[:, 2:7], x.to(held).to(dtype))
            beside = torch.zeros(600, 10, dtype=dtype)
            gathered(buffer, order, beside[:, 1:9])
            assert torch.equal(beside[:, 1:9], out)
            assert not beside[:, [0, 9]].any()


def test_a_value_too_large_for_float16_is_refused():
    x = torch.full((3, 2), 70_000.0)
    assert torch.isfinite(gathered(x, np.arange(3), torch.empty(3, 2, dtype=torch.bfloat16))).all()
    with pytest.raises(StoreError, match="too large for float16; ask for batches in bfloat16 or float32"):
        gathered(x, np.arange(3), torch.empty(3, 2, dtype=torch.float16))
