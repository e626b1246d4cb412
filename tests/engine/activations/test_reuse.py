"""Memory used again: never while anything still looks at it."""

from __future__ import annotations

import gc

import torch

from aquin_nb.engine.activations.reuse import SPARE, Reuse


def test_memory_is_another_tensors_only_when_no_view_is_left() -> None:
    new = Reuse((4, 6), torch.bfloat16)
    first = new().fill_(1)
    row, place = first.split(2, dim=1)[1][3], first.data_ptr()
    del first
    second = new().fill_(2)
    assert second.data_ptr() != place
    assert row.tolist() == [1, 1]
    array = row.float().numpy()
    del row
    assert new().data_ptr() == place
    assert array.tolist() == [1, 1]


def test_an_array_of_a_tensor_keeps_its_memory() -> None:
    new = Reuse((3,), torch.float32)
    array = new().fill_(7).numpy()
    others = [new().fill_(0) for _ in range(3)]
    assert array.tolist() == [7, 7, 7]
    assert len(others) == 3


def test_what_was_lent_outlives_the_lender_and_little_is_kept() -> None:
    new = Reuse((1000,), torch.float32)
    many = [new().fill_(place) for place in range(3 * SPARE)]
    assert [float(x[0]) for x in many] == list(range(3 * SPARE))
    last = many[-1]
    many.clear()
    assert len(new._spare) == SPARE
    del new
    gc.collect()
    assert float(last.sum()) == 1000 * (3 * SPARE - 1)
