"""Base and checkpoint through one dictionary: numbers held to dense arithmetic, whatever the batches."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from aquin_nb.control import Control
from aquin_nb.engine.analysis import drivers, passages, tally
from aquin_nb.engine.analysis.diff import diff, same_weights
from aquin_nb.engine.analysis.tally import Encoder
from aquin_nb.engine.analysis.trajectory import trajectory, trajectory_frame
from aquin_nb.engine.analysis.validity import advise
from aquin_nb.engine.models import Model, load_model
from aquin_nb.engine.sae import SaeConfig, SparseAutoencoder
from aquin_nb.errors import Cancelled, DictionaryError, ModelError, ProbeError

TEXTS = [
    "In the beginning God created the heavens and the earth.",
    "A dog is a kind of animal.",
    "The jury said it did find that many of the laws are outmoded or inadequate.",
    "x",
    "And the earth was without form, and void; and darkness was upon the face of the deep.",
    "Water boils at a hundred degrees.",
    "He said that the city would go on with the work.",
    "It was a good year for wine, and a bad one for those who drink it.",
]
LAYER = 3
ARCHITECTURES = ["topk", "batchtopk", "matryoshka", "jumprelu", "relu", "gated"]


def dictionary(kind: str = "topk", d_sae: int = 256, **more) -> SparseAutoencoder:
    cfg = SaeConfig(
        kind, d_in=128, d_sae=d_sae, d_out=128, k=8 if kind in ("topk", "batchtopk", "matryoshka") else None
    )
    made = SparseAutoencoder.random(cfg)
    generator = torch.Generator().manual_seed(1)
    tensors = {
        name: value + 0.05 * torch.rand(value.shape, generator=generator) for name, value in made.tensors().items()
    }
    if "threshold" in tensors:
        tensors["threshold"] = tensors["threshold"] + 4
    return SparseAutoencoder(cfg, **tensors)


@pytest.fixture(scope="module")
def base() -> Model:
    return load_model("tiny", device="cpu", dtype="float32", backend="huggingface")


def moved(layer: int, by: float = 0.3) -> Model:
    """tiny with the output of one block's MLP turned up, as a fine-tune might."""
    model = load_model("tiny", device="cpu", dtype="float32", backend="huggingface")
    with torch.no_grad():
        model.backend.modules[f"model.layers.{layer}.mlp.down_proj"].weight.mul_(1 + by)
    return model


@pytest.fixture(scope="module")
def tuned() -> Model:
    return moved(2)


def dense(model: Model, sae: SparseAutoencoder, text: str) -> torch.Tensor:
    tokens = model.tokenize([text])
    return sae.encode(model.residuals(tokens, [LAYER])[LAYER][tokens.analysed]).double()


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_what_fires_is_what_encode_says(kind):
    sae, x = dictionary(kind), 3 * torch.randn(37, 128)
    row, latent, value = Encoder(sae)(x)
    f = torch.zeros(37, 256)
    f[row, latent] = value
    torch.testing.assert_close(f, sae.encode(x), rtol=1e-4, atol=1e-4)
    assert (value > 0).all()
    keys = row * 256 + latent
    assert (keys.diff() > 0).all()


@pytest.mark.parametrize("kind", ["topk", "relu"])
def test_the_frame_is_that_of_dense_arithmetic(base, tuned, kind, tmp_path):
    sae = dictionary(kind)
    found = diff(base, tuned, TEXTS, sae, LAYER, tmp_path)
    left, right = (torch.cat([dense(m, sae, text) for text in TEXTS]) for m in (base, tuned))
    frame = found.contrast.frame
    np.testing.assert_allclose(frame["mean_base"], left.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(frame["mean_checkpoint"], right.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(frame["rate_base"], (left > 0).double().mean(0), atol=0.01)
    assert found.rows.sum() == len(left) == found.contrast.tokens
    x = torch.cat([dense_input(base, text) for text in TEXTS])
    fvu = (x - sae.reconstruct(x)).square().sum() / (x - x.mean(0)).square().sum()
    assert found.fvu_base == pytest.approx(float(fvu), rel=1e-3)
    assert found.contrast.threshold == pytest.approx(
        0.1 * float(torch.maximum(left.mean(0), right.mean(0))[(left.sum(0) > 0) | (right.sum(0) > 0)].mean()), rel=1e-3
    )


def dense_input(model: Model, text: str) -> torch.Tensor:
    tokens = model.tokenize([text])
    return model.residuals(tokens, [LAYER])[LAYER][tokens.analysed]


def test_small_batches_and_blocks_change_nothing(base, tuned, tmp_path, monkeypatch):
    sae = dictionary()
    whole = diff(base, tuned, TEXTS, sae, LAYER, tmp_path / "whole")
    monkeypatch.setattr(passages, "MOST_PROBES", 1)
    monkeypatch.setattr(tally, "DENSE", 3 * 256)
    monkeypatch.setattr(drivers, "PENDING", 100)
    parts = diff(base, tuned, TEXTS, sae, LAYER, tmp_path / "parts")
    a, b = whole.contrast.frame, parts.contrast.frame
    exact = ["feature", "rate_base", "rate_checkpoint", "probes"]
    pd.testing.assert_frame_equal(a[exact], b[exact])
    np.testing.assert_allclose(a["delta"], b["delta"], rtol=1e-3, atol=1e-6)
    assert parts.fvu_checkpoint == pytest.approx(whole.fvu_checkpoint, rel=1e-5)
    keys = ["feature", "rank", "probe", "position", "token"]
    same = whole.tokens.merge(parts.tokens, on=keys)
    assert len(same) > 0.97 * len(whole.tokens), "rounding may swap two tokens that change alike"


def test_the_tokens_of_a_feature_are_those_on_which_it_changes_most(base, tuned, tmp_path):
    sae = dictionary()
    found = diff(base, tuned, TEXTS, sae, LAYER, tmp_path)
    feature = int(found.contrast.frame["delta"].abs().idxmax())
    changes = []
    for probe, text in enumerate(TEXTS):
        change = (dense(tuned, sae, text) - dense(base, sae, text))[:, feature]
        changes += [(float(delta.abs()), probe, at + 1) for at, delta in enumerate(change)]
    size, probe, position = max(changes)
    first = found.tokens[(found.tokens["feature"] == feature) & (found.tokens["rank"] == 0)].iloc[0]
    assert (first["probe"], first["position"]) == (probe, position)
    assert abs(first["checkpoint"] - first["base"]) == pytest.approx(size, rel=1e-3)
    ids = base.tokenize([TEXTS[probe]]).ids[0].tolist()
    assert first["token"] == base.token_strings([ids[position]])[0]
    assert (first["before"] + first["token"] + first["after"]) in TEXTS[probe]


def test_equal_weights_are_no_change(base, tmp_path):
    again = load_model("tiny", device="cpu", dtype="float32", backend="huggingface")
    found = diff(base, again, TEXTS, dictionary(), LAYER, tmp_path)
    assert found.same == "weights"
    assert found.notes[0].startswith("No change: the checkpoint's weights equal")
    assert found.contrast.changed == found.contrast.over == 0
    assert (found.contrast.frame["delta"] == 0).all()
    assert found.tokens.empty


def test_a_change_above_the_layer_is_told_from_none(base, tmp_path):
    found = diff(base, moved(5), TEXTS, dictionary(), LAYER, tmp_path)
    assert found.same == "activations"
    assert "look at a later layer" in found.notes[0]


@pytest.mark.parametrize("backend", ["huggingface", "transformer-lens"])
def test_weights_are_compared_in_either_backend(backend):
    models = [load_model("tiny", device="cpu", dtype="float32", backend=backend) for _ in range(2)]
    assert same_weights(*models)
    with torch.no_grad():
        next(models[1].backend.modules["model"].parameters())[7, 7] += 1e-3
    assert not same_weights(*models)


def test_a_probe_of_special_tokens_alone_is_named(base, tuned, tmp_path):
    nothing = base.tokenizer.decode([base.bos_id])
    with pytest.raises(ProbeError, match=r"1 of 3 probes tokenise to nothing that is looked at: row 2 \("):
        diff(base, tuned, ["fine", nothing, "also fine"], dictionary(), LAYER, tmp_path)


def test_repeated_and_long_probes_are_said(base, tuned, tmp_path):
    long = "word " * 3000
    found = diff(base, tuned, [*TEXTS, TEXTS[0], long], dictionary(), LAYER, tmp_path)
    assert any("1 of 10 probes repeat" in note for note in found.notes)
    assert any("1 of 10 probes are longer than" in note for note in found.notes)


def test_a_checkpoint_of_nan_is_refused(base, tmp_path):
    broken = moved(1)
    with torch.no_grad():
        broken.backend.modules["model.layers.1.mlp.down_proj"].weight[0, 0] = float("nan")
    with pytest.raises(DictionaryError, match="NaN or infinite activations at layer 3"):
        diff(base, broken, TEXTS, dictionary(), LAYER, tmp_path)


def test_models_and_dictionaries_that_do_not_fit(base, tuned, tmp_path):
    narrow = SparseAutoencoder.random(SaeConfig("topk", d_in=64, d_sae=128, d_out=64, k=4))
    with pytest.raises(DictionaryError, match="width 128"):
        diff(base, tuned, TEXTS, narrow, LAYER, tmp_path)
    other = copy.copy(tuned)
    other.info = copy.copy(tuned.info)
    object.__setattr__(other.info, "tokenizer_fingerprint", "another")
    with pytest.raises(ModelError, match="different tokenisers"):
        diff(base, other, TEXTS, dictionary(), LAYER, tmp_path)


def test_cancelling(base, tuned, tmp_path):
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        diff(base, tuned, TEXTS, dictionary(), LAYER, tmp_path, control=control)


def test_a_transcoder_has_deltas_and_no_fvu(base, tuned, tmp_path):
    cfg = SaeConfig("topk", d_in=128, d_sae=256, d_out=96, k=8, transcoder=True)
    found = diff(base, tuned, TEXTS, SparseAutoencoder.random(cfg), LAYER, tmp_path)
    assert found.fvu_base is None
    assert found.advice is None
    assert found.contrast.over > 0
    assert any("transcoder" in note for note in found.notes)


def test_a_trajectory_is_a_diff_at_every_step(base, tmp_path):
    sae, models = dictionary(), {1: moved(2, 0.1), 2: moved(2, 0.3), 3: moved(5)}
    loaded = []

    def load(step):
        loaded.append(step)
        return models[step]

    found = trajectory(base, [lambda s=s: load(s) for s in models], TEXTS, sae, LAYER, tmp_path / "t")
    assert loaded == [1, 2, 3]
    for step, stop in zip(models, found.stops, strict=True):
        alone = diff(base, models[step], TEXTS, sae, LAYER, tmp_path / str(step), threshold=found.threshold)
        pd.testing.assert_frame_equal(stop.contrast.frame, alone.contrast.frame)
        assert (stop.fvu, stop.advice) == (alone.fvu_checkpoint, alone.advice)
    assert any("No change" in note for note in found.notes)
    frame = trajectory_frame(found, [10, 20, 30])
    assert (frame[frame["step"] == 30]["delta"] == 0).all()
    assert frame.groupby("step").size().nunique() == 1
    assert frame[frame["step"] == 20]["delta"].abs().sum() > frame[frame["step"] == 10]["delta"].abs().sum()


@pytest.mark.parametrize(
    ("base_fvu", "checkpoint_fvu", "advice"),
    [(0.2, 0.2, "keep"), (0.2, 0.219, "keep"), (0.2, 0.25, "align"), (0.2, 0.31, "retrain"), (0.45, 0.51, "retrain"),
     (0.6, 0.6, "retrain"), (None, None, None), (0.0, 0.0, "keep")],
)  # fmt: skip
def test_advice(base_fvu, checkpoint_fvu, advice):
    word, why = advise(base_fvu, checkpoint_fvu)
    assert word == advice
    assert bool(why) == (advice is not None)


def test_nothing_but_the_sums_is_left_in_the_folder(base, tuned, tmp_path):
    diff(base, tuned, TEXTS, dictionary(), LAYER, tmp_path)
    names = {str(path.relative_to(tmp_path)) for path in Path(tmp_path).rglob("*") if path.is_file()}
    arrays = ("probe", "end", "feature", "total", "fired")
    assert names == {f"{side}/{name}.npy" for side in ("base", "checkpoint") for name in arrays}
