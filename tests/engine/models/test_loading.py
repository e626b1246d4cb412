"""Loading: what may be named, what is refused, and what a loaded model says of itself."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast
from transformers.utils import logging

from aquin_nb.control import Control, Tick
from aquin_nb.engine.models import Model, catalogue, load_model
from aquin_nb.engine.models.fingerprints import stored_fingerprint, tensors_digest
from aquin_nb.errors import Cancelled, CheckpointError, ModelError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The bundled model as a person's own folder."""
    copy = tmp_path / "mine"
    shutil.copytree(catalogue.entry("tiny").bundled_folder, copy)
    return copy


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small masked-language-model BERT with random weights, saved the usual way."""
    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "dog", "##s", "ran"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(words), intermediate_size=64, max_position_embeddings=24, **sizes)
    BertForMaskedLM(config).save_pretrained(folder)
    return folder


def test_info_of_the_bundled_model(lens: Model, plain: Model) -> None:
    info = lens.info
    assert (info.name, info.source, info.mode, info.n_layers, info.d_model) == ("tiny", "bundled", "llm", 6, 128)
    assert (info.dtype, info.device, info.backend) == ("float32", "cpu", "transformer-lens")
    assert (info.default_layer, info.default_d_sae, info.checkpoint) == (3, 1024, None)
    assert plain.info.backend == "huggingface"
    assert info.fingerprint == plain.info.fingerprint


def test_a_folder_is_the_same_model_under_its_own_name(folder: Path, plain: Model) -> None:
    model = load_model(folder, device="cpu", dtype="float32", backend="huggingface")
    assert (model.info.name, model.info.source, model.info.mode) == ("mine", "directory", "llm")
    assert (model.info.default_layer, model.info.default_d_sae) == (3, 1024)
    assert model.info.fingerprint == plain.info.fingerprint
    assert model.info.tokenizer_fingerprint == plain.info.tokenizer_fingerprint


def test_a_tokenizer_without_bos_has_none_in_either_backend(folder: Path) -> None:
    """TransformerLens gives such a tokenizer a BOS, which is its EOS; ours is not touched."""
    path = folder / "tokenizer_config.json"
    stated = json.loads(path.read_text())
    assert stated.pop("bos_token") == "<|bos|>"
    path.write_text(json.dumps(stated))
    a = load_model(folder, device="cpu", dtype="float32", backend="huggingface")
    b = load_model(folder, device="cpu", dtype="float32", backend="transformer-lens")
    assert b.backend.bridge.tokenizer.bos_token_id is not None  # type: ignore[attr-defined]
    assert a.bos_id is None
    assert b.bos_id is None
    assert b.tokenizer.bos_token_id is None
    assert a.policy == b.policy
    assert a.info.tokenizer_fingerprint == b.info.tokenizer_fingerprint
    tokens = a.tokenize(["a word", ""])
    assert tokens.ids[0].tolist() == a.encode(["a word"])[0]
    assert torch.equal(tokens.ids, b.tokenize(["a word", ""]).ids)
    assert torch.equal(tokens.analysed, b.tokenize(["a word", ""]).analysed)


def test_fingerprint_is_of_the_weights_as_stored(plain: Model, folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    half = load_model("tiny", device="cpu", dtype="bfloat16")
    assert half.dtype == torch.bfloat16
    assert half.info.fingerprint == plain.info.fingerprint
    weights = load_file(folder / "model.safetensors")
    assert tensors_digest(weights) == plain.info.fingerprint == stored_fingerprint(folder)
    names = sorted(weights)
    (folder / "model.safetensors").unlink()
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in shards.items():
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt", "by": "me"})
    index = {"metadata": {}, "weight_map": {name: file for file, part in shards.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert load_model(folder, device="cpu").info.fingerprint == plain.info.fingerprint
    weights[names[3]].view(-1)[0] += 1
    assert tensors_digest(weights) != plain.info.fingerprint


def test_a_gguf_files_fingerprint_is_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"any bytes")
    assert stored_fingerprint(path) == hashlib.sha256(b"any bytes").hexdigest()


@pytest.mark.parametrize(
    "content", [b"", b"1234567", b"\xff" * 40, b"\x02" + b"\0" * 7 + b"[]", b"\x02" + b"\0" * 7 + b"{x"]
)
def test_damaged_weights_have_no_fingerprint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="is damaged"):
        stored_fingerprint(tmp_path)


def test_the_catalogue_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.path.insert(0, sys.argv[1])\n"
        "from aquin_nb.engine.models import catalogue\n"
        "import aquin_nb.engine.models as models\n"
        "assert 'load_model' in dir(models)\n"
        "print([entry.slug for entry in catalogue.entries()][0])\n"
    )
    root = str(Path(__file__).parents[3])
    done = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True, check=True)
    assert done.stdout == "tiny\n"


def test_every_export_is_there_and_nothing_else_is() -> None:
    import aquin_nb.engine.models as models

    assert all(getattr(models, name).__name__.endswith(name) for name in models.__all__)
    with pytest.raises(AttributeError, match="no attribute 'load_modle'"):
        _ = models.load_modle


def test_a_masked_language_model_is_read_as_an_encoder(encoder: Path) -> None:
    model = load_model(encoder, device="cpu", dtype="float32")
    assert (model.info.mode, model.info.backend) == ("embedding", "huggingface")
    assert (model.info.default_d_sae, model.context, model.bos_id) == (4096, 24, None)
    tokens = model.tokenize(["the dogs ran", "the"])
    assert model.token_strings(tokens.ids[0].tolist()) == ["[CLS]", "the", "dog", "##s", "ran", "[SEP]"]
    assert torch.equal(tokens.analysed, tokens.mask)
    states = model.residuals(tokens, [0, 2])
    alone = model.residuals(model.tokenize(["the"]), [2])[2][0]
    assert (states[2][1][tokens.mask[1]] - alone).abs().max() < 1e-5  # padding is masked
    assert model.pooled(tokens, [2])[2].shape == (2, 32)
    # The pooler, which the file lacks, would be random: two loads must be one model.
    assert model.info.fingerprint == load_model(encoder, device="cpu", dtype="float32").info.fingerprint


def test_missing_parts_of_a_folder_are_named(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "kept.json")
    with pytest.raises(ModelError, match="no tokenizer"):
        load_model(folder)
    (folder / "kept.json").rename(folder / "tokenizer.json")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        load_model(folder)
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="pickled weights only"):
        load_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_model(folder)


def test_random_weights_never_pass_for_real_ones(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["num_hidden_layers"] = 7
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="incomplete"):
        load_model(folder, device="cpu")


def test_damaged_weights_say_so(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(folder, device="cpu")


def test_remote_code_is_never_run(folder: Path, tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"open({str(witness)!r}, 'w')\nclass C: pass\nclass M: pass\n")
    with pytest.raises(ModelError):
        load_model(folder, device="cpu")
    assert not witness.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spec": "tinny"}, "Did you mean tiny"),
        ({"spec": None}, "not by None"),
        ({"spec": 5}, r"not by 5 \(int\)"),
        ({"spec": " "}, "name is empty. Known ones: tiny"),
        ({"spec": "tiny", "device": 0}, "device=0 is a int"),
        ({"spec": "/nowhere/at/all.gguf"}, "No model at"),
        ({"spec": "tiny", "device": "abacus"}, "not a device"),
        ({"spec": "tiny", "device": "cuda:99"}, "CUDA devices"),
        ({"spec": "tiny", "dtype": "int8"}, "dtype"),
        ({"spec": "tiny", "backend": "jax"}, "backend"),
    ],
)
def test_wrong_arguments_say_so(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(**arguments)


def test_a_damaged_gguf_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUFnot really")
    with pytest.raises(ModelError, match="GGUF"):
        load_model(path)


def test_progress_and_cancel() -> None:
    ticks: list[Tick] = []
    load_model("tiny", device="cpu", backend="huggingface", control=Control(on_tick=ticks.append))
    assert ticks[-1] == Tick("load", 4, 4, "steps")
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        load_model("tiny", control=control)


def test_libraries_are_quiet_only_while_loading(capfd: pytest.CaptureFixture[str]) -> None:
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_model("tiny", device="cpu", dtype="float32")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_folder_of_tuned_weights_is_a_checkpoint(folder: Path, plain: Model, encoder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "trainer_state.json").write_text('{"global_step": 70}')
    model = load_model("tiny", device="cpu", dtype="float32", checkpoint=folder)
    assert model.info.name == "tiny"
    assert model.info.checkpoint is not None
    assert (model.info.checkpoint.step, model.info.checkpoint.path) == (70, str(folder))
    assert model.info.fingerprint != plain.info.fingerprint
    with pytest.raises(CheckpointError, match="hidden_size 128 here, 32 there"):
        load_model("tiny", device="cpu", checkpoint=encoder)
