"""Orders drawn from a seed: every row once, a bounded buffer, and the same order again."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aquin_nb.engine.activations.order import buffered, permuted


@settings(max_examples=80, deadline=None)
@given(sizes=st.lists(st.integers(0, 9), max_size=60), seed=st.integers(0, 9), most=st.integers(1, 20))
def test_a_buffer_gives_every_row_once_and_holds_no_more_than_it_may(sizes, seed, most):
    read = 0

    def rows():
        nonlocal read
        for read, size in enumerate(sizes, 1):
            yield f"row {read}", "x" * size

    found = []
    for row in buffered(rows(), seed, most=most, size=30):
        found.append(row)
        held = read - len(found)
        assert held <= most
    assert sorted(found) == sorted((f"row {number}", "x" * size) for number, size in enumerate(sizes, 1))
    assert found == list(buffered(rows(), seed, most=most, size=30))


def test_long_rows_fill_a_buffer_before_their_number_does():
    held: list[int] = []
    read = 0

    def rows():
        nonlocal read
        for read in range(1, 101):
            yield f"row {read}", "x" * 10

    for number, _ in enumerate(buffered(rows(), 0, most=1000, size=50), 1):
        held.append(read - number)
    assert max(held) <= 6


def test_a_permutation_has_every_number_and_depends_on_the_seed():
    a, b = permuted(1000, 1), permuted(1000, 2)
    assert np.array_equal(a, permuted(1000, 1))
    assert not np.array_equal(a, b)
    assert sorted(a.tolist()) == list(range(1000))
