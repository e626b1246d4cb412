"""Alignment by firings: correlations as numpy's, partners found where directions lie, dead and rare features told."""

import numpy as np
import pytest
import torch
from relations import dictionary, directions
from torch.nn.functional import normalize

from aquin_nb.control import Control
from aquin_nb.engine.analysis.align import Sample, align
from aquin_nb.engine.analysis.alignment import firing
from aquin_nb.engine.analysis.alignment.correlation import ShiftNull, match_matrix
from aquin_nb.engine.analysis.alignment.firing import correlations, firings
from aquin_nb.engine.sae import SaeConfig, SparseAutoencoder
from aquin_nb.errors import DictionaryError, OutOfMemory, StoreError


def relu(W_enc: torch.Tensor, W_dec: torch.Tensor, bias: float = -0.4) -> SparseAutoencoder:
    d, d_sae = W_enc.shape
    cfg = SaeConfig("relu", d_in=d, d_sae=d_sae, d_out=d)
    return SparseAutoencoder(cfg, W_enc, W_dec, torch.full((d_sae,), bias), torch.zeros(d))


def rows(n: int, d: int, seed: int = 7) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def sample(a: SparseAutoencoder, b: SparseAutoencoder, x: torch.Tensor, keep: bool = True) -> Sample:
    return Sample(firings(a, x, len(x), keep=keep), firings(b, x, len(x), keep=keep), "random rows")


def test_correlations_are_those_of_the_dense_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firing, "ENTRIES", 300)
    a, b = (relu(directions(20, 12, seed).T.contiguous(), directions(20, 12, seed)) for seed in (0, 1))
    x = rows(2000, 12)
    found = correlations(sample(a, b, x).a, sample(a, b, x).b)
    dense = np.corrcoef(a.encode(x).double().numpy().T, b.encode(x).double().numpy().T)[:20, 20:]
    assert np.allclose(found.matrix, dense[found.a][:, found.b], atol=1e-10)
    own = np.corrcoef(a.encode(x).double().numpy().T)
    assert np.allclose(found.gram_a(np.array([0, 3])), own[np.ix_(found.a[[0, 3]], found.a[[0, 3]])])


@pytest.mark.parametrize("shape", [(30, 30), (20, 45), (45, 20)])
def test_the_matching_of_a_matrix_is_the_best_and_its_prices_prove_it(shape: tuple[int, int]) -> None:
    from scipy.optimize import linear_sum_assignment

    w = np.random.default_rng(0).uniform(-1, 1, shape)
    found = match_matrix(w, Control())
    assert found.objective == pytest.approx(w[linear_sum_assignment(w, maximize=True)].sum())
    assert found.gap == 0.0
    assert (found.row_price[:, None] + found.col_price >= w - 1e-12).all()
    assert np.allclose((found.row_price[:, None] + found.col_price)[found.rows, found.cols], found.cosine)


def test_partners_are_found_by_what_they_fire_on_where_directions_lie() -> None:
    W = directions(40, 32, 0)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    a = relu(W.T.contiguous(), W)
    b = relu(W[order].T.contiguous(), directions(40, 32, 9))  # reads the same, writes elsewhere
    by_firing = align(a, b, on="firings", sample=sample(a, b, rows(3000, 32)))
    assert np.array_equal(order.numpy()[by_firing.pairs["b"]], by_firing.pairs["a"])
    assert set(by_firing.features_a["class"]) == {"shared"}
    assert by_firing.pairs["q"].max() < 0.01
    assert "shared" not in set(align(a, b).features_a["class"])
    assert by_firing.clusters is None


def test_unrelated_firings_are_below_the_line() -> None:
    a, b = (relu(directions(300, 256, seed).T.contiguous(), directions(300, 256, seed), -1.5) for seed in (0, 1))
    x = rows(4000, 256)
    found = correlations(sample(a, b, x).a, sample(a, b, x).b)
    null = ShiftNull(found.best_by_chance, 0.99)
    other = correlations(firings(a, x, 4000, keep=True), firings(b, rows(4000, 256, 8), 4000, keep=True))
    best = other.matrix.max(axis=1)
    assert 0.0 <= float((best > null.line).mean()) < 0.04
    assert 0.3 < float((best > null.typical).mean()) < 0.7


def test_features_that_never_fire_on_the_sample_are_dead_also_by_direction() -> None:
    W = directions(30, 16, 0)
    a, b = relu(W.T.contiguous(), W), relu(W.T.contiguous(), W)
    a.b_enc[[4, 9]] = -100.0
    found = align(a, b, sample=sample(a, b, rows(2000, 16), keep=False))
    assert found.features_a.index[found.features_a["class"] == "dead"].tolist() == [4, 9]
    assert found.features_b["class"].eq("dead").sum() == 0
    assert found.live_mean == pytest.approx(1.0)
    assert found.features_a["firing_rate"][[4, 9]].tolist() == [0.0, 0.0]
    assert found.dead_by == "no firing on random rows"


def test_a_feature_without_a_direction_is_dead_however_often_it_fires() -> None:
    W = directions(30, 16, 0)
    a, b = relu(W.T.contiguous(), W.clone()), relu(W.T.contiguous(), W)
    a.W_dec[3] = 0.0
    a.b_enc[3] = -float((rows(2000, 16) @ W[3]).sort(descending=True).values[4])
    found = align(a, b, sample=sample(a, b, rows(2000, 16), keep=False))
    assert 0 < found.features_a["firing_rate"][3] < 10 / 2000
    assert found.features_a["class"][3] == "dead"


def test_rare_features_are_told_apart_from_dead_ones() -> None:
    W = directions(30, 16, 0)
    a, b = relu(W.T.contiguous(), W), relu(W.T.contiguous(), W)
    x = rows(2000, 16)
    for feature, most in ((3, 5), (8, 0)):
        ordered = (x @ W[feature]).sort(descending=True).values
        a.b_enc[feature] = -float(ordered[most]) if most else -100.0
    found = align(a, b, on="firings", sample=sample(a, b, x))
    assert found.features_a["class"][[3, 8]].tolist() == ["rare", "dead"]
    assert any("fewer than 10 rows" in note for note in found.notes)
    assert len(found.pairs) == 28


def test_a_split_is_seen_in_firings() -> None:
    x = rows(6000, 24)
    W = normalize(directions(24, 24, 0), dim=1)
    on = torch.linalg.qr(W.T).Q.T
    whole = relu(on[:6].T.contiguous(), on[:6], 0.0)
    W_b = torch.stack([v for i in range(6) for v in (on[i] + on[6 + i], on[i] - on[6 + i])])
    parts = relu((W_b / 2**0.5).T.contiguous(), W_b, 0.0)
    found = align(whole, parts, on="firings", sample=sample(whole, parts, x))
    assert set(found.features_a["class"]) == {"split"}
    assert set(found.features_b["class"]) == {"split"}
    assert found.features_a["members"][2] in ("4 5", "5 4")


def test_bad_samples_are_refused() -> None:
    a = dictionary(directions(30, 16, 0))
    bad = rows(100, 16)
    bad[37, 2] = torch.nan
    with pytest.raises(StoreError, match="Row 37 of the sample"):
        firings(a, bad, 100, keep=False)
    with pytest.raises(DictionaryError, match="the sample of activations has width 8"):
        firings(a, rows(10, 8), 10, keep=False)
    with pytest.raises(StoreError, match="no rows"):
        firings(a, rows(0, 16), 10, keep=False)
    a.W_enc[:, [2, 5]] = torch.nan
    with pytest.raises(DictionaryError, match=r"in its features (2|2, 5|5):"):
        firings(a, rows(10, 16), 10, keep=False)
    a = dictionary(directions(30, 16, 0))
    few = sample(a, a, rows(5, 16))
    with pytest.raises(StoreError, match="fires on 10 of the 5 rows"):
        correlations(few.a, few.b)


def test_too_many_pairs_are_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firing, "PAIRS", 400)
    W = directions(30, 16, 0)
    a = relu(W.T.contiguous(), W)
    with pytest.raises(OutOfMemory, match=r"30 × 30 features fire .*max_features=20"):
        align(a, a, on="firings", sample=sample(a, a, rows(2000, 16)))
    assert len(align(a, a, on="firings", max_features=20, sample=sample(a, a, rows(2000, 16))).pairs) == 20
