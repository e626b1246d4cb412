"""The sign-flip test counts what it says it counts, and its discoveries are false no more often than promised."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquin_nb.engine.analysis.significance import EXACT, false_discovery, fewest_pairs, sign_flip


def counted(d: np.ndarray) -> float:
    """Every assignment of signs, one by one."""
    signs = np.array(list(itertools.product((-1, 1), repeat=len(d))))
    return float((np.abs(signs @ np.abs(d)) >= abs(d.sum()) - 1e-9 * np.abs(d).sum()).mean())


def halves(d: np.ndarray) -> float:
    """The same for up to 26 numbers: sums of one half, searched among those of the other."""

    def sums(part: np.ndarray) -> np.ndarray:
        out = np.zeros(1)
        for value in part:
            out = np.concatenate([out - value, out + value])
        return np.sort(out)

    a = np.abs(d)
    left, right = sums(a[: len(a) // 2]), sums(a[len(a) // 2 :])
    reached = len(right) - np.searchsorted(right, abs(d.sum()) - 1e-9 * a.sum() - left)
    return min(1.0, 2 * float(reached.sum()) / 2.0 ** len(a))


def together(rows: list[np.ndarray]) -> np.ndarray:
    return sign_flip(np.concatenate(rows), np.cumsum([0, *map(len, rows)]))


numbers = st.floats(-5, 5).filter(lambda value: abs(value) > 1e-3)


@given(st.lists(st.lists(numbers, min_size=1, max_size=9), min_size=1, max_size=4))
def test_few_pairs_are_counted_exactly(rows):
    arrays = [np.array(row) for row in rows]
    np.testing.assert_allclose(together(arrays), [counted(d) for d in arrays], rtol=1e-12)


def test_ties_and_cancelling_changes():
    p = together([np.ones(8), np.array([1.0, -1.0]), np.array([2.0, 2.0, -2.0]), np.array([3.0])])
    assert p.tolist() == [2 / 2**8, 1.0, 1.0, 1.0]


def test_a_feature_that_nowhere_differs_has_no_p():
    p = sign_flip(np.array([1.0, 2.0]), np.array([0, 0, 2, 2]))
    assert np.isnan(p).tolist() == [True, False, True]
    assert np.isnan(sign_flip(np.zeros(0), np.array([0, 0]))).all()


@pytest.mark.parametrize("shape", ["normal", "heavy", "one dominates"])
def test_many_pairs_agree_with_the_count(shape):
    rng = np.random.default_rng(0)
    draw = {
        "normal": lambda n: rng.normal(size=n),
        "heavy": lambda n: rng.standard_t(1.5, size=n),
        "one dominates": lambda n: np.r_[10.0, 0.3 * rng.normal(size=n - 1)],
    }[shape]
    rows = []
    for n in (EXACT + 1, 24):
        for share in np.linspace(0.5, 0.97, 25):
            rows.append(np.abs(draw(n)) * np.where(rng.random(n) < share, 1, -1))
    exact, p = np.array([halves(d) for d in rows]), together(rows)
    assert (np.abs(np.log2(p / exact)) < 1.0).all()
    assert np.median(np.abs(p / exact - 1)) < (0.02 if shape == "normal" else 0.15)


def test_all_signs_alike_reach_the_smallest_p_there_is():
    rows = [np.random.default_rng(n).exponential(size=n) for n in (5, 20, 21, 60, 300)]
    np.testing.assert_allclose(together(rows), [2.0 ** (1 - len(d)) for d in rows])


def test_the_order_of_probes_makes_no_difference():
    rng = np.random.default_rng(3)
    d = rng.normal(0.3, 1, size=80)
    np.testing.assert_allclose(together([d]), together([rng.permutation(d)]), rtol=1e-9)


@pytest.mark.parametrize("pairs", [12, 60, 400])
def test_under_the_null_p_is_no_smaller_than_promised(pairs):
    rng = np.random.default_rng(pairs)
    d = rng.standard_t(3, size=4000 * pairs)
    p = sign_flip(d, np.arange(4001) * pairs)
    for level in (0.01, 0.05, 0.2):
        assert (p <= level).mean() < level + 4 * np.sqrt(level / 4000)
    assert (p <= 0.05).mean() > 0.03, "and it has not lost its power"


def test_planted_changes_are_found_and_the_false_ones_are_rare():
    rng = np.random.default_rng(1)
    false, found = [], []
    for _ in range(20):
        d = rng.normal(size=(1000, 50))
        d[:100] += 0.8
        q = false_discovery(sign_flip(d.ravel(), np.arange(1001) * 50))
        discovered = q <= 0.05
        false.append(discovered[100:].sum() / max(discovered.sum(), 1))
        found.append(discovered[:100].mean())
    assert np.mean(false) < 0.06
    assert np.mean(found) > 0.9


def test_q_is_what_scipy_says():
    from scipy.stats import false_discovery_control

    p = np.random.default_rng(0).random(200) ** 3
    np.testing.assert_allclose(false_discovery(p), false_discovery_control(p))
    with_gaps = np.where(np.arange(200) % 3 == 0, np.nan, p)
    known = ~np.isnan(with_gaps)
    np.testing.assert_allclose(false_discovery(with_gaps)[known], false_discovery_control(p[known]))
    assert np.isnan(false_discovery(np.full(3, np.nan))).all()


def test_fewest_pairs():
    for fdr, tests in ((0.05, 1), (0.01, 1), (0.05, 4608), (0.5, 1)):
        n = fewest_pairs(fdr, tests)
        assert 2.0 ** (1 - n) <= fdr / tests < 2.0 ** (2 - n)
