"""Captures: the vectors are the model's, every metadata key survives, damage is named, no torch to look."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from aquin_nb import files
from aquin_nb.control import Control
from aquin_nb.engine.activations.capture import capture
from aquin_nb.engine.activations.captured import read_capture
from aquin_nb.engine.activations.probes import Probe, builtin_probes, read_probes
from aquin_nb.errors import (
    Cancelled,
    DictionaryError,
    ModelError,
    NoSpace,
    OutputError,
    ProbeError,
    StoreError,
)

PROBES = read_probes(
    [
        {"text": "In the beginning", "label": "bible", "n": 1},
        {
            "text": "It is a truth universally acknowledged, that a single man",
            "label": "austen",
            "extra": {"a": [1, None]},
        },
        "of",
    ]
)


class Dictionary:
    """A small random ReLU dictionary: what `capture` knows of one."""

    def __init__(self, d_in: int, d_sae: int = 40, layer: int | None = 3) -> None:
        torch.manual_seed(0)
        self.cfg = SimpleNamespace(d_in=d_in, d_sae=d_sae, layer=layer)
        self.W_enc = torch.randn(d_in, d_sae)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.W_enc - 3).relu()


def alone(model, text: str, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Residuals [t, d] of one text by itself, and which tokens are analysed."""
    tokens = model.tokenize([text])
    return model.residuals(tokens, [layer])[layer][0].float(), tokens.analysed[0]


def test_last_is_the_residual_at_the_last_token_of_every_layer(tiny, tmp_path):
    found = capture(tiny, PROBES, output=tmp_path / "c")
    assert list(found.layers) == list(range(6))
    for layer in found.layers:
        expected = torch.stack([alone(tiny, probe.text, layer)[0][-1] for probe in PROBES])
        assert found.layers[layer].dtype == torch.float32
        assert torch.allclose(found.layers[layer], expected, atol=2e-5)


def test_mean_is_over_the_analysed_tokens(tiny, tmp_path):
    found = capture(tiny, PROBES, layers=[4, 1, 4], position="mean", output=tmp_path / "c")
    assert list(found.layers) == [1, 4]
    for layer in found.layers:
        pairs = [alone(tiny, probe.text, layer) for probe in PROBES]
        expected = torch.stack([x[kept].mean(0) for x, kept in pairs])
        assert torch.allclose(found.layers[layer], expected, atol=2e-5)


@pytest.mark.parametrize("site", ["hook_mlp_out", "hook_resid_pre"])
def test_another_site_of_every_block_may_be_read(tiny, tmp_path, site):
    found = capture(tiny, PROBES, layers=[0, 3], site=site, output=tmp_path / "c")
    tokens = tiny.tokenize([PROBES[1].text])
    for layer in (0, 3):
        hook = f"blocks.{layer}.{site}"
        assert found.manifest["layers"][str(layer)]["hook"] == hook
        assert torch.allclose(found.layers[layer][1], tiny.activations(tokens, [hook])[hook][0, -1], atol=2e-5)
    with pytest.raises(ModelError, match="hook_mpl_out"):
        capture(tiny, PROBES, site="hook_mpl_out", output=tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_embedding_models_are_pooled(embedder, tmp_path):
    probes = read_probes(["the dog ran", "a cat sat on the mat and slept"])
    found = capture(embedder, probes, position="mean", layers=2, output=tmp_path / "c")
    expected = torch.cat([embedder.pooled(embedder.tokenize([probe.text]), [2])[2] for probe in probes])
    assert torch.allclose(found.layers[2], expected, atol=1e-6)
    with pytest.raises(ModelError, match="position='mean'"):
        capture(embedder, probes, output=tmp_path / "d")


def test_what_is_written_reads_back(tiny, tmp_path):
    capture(tiny, PROBES, layers=2, output=tmp_path / "c", name="first", topic="openings")
    found = read_capture(tmp_path / "c")
    assert found.complete
    assert (found.name, found.topic, found.position) == ("first", "openings", "last")
    assert found.probes == PROBES
    assert found.manifest["metadata_keys"] == ["label", "n", "extra"]
    assert found.manifest["model"]["fingerprint"] == tiny.info.fingerprint
    record = found.manifest["layers"]["2"]
    assert record["hook"] == "blocks.2.hook_resid_post"
    assert record["shape"] == [3, 128]
    assert record["norms"]["max"] == pytest.approx(float(found.layers[2].norm(dim=1).max()))
    shard = torch.load(tmp_path / "c" / record["file"], weights_only=True)
    assert shard["layer"] == 2
    assert torch.equal(shard["activations"], found.layers[2])
    frame = found.frame
    assert list(frame.columns) == ["text", "label", "n", "extra"]
    assert frame["label"].tolist()[:2] == ["bible", "austen"]
    assert frame["extra"][1] == {"a": [1, None]}
    assert found.features is None
    assert found.sae_layer is None
    found.verify()


def test_features_are_the_dictionarys(tiny, tmp_path):
    dictionary = Dictionary(128)
    last = capture(tiny, PROBES, layers=[0, 3], dictionary=dictionary, output=tmp_path / "last")
    assert last.sae_layer == 3
    assert torch.allclose(last.features.to_dense(), dictionary.encode(last.layers[3]), atol=1e-5)
    assert 0 < last.features.values().numel() < 3 * 40
    mean = capture(
        tiny, PROBES, layers=0, position="mean", dictionary=dictionary, sae_layer=2, output=tmp_path / "mean"
    )
    assert (mean.sae_layer, list(mean.layers)) == (2, [0])
    for row, probe in zip(read_capture(tmp_path / "mean").features.to_dense(), PROBES, strict=True):
        x, kept = alone(tiny, probe.text, 2)
        assert torch.allclose(row, dictionary.encode(x[kept]).mean(0), atol=1e-4)


def test_a_dictionary_that_does_not_fit_is_refused(tiny, tmp_path):
    with pytest.raises(DictionaryError, match="vectors of 64 and tiny gives 128"):
        capture(tiny, PROBES, dictionary=Dictionary(64), output=tmp_path / "c")
    with pytest.raises(DictionaryError, match="pass sae_layer="):
        capture(tiny, PROBES, dictionary=Dictionary(128, layer=None), output=tmp_path / "c")
    with pytest.raises(DictionaryError, match="without a dictionary"):
        capture(tiny, PROBES, sae_layer=3, output=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_many_probes_come_in_bounded_batches_and_in_order(tiny, tmp_path, monkeypatch):
    from aquin_nb.engine.activations import capture as module

    monkeypatch.setattr(module, "TOKENS_A_BATCH", 64)
    widths = []
    real = type(tiny).activations
    monkeypatch.setattr(
        type(tiny),
        "activations",
        lambda self, tokens, sites: (widths.append(tokens.ids.numel()), real(self, tokens, sites))[1],
    )
    probes = [probe for topic in ("sentiment", "code") for probe in builtin_probes(topic, 24)]
    ticks = []
    found = capture(tiny, probes, layers=1, output=tmp_path / "c", control=Control(ticks.append))
    assert len(widths) > 10
    longest = max(len(ids) + 1 for ids in tiny.encode([probe.text for probe in probes]))
    assert max(widths) <= max(64, longest)
    assert [ticks[0].done, ticks[-1].done, ticks[-1].total, ticks[-1].unit] == [0, 48, 48, "probes"]
    for row in (0, 17, 47):
        assert torch.allclose(found.layers[1][row], alone(tiny, probes[row].text, 1)[0][-1], atol=2e-5)


def test_cancelling_keeps_the_probes_done(tiny, tmp_path, monkeypatch):
    from aquin_nb.engine.activations import capture as module

    monkeypatch.setattr(module, "TOKENS_A_BATCH", 32)
    control = Control(lambda tick: control.cancel() if tick.done >= 5 else None)
    with pytest.raises(Cancelled):
        capture(tiny, builtin_probes("emotions", 24), layers=[1], output=tmp_path / "c", control=control)
    found = read_capture(tmp_path / "c")
    assert not found.complete
    done = len(found.probes)
    assert 5 <= done < 24
    assert found.layers[1].shape == (done, 128)
    assert found.notes == [f"Cancelled after {done} of 24 probes."]


def test_a_text_beyond_the_context_is_cut_and_noted(tiny, tmp_path):
    found = capture(tiny, read_probes(["short", "long words " * 600]), layers=0, output=tmp_path / "c")
    assert found.notes == ["Probe 2 is longer than 512 tokens, the most that is read of a text, and cut there."]
    assert [probe["n_tokens"] for probe in found.manifest["probes"]][1] == 512


def test_a_long_context_is_not_filled_by_one_probe(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny, "policy", replace(tiny.policy, default_max=100))  # as of a model that reads 8,192
    found = capture(tiny, read_probes(["short", "long words " * 600]), layers=0, output=tmp_path / "c")
    assert [probe["n_tokens"] for probe in found.manifest["probes"]][1] == 100
    assert found.notes == ["Probe 2 is longer than 100 tokens, the most that is read of a text, and cut there."]


@pytest.mark.parametrize("made_by_us", [True, False])
@pytest.mark.parametrize("failing", ["layers/layer_1.pt", "sae/sae_layer_3.pt", "manifest.json"])
def test_a_failure_while_writing_leaves_nothing_and_a_retry_works(tiny, tmp_path, monkeypatch, failing, made_by_us):
    folder = tmp_path / "c"
    if not made_by_us:
        folder.mkdir()
    real = files.os.replace

    def full(source, target):
        if str(target).endswith(failing):
            raise OSError(28, "No space left on device")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", full)
        with pytest.raises(NoSpace):
            capture(tiny, PROBES, layers=[0, 1], dictionary=Dictionary(128), output=folder)
    assert folder.exists() is not made_by_us
    assert not list(tmp_path.rglob("*.*"))
    capture(tiny, PROBES, layers=[0, 1], dictionary=Dictionary(128), output=folder).verify()


def test_a_refused_or_stopped_capture_leaves_no_folder(tiny, tmp_path):
    with pytest.raises(ProbeError, match="Probe 1 has no token"):
        capture(tiny, read_probes(["<|eos|>"]), position="mean", output=tmp_path / "c")
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        capture(tiny, PROBES, output=tmp_path / "c", control=control)
    assert not (tmp_path / "c").exists()


def test_bad_requests_are_told(tiny, tmp_path):
    output = tmp_path / "c"
    for wrong, message in (
        ({"layers": 6}, "layers 0 to 5"),
        ({"layers": "some"}, "'all'"),
        ({"layers": []}, "layers is empty"),
        ({"layers": None}, "layer=None is None"),
        ({"layers": 3.0}, "3.0 is a float"),
        ({"layers": [1, "3"]}, "'3' is a str"),
        ({"position": "first"}, "neither 'last' nor 'mean'"),
    ):
        with pytest.raises(ModelError, match=message):
            capture(tiny, PROBES, output=output, **wrong)
    with pytest.raises(ProbeError, match="no probes"):
        capture(tiny, [], output=output)
    assert not output.exists()
    with pytest.raises(ProbeError, match="Probe 2 has no token to analyse"):
        capture(tiny, read_probes(["words", "<|eos|>"]), position="mean", output=tmp_path / "d")
    capture(tiny, PROBES, layers=0, output=output)
    with pytest.raises(OutputError, match="already holds an earlier result"):
        capture(tiny, PROBES, layers=0, output=output)


def test_values_that_are_not_finite_name_the_probe(tiny, tmp_path, monkeypatch):
    real = type(tiny).activations

    def broken(self, tokens, sites):
        out = real(self, tokens, sites)
        out["blocks.1.hook_resid_post"][2] = float("inf")
        return out

    monkeypatch.setattr(type(tiny), "activations", broken)
    with pytest.raises(StoreError, match="at layer 1 for probe 3"):
        capture(tiny, PROBES, layers=[0, 1], output=tmp_path / "c")


def test_features_come_as_a_frame_too(tiny, tmp_path):
    capture(tiny, PROBES, layers=0, dictionary=Dictionary(128), output=tmp_path / "c")
    found = read_capture(tmp_path / "c")
    frame, dense = found.feature_frame, found.features.to_dense()
    assert list(frame.columns) == ["probe", "feature", "value"]
    assert len(frame) == int((dense != 0).sum()) > 0
    for probe, feature, value in frame.itertuples(index=False):
        assert dense[probe, feature] == value
    capture(tiny, PROBES, layers=0, output=tmp_path / "plain")
    assert read_capture(tmp_path / "plain").feature_frame is None


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks Linux what is mapped")
def test_layers_are_mapped_from_disk_and_not_read(tiny, tmp_path):
    capture(tiny, PROBES, layers=[0, 1], output=tmp_path / "c")
    found = read_capture(tmp_path / "c")
    x = found.layers[1]
    maps = Path("/proc/self/maps").read_text()
    assert "c/layers/layer_1.pt" in maps
    assert "c/layers/layer_0.pt" not in maps
    x.zero_()  # a private copy: the file stays as it was
    read_capture(tmp_path / "c").verify()


def test_a_large_shard_is_not_hashed_until_it_is_asked_for(tiny, tmp_path, monkeypatch):
    from aquin_nb.engine.activations import captured as module

    monkeypatch.setattr(module, "HASHED_BYTES", 0)
    capture(tiny, PROBES, layers=[0, 1], output=tmp_path / "c")
    shard = tmp_path / "c/layers/layer_1.pt"
    data = bytearray(shard.read_bytes())
    data[shard.stat().st_size // 2] ^= 1
    shard.write_bytes(data)
    found = read_capture(tmp_path / "c")
    assert found.layers[1].shape == (3, 128)
    with pytest.raises(StoreError, match=r"layer_1\.pt is damaged"):
        found.layers.checked(1)
    with pytest.raises(StoreError, match=r"layer_1\.pt is damaged"):
        found.verify()
    assert found.layers.checked(0).shape == (3, 128)
    shard.write_bytes(data[:3000])
    with pytest.raises(StoreError, match=r"layer_1\.pt is damaged or not a PyTorch file"):
        read_capture(tmp_path / "c").layers[1]


def test_a_capture_may_be_moved(tiny, tmp_path):
    written = capture(tiny, PROBES, layers=1, dictionary=Dictionary(128), output=tmp_path / "c")
    before, features = written.layers[1].clone(), written.features.to_dense()
    (tmp_path / "c").rename(tmp_path / "elsewhere")
    found = read_capture(tmp_path / "elsewhere")
    assert torch.equal(found.layers[1], before)
    assert torch.equal(found.features.to_dense(), features)
    found.verify()


def test_damage_is_named(tiny, tmp_path):
    folder = tmp_path / "c"
    capture(tiny, PROBES, layers=[0, 1], dictionary=Dictionary(128), output=folder)
    data = bytearray((folder / "layers/layer_1.pt").read_bytes())
    data[-40] ^= 1
    (folder / "layers/layer_1.pt").write_bytes(data)
    (folder / "sae/sae_layer_3.pt").unlink()
    found = read_capture(folder)
    assert found.layers[0].shape == (3, 128)
    with pytest.raises(StoreError, match=r"layer_1\.pt is damaged"):
        found.layers[1]
    with pytest.raises(StoreError, match=r"sae_layer_3\.pt is missing"):
        _ = found.features
    with pytest.raises(StoreError, match=r"layer_1\.pt"):
        found.verify()
    with pytest.raises(StoreError, match="has no layer 5; it has 0, 1"):
        found.layers[5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema_version=9), "newer aquin-nb"),
        (lambda m: m.update(kind="activations"), "'activations' where a capture"),
        (lambda m: m["layers"]["0"].update(file="../layer_0.pt"), "names the file"),
        (lambda m: m.update(layers=[1]), "layers is"),
        (lambda m: m.update(probes=[{"text": 3}]), "text is 3"),
        (lambda m: m["probes"].pop(), "layer 0 has the shape .* for 2 probes of 128 dimensions"),
        (lambda m: m.pop("model"), "model is None"),
        (lambda m: m["model"].pop("fingerprint"), "fingerprint is None"),
        (lambda m: m.pop("metadata_keys"), "metadata_keys is None"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_refused(tiny, tmp_path, change, message):
    capture(tiny, PROBES, layers=0, output=tmp_path / "c")
    path = tmp_path / "c/manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=message):
        read_capture(tmp_path / "c")


def test_a_shard_with_code_in_it_is_not_run(tiny, tmp_path):
    from aquin_nb.files import sha256

    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    capture(tiny, PROBES, layers=0, output=tmp_path / "c")
    shard, path = tmp_path / "c/layers/layer_0.pt", tmp_path / "c/manifest.json"
    torch.save({"activations": Trap()}, shard)
    manifest = json.loads(path.read_text())
    manifest["layers"]["0"]["sha256"] = sha256(shard)
    path.write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=r"layer_0\.pt holds code or objects .*not run and not loaded\.$") as told:
        read_capture(tmp_path / "c").layers[0]
    assert "weights_only" not in str(told.value)
    assert not (tmp_path / "sprung").exists()


def test_a_capture_opens_without_torch(tiny, tmp_path):
    capture(tiny, [Probe("a text", {"label": "x"})], layers=0, output=tmp_path / "c")
    code = (
        "import sys; sys.modules['torch'] = None; sys.path.insert(0, sys.argv[1])\n"
        "from aquin_nb.engine.activations.captured import read_capture\n"
        "from aquin_nb.errors import StoreError\n"
        "found = read_capture(sys.argv[2])\n"
        "assert found.frame.loc[0].to_dict() == {'text': 'a text', 'label': 'x'}\n"
        "try:\n    found.layers[0]\nexcept StoreError as error:\n    print(error)\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, str(root), str(tmp_path / "c")], capture_output=True, text=True, check=True
    )
    assert "needs torch" in done.stdout
