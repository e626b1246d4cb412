"""Compiled kernels choose what torch chooses, and equal float64 as closely as plain torch does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from aquin_nb.engine.sae.compiled_adam import step
from aquin_nb.engine.sae.compiled_products import reconstruct, weight_gradients
from aquin_nb.engine.sae.compiled_selection import above, top_k
from aquin_nb.engine.sae.kernels import Pattern

WIDTHS = st.sampled_from([3, 16, 37, 40, 64, 96, 256])
DTYPES = st.sampled_from([torch.float32, torch.bfloat16])


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


def in_columns(values: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Entries of each row in the order of their columns."""
    columns, order = indices.sort(dim=1)
    return values.gather(1, order), columns


@given(st.integers(1, 6), WIDTHS, st.integers(1, 12), DTYPES, st.integers(0, 10_000))
def test_the_chosen_entries_are_those_of_torch(n: int, width: int, k: int, dtype: torch.dtype, seed: int) -> None:
    k = min(k, width)
    pre, bias = normal(n, width, seed=seed).to(dtype), normal(width, seed=seed + 1)
    values, indices = in_columns(*top_k(pre, k, bias))
    expected, columns = in_columns(*(pre.float() + bias).topk(k, dim=1))
    assert torch.equal(indices, columns)
    assert torch.equal(values, expected)


@given(st.integers(1, 4), WIDTHS, st.integers(1, 12), DTYPES, st.integers(0, 10_000))
def test_of_equal_entries_the_lowest_columns_are_chosen(
    n: int, width: int, k: int, dtype: torch.dtype, seed: int
) -> None:
    k = min(k, width)
    pre = torch.randint(-2, 3, (n, width), generator=generator(seed)).to(dtype)
    values, indices = in_columns(*top_k(pre, k))
    ordered, order = pre.float().sort(dim=1, descending=True, stable=True)
    expected, columns = in_columns(ordered[:, :k], order[:, :k])
    assert torch.equal(indices, columns)
    assert torch.equal(values, expected)


@pytest.mark.parametrize("bad", [float("nan"), -float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("width", [40, 256])
def test_numbers_that_are_none_still_give_k_different_columns(bad: float, width: int) -> None:
    pre = normal(5, width, seed=0)
    pre[0], pre[1, ::3], pre[2, 7] = bad, bad, bad
    values, indices = top_k(pre, 8)
    assert all(len(set(row)) == 8 and min(row) >= 0 and max(row) < width for row in indices.tolist())
    torch.testing.assert_close(values, pre.gather(1, indices), rtol=0, atol=0, equal_nan=True)


@given(st.integers(1, 6), WIDTHS, st.sampled_from([-9.0, -0.3, 0.0, 0.7, 9.0]), DTYPES, st.integers(0, 10_000))
def test_above_is_every_entry_over_the_bound(n: int, width: int, bound: float, dtype: torch.dtype, seed: int) -> None:
    pre, bias = normal(n, width, seed=seed).to(dtype), normal(width, seed=seed + 1)
    total = pre.float() + bias
    rows, indices, values = above(pre, bound, bias, room=2)
    assert bool((rows.diff() >= 0).all())
    assert torch.equal(values, total[rows, indices])
    found = torch.zeros(n, width, dtype=torch.bool)
    found[rows, indices] = True
    assert torch.equal(found, total > bound)
    assert rows.numel() == int(found.sum()), "no entry twice"


def case(ragged: bool, n: int = 40, latents: int = 64, d: int = 33, d_in: int = 20) -> dict[str, Any]:
    """A pattern with a latent that fires for no row and one that fires for every row, and tensors to go with it."""
    chosen = torch.rand(n, latents, generator=generator(0)) < (0.2 if ragged else 0)
    chosen[:, 5] = True
    if ragged:
        chosen[3] = False
        chosen[:, 9] = False
        rows, indices = chosen.nonzero(as_tuple=True)
        pattern = Pattern.ragged(rows, indices, n, latents)
    else:
        pattern = Pattern.fixed(
            torch.stack([torch.randperm(latents, generator=generator(1))[:7] for _ in range(n)]), latents
        )
    f = normal(pattern.indices.numel(), seed=2).relu()
    return {
        "pattern": pattern,
        "f": f,
        "W": normal(latents, d, seed=3),
        "bias": normal(d, seed=4),
        "y": normal(n, d, seed=5),
        "weights": torch.rand(n, generator=generator(6)),
        "x": normal(n, d_in, seed=7),
    }


def expected(case: dict[str, Any], dtype: torch.dtype) -> list[Tensor]:
    """The same with the plain kernels."""
    pattern = case["pattern"]
    f, W, bias, y, weights, x = (case[name].to(dtype) for name in ("f", "W", "bias", "y", "weights", "x"))
    residual = pattern.decode(f, W) + bias - y
    grad_out = residual * weights.unsqueeze(1)
    grad_z = pattern.dots(grad_out, W) * (f > 0)
    return [
        residual,
        grad_out,
        grad_z,
        pattern.transposed(f, grad_out),
        pattern.transposed(grad_z, x),
        pattern.sum(grad_z),
    ]


def found(case: dict[str, Any]) -> list[Tensor]:
    first = reconstruct(*(case[name] for name in ("pattern", "f", "W", "bias", "y", "weights")))
    second = weight_gradients(case["pattern"], case["f"], first.grad_z, first.grad_out, case["x"])
    assert torch.equal(second.fired, case["pattern"].sum((case["f"] > 0).float()).long())
    return [*first, *second[:3]]


@pytest.mark.parametrize("ragged", [False, True])
def test_products_are_as_close_to_float64_as_plain_torch(ragged: bool) -> None:
    one = case(ragged)
    for exact, plain, mine in zip(expected(one, torch.float64), expected(one, torch.float32), found(one), strict=True):
        allowed = 2 * float((plain - exact).abs().max()) + 1e-7 * float(exact.abs().max())
        assert float((mine - exact).abs().max()) <= allowed


def adam_state(rows: int, d: int) -> tuple[Tensor, dict[str, Tensor]]:
    start = torch.nn.functional.normalize(normal(rows, d, seed=0).double(), dim=1) * 1.5
    return start, {"exp_avg": torch.zeros(rows, d).double(), "exp_avg_sq": torch.zeros(rows, d).double()}


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_steps_of_the_decoder_equal_projection_adam_and_renormalising(decay: float) -> None:
    exact, moments = adam_state(21, 37)
    mine = exact.float()
    own = {name: value.float() for name, value in moments.items()} | {"step": torch.zeros(())}
    optimizer = torch.optim.AdamW([exact], lr=0.03, betas=(0.9, 0.98), weight_decay=decay)
    for i in range(5):
        gradient = normal(21, 37, seed=i + 1)
        squares = step(mine, gradient, own, norm=1.5, lr=0.03, betas=(0.9, 0.98), eps=1e-8, decay=decay)
        along = (gradient.double() * exact).sum(1, keepdim=True) / 1.5**2
        exact.grad = gradient.double() - along * exact
        torch.testing.assert_close(squares.double(), exact.grad.square().sum(1), rtol=1e-5, atol=0)
        optimizer.step()
        exact *= 1.5 / exact.norm(dim=1, keepdim=True)
        torch.testing.assert_close(mine.double(), exact, rtol=1e-5, atol=1e-6)
    assert float(own["step"]) == 5


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_the_number_of_threads_changes_no_bit() -> None:
    results = []
    for count in (1, 3):
        torch.set_num_threads(count)
        pre, bias = normal(50, 256, seed=0), normal(256, seed=1)
        tensors = [*top_k(pre, 7, bias), *above(pre, 0.5, bias, room=3), *found(case(True))]
        rows, moments = adam_state(21, 37)
        mine, own = rows.float(), {name: value.float() for name, value in moments.items()} | {"step": torch.zeros(())}
        step(mine, normal(21, 37, seed=1), own, norm=1.5, lr=0.03, betas=(0.9, 0.98), eps=1e-8, decay=0.0)
        results.append([*tensors, mine, *own.values()])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
