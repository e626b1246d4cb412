"""Matching: the same optimum as scipy's on anything, proven by prices alone, and honest when it is stopped."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import normalize

from aquin_nb.control import Control, Tick
from aquin_nb.engine import compiled
from aquin_nb.engine.analysis import assignment
from aquin_nb.engine.analysis.assignment import Matching, match_directions
from aquin_nb.engine.analysis.matching import similarity, sparse, watch
from aquin_nb.engine.analysis.matching.certificate import TOLERANCE
from aquin_nb.errors import Cancelled, DictionaryError


@pytest.fixture(scope="module", autouse=True)
def machine_code(pytestconfig: pytest.Config) -> Iterator[None]:
    """Compiled once a checkout, not once a test run."""
    cache = getattr(pytestconfig, "cache", None)  # none with `-p no:cacheprovider`
    with pytest.MonkeyPatch.context() as patch:
        if cache is not None:
            patch.setenv("NUMBA_CACHE_DIR", str(cache.mkdir("numba")))
        yield


@pytest.fixture
def never_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assignment, "DENSE_PAIRS", 0)


def noise(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def directions(n: int, d: int, seed: int) -> Tensor:
    return normalize(noise(n, d, seed), dim=1)


def optimum(A: Tensor, B: Tensor) -> float:
    S = (A.double() @ B.double().T).numpy()
    return float(S[linear_sum_assignment(S, maximize=True)].sum())


def check_full(found: Matching, A: Tensor, B: Tensor) -> None:
    """One to one, all of the smaller side, and the numbers are those of the pairs."""
    pairs = min(len(A), len(B))
    assert len(set(found.rows)) == len(set(found.cols)) == len(found.rows) == pairs
    assert np.all(np.diff(found.rows) > 0)
    cosine = (A[found.rows].double() * B[found.cols].double()).sum(1).numpy()
    np.testing.assert_allclose(found.cosine, cosine, atol=1e-13)
    assert found.objective == pytest.approx(cosine.sum(), abs=1e-11 * pairs)
    prices = found.row_price[:, None] + found.col_price
    assert prices.shape == (len(A), len(B))
    assert np.all(prices >= (A.double() @ B.double().T).numpy() - 1e-12)
    assert found.bound == pytest.approx(found.row_price.sum() + found.col_price.sum(), abs=1e-11 * pairs)
    if len(A) != len(B):
        assert (found.row_price if len(A) > len(B) else found.col_price).min() >= 0


def check_optimal(found: Matching, A: Tensor, B: Tensor) -> None:
    check_full(found, A, B)
    pairs = len(found.rows)
    assert found.certified
    assert found.gap == 0.0
    assert found.verdict == "optimal"
    assert found.objective == pytest.approx(optimum(A, B), abs=TOLERANCE * pairs)
    assert -1e-12 * pairs <= found.bound - found.objective <= TOLERANCE * pairs
    room = found.row_price[found.rows] + found.col_price[found.cols] - found.cosine
    assert np.abs(room).max(initial=0.0) <= TOLERANCE * pairs
    if len(A) != len(B):
        prices, matched = (found.row_price, found.rows) if len(A) > len(B) else (found.col_price, found.cols)
        assert np.delete(prices, matched).max(initial=0.0) <= TOLERANCE * pairs


@st.composite
def rows(draw: st.DrawFn, width: int) -> Tensor:
    """Short rows of few values: equal, opposite and zero rows, and ties everywhere; or rows of any length up to 1."""
    n = draw(st.integers(1, 14))
    seed = draw(st.integers(0, 10**6))
    kind = draw(st.sampled_from(["lattice", "any", "one direction", "repeated"]))
    X = noise(n, width, seed)
    if kind == "lattice":
        return X.round().clamp(-2, 2) / (2 * math.sqrt(width))
    if kind == "one direction":
        sign: float = draw(st.sampled_from([1.0, -1.0]))
        return normalize(torch.ones(width) + 0.001 * X, dim=1).mul(sign)
    if kind == "repeated":
        return normalize(
            X[torch.randint(0, max(1, n // 3), (n,), generator=torch.Generator().manual_seed(seed))], dim=1
        )
    return normalize(X, dim=1) * torch.rand(n, 1, generator=torch.Generator().manual_seed(seed + 1))


@st.composite
def pairs_of_sets(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    width = draw(st.integers(1, 5))
    return draw(rows(width)), draw(rows(width))


@given(pairs_of_sets())
@settings(max_examples=150)
def test_small_sets_are_matched_at_the_optimum(sets: tuple[Tensor, Tensor]) -> None:
    check_optimal(match_directions(*sets), *sets)


@given(pairs_of_sets())
@settings(max_examples=300)
def test_so_are_sets_matched_without_their_matrix(sets: tuple[Tensor, Tensor]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assignment, "DENSE_PAIRS", 0)
        patch.setattr(sparse, "KEEP", 2)  # so few edges that most graphs have no full matching at first
        patch.setattr(sparse, "KEEP_PRICED", 1)
        check_optimal(match_directions(*sets), *sets)


def clusters(n: int, d: int, seed: int, *, spread: float) -> Tensor:
    """Around eight centres that both sides share, in numbers of their own."""
    size = torch.rand(8, generator=torch.Generator().manual_seed(seed)) ** 3
    label = torch.multinomial(size, n, replacement=True, generator=torch.Generator().manual_seed(seed))
    return normalize(directions(8, d, 99)[label] + spread * noise(n, d, seed) / d**0.5, dim=1)


def hubs(n: int, d: int, seed: int) -> Tensor:
    """A common direction of which every row has its own amount."""
    amount = noise(n, 1, seed + 1).abs()
    return normalize(noise(n, d, seed) / d**0.5 + 0.8 * amount * directions(1, d, 98), dim=1)


def same_rows(n: int, d: int, seed: int, *, copies: int) -> Tensor:
    X = directions(n, d, seed)
    X[seed : seed + copies] = directions(1, d, 97)
    return X


HARD = {
    "unrelated": (directions(700, 64, 1), directions(700, 64, 2)),
    "unequal clusters": (clusters(700, 64, 3, spread=0.5), clusters(700, 64, 4, spread=0.5)),
    "hubs": (hubs(600, 64, 5), hubs(600, 64, 6)),
    "hubs, one side a little larger": (hubs(560, 64, 7), hubs(600, 64, 8)),
    "many more on one side": (directions(150, 32, 9), directions(1000, 32, 10)),
    "the other side": (directions(900, 32, 9), directions(512, 32, 10)),
    "equal rows": (same_rows(600, 32, 11, copies=200), same_rows(600, 32, 12, copies=300)),
    "all rows equal": (directions(1, 16, 13).repeat(550, 1), directions(1, 16, 13).repeat(520, 1)),
    "all zero": (torch.zeros(512, 8), torch.zeros(530, 8)),
    "all opposed": (clusters(520, 32, 14, spread=0.1)[:, :32], -clusters(520, 32, 15, spread=0.1)[:, :32]),
    "two dimensions": (directions(512, 2, 16), directions(512, 2, 17)),
    "closer than bfloat16 tells": (clusters(600, 32, 18, spread=0.01), clusters(600, 32, 19, spread=0.01)),
    "closer than float32 tells": (clusters(520, 32, 20, spread=1e-4), clusters(520, 32, 21, spread=1e-4)),
    "short rows": (directions(520, 16, 22) * 1e-3, directions(520, 16, 23) * torch.rand(520, 1)),
}


@pytest.mark.usefixtures("never_dense")
@pytest.mark.parametrize("kind", HARD)
def test_hard_sets_of_hundreds_are_matched_at_the_optimum(kind: str) -> None:
    A, B = HARD[kind]
    check_optimal(match_directions(A, B), A, B)


def test_a_size_that_needs_no_patience_is_matched_without_its_matrix() -> None:
    A = directions(2100, 24, 0)
    order = torch.randperm(2100, generator=torch.Generator().manual_seed(1))
    B = normalize(A[order] + 0.02 * noise(2100, 24, 2), dim=1)
    found = match_directions(A, B)
    check_full(found, A, B)
    assert found.certified
    assert np.array_equal(order.numpy()[found.cols], found.rows)
    assert found.rounds >= 1
    assert found.seconds > 0
    assert 0 <= found.peak_bytes < 10**9


@pytest.mark.usefixtures("never_dense")
def test_turning_the_sides_round_changes_nothing() -> None:
    A, B = hubs(200, 16, 0), hubs(260, 16, 1)
    one, other = match_directions(A, B), match_directions(B, A)
    assert set(zip(one.rows, one.cols, strict=True)) == set(zip(other.cols, other.rows, strict=True))
    assert one.objective == other.objective


@pytest.mark.parametrize("pairs", [0, 2048**2])
def test_equal_rows_get_their_partners_in_order(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assignment, "DENSE_PAIRS", pairs)
    one = directions(1, 8, 0)
    A, B = torch.cat([one, -one, one, one]), torch.cat([one, one, -one, one, one, -one])
    for _ in range(2):
        assert match_directions(A, B).cols.tolist() == [0, 2, 1, 3]
        assert match_directions(B, A).rows.tolist() == [0, 1, 2, 3]


def test_nothing_is_matched_with_nothing_and_one_with_one() -> None:
    found = match_directions(torch.zeros(0, 4), directions(3, 4, 0))
    assert (len(found.rows), len(found.cols), found.objective, found.bound, found.gap) == (0, 0, 0.0, 0.0, 0.0)
    one = directions(1, 4, 0)
    assert match_directions(one, -one).objective == pytest.approx(-1.0)
    assert match_directions(one, directions(3, 4, 1)).rows.tolist() == [0]


def test_other_dtypes_are_taken() -> None:
    A = directions(5, 4, 0)
    assert match_directions(A.double(), A.bfloat16() * 0.9).cols.tolist() == [0, 1, 2, 3, 4]


def with_row(X: Tensor, row: int, value: float) -> Tensor:
    X = X.clone()
    X[row, 1] = value
    return X


@pytest.mark.parametrize(
    ("A", "B", "says"),
    [
        (with_row(directions(9, 4, 0), 6, float("nan")), directions(9, 4, 1), r"Row 6 of A holds NaN or infinite"),
        (directions(9, 4, 1), with_row(directions(9, 4, 0), 3, float("inf")), r"Row 3 of B holds NaN or infinite"),
        (2 * directions(9, 4, 1), directions(9, 4, 0), r"Row 0 of A is longer than 1.*9 such rows"),
        (with_row(directions(9, 4, 1), 2, 1e30), directions(9, 4, 0), r"Row 2 of A is longer than 1"),
        (directions(9, 4, 1), directions(9, 5, 0), r"width 4 .* directions of 5"),
        (directions(9, 4, 1)[0], directions(9, 4, 0), r"A must be a matrix .* shape \[4\]"),
        (torch.zeros(3, 0), torch.zeros(3, 0), r"A has directions of width 0"),
    ],
)
def test_what_cannot_be_matched_is_named(A: Tensor, B: Tensor, says: str) -> None:
    with pytest.raises(DictionaryError, match=says):
        match_directions(A, B)


@pytest.mark.parametrize("limit", [0, -1.0, float("nan")])
def test_a_time_limit_is_a_time(limit: float) -> None:
    with pytest.raises(DictionaryError, match="time_limit"):
        match_directions(directions(2, 2, 0), directions(2, 2, 0), time_limit=limit)


@pytest.mark.usefixtures("never_dense")
def test_a_missing_compiler_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assignment, "find_spec", lambda name: None)
    with pytest.raises(DictionaryError, match=r"2 × 3 directions needs numba: pip install 'aquin-nb\[engine\]'"):
        match_directions(directions(2, 2, 0), directions(3, 2, 0))


def test_machine_code_is_not_kept_where_nothing_can_be_written(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "below"))
    assert compiled.compiled(lambda x: x + 1)(1) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


class Clock:
    """A clock that moves on by one second whenever somebody looks."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 1.0
        return self.now


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float32])
@pytest.mark.usefixtures("never_dense")
def test_stopped_at_any_time_it_is_a_full_matching_and_its_gap_is_true(
    low: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity, "fast_dtype", lambda *_: low)
    A, B = hubs(300, 24, 0), hubs(340, 24, 1)
    best = optimum(A, B)
    monkeypatch.setattr(sparse, "KEEP", 3)
    gaps = []
    for limit in [0.5, *range(1, 24), *range(24, 120, 8), 10_000]:
        monkeypatch.setattr(watch, "time", Clock())
        found = match_directions(A, B, time_limit=limit)
        check_full(found, A, B)
        assert found.objective <= best + 1e-9
        assert found.bound >= best - 1e-9
        assert found.gap == pytest.approx(found.bound - found.objective, abs=TOLERANCE * 300)
        assert found.certified == (found.verdict == "optimal")
        gaps.append(found.gap)
    assert gaps[0] > 100  # nothing is known yet but that rows have length 1
    assert gaps[-1] == 0.0
    assert any(0.0 < gap < 30 for gap in gaps)


def test_a_gap_is_never_rounded_in_our_favour() -> None:
    nothing, prices = np.zeros(4, np.int64), (np.zeros(4), np.zeros(4))

    def verdict(objective: float, bound: float) -> str:
        return Matching(nothing, nothing, np.zeros(4), objective, bound, bound - objective, 1, 0.0, 0, *prices).verdict

    assert verdict(99.7, 100.0) == "within 0.3 % of optimal"
    assert verdict(99.6995, 100.0) == "within 0.31 % of optimal"
    assert verdict(0.2, 100.0) == "within 100 % of optimal"
    assert verdict(-1.0, -0.5) == "at most 0.13 a pair below the optimum"


@pytest.mark.usefixtures("never_dense")
def test_progress_is_told_and_a_cancellation_stops_it_anywhere() -> None:
    A, B = hubs(300, 24, 0), hubs(300, 24, 1)
    ticks: list[Tick] = []
    whole = match_directions(A, B, progress=Control(on_tick=ticks.append))
    assert ticks[0].stage == "similarity"
    assert {"similarity", "matching", "certificate"} <= {tick.stage for tick in ticks}
    assert all(0 <= tick.done <= tick.total for tick in ticks)
    for count in range(1, len(ticks) + 1):
        control = Control()
        seen: list[Tick] = []

        def stop(tick: Tick, count: int = count, control: Control = control, seen: list[Tick] = seen) -> None:
            seen.append(tick)
            if len(seen) == count:
                control.cancel()

        control._on_tick = stop
        with pytest.raises(Cancelled):
            match_directions(A, B, progress=control)
        assert len(seen) == count
    again = match_directions(A, B)
    assert np.array_equal(again.cols, whole.cols)
