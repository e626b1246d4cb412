"""The parts of an alignment: margins that hold, a null that is calibrated, spans, one pass that sees everything."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from relations import directions
from scipy.optimize import linear_sum_assignment

from aquin_nb.control import Control
from aquin_nb.engine.analysis.alignment import neighbours
from aquin_nb.engine.analysis.alignment.margins import centred, margins
from aquin_nb.engine.analysis.alignment.null import false_discovery, isotropic_line, null_of
from aquin_nb.engine.analysis.alignment.spans import claims, explained_by
from aquin_nb.engine.analysis.assignment import match_directions


def scanned(
    A: torch.Tensor, B: torch.Tensor, centre: bool = False
) -> tuple[neighbours.Neighbours, np.ndarray, np.ndarray]:
    """A scan, the partners, and the margins."""
    found = match_directions(A, B)
    if centre:
        found = centred(found, lambda rows: A[rows].double() @ B.double().T)
        assert (found.row_price[:, None] + found.col_price >= (A.double() @ B.double().T).numpy() - 1e-9).all()
        assert found.row_price.sum() + found.col_price.sum() == pytest.approx(found.bound)
    partner = np.full(len(A), -1)
    partner[found.rows] = found.cols
    seen = neighbours.scan(
        lambda rows: A[rows].double() @ B.double().T, partner, found.row_price, found.col_price, Control()
    )
    margin = margins(
        partner, found.row_price, found.col_price, seen.row_rival, seen.col_rival, gap=found.gap, error=1e-12
    )
    return seen, partner, margin


@settings(max_examples=120, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(2, 6), st.integers(0, 10_000), st.booleans(), st.booleans())
def test_a_margin_is_never_more_than_what_forbidding_the_pair_costs(
    n_a: int, n_b: int, d: int, seed: int, crowded: bool, centre: bool
) -> None:
    A, B = directions(n_a, d, seed), directions(n_b, d, seed + 1)
    if crowded:
        B = torch.cat([A, B])[:n_b]
    _, partner, margin = scanned(A, B, centre)
    weights = (A.double() @ B.double().T).numpy()
    best = weights[linear_sum_assignment(weights, maximize=True)].sum()
    for i in np.flatnonzero(partner >= 0):
        without = weights.copy()
        without[i, partner[i]] = -1e6
        second = without[linear_sum_assignment(without, maximize=True)].sum()
        if second < -1e5:
            assert margin[i] == np.inf or margin[i] >= 0
        else:
            assert 0 <= margin[i] <= best - second + 1e-9
    assert np.isnan(margin[partner < 0]).all()


def test_centred_prices_prove_more() -> None:
    A, B = directions(300, 24, 0), directions(300, 24, 1)
    plain, better = (scanned(A, B, centre)[2] for centre in (False, True))
    assert better.mean() > 1.1 * plain.mean()
    assert (better < 1e-3).mean() < (plain < 1e-3).mean()


def test_a_pair_that_nothing_rivals_has_its_whole_margin() -> None:
    A = torch.eye(5)
    _, _, margin = scanned(A, A[[3, 1, 4, 0, 2]])
    assert margin.tolist() == pytest.approx([2.0] * 5)


def test_equal_columns_leave_no_margin() -> None:
    A = torch.eye(4)
    _, partner, margin = scanned(A, torch.cat([A, A]))
    assert (partner >= 0).all()
    assert margin.tolist() == pytest.approx([0.0] * 4, abs=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (30, 50), (50, 30), (200, 300)])
def test_a_scan_in_small_blocks_finds_what_the_whole_matrix_holds(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "ENTRIES", 1000)
    monkeypatch.setattr(neighbours, "COLUMNS", 64)
    A, B = directions(shape[0], 6, 0), directions(shape[1], 6, 1)
    seen, partner, _ = scanned(A, B)
    s = (A.double() @ B.double().T).numpy()
    k = seen.a_ids.shape[1], seen.b_ids.shape[1]
    assert np.allclose(seen.a_similarity, -np.sort(-s, axis=1)[:, : k[0]])
    assert np.allclose(seen.b_similarity, -np.sort(-s.T, axis=1)[:, : k[1]])
    assert np.allclose(np.take_along_axis(s, seen.a_ids, 1), seen.a_similarity)
    assert np.allclose(np.take_along_axis(s.T, seen.b_ids, 1), seen.b_similarity)
    assert seen.picture.max() == pytest.approx(s.max())
    assert seen.picture.shape == (min(128, shape[0]), min(128, shape[1]))
    other = s.copy()
    other[partner >= 0, partner[partner >= 0]] = -np.inf
    found = match_directions(A, B)
    assert np.allclose(seen.row_rival, (other - found.col_price).max(axis=1))
    assert np.allclose(seen.col_rival, (other - found.row_price[:, None]).max(axis=0))


@pytest.mark.parametrize(("n", "d"), [(2000, 64), (1500, 16)])
def test_of_unrelated_directions_one_in_a_hundred_is_above_the_line(n: int, d: int) -> None:
    A, B = directions(n, d, 0), directions(n, d, 1)
    best = (A @ B.T).double()
    a, b = best.amax(1).numpy(), best.amax(0).numpy()
    null = null_of(A, B, a, b)
    assert null.line == pytest.approx(isotropic_line(n, d), abs=0.02)
    assert 0.002 < float((a > null.line).mean()) < 0.02
    assert 0.4 < float((a > null.typical).mean()) < 0.6
    p = null.p_values(np.arange(n), best.argmax(1).numpy(), a)
    assert 0.002 < float((p < 0.01).mean()) < 0.02
    assert not (false_discovery(p) < 0.01).any()


def test_a_crowded_space_raises_the_line() -> None:
    stretch = torch.cat([torch.full((8,), 4.0), torch.ones(56)])
    A, B = (torch.nn.functional.normalize(directions(1500, 64, seed) * stretch, dim=1) for seed in (0, 1))
    best = (A @ B.T).double()
    null = null_of(A, B, best.amax(1).numpy(), best.amax(0).numpy())
    assert null.covariance > null.isotropic + 0.1
    assert null.line == null.covariance
    assert float((best.amax(1).numpy() > null.line).mean()) < 0.05


def test_a_perfect_partner_is_beyond_chance_also_among_few() -> None:
    A = directions(12, 32, 0)
    best = np.ones(12)
    null = null_of(A, A, best, best)
    assert null.p_values(np.arange(12), np.arange(12), best).max() < 1e-6
    assert null.line < 0.7


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_false_discovery_rates_are_those_of_the_definition(p: list[float]) -> None:
    values = np.array(p)
    q = false_discovery(values)
    n, ordered = len(p), np.sort(values)
    for value, rate in zip(values, q, strict=True):
        kept = [ordered[k] * n / (k + 1) for k in range(n) if ordered[k] >= value]
        assert rate == pytest.approx(min(1.0, *kept), abs=1e-12)


def test_a_span_is_measured_without_negative_weights() -> None:
    gram = np.eye(3)
    assert explained_by(gram, np.array([0.6, 0.6, 0.0])) == pytest.approx(0.72)
    assert explained_by(gram, np.array([0.6, -0.6, 0.0])) == pytest.approx(0.36)
    assert explained_by(np.ones((2, 2)), np.array([0.8, 0.8])) == pytest.approx(0.64)


def test_claims_are_of_features_with_several_claimants() -> None:
    best, similarity = np.array([0, 0, 1, 0, 2]), np.array([0.6, 0.7, 0.9, 0.3, np.nan])
    (span,) = claims(best, similarity, 0.4, lambda chosen: np.eye(len(chosen)))
    assert (span.parent, span.members.tolist()) == (0, [1, 0])
    assert (span.single, span.explained) == (pytest.approx(0.49), pytest.approx(0.85))
