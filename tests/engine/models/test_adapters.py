"""LoRA adapters are merged on load, and checkpoints may be safetensors files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from aquin_nb.engine.models import Model, catalogue, load_model, read_checkpoint
from aquin_nb.errors import CheckpointError

RANK, ALPHA, TARGETS = 4, 8, ("q_proj", "v_proj")


@pytest.fixture(scope="module")
def base() -> Any:
    return AutoModelForCausalLM.from_pretrained(catalogue.entry("tiny").bundled_folder, dtype=torch.float32)


def adapter(folder: Path, base: Any, **changes: object) -> dict[str, torch.Tensor]:
    """Written as peft's `save_pretrained` does, by hand."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for layer, block in enumerate(base.model.layers):
        for name in TARGETS:
            out, into = getattr(block.self_attn, name).weight.shape
            at = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{at}.lora_A.weight"] = 0.1 * torch.randn(RANK, into, generator=generator)
            tensors[f"{at}.lora_B.weight"] = 0.1 * torch.randn(out, RANK, generator=generator)
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": list(TARGETS)}
    config |= {"task_type": "CAUSAL_LM", "base_model_name_or_path": "somewhere/else"}
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))
    return tensors


def load(path: Path, backend: str = "huggingface") -> Model:
    return load_model("tiny", device="cpu", dtype="float32", backend=backend, checkpoint=path)


def test_an_adapter_is_added_to_the_weights(tmp_path: Path, base: Any, plain: Model) -> None:
    tensors = adapter(tmp_path / "lora", base)
    (tmp_path / "lora" / "trainer_state.json").write_text('{"global_step": 70}')
    tuned = load(tmp_path / "lora")
    at = "base_model.model.model.layers.2.self_attn.v_proj"
    change = ALPHA / RANK * tensors[f"{at}.lora_B.weight"] @ tensors[f"{at}.lora_A.weight"]
    expected = base.model.layers[2].self_attn.v_proj.weight + change
    torch.testing.assert_close(tuned.backend.model.model.layers[2].self_attn.v_proj.weight, expected)  # type: ignore[attr-defined]
    assert tuned.info.checkpoint is not None
    assert tuned.info.checkpoint.step == 70
    assert tuned.info.fingerprint != plain.info.fingerprint


def test_both_backends_merge_it_alike(tmp_path: Path, base: Any) -> None:
    adapter(tmp_path, base)
    models = [load(tmp_path, backend) for backend in ("huggingface", "transformer-lens")]
    x = [model.residuals(model.tokenize(["In the beginning"]), [4])[4] for model in models]
    torch.testing.assert_close(*x)


def test_the_fingerprint_knows_the_scale(tmp_path: Path, base: Any) -> None:
    adapter(tmp_path / "a", base)
    adapter(tmp_path / "b", base, lora_alpha=16)
    adapter(tmp_path / "c", base)
    first, other, again = (load(tmp_path / name).info.fingerprint for name in "abc")
    assert first == again != other


def test_adapters_that_cannot_be_merged(tmp_path: Path, base: Any) -> None:
    tensors = adapter(tmp_path, base)
    gone = next(iter(tensors))
    save_file({name: value for name, value in tensors.items() if name != gone}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="does not fit tiny: 1 of its tensors"):
        load(tmp_path)
    save_file(tensors | {"base_model.model.extra.lora_A.weight": torch.ones(2)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="does not fit tiny"):
        load(tmp_path)
    save_file({name: torch.ones(3, 3) for name in tensors}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="cannot be merged into tiny"):
        load(tmp_path)
    adapter(tmp_path, base, target_modules=["c_attn"])
    with pytest.raises(CheckpointError, match="c_attn"):
        load(tmp_path)
    adapter(tmp_path, base, peft_type="PROMPT_TUNING", num_virtual_tokens=4)
    with pytest.raises(CheckpointError, match="kind PROMPT_TUNING"):
        load(tmp_path)
    adapter(tmp_path, base)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="cannot be merged"):
        load(tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no adapter_model\.safetensors"):
        load(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        load(tmp_path)


def test_without_peft_it_says_what_to_install(tmp_path: Path, base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter(tmp_path, base)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(CheckpointError, match=r"pip install 'aquin-nb\[lora\]'"):
        load(tmp_path)


def test_a_safetensors_file_is_a_checkpoint(tmp_path: Path, base: Any) -> None:
    state = {name: tensor.clone() for name, tensor in base.state_dict().items() if name != "lm_head.weight"}
    state["model.layers.1.mlp.down_proj.weight"] *= 2
    save_file(state, tmp_path / "c.safetensors", metadata={"step": "12"})
    torch.save({"step": 12, "state_dict": state}, tmp_path / "c.pt")
    assert read_checkpoint(tmp_path / "c.safetensors")[0] == 12
    tuned, same = load(tmp_path / "c.safetensors"), load(tmp_path / "c.pt")
    assert tuned.info.checkpoint is not None
    assert tuned.info.checkpoint.step == 12
    assert tuned.info.fingerprint == same.info.fingerprint
    save_file(state, tmp_path / "plain.safetensors")
    assert read_checkpoint(tmp_path / "plain.safetensors")[0] == 0


def test_safetensors_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(b"not at all")
    with pytest.raises(CheckpointError, match="damaged or no safetensors"):
        read_checkpoint(path)
    save_file({}, path)
    with pytest.raises(CheckpointError, match="holds no tensors"):
        read_checkpoint(path)
    save_file({"w": torch.ones(1)}, path, metadata={"step": "soon"})
    with pytest.raises(CheckpointError, match="step is 'soon'"):
        read_checkpoint(path)
