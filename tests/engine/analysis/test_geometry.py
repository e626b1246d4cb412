"""CKA is the unbiased one by its definition and does not see rotation or scale; cosines know what any two share."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from aquin_nb.engine.analysis.geometry import Kernel, cosines, debiased_cka, hsic


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def alike(a: np.ndarray, b: np.ndarray, gram: bool = True) -> float:
    return debiased_cka(Kernel(a, gram=gram), Kernel(b, gram=gram))


@pytest.mark.parametrize("gram", [True, False])
def test_hsic_is_the_mean_over_all_four_different_rows(gram):
    a, b = normal(6, 3), normal(6, 5, seed=1)
    kernels = [Kernel(x, gram=gram) for x in (a, b)]
    k, m = (((x - x.mean(0)) / np.sqrt(np.square(x - x.mean(0)).sum(1).mean())) for x in (a, b))
    k, m = k @ k.T, m @ m.T
    quadruples = list(permutations(range(6), 4))
    expected = np.mean([k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in quadruples])
    assert hsic(*kernels) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("gram", [True, False])
def test_cka_does_not_see_rotation_scale_shift_or_the_order_of_dimensions(gram):
    a, b = normal(30, 8), normal(30, 8, seed=1) + normal(30, 8)
    rotation = np.linalg.qr(normal(8, 8, seed=2))[0]
    before = alike(a, b, gram)
    assert 0.05 < before < 0.95
    for moved in (b @ rotation, 1e6 * b, b + 1e3, b[:, ::-1], np.pad(b, ((0, 0), (0, 5)))):
        assert alike(a, moved, gram) == pytest.approx(before, abs=1e-6)
    assert alike(a, a @ rotation * 3 + 1, gram) == pytest.approx(1.0, abs=1e-9)


def test_kernels_kept_either_way_give_the_same():
    a, b = normal(12, 40), normal(12, 7, seed=1) + normal(12, 40)[:, :7]
    assert alike(a, b, gram=True) == pytest.approx(alike(a, b, gram=False), rel=1e-9)


def test_what_has_nothing_in_common_is_near_zero_also_with_few_rows():
    found = [alike(normal(20, 500, seed=seed), normal(20, 300, seed=100 + seed)) for seed in range(20)]
    assert abs(np.mean(found)) < 0.03
    a, b = normal(20, 500), normal(20, 300, seed=100)
    k, m = ((x - x.mean(0)) @ (x - x.mean(0)).T for x in (a, b))
    assert (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()) > 0.8  # what the biased estimate would have said


def test_rows_that_do_not_vary_have_no_cka():
    assert np.isnan(alike(np.ones((9, 3)), normal(9, 3)))


def test_cosines_of_the_same_and_of_other_rows():
    a, b = normal(7, 4), normal(7, 4, seed=1)
    a[2] = 0
    matched, others = cosines(a, b)
    table = np.array([[x @ y / np.linalg.norm(x) / np.linalg.norm(y) if x.any() else np.nan for y in b] for x in a])
    assert np.allclose(matched, np.diag(table), equal_nan=True)
    known = [i for i in range(7) if i != 2]
    assert others == pytest.approx(np.mean([table[i, j] for i in known for j in known if i != j]))
    assert np.isnan(cosines(a[:1], b[:1])[1])
