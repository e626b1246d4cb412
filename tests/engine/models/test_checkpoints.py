"""Checkpoints: what belongs goes in exactly, and everything else is refused by name and never run."""

from __future__ import annotations

import os
import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from aquin_nb.engine.models import Model, catalogue, load_model, read_checkpoint, write_checkpoint
from aquin_nb.errors import CheckpointError, NoSpace, OutputError


@pytest.fixture(scope="module")
def base() -> Any:
    return AutoModelForCausalLM.from_pretrained(catalogue.entry("tiny").bundled_folder, dtype=torch.float32)


@pytest.fixture
def state(base: Any) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in base.state_dict().items()}


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def weights(model: Model) -> dict[str, Tensor]:
    return model.backend.model.state_dict()  # type: ignore[attr-defined, no-any-return]


def same_weights(a: Model, b: Model) -> bool:
    return all(torch.equal(value, weights(b)[name]) for name, value in weights(a).items())


def load(path: Path) -> Model:
    return load_model("tiny", device="cpu", dtype="float32", backend="huggingface", checkpoint=path)


def test_a_checkpoint_changes_the_model_and_is_named(tmp_path: Path, state: dict[str, Tensor], plain: Model) -> None:
    state["model.layers.1.mlp.down_proj.weight"] *= 2
    path = saved(tmp_path / "c.pt", {"step": 12, "state_dict": state})
    tuned = load(path)
    assert tuned.info.checkpoint is not None
    assert (tuned.info.checkpoint.step, tuned.info.checkpoint.path) == (12, str(path))
    assert len(tuned.info.checkpoint.fingerprint) == 64
    assert tuned.info.fingerprint != plain.info.fingerprint
    tokens = plain.tokenize(["In the beginning"])
    a, b = plain.residuals(tokens, [0, 1]), tuned.residuals(tokens, [0, 1])
    assert torch.equal(a[0], b[0])
    assert not torch.equal(a[1], b[1])


def test_write_then_read_is_the_same_model(tmp_path: Path, base: Any, plain: Model) -> None:
    path = write_checkpoint(tmp_path / "new" / "c.pt", 7, base)
    step, state = read_checkpoint(path)
    assert step == 7
    assert set(state) == set(base.state_dict())
    assert same_weights(load(path), plain)
    # The tied embedding is stored once: the file is not larger than the weights.
    assert path.stat().st_size < sum(p.numel() * p.element_size() for p in base.parameters()) * 1.02


def test_a_tied_weight_may_be_absent_under_one_name(tmp_path: Path, state: dict[str, Tensor], plain: Model) -> None:
    fingerprints = set()
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        part = {key: value for key, value in state.items() if key != name}
        path = saved(tmp_path / f"{name}.pt", {"step": 1, "state_dict": part})
        tuned = load(path)
        assert same_weights(tuned, plain)
        fingerprints.add(tuned.info.fingerprint)
    assert len(fingerprints) == 1
    state["lm_head.weight"] += 1
    with pytest.raises(CheckpointError, match="untied"):
        load(saved(tmp_path / "untied.pt", {"step": 1, "state_dict": state}))


def test_wrappers_and_obsolete_buffers_are_seen_through(tmp_path: Path, state: dict[str, Tensor], plain: Model) -> None:
    wrapped = {f"module._orig_mod.{key}": value for key, value in state.items()}
    wrapped["module._orig_mod.model.rotary_emb.inv_freq"] = torch.zeros(16)
    path = saved(tmp_path / "c.pt", {"step": 1, "state_dict": wrapped})
    plainly = saved(tmp_path / "d.pt", {"step": 2, "state_dict": state})
    assert same_weights(load(path), plain)
    assert load(path).info.fingerprint == load(plainly).info.fingerprint


def test_the_same_fine_tune_has_one_fingerprint_however_it_is_saved(
    tmp_path: Path, base: Any, state: dict[str, Tensor], plain: Model
) -> None:
    state["model.norm.weight"] += 1
    one = saved(tmp_path / "one.pt", {"step": 1, "state_dict": state})
    two = saved(tmp_path / "two.pt", {"step": 900, "state_dict": dict(reversed(state.items()))})
    folder = shutil.copytree(catalogue.entry("tiny").bundled_folder, tmp_path / "folder")
    tuned = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tuned.load_state_dict(state)
    tuned.save_pretrained(folder)
    found = {load(path).info.fingerprint for path in (one, two, folder)}
    assert len(found) == 1
    half = load_model("tiny", device="cpu", dtype="bfloat16", checkpoint=one)
    assert {half.info.fingerprint} == found
    assert plain.info.fingerprint not in found
    state["model.norm.weight"][0] += 1
    assert load(saved(tmp_path / "other.pt", {"step": 1, "state_dict": state})).info.fingerprint not in found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.to(torch.complex64), "complex64"),
        (lambda x: x.round().to(torch.int64), "int64"),
        (lambda x: x.to_sparse(), "sparse"),
        (lambda x: x > 0, "bool"),
    ],
)
def test_tensors_that_are_no_weights_are_refused(
    tmp_path: Path, state: dict[str, Tensor], change: Callable[[Tensor], Tensor], message: str
) -> None:
    state["model.norm.weight"] = change(state["model.norm.weight"])
    with pytest.raises(CheckpointError, match=rf"not plain numbers of the kind it has \(model.norm.weight {message}"):
        load(saved(tmp_path / "c.pt", {"step": 1, "state_dict": state}))


@pytest.mark.parametrize("wrong", ["", 5])
def test_a_checkpoint_of_the_wrong_type_says_so(wrong: Any) -> None:
    with pytest.raises(CheckpointError, match="named by a path"):
        load(wrong)


def test_torchs_advice_to_run_code_is_never_repeated(
    tmp_path: Path, state: dict[str, Tensor], recwarn: pytest.WarningsRecorder
) -> None:
    paths = [tmp_path / f"{number}.pt" for number in range(4)]
    torch.save({"step": 1, "state_dict": SimpleNamespace(a=1)}, paths[0])
    paths[1].write_bytes(pickle.dumps({"step": 1, "state_dict": Bomb(tmp_path)}, protocol=5))
    paths[2].write_bytes(b"no pickle at all")
    with tarfile.open(paths[3], "w") as archive:  # torch's oldest format
        archive.add(paths[2], "storages")
    for path in paths:
        with pytest.raises(CheckpointError) as told:
            read_checkpoint(path)
        assert str(path) in str(told.value)
        assert "weights_only" not in str(told.value)
        assert told.value.__suppress_context__
    torch.save({"step": 1, "state_dict": state}, paths[0], pickle_protocol=3)
    read_checkpoint(paths[0])
    assert not [warning for warning in recwarn if "pickle" in str(warning.message)]


def test_missing_unexpected_and_misshapen_weights_are_named(tmp_path: Path, state: dict[str, Tensor]) -> None:
    del state["model.layers.0.mlp.down_proj.weight"]
    state["extra.weight"] = torch.zeros(2)
    state["model.norm.weight"] = torch.zeros(7)
    with pytest.raises(CheckpointError) as caught:
        load(saved(tmp_path / "c.pt", {"step": 1, "state_dict": state}))
    message = str(caught.value)
    assert "1 of its 57 weights are missing (model.layers.0.mlp.down_proj.weight)" in message
    assert "1 weights are unknown to it (extra.weight)" in message
    assert "model.norm.weight [128] here, [7] in the file" in message


def test_another_models_checkpoint_says_so(tmp_path: Path) -> None:
    state = {f"transformer.h.{i}.attn.c_attn.weight": torch.zeros(3) for i in range(12)}
    with pytest.raises(CheckpointError, match=r"and 9 more\).*belongs to another model"):
        load(saved(tmp_path / "c.pt", {"step": 1, "state_dict": state}))


class Bomb:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.witness}",)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, writer: str) -> None:
    path, witness = tmp_path / "c.pt", tmp_path / "ran"
    content = {"step": 1, "state_dict": Bomb(witness)}
    if writer == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(CheckpointError, match=r"holds code.*\(posix.system\).*was not run"):
        read_checkpoint(path)
    assert not witness.exists()
    pickle.loads(pickle.dumps(Bomb(witness)))  # noqa: S301  the proof that the bomb is a real one
    assert witness.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": 1}, "must hold step and state_dict"),
        ([1, 2], "holds list"),
        ({"step": -1, "state_dict": {"a": torch.zeros(1)}}, "whole number"),
        ({"step": 1.5, "state_dict": {"a": torch.zeros(1)}}, "whole number"),
        ({"step": 1, "state_dict": {}}, "empty"),
        ({"step": 1, "state_dict": {"a": 3}}, "other than tensors at a"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(saved(tmp_path / "c.pt", content))


@pytest.mark.parametrize("cut", [0, 5, 300, 2000])
def test_a_damaged_file_is_refused(tmp_path: Path, state: dict[str, Tensor], cut: int) -> None:
    path = saved(tmp_path / "c.pt", {"step": 1, "state_dict": state})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match=r"c\.pt is damaged"):
        read_checkpoint(path)


def test_a_missing_checkpoint_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No checkpoint at"):
        load(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="Did you mean minilm-sre"):
        load_model("tiny", checkpoint="minilm-sr")


def test_a_step_kept_as_a_tensor_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.pt", {"step": torch.tensor(9), "state_dict": {"a": torch.zeros(1)}})
    assert read_checkpoint(path)[0] == 9


def test_a_full_disk_leaves_nothing(tmp_path: Path, base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(content: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(NoSpace):
        write_checkpoint(tmp_path / "c.pt", 1, base)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    with pytest.raises(OutputError):
        write_checkpoint(Path("/proc/nowhere/c.pt"), 1, base)
