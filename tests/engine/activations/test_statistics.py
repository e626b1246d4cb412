"""Statistics: those of numpy, however the rows were cut, and the same to the last bit after a chunk was read again."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aquin_nb.engine.activations import statistics as module
from aquin_nb.engine.activations.statistics import NormStatistics


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(1, 300),
    scale=st.floats(-6, 6),
    giants=st.integers(0, 3),
    parts=st.integers(1, 5),
)
def test_they_equal_numpy(seed, count, scale, giants, parts):
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 4)).astype(np.float32) * np.float32(10.0**scale)
    x[:giants] *= 1000
    statistics = NormStatistics(4)
    for part in np.array_split(x, parts):
        chunk = NormStatistics(4)
        chunk.add(torch.from_numpy(part))
        statistics.combine(NormStatistics.from_tensors(chunk.tensors()))
    found, norms = statistics.summary(), np.linalg.norm(x.astype(np.float64), axis=1)
    assert found["rows"] == count
    assert found["mean_norm"] == pytest.approx(norms.mean(), rel=1e-6)
    assert found["max_norm"] == pytest.approx(norms.max(), rel=1e-6)
    assert found["mean_squared_norm"] == pytest.approx((norms**2).mean(), rel=1e-6)
    assert found["norm_of_mean"] == pytest.approx(np.linalg.norm(x.astype(np.float64).mean(0)), rel=1e-5)
    assert found["median_norm"] == pytest.approx(np.sort(norms)[(count - 1) // 2], rel=0.011)
    border = 10 * found["median_norm"]
    assert (norms > border * 1.012).sum() <= found["outliers"] <= (norms > border * 0.988).sum()
    assert np.allclose(statistics.mean(), x.astype(np.float64).mean(0), rtol=1e-6, atol=10.0 ** (scale - 6))


def test_chunks_that_are_read_again_give_the_same_bits():
    random = torch.Generator().manual_seed(0)
    chunks, at_once, again = [], NormStatistics(7), NormStatistics(7)
    for _ in range(4):
        chunk = NormStatistics(7)
        chunk.add(torch.randn(50, 7, generator=random).bfloat16())
        at_once.combine(chunk)
        chunks.append(chunk.tensors())
    for tensors in chunks:
        again.combine(NormStatistics.from_tensors(tensors))
    assert again.summary() == at_once.summary()
    assert torch.equal(again.mean(), at_once.mean())


def test_blocks_do_not_matter(monkeypatch):
    x = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    found = []
    for size in (12, 120, 1 << 20):
        monkeypatch.setattr(module, "BLOCK_BYTES", size)
        statistics = NormStatistics(3)
        statistics.add(x)
        found.append(statistics.summary())
    for summary in found[1:]:
        assert summary == pytest.approx(found[0])


def test_without_a_row_every_figure_is_missing():
    statistics = NormStatistics(3)
    statistics.add(torch.empty(0, 3))
    assert statistics.summary() == {"rows": 0} | dict.fromkeys(
        ("mean_norm", "median_norm", "max_norm", "mean_squared_norm", "norm_of_mean", "outliers")
    )
    assert statistics.mean().tolist() == [0, 0, 0]


def test_the_largest_numbers_have_finite_statistics():
    statistics = NormStatistics(3)
    statistics.add(torch.full((2, 3), torch.finfo(torch.bfloat16).max, dtype=torch.bfloat16))
    json.dumps(statistics.summary(), allow_nan=False)
    assert statistics.summary()["outliers"] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sum", torch.zeros(2, 2, dtype=torch.float64)),
        ("norms", torch.zeros(2, dtype=torch.float64)),
        ("bins", torch.tensor([10**6], dtype=torch.int32)),
        ("bins", torch.tensor([-1], dtype=torch.int32)),
        ("counts", torch.tensor([1, 2])),
    ],
)
def test_damaged_ones_are_refused(name, value):
    statistics = NormStatistics(2)
    statistics.add(torch.ones(3, 2))
    with pytest.raises(ValueError, match="statistics"):
        NormStatistics.from_tensors(statistics.tensors() | {name: value})
