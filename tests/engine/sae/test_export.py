"""From training's parameters to a file: the dictionary does on raw activations what was trained on scaled ones."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from aquin_nb.engine.sae import ARCHITECTURES, SaeConfig, SparseAutoencoder, TrainConfig, evaluate, load_dictionary
from aquin_nb.engine.sae.architectures import Batch, Now, build
from aquin_nb.engine.sae.export import SPREAD, dictionary, threshold
from aquin_nb.engine.sae.parameters import Parameters, Scaling
from aquin_nb.engine.sae.weighting import row_weights
from aquin_nb.errors import DictionaryError

N, D, D_OUT, F, K = 128, 10, 7, 64, 5
BY_BATCH = ("batchtopk", "matryoshka")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def parameters(architecture: str, transcoder: bool = False) -> Parameters:
    """As after some training: nothing is zero, tied or of one size."""
    d_out = D_OUT if transcoder else D
    extra = {}
    if architecture == "jumprelu":
        extra["log_threshold"] = math.log(0.4) + 0.3 * normal(F, seed=5)
    if architecture == "gated":
        extra = {"b_mag": 0.2 * normal(F, seed=5), "r_mag": 0.3 * normal(F, seed=6)}
    if transcoder:
        extra["skip"] = 0.3 * normal(D, d_out, seed=7)
    dec = normalize(normal(F, d_out, seed=1), dim=1)
    return Parameters(0.5 * normal(F, D, seed=2), dec, 0.2 * normal(F, seed=3), 0.5 * normal(d_out, seed=4), extra)


def exported(architecture: str, transcoder: bool = False) -> tuple[SparseAutoencoder, Tensor, Tensor, Tensor]:
    """The dictionary, raw rows, what training makes of them when scaled, in their own units, and its active latents.

    The threshold of those that select from a batch is set on these very rows.
    """
    groups = [8, 20, F] if architecture == "matryoshka" else None
    config = TrainConfig(architecture=architecture, d_sae=F, k=K, groups=groups, batch_size=N, skip=transcoder)
    config = config.resolved(1000)
    scales = Scaling(0.03, 17.0, 1.0) if transcoder else Scaling(0.03, 0.03, 1.0)
    raw = (normal(N, D, seed=8) + 0.3) / scales.scale_in
    target = normal(N, D_OUT, seed=9) / scales.scale_out if transcoder else raw
    x, y = raw * scales.scale_in, target * scales.scale_out
    p = parameters(architecture, transcoder)
    batch = Batch(x, y, row_weights(y, "sum"), N)
    trained = build(config, transcoder=transcoder).step(p, batch, torch.arange(0), Now(K, 0.0, 0.0))
    cfg = SaeConfig(
        config.architecture,
        d_in=D,
        d_sae=F,
        d_out=y.shape[1],
        k=config.k,
        groups=config.groups,
        transcoder=transcoder,
        name="x",
        layer=3,
    )
    sae = dictionary(cfg, p, scales, x if architecture in BY_BATCH else None)
    return sae, raw, (y + trained.residual) / scales.scale_out, trained.fired


class TestFolding:
    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    @pytest.mark.parametrize("transcoder", [False, True])
    def test_the_dictionary_on_raw_rows_is_training_on_scaled_ones(self, architecture: str, transcoder: bool) -> None:
        sae, raw, reconstruction, fired = exported(architecture, transcoder)
        torch.testing.assert_close(sae.reconstruct(raw), reconstruction, rtol=1e-4, atol=1e-4)
        assert torch.equal((sae.encode(raw) > 0).sum(0), fired)
        torch.testing.assert_close(sae.W_dec, parameters(architecture, transcoder).dec), "decoder rows keep their norm"

    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_sparse_and_dense_codes_agree(self, architecture: str) -> None:
        sae, raw, _, _ = exported(architecture)
        f = sae.encode(raw)
        values, indices = sae.encode_sparse(raw, limit=F)
        torch.testing.assert_close(torch.zeros_like(f).scatter(1, indices, values), f)
        assert bool((values.diff(dim=1) <= 0).all()), "strongest first"
        torch.testing.assert_close(sae.decode(f), sae.reconstruct(raw))

    def test_rows_of_any_shape_and_dtype(self) -> None:
        sae, raw, _, _ = exported("gated")
        torch.testing.assert_close(sae.encode(raw.double().view(2, N // 2, D)).view(N, F), sae.encode(raw))

    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_figures_are_those_of_its_reconstruction(self, architecture: str) -> None:
        sae, raw, reconstruction, _ = exported(architecture)
        found = evaluate(sae, raw, batch_size=50)
        error = (reconstruction - raw).square().sum()
        assert found.recon_mse == pytest.approx(float(error) / N, rel=1e-3)
        assert found.fvu == pytest.approx(float(error / (raw - raw.mean(0)).square().sum()), rel=1e-3)
        f = sae.encode(raw)
        assert found.l0 == pytest.approx(float((f > 0).sum(1).float().mean()))
        assert found.never_fired == int((f.amax(0) == 0).sum())
        assert found.rows == N


class TestThreshold:
    @pytest.mark.parametrize("architecture", BY_BATCH)
    def test_mean_l0_is_k_on_the_calibration_rows(self, architecture: str) -> None:
        sae, raw, _, _ = exported(architecture)
        assert float((sae.encode(raw) > 0).sum(1).float().mean()) == K
        assert sae.threshold is not None
        assert len(set(sae.threshold.tolist())) == 1

    @pytest.mark.parametrize("architecture", BY_BATCH)
    def test_a_row_alone_has_the_features_it_has_in_a_batch(self, architecture: str) -> None:
        sae, raw, _, _ = exported(architecture)
        torch.testing.assert_close(torch.cat([sae.encode(row[None]) for row in raw]), sae.encode(raw))

    @given(seed=st.integers(0, 1000), k=st.integers(1, 12), loud=st.integers(0, 5), n=st.integers(1, 40))
    def test_as_many_pass_as_asked(self, seed: int, k: int, loud: int, n: int) -> None:
        """A few loud rows may have far more than their share: they are looked through to the end."""
        p = parameters("batchtopk")
        x = normal(n, D, seed=seed)
        x[:loud] *= 50
        found = threshold(p, x, k, transcoder=False)
        pre = ((x - p.b_dec) @ p.enc.T + p.b_enc).flatten()
        assert int((pre > found).sum()) == min(n * k, int((pre > 0).sum()))
        assert found >= 0

    def test_rows_with_more_than_a_few_times_k(self) -> None:
        p, x = parameters("batchtopk"), normal(40, D)
        x[0] *= 100
        found = threshold(p, x, 1, transcoder=False)
        pre = (x - p.b_dec) @ p.enc.T + p.b_enc
        assert int((pre[0] > found).sum()) > SPREAD
        assert int((pre > found).sum()) == 40

    def test_with_fewer_positive_values_than_asked_it_is_zero(self) -> None:
        p = parameters("batchtopk")
        p.b_enc -= 100
        assert threshold(p, normal(20, D), K, transcoder=False) == 0.0
        assert threshold(parameters("batchtopk"), normal(20, D), F, transcoder=False) == 0.0


class TestConversion:
    @pytest.mark.parametrize("architecture", [*BY_BATCH, "jumprelu"])
    @pytest.mark.parametrize("transcoder", [False, True])
    def test_as_jumprelu_it_is_the_same_function(self, architecture: str, transcoder: bool, tmp_path: Path) -> None:
        sae, raw, _, _ = exported(architecture, transcoder)
        jump = sae.to_jumprelu()
        assert (jump.cfg.architecture, jump.cfg.k) == ("jumprelu", None)
        other = 3 * raw.flip(0) + 1
        assert torch.equal(jump.encode(other), sae.encode(other))
        assert torch.equal(jump.reconstruct(other), sae.reconstruct(other))
        again = load_dictionary(jump.save(tmp_path / "jump.pt"))
        assert torch.equal(again.encode(other), sae.encode(other))

    @pytest.mark.parametrize("architecture", ["topk", "relu", "gated"])
    def test_others_have_no_such_form(self, architecture: str) -> None:
        with pytest.raises(DictionaryError, match=f"A {architecture} dictionary is no JumpReLU"):
            exported(architecture)[0].to_jumprelu()


class TestFiles:
    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    @pytest.mark.parametrize("transcoder", [False, True])
    def test_every_architecture_comes_back_to_the_bit(
        self, architecture: str, transcoder: bool, tmp_path: Path
    ) -> None:
        sae, raw, _, _ = exported(architecture, transcoder)
        path = sae.save(tmp_path / "sae.pt")
        again = load_dictionary(path)
        assert again.cfg == sae.cfg
        assert again.tensors().keys() == sae.tensors().keys()
        for name, tensor in again.tensors().items():
            assert torch.equal(tensor, sae.tensors()[name]), name
        assert torch.equal(again.reconstruct(raw), sae.reconstruct(raw))
        state = torch.load(path, weights_only=True)
        assert (state["format"], state["version"]) == ("aquin-nb/sae", 2)

    @pytest.mark.parametrize("architecture", ["topk", "relu"])
    def test_files_of_version_1_still_load(self, architecture: str, tmp_path: Path) -> None:
        """That version knew two architectures, four tensors and these fields."""
        sae, raw, _, _ = exported(architecture)
        fields: dict[str, Any] = {
            "architecture": architecture,
            "d_in": D,
            "d_sae": F,
            "d_out": D,
            "k": K if architecture == "topk" else None,
            "name": "old",
            "model": "tiny",
            "model_fingerprint": "f",
            "mode": "llm",
            "layer": 3,
            "hook": "blocks.3.hook_resid_post",
            "corpus": "packaged",
            "rows": 100,
            "step": 10,
            "complete": True,
        }
        tensors = {name: getattr(sae, name) for name in ("W_enc", "W_dec", "b_enc", "b_dec")}
        torch.save({"format": "aquin-nb/sae", "version": 1, "cfg": fields, **tensors}, tmp_path / "old.pt")
        old = load_dictionary(tmp_path / "old.pt")
        assert (old.cfg.name, old.cfg.hook_out, old.cfg.transcoder, old.cfg.groups) == ("old", "", False, None)
        assert torch.equal(old.reconstruct(raw), sae.reconstruct(raw))

    @pytest.mark.parametrize(
        ("architecture", "name"),
        [("jumprelu", "threshold"), ("batchtopk", "threshold"), ("gated", "r_mag"), ("gated", "b_mag")],
    )
    def test_a_file_that_lacks_a_tensor_of_its_architecture(self, architecture: str, name: str, tmp_path: Path) -> None:
        path = exported(architecture)[0].save(tmp_path / "sae.pt")
        state = torch.load(path, weights_only=True)
        torch.save({key: value for key, value in state.items() if key != name}, path)
        with pytest.raises(DictionaryError, match=rf"sae\.pt: A {architecture} dictionary needs {name}"):
            load_dictionary(path)
