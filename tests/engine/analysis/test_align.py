"""Alignment: exact, symmetric where it should be, and honest about what cannot be matched."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from relations import dictionary, directions, planted

from aquin_nb.engine.analysis import assignment
from aquin_nb.engine.analysis.align import align
from aquin_nb.engine.analysis.alignment.classes import Thresholds
from aquin_nb.engine.sae import SaeConfig, SparseAutoencoder
from aquin_nb.errors import DictionaryError


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 1000))
def test_the_matching_is_the_best_of_all(n_a: int, n_b: int, seed: int) -> None:
    A, B = directions(n_a, 4, seed), directions(n_b, 4, seed + 1)
    found = assignment.match_directions(A, B)
    S = (A.double() @ B.double().T).numpy()
    S = S if n_a <= n_b else S.T
    best = max(sum(S[i, j] for i, j in enumerate(p)) for p in itertools.permutations(range(S.shape[1]), S.shape[0]))
    assert found.objective == pytest.approx(best, abs=1e-9)
    assert found.gap == 0.0
    assert len(set(found.rows)) == len(set(found.cols)) == min(n_a, n_b)


def test_a_permutation_is_found_again() -> None:
    W = directions(200, 32, 0)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    result = align(dictionary(W), dictionary(3 * W[order]))
    assert result.mean_cosine == pytest.approx(1.0, abs=1e-6)
    assert np.array_equal(order.numpy()[result.pairs["b"]], result.pairs["a"])
    assert set(result.features_a["class"]) == set(result.features_b["class"]) == {"shared"}
    assert result.mutual == 1.0
    assert result.mean_max_a == pytest.approx(result.mean_max_b) == pytest.approx(1.0)
    assert sum(result.histogram()) == 200
    assert any("share an initialisation" in note for note in result.notes)


def test_equal_features_are_shared_whichever_of_them_is_listed_first() -> None:
    W = directions(60, 32, 0)
    A, B = torch.cat([W, W[:20]]), torch.cat([W[:20], W]).flip(0)
    result = align(dictionary(A), dictionary(B))
    assert result.mean_cosine == pytest.approx(1.0, abs=1e-6)
    assert set(result.features_a["class"]) == set(result.features_b["class"]) == {"shared"}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_relations_are_named_on_both_sides(seed: int) -> None:
    A, B, of_a, of_b = planted(seed=10 * seed)
    result = align(dictionary(A), dictionary(B))
    assert result.features_a["class"].tolist() == of_a.tolist()
    assert result.features_b["class"].tolist() == of_b.tolist()


def test_a_split_names_its_members_and_they_name_it() -> None:
    A, B, of_a, _ = planted(n=10, d=128)
    result = align(dictionary(A), dictionary(B))
    for _, row in result.features_a[of_a == "split"].iterrows():
        members = [int(m) for m in row["members"].split()]
        both = torch.nn.functional.normalize(B[members].sum(0), dim=0)
        assert torch.allclose(both, A[row["feature"]], atol=1e-5)
        assert row["explained"] == pytest.approx(1.0, abs=1e-5)
        assert result.features_b.loc[members, "parent"].tolist() == [row["feature"]] * 2


def test_the_tables_speak_of_the_same_pairs() -> None:
    A, B, *_ = planted(n=10, d=128)
    result = align(dictionary(A), dictionary(B))
    a, b = result.features_a.set_index("feature"), result.features_b.set_index("feature")
    for _, pair in result.pairs.iterrows():
        assert a.loc[pair["a"], "partner"] == pair["b"]
        assert b.loc[pair["b"], "partner"] == pair["a"]
        for name in ("cosine", "margin", "p", "q"):
            assert a.loc[pair["a"], name] == b.loc[pair["b"], name] == pair[name]
    assert a["partner"].notna().sum() == b["partner"].notna().sum() == len(result.pairs)
    exact = (A.double() @ B.double().T).numpy()
    live = a[a["nearest_cosine"].notna()]
    assert np.allclose(exact[live.index].max(axis=1), live["nearest_cosine"], atol=1e-6)
    assert np.allclose(np.sort(exact[live.index])[:, -2], live["second_cosine"], atol=1e-6)
    assert np.array_equal(result.nearest_a[0][live.index, 0], live["nearest"].astype(int))


def test_the_classes_follow_the_thresholds() -> None:
    A, B, of_a, of_b = planted(n=20)
    strict = align(dictionary(A), dictionary(B), thresholds=Thresholds(tau=0.99, span=0.999, gain=0.9))
    assert set(strict.features_a["class"][of_a == "shared"]) == {"rotated"}
    assert not set(strict.features_a["class"]) & {"split", "merged"}
    lax = align(dictionary(A), dictionary(B), thresholds=Thresholds(tau=0.5))
    assert set(lax.features_a["class"][of_a == "rotated"]) == {"shared"}
    assert set(lax.features_b["class"][of_b == "rotated"]) == {"shared"}


def test_latents_without_a_direction_are_left_out_and_named() -> None:
    A, B = directions(20, 8, 0), directions(30, 8, 1)
    A[3], A[7, 2], B[5] = 0.0, float("nan"), 0.0
    result = align(dictionary(A), dictionary(B))
    assert (result.zero_a, result.zero_b) == (2, 1)
    assert len(result.pairs) == 18
    assert not set(result.pairs["a"]) & {3, 7}
    assert 5 not in set(result.pairs["b"])
    assert result.features_a["class"][[3, 7]].tolist() == ["dead", "dead"]
    assert "NaN or infinite decoder rows of a, left out: 7." in result.notes


def test_one_feature_each_is_matched() -> None:
    result = align(dictionary(directions(1, 8, 0)), dictionary(directions(1, 8, 1)))
    assert len(result.pairs) == 1
    assert result.pairs["margin"].tolist() == [np.inf]
    assert result.features_a["second"].isna().all()


@pytest.mark.parametrize("shape", [(1, 6), (6, 1), (3, 40), (40, 3)])
def test_unequal_sizes_leave_some_alone(shape: tuple[int, int]) -> None:
    result = align(dictionary(directions(shape[0], 8, 0)), dictionary(directions(shape[1], 8, 1)))
    assert len(result.pairs) == min(shape)
    assert (len(result.features_a), len(result.features_b)) == shape
    assert result.features_a["partner"].isna().sum() == shape[0] - min(shape)


def test_max_features_is_used_and_said() -> None:
    a, b = dictionary(directions(50, 8, 0)), dictionary(directions(40, 8, 1))
    result = align(a, b, max_features=10)
    assert len(result.pairs) == len(result.features_a) == 10
    assert max(result.pairs["b"]) < 10
    assert any("first 10 features" in note for note in result.notes)
    assert any("left nothing out: a has 50" in note for note in align(a, b, max_features=500).notes)


def test_other_weights_and_layers_are_noted() -> None:
    W = directions(10, 8, 0)
    a = dictionary(W, model_fingerprint="1", layer=3)
    b = dictionary(directions(10, 8, 1), model_fingerprint="2", layer=4)
    notes = " ".join(align(a, b).notes)
    assert "different weights" in notes
    assert "different layers (3 and 4)" in notes


def transcoder(n: int, d_in: int, d_out: int, seed: int) -> SparseAutoencoder:
    cfg = SaeConfig("topk", d_in, n, d_out, k=1, transcoder=True, layer=2, hook="mlp_in", hook_out=f"out.{seed}")
    W_enc = directions(n, d_in, seed).T.contiguous()
    return SparseAutoencoder(cfg, W_enc, directions(n, d_out, seed + 1), torch.zeros(n), torch.zeros(d_out))


def test_a_transcoder_is_matched_in_the_space_that_is_asked_for() -> None:
    a, b = transcoder(20, 8, 12, 0), transcoder(20, 8, 16, 5)
    by_encoder = align(a, b, on="encoder")
    assert len(by_encoder.pairs) == 20
    with pytest.raises(DictionaryError, match=r"writes vectors of width 12 .* of width 16"):
        align(a, b)
    with pytest.raises(DictionaryError, match=r"reads vectors of width 8 .* of width 9"):
        align(a, transcoder(20, 9, 12, 5), on="both")
    assert any("out.0 and out.7" in note for note in align(a, transcoder(20, 8, 12, 7)).notes)


def test_both_matchings_say_how_far_they_agree() -> None:
    W = directions(50, 32, 0)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    a, b = dictionary(W), dictionary(W[order])
    assert align(a, b, on="both").agreement == 1.0
    swapped = order.clone()
    swapped[:10] = order[:10].roll(1)
    b.W_enc = W[swapped].T.contiguous()
    result = align(a, b, on="both")
    assert result.agreement == pytest.approx(0.8)
    assert int(result.pairs["encoder_agrees"].sum()) == 40


def test_equal_inputs_give_equal_tables() -> None:
    A, B, *_ = planted(n=10, d=128)
    first, second = (align(dictionary(A), dictionary(B)) for _ in range(2))
    pd.testing.assert_frame_equal(first.features_a, second.features_a)
    pd.testing.assert_frame_equal(first.features_b, second.features_b)


def test_a_matching_that_was_cut_short_says_so_and_claims_no_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assignment, "DENSE_PAIRS", 0)  # scipy cannot be stopped
    A, B = directions(400, 16, 0), directions(400, 16, 1)
    result = align(dictionary(A), dictionary(B), time_limit=1e-9)
    assert result.matching.gap > 1
    assert any(note.startswith("The time limit struck first") for note in result.notes)
    assert result.pairs["margin"].max() == 0
    assert np.array_equal(result.features_a["nearest"], (A @ B.T).argmax(dim=1))


def test_refusals() -> None:
    a = dictionary(directions(4, 8, 0))
    with pytest.raises(DictionaryError, match=r"width 8 and .* of width 9"):
        align(a, dictionary(directions(4, 9, 0)))
    with pytest.raises(DictionaryError, match="no latent with a direction"):
        align(dictionary(torch.zeros(4, 8)), a)
    with pytest.raises(DictionaryError, match="no latent with a direction"):
        align(a, dictionary(torch.full((4, 8), torch.nan)))
    for wrong in (0, True, 2.5):
        with pytest.raises(DictionaryError, match="max_features"):
            align(a, a, max_features=wrong)  # type: ignore[arg-type]
    with pytest.raises(DictionaryError, match="on must be one of decoder, encoder"):
        align(a, a, on="rows")  # type: ignore[arg-type]
    with pytest.raises(DictionaryError, match="give the rows"):
        align(a, a, on="firings")
    with pytest.raises(DictionaryError, match="tau must be a number between 0 and 1"):
        Thresholds(tau=70)
