"""Alignment: exact, symmetric where it should be, and honest about what cannot be matched."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from aquin_nb.engine.analysis import assignment
from aquin_nb.engine.analysis.align import align
from aquin_nb.engine.sae import SaeConfig, SparseAutoencoder
from aquin_nb.errors import DictionaryError


def dictionary(W_dec: torch.Tensor, **changes: object) -> SparseAutoencoder:
    d_sae, d = W_dec.shape
    cfg = SaeConfig("topk", d_in=d, d_sae=d_sae, d_out=d, k=1, **changes)  # type: ignore[arg-type]
    return SparseAutoencoder(cfg, W_dec.T.contiguous(), W_dec, torch.zeros(d_sae), torch.zeros(d))


def directions(n: int, d: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


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
    assert np.array_equal(order.numpy()[result.frame["b"]], result.frame["a"])
    assert set(result.frame["kind"]) == {"shared"}
    assert sum(result.histogram()) == 200
    assert any("share an initialisation" in note for note in result.notes)


def test_latents_without_a_direction_are_left_out_and_counted() -> None:
    A, B = directions(20, 8, 0), directions(30, 8, 1)
    A[3], A[7], B[5] = 0.0, float("nan"), 0.0
    result = align(dictionary(A), dictionary(B))
    assert (result.zero_a, result.zero_b) == (2, 1)
    assert len(result.frame) == 18
    assert not set(result.frame["a"]) & {3, 7}
    assert 5 not in set(result.frame["b"])


def test_max_features_is_used_and_said() -> None:
    result = align(dictionary(directions(50, 8, 0)), dictionary(directions(40, 8, 1)), max_features=10)
    assert len(result.frame) == 10
    assert max(result.frame["b"]) < 10
    assert any("first 10 features" in note for note in result.notes)


def test_other_weights_and_layers_are_noted() -> None:
    W = directions(10, 8, 0)
    a = dictionary(W, model_fingerprint="1", layer=3)
    b = dictionary(directions(10, 8, 1), model_fingerprint="2", layer=4)
    notes = " ".join(align(a, b).notes)
    assert "different weights" in notes
    assert "different layers (3 and 4)" in notes


def test_refusals() -> None:
    with pytest.raises(DictionaryError, match=r"width 8 and .* of width 9"):
        align(dictionary(directions(4, 8, 0)), dictionary(directions(4, 9, 0)))
    with pytest.raises(DictionaryError, match="no latent with a direction"):
        align(dictionary(torch.zeros(4, 8)), dictionary(directions(4, 8, 0)))
    with pytest.raises(DictionaryError, match="max_features"):
        align(dictionary(directions(4, 8, 0)), dictionary(directions(4, 8, 0)), max_features=0)
