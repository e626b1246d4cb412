"""First values: scales, the geometric median, tied encoders, and the encoder scale that fits a sample best."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from planted import D, planted
from scipy.optimize import minimize
from torch import Tensor

from aquin_nb.engine.sae import ARCHITECTURES, TrainConfig
from aquin_nb.engine.sae.parameters import (
    SCALES,
    SEARCH_ROWS,
    Parameters,
    best_scale,
    geometric_median,
    grad,
    hold_norm,
    initial,
    remove_parallel,
    scaling,
)
from aquin_nb.errors import DictionaryError


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(**({"d_sae": 64, "k": 4} | changes)).resolved(10_000)


class TestScaling:
    @given(factor=st.floats(1e-4, 1e4), offset=st.floats(-3, 3), seed=st.integers(0, 100))
    def test_scaled_rows_have_a_mean_squared_norm_of_their_width(self, factor: float, offset: float, seed: int) -> None:
        x, y = factor * (normal(50, 8, seed=seed) + offset), 3 * normal(50, 5, seed=seed + 1)
        scales = scaling(x, y, config())
        assert float((x * scales.scale_in).square().sum(1).mean()) == pytest.approx(8, rel=1e-4)
        assert float((y * scales.scale_out).square().sum(1).mean()) == pytest.approx(5, rel=1e-4)
        spread = (y * scales.scale_out).var(0, correction=0).sum()
        assert scales.variance == pytest.approx(float(spread), rel=1e-4)

    def test_none_leaves_them_as_they_are(self) -> None:
        x = 7 * normal(50, 8)
        scales = scaling(x, x, config(normalize="none"))
        assert (scales.scale_in, scales.scale_out) == (1.0, 1.0)
        assert scales.variance == pytest.approx(float(x.var(0, correction=0).sum()), rel=1e-4)

    @pytest.mark.parametrize(
        ("value", "message"), [(0.0, "are all zero"), (1e30, "too large for float32"), (1e-30, "too small for float32")]
    )
    def test_rows_without_a_scale_are_refused(self, value: float, message: str) -> None:
        x = torch.full((9, 4), value)
        with pytest.raises(DictionaryError, match=message):
            scaling(x, x, config())

    @pytest.mark.parametrize("size", [1e19, 1e-19, 3e-22])
    def test_squares_may_leave_the_range_of_float32(self, size: float) -> None:
        x = size * normal(50, 8)
        scales = scaling(x, x, config())
        assert float((x * scales.scale_in).square().sum(1).mean()) == pytest.approx(8, rel=1e-4)
        assert scales.variance == pytest.approx(8, rel=0.2)

    def test_what_differs_by_rounding_only_does_not_vary(self) -> None:
        copies = (normal(1, 8) / 3).expand(500, 8)
        assert scaling(copies, copies, config()).variance == 0
        little = 1e-4 * normal(500, 8)
        assert scaling(little, little, config(normalize="none")).variance == pytest.approx(8e-8, rel=0.1)


class TestGeometricMedian:
    @given(n=st.integers(2, 30), d=st.integers(1, 5), seed=st.integers(0, 500), spread=st.sampled_from([0.01, 1, 100]))
    def test_no_point_has_a_smaller_sum_of_distances(self, n: int, d: int, seed: int, spread: float) -> None:
        rows = spread * normal(n, d, seed=seed).double().exp() + 1

        def total(point: Any) -> float:
            return float(torch.linalg.vector_norm(rows - torch.as_tensor(point), dim=1).sum())

        found = total(geometric_median(rows, iterations=2000, tolerance=1e-9))
        starts = [rows.mean(0), rows.median(0).values, *rows]
        best = min(float(minimize(total, start.numpy(), method="Nelder-Mead").fun) for start in starts[:4])
        best = min([best, *(total(row) for row in rows)])
        assert found <= best * 1.001

    def test_a_few_far_rows_do_not_move_it(self) -> None:
        rows = normal(1000, 6)
        rows[:20] += 1000
        assert float(geometric_median(rows).norm()) < 0.3
        assert float(rows.mean(0).norm()) > 20


class TestInitial:
    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_unit_rows_a_tied_encoder_and_a_centre(self, architecture: str) -> None:
        x = planted(500)
        p = initial(config(architecture=architecture, encoder_scale=0.7, decoder_norm=2.0), x, x, transcoder=False)
        torch.testing.assert_close(p.dec.norm(dim=1), torch.full((64,), 2.0))
        torch.testing.assert_close(p.enc, 0.7 * p.dec)
        threshold = 2 * 0.7 * 2 * math.sqrt(float(x.var(0, correction=0).mean()))
        start = -threshold if architecture in ("relu", "gated") else 0.0
        torch.testing.assert_close(p.b_enc, torch.full((64,), start))
        torch.testing.assert_close(p.b_dec, x.mean(0))
        extras = {"jumprelu": {"log_threshold"}, "gated": {"b_mag", "r_mag"}}.get(architecture, set())
        assert set(p.extra) == extras
        if architecture == "jumprelu":
            torch.testing.assert_close(p.extra["log_threshold"].exp(), torch.full((64,), threshold))

    @pytest.mark.parametrize("architecture", ["relu", "jumprelu", "gated"])
    @pytest.mark.parametrize("offset", [0, 3, 100])
    @pytest.mark.parametrize(
        "changes",
        [{}, {"decoder_norm": 0.1}, {"encoder_scale": 0.2}, {"bias": "zero"}, {"encoder_scale": "search"}],
        ids=str,
    )
    @pytest.mark.parametrize("transcoder", [False, True])
    def test_few_latents_are_active_at_the_start_wherever_the_data_lie(
        self, architecture: str, offset: float, changes: dict[str, Any], transcoder: bool
    ) -> None:
        """Of normal pre-activations 2.3 % lie two standard deviations above their mean."""
        x = 0.3 * normal(400, 32) + offset * normal(32, seed=9)
        p = initial(config(architecture=architecture, d_sae=128, **changes), x, x, transcoder=transcoder)
        pre = (x if transcoder else x - p.b_dec) @ p.enc.T + p.b_enc
        active = pre > (p.extra["log_threshold"].exp() if architecture == "jumprelu" else 0)
        assert float(active.float().mean()) == pytest.approx(0.023, abs=0.004)

    @pytest.mark.parametrize("bias", ["mean", "geometric_median", "zero"])
    def test_the_bias_at_the_start(self, bias: str) -> None:
        x, y = planted(500), normal(500, 7).exp()
        expected = {"mean": y.mean(0), "geometric_median": geometric_median(y), "zero": torch.zeros(7)}[bias]
        assert torch.equal(initial(config(bias=bias), x, y, transcoder=True).b_dec, expected)

    def test_a_transcoder_starts_with_directions_of_its_own_and_no_skip(self) -> None:
        x, y = planted(500), normal(500, 7)
        p = initial(config(skip=True, encoder_scale=0.5), x, y, transcoder=True)
        assert (p.enc.shape, p.dec.shape) == ((64, D), (64, 7))
        torch.testing.assert_close(p.enc.norm(dim=1), torch.full((64,), 0.5))
        assert torch.equal(p.extra["skip"], torch.zeros(D, 7))

    def test_a_seed_decides(self) -> None:
        x = planted(50)
        one, same, other = (initial(config(seed=seed), x, x, transcoder=False).dec for seed in (3, 3, 4))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)


def error_at(scale: float, p: Parameters, x: Tensor, y: Tensor, settings: TrainConfig, transcoder: bool) -> float:
    """The squared error of the dictionary with its encoder scaled, in float64 and without a short cut."""
    bare = (x if transcoder else x - p.b_dec).double() @ p.enc.double().T
    pre = scale * bare
    centred = scale * (bare - bare.mean(0))
    # rows of the encoder are of one norm, and random
    spread = scale * float(p.enc.norm(dim=1)[0]) * math.sqrt(float(x.double().var(0, correction=0).mean()))
    if settings.architecture in ("topk", "batchtopk", "matryoshka"):
        kept = pre.topk(settings.k or 0, dim=1)
        f = torch.zeros_like(pre).scatter(1, kept.indices, kept.values.relu())
    elif settings.architecture == "relu":
        f = (centred - settings.threshold * spread).relu()
    else:
        f = centred * (centred > settings.threshold * spread)
    return float((f @ p.dec.double() + p.b_dec - y).square().sum())


class TestSearch:
    @pytest.mark.parametrize("architecture", ["topk", "relu", "jumprelu", "gated", "batchtopk"])
    @pytest.mark.parametrize("transcoder", [False, True])
    @pytest.mark.parametrize("length", [0.2, 1.0])
    def test_no_scale_of_a_dense_grid_is_better(self, architecture: str, transcoder: bool, length: float) -> None:
        x = planted(300)
        y = normal(300, 9, seed=4) + 2 if transcoder else x
        settings = config(architecture=architecture, threshold=0.5, decoder_norm=length)
        p = initial(settings, x, y, transcoder=transcoder)
        found = best_scale(p, x, y, settings, transcoder=transcoder)
        mine = error_at(found, p, x, y, settings, transcoder)
        for count, slack in ((SCALES, 1e-6), (1000, 5e-3)):
            grid = torch.logspace(math.log10(0.1), math.log10(5), count, dtype=torch.float64).tolist()
            best = min(error_at(scale, p, x, y, settings, transcoder) for scale in grid)
            assert mine <= best * (1 + slack), f"of {count} scales"

    @pytest.mark.parametrize("architecture", ["topk", "relu", "jumprelu"])
    def test_it_beats_the_default_and_is_what_a_training_starts_with(self, architecture: str) -> None:
        x = planted(300)
        settings = config(architecture=architecture, d_sae=256)
        tied = initial(settings, x, x, transcoder=False)
        p = initial(config(architecture=architecture, d_sae=256, encoder_scale="search"), x, x, transcoder=False)
        scale = best_scale(tied, x, x, settings, transcoder=False)
        torch.testing.assert_close(p.enc, scale * tied.enc)
        before, after = (error_at(1.0, one, x, x, settings, False) for one in (tied, p))
        assert after < before

    def test_the_first_rows_of_a_sample_decide(self) -> None:
        x = planted(SEARCH_ROWS + 500)
        more = x.clone()
        more[SEARCH_ROWS:] *= 100
        settings = config(encoder_scale="search", bias="zero")
        one, other = (initial(settings, rows, rows, transcoder=False) for rows in (x, more))
        assert torch.equal(one.enc, other.enc)


class TestNorms:
    def test_rows_return_to_their_norm(self) -> None:
        p = initial(config(), planted(50), planted(50), transcoder=False)
        directions = p.dec.clone()
        p.dec.mul_(torch.rand(64, 1) + 0.5)
        hold_norm(p, 0.3)
        torch.testing.assert_close(p.dec, 0.3 * directions)

    @pytest.mark.parametrize("norm", [1.0, 0.3])
    def test_only_the_gradient_along_a_row_is_taken_away(self, norm: float) -> None:
        p = initial(config(decoder_norm=norm), planted(50), planted(50), transcoder=False)
        gradient = normal(64, D, seed=5)
        p.dec.grad = gradient.clone()
        remove_parallel(p, norm)
        units = p.dec / norm
        expected = gradient - (gradient * units).sum(1, keepdim=True) * units
        torch.testing.assert_close(grad(p.dec), expected)

    def test_a_copy_stays_when_the_original_moves(self) -> None:
        p = initial(config(architecture="jumprelu"), planted(50), planted(50), transcoder=False)
        copy = p.clone()
        for tensor in p.all():
            tensor.add_(1)
        for name, tensor in copy.named().items():
            torch.testing.assert_close(tensor + 1, p.named()[name])
        assert replace(p, extra={}).named().keys() == {"enc", "dec", "b_enc", "b_dec"}
