"""The certificate: a true bound whatever it is given, on every precision and with either way of searching."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import normalize

from aquin_nb.engine.analysis import assignment
from aquin_nb.engine.analysis.matching import auction, dense, selection, similarity, sparse
from aquin_nb.engine.analysis.matching.auction import Duals
from aquin_nb.engine.analysis.matching.certificate import Known, upper_bound
from aquin_nb.engine.analysis.matching.graph import Graph
from aquin_nb.engine.analysis.matching.similarity import Similarities, full_float32
from aquin_nb.engine.analysis.matching.watch import Watch

DTYPES = [torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture(scope="module", autouse=True)
def machine_code(pytestconfig: pytest.Config) -> Iterator[None]:
    """Compiled once a checkout, not once a test run."""
    cache = getattr(pytestconfig, "cache", None)  # none with `-p no:cacheprovider`
    with pytest.MonkeyPatch.context() as patch:
        if cache is not None:
            patch.setenv("NUMBA_CACHE_DIR", str(cache.mkdir("numba")))
        yield


def directions(n: int, d: int, seed: int) -> Tensor:
    return normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def matrix(A: Tensor, B: Tensor) -> np.ndarray:
    return (A.double() @ B.double().T).numpy()


def best_sum(S: np.ndarray) -> float:
    return float(S[linear_sum_assignment(S, maximize=True)].sum())


@given(
    st.integers(1, 9),
    st.integers(0, 5),
    st.integers(0, 10**6),
    st.sampled_from(DTYPES),
    st.booleans(),
    st.sampled_from([None, 1, 3]),
)
@settings(max_examples=200)
def test_any_prices_give_a_true_bound_and_exactly_what_they_say(
    n: int, more: int, seed: int, low: torch.dtype, compiled: bool, keep: int | None
) -> None:
    A, B = directions(n, 6, seed), directions(n + more, 6, seed + 1)
    similarities = Similarities(A, B, low=low)
    similarities.compiled = compiled
    rng = np.random.default_rng(seed)
    gains, prices = rng.normal(0.3, 0.4, n), np.abs(rng.normal(0.2, 0.3, n + more))
    S = matrix(A, B)
    excess = (S - gains[:, None] - prices).max(axis=1, initial=0.0)
    with full_float32():
        known = keep and after_a_pass(similarities, keep)
        bound = upper_bound(similarities, gains, prices, Watch(), known or None)
    assert bound is not None
    assert bound.value == pytest.approx(gains.sum() + prices.sum() + excess.sum(), abs=1e-12)
    assert bound.value >= best_sum(S) - 1e-12
    np.testing.assert_allclose(bound.gains, gains + excess, atol=1e-13)
    assert np.all(S[bound.rows, bound.cols] > gains[bound.rows] + prices[bound.cols] - 1e-12)


def after_a_pass(similarities: Similarities, keep: int) -> Known:
    best = selection.best_pairs(similarities, keep, Watch(), "similarity")
    assert best is not None
    graph = sparse._with_edges(Graph.empty(*similarities.shape), best.keys, similarities)
    return Known(graph, *similarities.at_most(best.row_floor, best.col_floor))


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("low", DTYPES)
@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([1e-8, 1e-3, 1.0]), st.booleans())
@settings(max_examples=25)
def test_what_a_pass_leaves_out_is_below_its_limits(
    low: torch.dtype, compiled: bool, seed: int, keep: int, spread: float, equal: bool
) -> None:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((1, 20)) + spread * rng.standard_normal((90, 20))
    Y = normalize(torch.from_numpy(X.astype(np.float32)), dim=1)
    A, B = Y[:40], Y[40:]
    if equal:
        A[:20], B[30:] = A[0], A[0]
    similarities = Similarities(A, B, low=low)
    similarities.compiled, similarities.size = compiled, 16
    with full_float32():
        known = after_a_pass(similarities, keep)
    S = matrix(A, B)
    rows, cols = known.graph.keys // 50, known.graph.keys % 50
    np.testing.assert_allclose(known.graph.weights, S[rows, cols], atol=1e-14)
    S[rows, cols] = -np.inf
    assert np.all(np.minimum(known.row_most[:, None], known.col_most) >= S)


def test_one_better_pair_among_many_is_not_overlooked_in_any_precision() -> None:
    """A pair above gain + price by 1e-9 is far below what bfloat16 and float32 can tell."""
    A, B = directions(300, 48, 0), directions(300, 48, 1)
    S = matrix(A, B)
    gains, prices = S.max(axis=1), np.zeros(300)
    gains[123] -= 1e-9
    for low in DTYPES:
        with full_float32():
            bound = upper_bound(Similarities(A, B, low=low), gains, prices, Watch())
        assert bound is not None
        assert 123 in bound.rows[S[bound.rows, bound.cols] - gains[bound.rows] > 5e-10]
        assert bound.value == pytest.approx(S.max(axis=1).sum(), abs=1e-11)


@pytest.mark.parametrize("shuffled", ["rows", "prices"])
def test_a_wrong_solver_is_found_out(shuffled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    A, B = directions(200, 16, 0), directions(200, 16, 1)
    best = best_sum(matrix(A, B))

    def wrong(*args: object) -> Duals:
        duals = auction.solve(*args)  # type: ignore[arg-type]
        if shuffled == "rows":
            return Duals(np.roll(duals.row_col, 1), duals.gains, duals.prices)
        return Duals(duals.row_col, duals.gains - 0.01, np.roll(duals.prices, 1))

    monkeypatch.setattr(assignment, "DENSE_PAIRS", 0)
    monkeypatch.setattr(sparse, "solve", wrong)
    monkeypatch.setattr(sparse, "VIOLATION", np.inf)
    found = assignment.match_directions(A, B)
    assert not found.certified
    assert found.gap > 0.1
    assert found.bound >= best - 1e-9 >= found.objective - 2e-9


@pytest.mark.parametrize("low", DTYPES)
@given(st.integers(1, 400), st.integers(0, 10**6), st.sampled_from([1.0, 1e-3, 1e-20]))
@settings(max_examples=40)
def test_blocks_err_by_no_more_than_is_stated(low: torch.dtype, width: int, seed: int, short: float) -> None:
    A, B = directions(20, width, seed), directions(30, width, seed + 1)
    A[::3] *= short
    B[:10] = A[:10].sign() * width**-0.5  # where rounding errors of a row all have the same sign
    similarities = Similarities(A, B, low=low)
    with full_float32():
        x = similarities.block(similarities.rows(slice(None)), similarities.cols(slice(None))).double().numpy()
    allowed = similarities.row_error[:, None] + similarities.col_error + similarities.slope * np.abs(x)
    assert np.all(np.abs(x - matrix(A, B)) <= allowed + 1e-15)


def test_a_process_that_trades_precision_for_speed_gets_float32_all_the_same() -> None:
    A = directions(256, 512, 0)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        similarities = Similarities(A, A, low=torch.float32)
        with full_float32():
            x = similarities.block(similarities.rows(slice(None)), similarities.cols(slice(None))).double().numpy()
        assert np.abs(x - matrix(A, A)).max() < 1e-5
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("size", [7, 1024])
def test_the_best_pairs_of_a_part_are_the_best(compiled: bool, size: int) -> None:
    A, B = directions(40, 12, 0), directions(60, 12, 1)
    similarities = Similarities(A, B, low=torch.float32)
    similarities.compiled, similarities.size = compiled, size
    rows, cols = np.array([3, 30, 9, 12, 25]), np.arange(5, 60, 3)
    shift_r, shift_c = np.linspace(0, 0.5, 5), np.linspace(0.3, 0, len(cols))
    with full_float32():
        best = selection.best_pairs(
            similarities, 3, Watch(), "pricing", rows=rows, cols=cols, row_shift=shift_r, col_shift=shift_c
        )
    assert best is not None
    S = matrix(A, B)[np.ix_(rows, cols)]
    by_row = np.argsort(shift_c - S, axis=1)[:, :3]
    by_col = np.argsort(shift_r[:, None] - S, axis=0)[:3]
    wanted = {(r, c) for r, line in enumerate(by_row) for c in line}
    wanted |= {(r, c) for c, line in enumerate(by_col.T) for r in line}
    assert best.keys.tolist() == sorted(rows[r] * 60 + cols[c] for r, c in wanted)
    out = np.ones_like(S, dtype=bool)
    out[tuple(np.array(sorted(wanted)).T)] = False
    assert np.all((S - shift_c <= best.row_floor[:, None] + 1e-6)[out])
    assert np.all((S - shift_r[:, None] <= best.col_floor + 1e-6)[out])


@given(st.integers(0, 10**6))
@settings(max_examples=30)
def test_no_pair_that_could_improve_lies_outside_the_suspicious_part(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gains, prices = rng.normal(0.3, 0.2, 12), rng.normal(0.2, 0.2, 15)
    row_most, col_most = rng.normal(0.4, 0.2, 12), rng.normal(0.4, 0.2, 15)
    rows, cols, reach = selection.suspicious(gains, prices, row_most, col_most)
    looked_at = {(i, j) for i, count in zip(rows, reach, strict=True) for j in cols[:count]}
    open_pairs = np.minimum(row_most[:, None], col_most) > gains[:, None] + prices
    assert set(zip(*np.nonzero(open_pairs), strict=True)) <= looked_at
    assert np.all(np.diff(reach) <= 0)


def test_what_a_gpu_would_do_gives_the_same_matching(monkeypatch: pytest.MonkeyPatch) -> None:
    A, B = directions(300, 24, 0), directions(330, 24, 1)
    A[50:90] = A[50]
    B[10:40] = A[50]

    class OnDevice(Similarities):
        def __init__(self, A: Tensor, B: Tensor, *, low: torch.dtype | None = None) -> None:
            super().__init__(A, B, low=low or torch.float32)
            self.compiled, self.size = False, 128

    monkeypatch.setattr(assignment, "DENSE_PAIRS", 0)
    monkeypatch.setattr(assignment, "Similarities", OnDevice)
    monkeypatch.setattr(similarity, "Similarities", OnDevice)
    found = assignment.match_directions(A, B)
    assert found.certified
    assert found.objective == pytest.approx(best_sum(matrix(A, B)), abs=1e-8)


@given(st.integers(1, 8), st.integers(0, 6), st.integers(0, 10**6))
@settings(max_examples=60)
def test_prices_found_after_the_fact_prove_a_dense_matching(n: int, more: int, seed: int) -> None:
    S = np.random.default_rng(seed).integers(-3, 4, (n, n + more)) / 4
    row_col = linear_sum_assignment(S, maximize=True)[1]
    gains, prices = dense.duals(S, row_col)
    assert np.all(gains[:, None] + prices >= S - 1e-12)
    assert prices.min() >= 0
    assert gains.sum() + prices.sum() == pytest.approx(best_sum(S), abs=1e-12)


class Patience(Watch):
    """Fails a test whose loop goes on for ever, at the looks at the clock that every loop takes."""

    def check(self) -> None:
        self.looks = getattr(self, "looks", 0) + 1
        assert self.looks < 500, "the auction does not end"


@given(st.integers(1, 8), st.integers(0, 5), st.integers(0, 10**6), st.sampled_from([0.15, 0.4, 0.9]), st.booleans())
@settings(max_examples=200)
def test_auctions_end_at_the_optimum_of_any_graph(n: int, more: int, seed: int, share: float, ties: bool) -> None:
    """Also where no full matching is: then rows stay without a column, at `LEAVE` each."""
    rng = np.random.default_rng(seed)
    edges = rng.random((n, n + more)) < share
    edges[np.arange(n), rng.integers(0, n + more, n)] = True
    S = rng.integers(-2, 3, edges.shape) / 2 if ties else rng.normal(0, 0.4, edges.shape).clip(-1, 1)
    keys = np.flatnonzero(edges)
    graph = Graph(n, n + more, keys, S.ravel()[keys])
    allowed = np.hstack([np.where(edges, S, -1e6), np.where(np.eye(n, dtype=bool), auction.LEAVE, -1e6)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auction, "LOOKS", 2_000)
        duals = auction.solve(graph, Patience())
        again = auction.solve(graph, Patience(), rng.normal(0, 1, n + more))
    for found in (duals, again):
        matched = np.flatnonzero(found.row_col >= 0)
        cols = found.row_col[matched]
        assert edges[matched, cols].all()
        assert len(set(cols)) == len(cols)
        assert S[matched, cols].sum() + auction.LEAVE * len(found.left) == pytest.approx(best_sum(allowed), abs=1e-9)
        assert np.all((found.gains[:, None] + found.prices >= S - 1e-9)[edges])
