"""Training: it learns what was planted, repeats itself from a seed, stops cleanly and judges honestly."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from planted import (
    ACTIVE,
    TRUE,
    D,
    assert_same,
    codes,
    directions,
    member,
    planted,
    recovered,
    settings,
    train,
    transcode,
)
from torch import Tensor

from aquin_nb.control import Control
from aquin_nb.engine.activations.stream import ShuffledStream
from aquin_nb.engine.sae import ARCHITECTURES, evaluate
from aquin_nb.engine.sae import trainer as trainers
from aquin_nb.engine.sae.architectures import Architecture, Penalised, Selected
from aquin_nb.engine.sae.checkpoints import Checkpoints
from aquin_nb.engine.sae.export import dictionary
from aquin_nb.engine.sae.history import COLUMNS
from aquin_nb.engine.sae.memory import require_memory
from aquin_nb.engine.sae.parameters import Parameters, initial, scaling
from aquin_nb.engine.sae.run import Run
from aquin_nb.engine.sae.trainer import Diverged, Interrupted, fit
from aquin_nb.errors import AquinError, DictionaryError, OutOfMemory


def begun(x: Tensor, **changes: Any) -> Run:
    """A run on the rows of x that has made no step."""
    stream = ShuffledStream(x, 256, held_out=0)
    one = member(settings(**changes), stream)
    scales = scaling(x, x, one.config)
    scaled = x * scales.scale_in
    return Run(one.cfg, one.config, initial(one.config, scaled, scaled, transcoder=False), scales, torch.device("cpu"))


class TestLearning:
    @pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
    def test_planted_directions_are_found(self, architecture: str) -> None:
        outcome = train(planted(), architecture=architecture, d_sae=2 * TRUE, lr=1e-2, steps=600)
        assert outcome.held_out is not None
        assert recovered(outcome.dictionary.W_dec, directions()) >= 0.95
        assert outcome.held_out.fvu < 0.06
        assert outcome.held_out.l0 == pytest.approx(ACTIVE, rel=0.05)

    @pytest.mark.parametrize(
        "penalty",
        [
            {"architecture": "relu", "sparsity_coefficient": 1.0, "threshold": 0.1},
            {
                "architecture": "jumprelu",
                "sparsity_loss": "l0",
                "sparsity_coefficient": 0.3,
                "threshold": 0.1,
                "bandwidth": 2.0,
            },
            {"architecture": "gated", "sparsity_coefficient": 2.0, "threshold": 0.1},
        ],
        ids=lambda penalty: penalty["architecture"],
    )
    def test_a_penalty_finds_them_too_and_keeps_few_active(self, penalty: dict[str, Any]) -> None:
        outcome = train(planted(), d_sae=2 * TRUE, lr=1e-2, steps=1000, **penalty)
        assert outcome.held_out is not None
        assert recovered(outcome.dictionary.W_dec, directions()) >= 0.95
        assert outcome.held_out.fvu < 0.15
        assert outcome.held_out.l0 < 8

    def test_each_prefix_of_a_matryoshka_is_a_dictionary(self) -> None:
        x = planted()
        sae = train(x, architecture="matryoshka", groups=(12, 24, TRUE)).dictionary
        f, unexplained = sae.encode(x), []
        for size in (12, 24, TRUE):
            out = f[:, :size] @ sae.W_dec[:size] + sae.b_dec
            unexplained.append(float((out - x).square().sum() / (x - x.mean(0)).square().sum()))
        assert unexplained[0] > unexplained[1] > unexplained[2]
        assert unexplained[0] < 0.9
        assert unexplained[2] < 0.35

    def test_a_transcoder_learns_a_sparse_map(self) -> None:
        """Inputs and targets share their codes, in spaces of different width; the decoder finds the targets'."""
        few = 24
        z, out = codes(6000, few), directions(few, 40, seed=7)
        outcome = transcode(planted(6000, true=few), z @ out - 0.3, d_sae=96, lr=1e-2, steps=800)
        assert outcome.held_out is not None
        assert outcome.held_out.fvu < 0.05
        assert outcome.dictionary.W_dec.shape == (96, 40)
        assert recovered(outcome.dictionary.W_dec, out) >= 0.9

    def test_a_skip_connection_takes_the_linear_part(self) -> None:
        z, x = codes(6000), planted()
        straight = torch.randn(D, 20, generator=torch.Generator().manual_seed(1)) / math.sqrt(D)
        y = z @ directions(d=20, seed=7) + 3 * (x @ straight)
        without, skipping = (transcode(x, y, skip=skip).held_out for skip in (False, True))
        assert without is not None
        assert skipping is not None
        assert skipping.fvu < 0.5 * without.fvu

    def test_bfloat16_products_learn_as_well(self) -> None:
        exact, low = (train(planted(), dtype=dtype).held_out for dtype in ("float32", "bfloat16"))
        assert exact is not None
        assert low is not None
        assert low.fvu == pytest.approx(exact.fvu, rel=0.1)


class TestScale:
    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_the_scale_of_the_data_is_folded_back_exactly(self, architecture: str) -> None:
        """Data 1,024 times as large give the same dictionary in other units, to the bit: powers of two do not round."""
        x = planted(2000)
        small, large = (train(factor * x, steps=60, architecture=architecture) for factor in (1.0, 1024.0))
        for name in ("W_enc", "W_dec"):
            assert torch.equal(getattr(large.dictionary, name), getattr(small.dictionary, name))
        for name in ("b_enc", "b_dec"):
            assert torch.equal(getattr(large.dictionary, name), 1024 * getattr(small.dictionary, name))
        assert [point.fvu for point in large.history] == [point.fvu for point in small.history]
        assert [p.recon_mse for p in large.history] == [2.0**20 * p.recon_mse for p in small.history]

    def test_without_normalisation_the_data_are_taken_as_they_are(self) -> None:
        run = begun(3 * planted(1000), normalize="none")
        assert run.scaling.scale_in == run.scaling.scale_out == 1

    def test_held_out_figures_are_those_of_the_saved_dictionary_on_raw_rows(self) -> None:
        x = planted()
        outcome = train(x)
        assert outcome.held_out is not None
        assert evaluate(outcome.dictionary, x).fvu == pytest.approx(outcome.held_out.fvu, rel=0.2)


class TestRepeating:
    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_a_seed_repeats_itself(self, architecture: str) -> None:
        x = planted(2000)
        first, second = (train(x, steps=40, architecture=architecture) for _ in range(2))
        assert_same(first, second)

    def test_another_seed_is_another_training(self) -> None:
        x = planted(2000)
        assert not torch.equal(train(x, steps=5).dictionary.W_enc, train(x, steps=5, seed=1).dictionary.W_enc)

    def test_several_over_one_pass_equal_each_alone(self) -> None:
        """A sweep shares nothing but the batches: other k, architecture, lr, width and length change no bit."""
        x = planted(3000)
        stream = ShuffledStream(x, 256)
        sweep: list[dict[str, Any]] = [
            {"steps": 80},
            {"steps": 80, "k": 6, "lr": 1e-2},
            {"steps": 50, "architecture": "batchtopk", "d_sae": 64},
            {"steps": 70, "architecture": "jumprelu", "ema": 0.9},
        ]
        together = fit(stream, [member(settings(**one), stream) for one in sweep])
        for outcome, one in zip(together, sweep, strict=True):
            assert_same(outcome, train(x, **one))
            assert outcome.dictionary.cfg.step == one["steps"]

    def test_layers_over_one_pass_equal_each_alone(self) -> None:
        x = planted(3000)
        y = 2 * x.flip(1)
        stream = ShuffledStream((x, y), 256)
        config = settings(steps=60)
        sides = [slice(0, D), slice(D, None)]
        together = fit(stream, [member(config, stream, inputs=side, outputs=side) for side in sides])
        for outcome, alone in zip(together, (x, y), strict=True):
            assert_same(outcome, train(alone, steps=60))

    def test_those_resumed_together_are_at_one_step(self) -> None:
        x = planted(1000)
        stream = ShuffledStream(x, 256)
        run = begun(x)
        early = run.state()
        run.advance(x[:256], x[:256])
        one, other = (member(settings(), stream, resume=state) for state in (early, run.state()))
        with pytest.raises(DictionaryError, match="at different ones"):
            fit(stream, [one, other])

    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_rows_of_any_size_are_learnt_from(self, architecture: str) -> None:
        """Also where squares leave the range of float32, and without a scale of ours."""
        x, held = planted(1500), {}
        for factor in (1.0, 2.0**66, 2.0**-66):
            outcome = train(factor * x, steps=20, architecture=architecture)
            assert outcome.held_out is not None
            held[factor] = outcome.held_out.fvu
        assert len(set(held.values())) == 1
        small = train(2.0**-11 * x, steps=20, architecture=architecture, normalize="none")
        assert math.isfinite(small.history[-1].fvu)
        assert not any("do not vary" in reason for reason in small.verdict.reasons)

    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_another_default_dtype_of_torch_changes_nothing(self, architecture: str) -> None:
        x = planted(1500)
        more: dict[str, Any] = {"steps": 12, "architecture": architecture, "dead_after_tokens": 256}
        expected = train(x, **more)
        torch.set_default_dtype(torch.float64)
        try:
            outcome = train(x, **more)
        finally:
            torch.set_default_dtype(torch.float32)
        assert_same(outcome, expected)


class TestHistory:
    def test_at_least_a_hundred_points_with_the_first_and_last_step(self) -> None:
        history = train(planted(2000), steps=350).history
        steps = [point.step for point in history]
        assert len(steps) >= 100
        assert (steps[0], steps[-1]) == (1, 350)
        assert settings(steps=200_000).resolved(10**6).log_every == 500
        assert history[0]._fields == COLUMNS
        assert all(point.tokens == 256 * point.step for point in history)
        assert all(point.explained_variance == 1 - point.fvu for point in history)
        assert history[-1].fvu < 0.6 * history[0].fvu

    def test_the_first_point_is_the_untrained_dictionary_on_the_first_batch(self) -> None:
        x = planted(2000)
        stream = ShuffledStream(x, 256, held_out=0)
        run = begun(x)
        batch = next(stream.batches())
        point, untrained = None, dictionary(run.cfg, run.p.clone(), run.scaling)
        f = untrained.encode(batch)
        out = untrained.decode(f)
        point = run.advance(batch, batch)
        assert point is not None
        error = (out - batch).square().sum(1).mean()
        assert point.recon_mse == pytest.approx(float(error), rel=1e-4)
        assert point.fvu == pytest.approx(float(error / x.var(0, correction=0).sum()), rel=1e-4)
        assert point.l0 == pytest.approx(float((f > 0).sum(1).float().mean()))
        assert point.cosine == pytest.approx(float(torch.cosine_similarity(out, batch, dim=1).mean()), rel=1e-4)
        assert point.lr == pytest.approx(3e-3 / 50), "the first of 50 steps of warm-up"

    def test_a_point_is_the_mean_since_the_one_before(self) -> None:
        x = planted(2000)
        each, fifth = (train(x, steps=40, log_every=every).history for every in (1, 5))
        for number, point in enumerate(fifth[2:], start=2):
            window = each[5 * number - 5 : 5 * number]
            assert point.step == window[-1].step == 5 * number
            assert point.recon_mse == pytest.approx(sum(p.recon_mse for p in window) / 5)
            assert point.l0 == pytest.approx(sum(p.l0 for p in window) / 5)
            assert point[6:9] == pytest.approx((point.l0, window[-1].dead, window[-1].lr))

    def test_dead_latents_and_the_density_of_firing(self) -> None:
        """A latent silent for 5 batches is dead, and is in the lowest bin of a window of 5 batches."""
        x, seen = planted(3000), []
        stream = ShuffledStream(x, 256)
        config = settings(d_sae=256, lr=1e-2, steps=100, log_every=5, dead_after_tokens=5 * 256, aux_k=0)
        one = member(config, stream, on_point=lambda point, density, _: seen.append((point, density)))
        outcome = fit(stream, [one])[0]
        assert [point for point, _ in seen] == outcome.history
        assert all(sum(density) == 256 for _, density in seen)
        assert all(density[0] == point.dead for point, density in seen[2:])
        assert seen[-1][0].dead == outcome.dead > 0
        assert outcome.density == seen[-1][1]

    @pytest.mark.parametrize("architecture", ["topk", "batchtopk", "matryoshka"])
    def test_dead_latents_are_pulled_back(self, architecture: str) -> None:
        """Latents that never make it into the k get no gradient but AuxK's."""
        x, alive, few = planted(), [], 24
        for aux_k in (0, None):
            run = begun(x, architecture=architecture, d_sae=96, dead_after_tokens=2560, lr=1e-2, aux_k=aux_k)
            run.p.enc[few:] *= 0.02
            for _, batch in zip(range(150), ShuffledStream(x, 256, held_out=0), strict=False):
                run.advance(batch, batch)
            alive.append(96 - run.dead_count())
        assert alive[0] <= few
        assert alive[1] > 2 * few


class TestConstraints:
    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    @pytest.mark.parametrize("norm", [1.0, 0.3])
    def test_decoder_rows_keep_their_norm(self, architecture: str, norm: float) -> None:
        sae = train(planted(1000), steps=30, architecture=architecture, decoder_norm=norm).dictionary
        torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.full((TRUE,), norm))

    def test_decoder_rows_are_free_when_asked(self) -> None:
        norms = train(planted(1000), steps=30, unit_decoder=False).dictionary.W_dec.norm(dim=1)
        assert float((norms - 1).abs().max()) > 1e-3

    def test_the_gradient_along_a_held_row_is_removed(self) -> None:
        x = planted(1000)
        run = begun(x)
        before = run.p.dec.clone()
        run.advance(x[:256], x[:256])
        assert run.p.dec.grad is not None
        along = torch.linalg.vecdot(run.p.dec.grad, before)
        assert float(along.abs().max()) < 1e-5 * float(run.p.dec.grad.norm())

    def test_grad_clip_bounds_the_logged_norm(self) -> None:
        x = planted(2000)
        free, clipped = (train(x, steps=60, grad_clip=clip, log_every=1).history for clip in (None, 1.2))
        assert max(point.grad_norm for point in free) > 1.5
        assert max(point.grad_norm for point in clipped) <= 1.2 * (1 + 1e-6)
        assert any(point.grad_norm < 1.19 for point in clipped), "smaller gradients stay as they are"

    def test_ema_saves_the_mean_of_the_weights(self) -> None:
        x = planted(2000)
        run, tail = begun(x, ema=0.95), begun(x, ema=0.95)
        means = {name: tensor.double().clone() for name, tensor in run.p.named().items()}
        for step, batch in zip(range(40), ShuffledStream(x, 256, held_out=0), strict=False):
            run.advance(batch, batch)
            share = 1 - min(0.95, (1 + step) / (10 + step))
            for name, tensor in run.p.named().items():
                means[name] += share * (tensor.double() - means[name])
        for name, tensor in run.best().named().items():
            torch.testing.assert_close(tensor, means[name].float())
            assert not torch.equal(tensor, run.p.named()[name])
        assert torch.equal(tail.best().enc, tail.p.enc), "before the first step both are the start"

    def test_weight_decay_shrinks_matrices_only(self) -> None:
        x = planted(1000)
        plain, decayed = (
            begun(x, optimizer="adamw", weight_decay=decay, unit_decoder=False, lr_warmup=0, lr=0.01)
            for decay in (0.0, 0.1)
        )
        start = plain.p.clone()
        for run in (plain, decayed):
            run.advance(x[:256], x[:256])
        for name in ("enc", "dec"):
            moved = plain.p.named()[name] - 0.01 * 0.1 * start.named()[name]
            torch.testing.assert_close(decayed.p.named()[name], moved)
        for name in ("b_enc", "b_dec"):
            assert torch.equal(decayed.p.named()[name], plain.p.named()[name])

    def test_thresholds_have_a_learning_rate_of_their_own(self) -> None:
        x, moved = planted(1000), []
        for factor in (1.0, 5.0):
            run = begun(x, architecture="jumprelu", threshold_lr=factor, lr_warmup=0)
            before = run.p.clone()
            run.advance(x[:256], x[:256])
            moved.append([run.p.named()[name] - before.named()[name] for name in ("log_threshold", "b_enc")])
        torch.testing.assert_close(moved[1][0], 5 * moved[0][0], rtol=1e-3, atol=1e-6)
        assert torch.equal(moved[1][1], moved[0][1])

    def test_k_falls_from_its_first_value(self) -> None:
        x = planted(2000)
        history = train(x, steps=100, log_every=1, initial_k=12, k_hold=10, k_warmup=20, aux_k=0).history
        assert history[5].l0 == pytest.approx(12, rel=0.05)
        assert history[20].l0 == pytest.approx(7.5, rel=0.1)
        assert history[60].l0 == pytest.approx(3)


class TestStopping:
    def test_cancel_keeps_the_dictionary_so_far_and_a_checkpoint(self, tmp_path: Path) -> None:
        x = planted(2000)
        stream = ShuffledStream(x, 256)
        control = Control(on_tick=lambda tick: control.cancel() if tick.done == 40 else None)
        kept = Checkpoints(tmp_path, None)
        with pytest.raises(Interrupted, match="step 40 of 600") as caught:
            fit(stream, [member(settings(), stream, checkpoints=kept)], control=control)
        (outcome,) = caught.value.outcomes
        assert outcome.dictionary.cfg.step == 40
        assert not outcome.dictionary.cfg.complete
        assert outcome.dictionary.encode(x[:2]).shape == (2, TRUE)
        assert outcome.verdict.word != "usable"
        assert outcome.verdict.reasons[0] == "Stopped at step 40 of 600."
        assert kept.latest()[0]["step"] == 40

    def test_divergence_says_what_to_try_and_where_the_last_good_checkpoint_is(self, tmp_path: Path) -> None:
        x = planted(2000)
        with pytest.raises(DictionaryError, match=r"at step \d+\. Try a lower lr \(now 1e\+30\), or grad_clip=1\.0\.$"):
            train(x, steps=300, lr=1e30)
        stream = ShuffledStream(x, 256)
        late = member(
            settings(lr=1e30, lr_schedule="linear", lr_warmup=0, steps=300, log_every=300),
            stream,
            checkpoints=Checkpoints(tmp_path, 1, keep=1),
        )
        with pytest.raises(DictionaryError, match="Try a lower lr"):
            fit(stream, [late])
        for path in Checkpoints(tmp_path, 1).files():
            for tensor in torch.load(path, weights_only=True)["parameters"].values():
                assert bool(torch.isfinite(tensor).all()), "a checkpoint never holds what has diverged"

    def test_weights_that_diverge_in_the_last_step_are_no_dictionary(self) -> None:
        for lr in (1e38, 1e25):
            with pytest.raises(DictionaryError, match=r"became NaN or infinite by step 1\. Try a lower lr"):
                train(planted(1000), steps=1, lr=lr, lr_warmup=0)

    @pytest.mark.parametrize("late", [False, True])
    def test_one_that_diverges_is_taken_out_and_the_others_end(self, late: bool, tmp_path: Path) -> None:
        """While they train, or found by the look at the weights after the last step."""
        x, told = planted(2000), list[AquinError]()
        stream = ShuffledStream(x, 256)
        bad: dict[str, Any] = {"steps": 12, "log_every": 50, "lr_warmup": 0} if late else {"steps": 200, "log_every": 1}
        members = [
            member(settings(steps=60), stream, checkpoints=Checkpoints(tmp_path / "good", 10)),
            member(
                settings(lr=1e30, **bad), stream, on_failure=told.append, checkpoints=Checkpoints(tmp_path / "bad", 1)
            ),
        ]
        with pytest.raises(Diverged, match=r"^1 of 2 dictionaries diverged\. One: .*Try a lower lr") as caught:
            fit(stream, members)
        assert told == [members[1].failed]
        assert members[0].failed is None
        (outcome,) = caught.value.outcomes
        assert_same(outcome, train(x, steps=60))
        assert outcome.dictionary.cfg.complete

    def test_when_all_diverge_each_says_so(self) -> None:
        stream = ShuffledStream(planted(1000), 256)
        members = [member(settings(steps=200, lr=lr), stream) for lr in (1e30, 1e31)]
        with pytest.raises(Diverged, match=r"^2 of 2 .* \(now 1e\+30\).* \(now 1e\+31\)") as caught:
            fit(stream, members)
        assert caught.value.outcomes == []

    def test_what_was_complete_when_a_cancel_came_stays_complete(self) -> None:
        x = planted(2000)
        stream = ShuffledStream(x, 256)
        control = Control(on_tick=lambda tick: control.cancel() if tick.done == 40 else None)
        members = [member(settings(steps=steps), stream) for steps in (25, 60)]
        with pytest.raises(Interrupted) as caught:
            fit(stream, members, control=control)
        short, long = caught.value.outcomes
        assert_same(short, train(x, steps=25))
        assert (short.dictionary.cfg.complete, short.dictionary.cfg.step) == (True, 25)
        assert not any("Stopped at" in reason for reason in short.verdict.reasons)
        assert (long.dictionary.cfg.complete, long.dictionary.cfg.step) == (False, 40)

    def test_a_run_in_which_no_latent_ever_fired_is_told_what_to_lower(self) -> None:
        outcome = train(planted(2500), architecture="relu", threshold=50.0, steps=60)
        (said,) = outcome.verdict.reasons
        assert said.startswith("No latent ever fired: nothing was learnt. Lower threshold ")
        assert outcome.advice == [said]
        assert outcome.verdict.word == "smoke test only"

    def test_rows_that_were_not_asked_to_be_held_out_are_not_missed(self) -> None:
        notes = train(planted(1000), steps=5, held_out=0).notes
        assert "No rows were held out: the figures are those of training rows." in notes
        assert not any("Too few rows" in note for note in notes)

    def test_a_handful_of_probes_is_a_smoke_test(self) -> None:
        outcome = train(torch.randn(6, D, generator=torch.Generator().manual_seed(0)), steps=50)
        assert outcome.verdict.word == "smoke test only"
        assert "Probe-scale data" in outcome.verdict.reasons[0]
        assert outcome.held_out is None
        assert any("hold any out" in note for note in outcome.notes)

    def test_rows_left_unused_are_told(self) -> None:
        outcome = train(planted(6000), steps=5)
        assert any(note.startswith("Training saw 1,280 of ") for note in outcome.notes)

    def test_activations_that_are_all_zero_have_nothing_to_learn_from(self) -> None:
        with pytest.raises(DictionaryError, match="all zero"):
            train(torch.zeros(500, D), steps=5)


class TestWork:
    @pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka"])
    def test_the_encoder_multiplies_once_a_step_where_few_entries_are_positive(
        self, architecture: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With k near d_sae all positive entries are active, and there is no threshold to look for."""
        products, blocks = [0], Architecture._blocks

        def counted(self: Architecture, p: Parameters, centred: Tensor) -> Any:
            products[0] += 1
            return blocks(self, p, centred)

        monkeypatch.setattr(Architecture, "_blocks", counted)
        x = planted(1500)
        run = begun(x, architecture=architecture, d_sae=64, k=60)
        run.advance(x[:256], x[:256])
        products[0] = 0
        for _ in range(10):
            run.advance(x[:256], x[:256])
        assert products[0] == 10
        assert float(run.window.fired.sum()) / run.window.rows < 60


class TestMemory:
    @staticmethod
    def limited(monkeypatch: pytest.MonkeyPatch, limit: int) -> list[int]:
        """A machine that has room for the pre-activations of at most `limit` rows; the sizes that were asked for."""
        asked: list[int] = []
        blocks = Architecture._blocks

        def allocate(self: Architecture, p: Parameters, centred: Tensor) -> Any:
            for place, pre in blocks(self, p, centred):
                asked.append(pre.shape[0])
                if pre.shape[0] > limit:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
                yield place, pre

        monkeypatch.setattr(Architecture, "_blocks", allocate)
        return asked

    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_a_block_that_does_not_fit_is_halved_until_it_does(
        self, architecture: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        x = planted(2000)
        roomy = train(x, steps=25, architecture=architecture)
        small = train(x, steps=25, architecture=architecture, block_rows=64)
        asked = self.limited(monkeypatch, 70)
        outcome = train(x, steps=25, architecture=architecture)
        assert 128 in asked
        assert_same(outcome, small)
        torch.testing.assert_close(outcome.dictionary.W_dec, roomy.dictionary.W_dec, rtol=1e-3, atol=1e-4)
        told = [note for note in outcome.notes if "Memory ran out at step 1" in note]
        assert len(told) == 2
        assert "blocks of 64 rows instead of 128" in told[1]

    @pytest.mark.parametrize("kind", [Selected, Penalised])
    def test_the_buffer_itself_may_be_what_does_not_fit(
        self, kind: type[Architecture], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        x, empty = planted(2000), torch.empty
        architecture = "topk" if kind is Selected else "relu"
        small = train(x, steps=5, architecture=architecture, block_rows=64)

        def allocate(*shape: Any, **options: Any) -> Tensor:
            if shape and isinstance(shape[0], tuple) and shape[0][0] > 70 and shape[0][-1] == TRUE:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
            return empty(*shape, **options)

        monkeypatch.setattr(torch, "empty", allocate)
        outcome = train(x, steps=5, architecture=architecture)
        assert_same(outcome, small)
        assert any("blocks of 64 rows instead of 128" in note for note in outcome.notes)

    def test_memory_for_the_optimiser_is_taken_at_the_start(self) -> None:
        """Were it taken in the first step and ran out, a second try would move some tensors twice."""
        run = begun(planted(1000), architecture="jumprelu")
        for tensor in run.p.all():
            assert run.optimizer.state[tensor]["exp_avg_sq"].shape == tensor.shape

    def test_when_not_even_a_row_fits_a_width_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: Any) -> Any:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")

        monkeypatch.setattr(Selected, "step", broken)
        run = begun(planted(1000))
        run.architecture.rows_at_once = 4
        with pytest.raises(OutOfMemory, match=r"step 1, even for one row at a time .*Try d_sae=24\."):
            trainers._advance(member(settings(), ShuffledStream(planted(1000), 256)), run, planted(256))

    def test_smaller_blocks_that_make_no_difference_are_not_tried_for_ever(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = self.limited(monkeypatch, 0)
        with pytest.raises(OutOfMemory, match=r"at step 1, and smaller blocks of rows did not help .*Try d_sae=24\."):
            train(planted(1000), steps=5)
        assert asked == [256, 128, 64], "each asked for 2.00 GiB"

    def test_no_room_for_a_batch_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: Any, **__: Any) -> Any:
            raise RuntimeError("CUDA error: out of memory")
            yield

        monkeypatch.setattr(trainers, "prefetch", full)
        with pytest.raises(OutOfMemory, match=r"no memory left for a batch \(CUDA error: out of memory\)\. Free some"):
            train(planted(1000), steps=5)

    def test_weights_that_do_not_fit_are_told_with_their_widths(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 40.00 GiB.")

        monkeypatch.setattr(trainers, "Run", full)
        stream = ShuffledStream(planted(500), 64)
        two = [member(settings(d_sae=width), stream) for width in (1024, 2048)]
        with pytest.raises(OutOfMemory, match=r"train d_sae=1,024 and d_sae=2,048 .*fewer dictionaries at once"):
            fit(stream, two)

    def test_other_errors_of_torch_are_not_taken_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: Any) -> Any:
            raise RuntimeError("expected scalar type Float but found Half")

        monkeypatch.setattr(Selected, "step", broken)
        with pytest.raises(RuntimeError, match="scalar type"):
            train(planted(1000), steps=5)

    def test_what_cannot_fit_is_refused_before_the_work(self) -> None:
        stream = ShuffledStream(planted(100), 50)
        one = member(settings(d_sae=10**12), stream)
        with pytest.raises(OutOfMemory, match=r"needs about .* to train and cpu has .*At most d_sae=\d[\d,]* fits"):
            require_memory([(one.cfg, one.config)], torch.device("cpu"))
        plan = (replace(one.cfg, d_sae=4096), one.config)
        require_memory([plan], torch.device("cpu"))
        with pytest.raises(OutOfMemory, match=r"A pass for dictionaries of d_sae=4,096 and 4,096 .*Train fewer"):
            require_memory([plan] * 10**6, torch.device("cpu"))
