"""LoRA adapters: a folder with `adapter_config.json` and its tensors, merged into the base weights."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

from ...errors import CheckpointError
from .fingerprints import stored_fingerprint
from .info import CheckpointInfo
from .quiet import quiet_libraries
from .untyped import HFModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def is_adapter(path: Path) -> bool:
    """Whether a checkpoint is an adapter's folder, as peft's `save_pretrained` writes it."""
    return path.is_dir() and (path / CONFIG).is_file()


def merge_adapter(hf: HFModel, folder: Path, name: str) -> tuple[HFModel, str]:
    """A transformers model on the CPU with the adapter's change added to its weights, and a digest of the adapter.

    Only the safetensors file is read. Every tensor of the adapter must find its place in the model, and every place
    that its configuration names must find its tensors.

    Raises:
        CheckpointError: peft is not installed; the adapter is of a kind that is not added to weights, is incomplete or
            damaged, or belongs to another model.
    """
    try:
        from peft import PeftConfig, PeftModel, set_peft_model_state_dict
    except ModuleNotFoundError:
        raise CheckpointError(
            f"{folder} is an adapter, which is merged by peft: pip install 'aquin-nb[lora]'. Or merge it yourself"
            " (merge_and_unload) and give the folder of the whole model."
        ) from None
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    kind = _kind(folder)
    if kind != "LORA":
        raise CheckpointError(f"{folder} is an adapter of kind {kind}; only LORA is added to the weights on load.")
    if not (folder / WEIGHTS).is_file():
        raise CheckpointError(f"{folder} has no {WEIGHTS}; save the adapter with safe_serialization=True.")
    try:
        with quiet_libraries(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft of today calls what transformers of today deprecates
            state = load_file(folder / WEIGHTS)
            config = PeftConfig.from_pretrained(str(folder))
            adapted = PeftModel(hf, config)
            report: Any = set_peft_model_state_dict(adapted, state)
            lacking = [key for key in report.missing_keys if "lora_" in key]
            if strange := [*report.unexpected_keys, *lacking]:
                raise CheckpointError(
                    f"{folder} does not fit {name}: {len(strange)} of its tensors have no place or are missing, such as"
                    f" {sorted(strange)[0]}. It belongs to another model or is incomplete."
                )
            merged: HFModel = adapted.merge_and_unload(safe_merge=True)
    except (SafetensorError, ValueError, RuntimeError, KeyError, TypeError, OSError) as error:
        told = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{folder} cannot be merged into {name}: {told:.300}") from error
    return merged.eval(), _digest(folder)


def describe_adapter(folder: Path, digest: str) -> CheckpointInfo:
    """What a model's card says of it; the step is that of a trainer's `trainer_state.json`, else 0."""
    state = folder / "trainer_state.json"
    step = json.loads(state.read_text(encoding="utf-8")).get("global_step", 0) if state.is_file() else 0
    return CheckpointInfo(path=str(folder), step=int(step), fingerprint=digest)


def _kind(folder: Path) -> str:
    try:
        return str(json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("peft_type"))
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / CONFIG} is damaged: {error}.") from None


def _digest(folder: Path) -> str:
    """SHA-256 over the tensors and the configuration, which holds the scale they are added with."""
    config = json.dumps(json.loads((folder / CONFIG).read_text(encoding="utf-8")), sort_keys=True)
    return hashlib.sha256(f"{stored_fingerprint(folder)}\0{config}".encode()).hexdigest()
