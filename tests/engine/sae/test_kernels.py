"""The sparse arithmetic equals the dense one, in float64, whatever the pattern."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from aquin_nb.engine.sae.kernels import Pattern, above, decode_sparse, top_k

D = 5
WIDTHS = st.sampled_from([8, 16, 37, 40, 64, 128])


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mask(n: int, width: int, share: float, seed: int) -> Tensor:
    """Which entries are active: about `share` of them, and none at all in some rows and latents."""
    chosen = torch.rand(n, width, generator=torch.Generator().manual_seed(seed)) < share
    chosen[::3] = False
    return chosen


def ragged(chosen: Tensor) -> Pattern:
    rows, indices = chosen.nonzero(as_tuple=True)
    return Pattern.ragged(rows, indices, *chosen.shape)


SHAPES = {
    "n": st.integers(1, 7),
    "width": WIDTHS,
    "share": st.sampled_from([0.0, 0.05, 0.4, 1.0]),
    "seed": st.integers(0, 10_000),
}


@given(st.integers(1, 6), WIDTHS, st.integers(1, 8), st.integers(0, 10_000))
def test_top_k_is_the_k_largest_of_each_row(n: int, width: int, k: int, seed: int) -> None:
    pre = normal(n, width, seed=seed)
    values, indices = top_k(pre, k)
    assert torch.equal(values.sort(dim=1, descending=True).values, pre.topk(k, dim=1).values)
    assert torch.equal(pre.gather(1, indices), values)
    assert all(len(set(row)) == k for row in indices.tolist())


@given(st.integers(1, 4), WIDTHS, st.integers(1, 8), st.integers(0, 10_000))
def test_top_k_takes_as_many_of_equal_values_as_it_must(n: int, width: int, k: int, seed: int) -> None:
    pre = torch.randint(0, 3, (n, width), generator=torch.Generator().manual_seed(seed)).float()
    values, indices = top_k(pre, k)
    assert torch.equal(values.sort(dim=1, descending=True).values, pre.topk(k, dim=1).values)
    assert torch.equal(pre.gather(1, indices), values)
    assert all(len(set(row)) == k for row in indices.tolist())


@given(st.integers(1, 6), WIDTHS, st.sampled_from([-10.0, -0.3, 0.0, 0.7, 10.0]), st.booleans(), st.integers(0, 10_000))
def test_above_is_every_entry_over_its_bound_row_by_row(
    n: int, width: int, bound: float, by_latent: bool, seed: int
) -> None:
    pre = normal(n, width, seed=seed)
    limit = bound + normal(width, seed=seed + 1) if by_latent else bound
    rows, indices, values = above(pre, limit)
    assert torch.equal(values, pre[rows, indices])
    assert bool((rows.diff() >= 0).all())
    found = torch.zeros_like(pre, dtype=torch.bool)
    found[rows, indices] = True
    assert torch.equal(found, pre > limit)
    assert rows.numel() == int(found.sum()), "no entry twice"


@given(**SHAPES)
def test_products_of_a_pattern(n: int, width: int, share: float, seed: int) -> None:
    chosen = mask(n, width, share, seed)
    pattern, values = ragged(chosen), normal(n, width, seed=seed)[chosen]
    dense = torch.zeros(n, width, dtype=torch.float64)
    dense[chosen] = values
    W, rows = normal(width, D, seed=seed + 1), normal(n, D, seed=seed + 2)
    torch.testing.assert_close(pattern.decode(values, W), dense @ W)
    torch.testing.assert_close(pattern.dots(rows, W), (rows @ W.T)[chosen])
    torch.testing.assert_close(pattern.transposed(values, rows), dense.T @ rows)
    torch.testing.assert_close(pattern.sum(values), dense.sum(0))
    torch.testing.assert_close(pattern.sum_rows(values), dense.sum(1))
    assert torch.equal(pattern.rows, chosen.nonzero()[:, 0])
    assert pattern.n == n


@given(st.integers(1, 6), WIDTHS, st.integers(1, 8), st.integers(0, 10_000))
def test_a_pattern_of_k_in_each_row(n: int, width: int, k: int, seed: int) -> None:
    values, indices = top_k(normal(n, width, seed=seed), k)
    pattern = Pattern.fixed(indices, width)
    dense = torch.zeros(n, width, dtype=torch.float64).scatter_(1, indices, values)
    W, rows = normal(width, D, seed=seed + 1), normal(n, D, seed=seed + 2)
    torch.testing.assert_close(decode_sparse(values, indices, W), dense @ W)
    torch.testing.assert_close(pattern.decode(values.reshape(-1), W), dense @ W)
    torch.testing.assert_close(pattern.dots(rows, W).view(n, k), (rows @ W.T).gather(1, indices))
    torch.testing.assert_close(pattern.transposed(values.reshape(-1), rows), dense.T @ rows)
    torch.testing.assert_close(pattern.sum_rows(values.reshape(-1)), dense.sum(1))
    assert pattern.rows.tolist() == [row for row in range(n) for _ in range(k)]


@given(**SHAPES)
def test_a_pattern_keeps_what_a_mask_keeps(n: int, width: int, share: float, seed: int) -> None:
    chosen = mask(n, width, share, seed)
    values = normal(n, width, seed=seed)[chosen]
    kept = values > 0
    pattern = ragged(chosen).keep(kept)
    dense = torch.zeros(n, width, dtype=torch.float64)
    dense[chosen] = values
    W = normal(width, D, seed=seed + 1)
    assert (pattern.n, pattern.d_sae) == (n, width)
    torch.testing.assert_close(pattern.decode(values[kept], W), dense.relu() @ W)


@given(st.integers(1, 5), st.integers(1, 4), WIDTHS, st.integers(0, 10_000))
def test_fewer_rows_are_read_as_if_repeated(n: int, times: int, width: int, seed: int) -> None:
    chosen = mask(n * times, width, 0.4, seed)
    values, rows = normal(n * times, width, seed=seed)[chosen], normal(n, D, seed=seed + 2)
    dense = torch.zeros(n * times, width, dtype=torch.float64)
    dense[chosen] = values
    torch.testing.assert_close(ragged(chosen).transposed(values, rows), dense.T @ rows.repeat(times, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_entries_above_a_bound_in_the_training_dtypes(dtype: torch.dtype) -> None:
    pre = normal(9, 64, seed=3).to(dtype)
    rows, indices, values = above(pre, 0.5)
    assert values.dtype == dtype
    assert rows.numel() == int((pre > 0.5).sum())
    assert torch.equal(pre[rows, indices], values)


def test_transposed_views_are_read_as_they_stand() -> None:
    """The operators behind a pattern take memory in order: a view must not be read as its base."""
    chosen = mask(6, 8, 0.5, 0)
    pattern, values = ragged(chosen), normal(6, 8, seed=0)[chosen]
    dense = torch.zeros(6, 8, dtype=torch.float64)
    dense[chosen] = values
    rows, W = normal(D, 6, seed=1).T, normal(D, 8, seed=2).T
    torch.testing.assert_close(pattern.dots(rows, W), (rows @ W.T)[chosen])
    torch.testing.assert_close(pattern.transposed(values, rows), dense.T @ rows)
    torch.testing.assert_close(pattern.decode(values, W), dense @ W)
