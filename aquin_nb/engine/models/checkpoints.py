"""Fine-tuned checkpoints: files of weights and folders of them, read without running anything in them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ... import files
from ...control import Control
from ...errors import CheckpointError, NoSpace, OutputError, did_you_mean
from . import catalogue
from .fetching import fetch
from .fingerprints import tensors_digest
from .info import CheckpointInfo
from .torchfiles import Unreadable, load_plain
from .untyped import HFModel

# What wrappers put before every key: DistributedDataParallel, torch.compile, sentence-transformers.
_WRAPPERS = ("module.", "_orig_mod.", "0.auto_model.", "0.model.")


def resolve_checkpoint(checkpoint: str | Path, control: Control | None = None) -> Path:
    """The file or folder that `checkpoint` names: a path, or the slug of a published fine-tune (fetched when needed).

    Raises:
        CheckpointError: there is nothing there.
    """
    if not isinstance(checkpoint, (str, Path)) or not str(checkpoint).strip():
        raise CheckpointError(
            f"A checkpoint is named by a path or by the slug of a published fine-tune, not by {checkpoint!r:.60}."
        )
    path = Path(checkpoint).expanduser()
    if path.exists():
        return path
    entry = catalogue.find(str(checkpoint)) if isinstance(checkpoint, str) else None
    if entry is None:
        hint = "" if path.suffix or len(path.parts) > 1 else f" {did_you_mean(str(checkpoint), catalogue.slugs())}"
        raise CheckpointError(
            f"No checkpoint at {path}. Give a .pt file holding {{step, state_dict}}, a .safetensors file, a folder of"
            f" safetensors or a LoRA adapter's folder.{hint}"
        )
    return fetch(entry.slug, control)


def read_checkpoint(path: str | Path) -> tuple[int, dict[str, Tensor]]:
    """Read a `{step: int, state_dict: {name: tensor}}` file; tensors stay on disk until they are used where possible.

    The file is opened with `weights_only=True`: a pickle that holds code is refused and none of it runs. A
    `.safetensors` file holds the tensors alone; its step is the metadata's `step`, else 0.

    Raises:
        CheckpointError: missing, damaged, holding code or other objects, or of another layout.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "c.pt"
    >>> torch.save({"step": 3, "state_dict": {"w": torch.zeros(2)}}, path)
    >>> read_checkpoint(path)[0]
    3
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file.")
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    try:
        content = load_plain(path, mmap=True)
    except Unreadable as error:
        advice = " Save it again with only {'step': int, 'state_dict': tensors}." if "holds code" in str(error) else ""
        raise CheckpointError(f"{path} {error}.{advice}") from None
    if not isinstance(content, Mapping) or not {"step", "state_dict"} <= set(content):
        found = sorted(map(str, content))[:5] if isinstance(content, Mapping) else type(content).__name__
        raise CheckpointError(
            f"{path} is not a checkpoint of ours: it must hold step and state_dict, and holds {found}."
            " Save it with torch.save({'step': step, 'state_dict': model.state_dict()}, path)."
        )
    step, state = content["step"], content["state_dict"]
    if isinstance(step, Tensor) and step.numel() == 1 and not step.is_floating_point():
        step = int(step)
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise CheckpointError(f"{path}: step is {step!r}; it must be a whole number, 0 or more.")
    if not isinstance(state, Mapping) or not state:
        raise CheckpointError(f"{path}: state_dict is empty or not a mapping of names to tensors.")
    wrong = [str(name) for name, value in state.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if wrong:
        raise CheckpointError(f"{path}: state_dict holds something other than tensors at {_some(wrong)}.")
    return step, dict(state)


def _read_safetensors(path: Path) -> tuple[int, dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            told = (opened.metadata() or {}).get("step", "0")
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 no mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file: {error}.") from None
    if not state:
        raise CheckpointError(f"{path} holds no tensors.")
    if not told.isdecimal():
        raise CheckpointError(f"{path}: step is {told!r} in its metadata; it must be a whole number, 0 or more.")
    return int(told), state


def write_checkpoint(path: str | Path, step: int, model: torch.nn.Module, dtype: torch.dtype | None = None) -> Path:
    """Write `{step, state_dict}` of a transformers model, whole or not at all; tied weights are stored once.

    `dtype` casts floating weights on the way out; None keeps them as they are.

    Raises:
        CheckpointError: step is negative.
        OutputError: the place cannot be written; NoSpace: it is full.
    """
    if step < 0:
        raise CheckpointError(f"step={step}; it must be 0 or more.")
    path = Path(path)
    state = _cast(model.state_dict(), dtype)
    with files.whole_file(path) as temporary:
        try:
            torch.save({"step": int(step), "state_dict": state}, temporary)
        except RuntimeError as error:  # torch's zip writer wraps a full disk in this
            raise _unwritten(path, sum(t.numel() * t.element_size() for t in state.values())) from error
    return path


def _cast(state: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    """CPU tensors of the given dtype; names that share storage still share it, so that the file holds it once."""
    done: dict[tuple[int, tuple[int, ...]], Tensor] = {}
    for tensor in state.values():
        place = (tensor.data_ptr(), tuple(tensor.shape))
        if place not in done:
            wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
            done[place] = tensor.detach().to("cpu", wanted)
    return {name: done[tensor.data_ptr(), tuple(tensor.shape)] for name, tensor in state.items()}


def _unwritten(path: Path, needed: int) -> OutputError:
    try:
        files.require_space(path.parent, needed, f"The checkpoint {path.name}")
    except NoSpace as full:
        return full
    return OutputError(f"Cannot write {path}.")


def apply_state(model: HFModel, state: Mapping[str, Tensor], path: Path, name: str) -> None:
    """Copy a checkpoint's tensors into `model` (a transformers model on the CPU), strictly.

    Every weight of the model must be there with its shape and nothing else may be; a tied weight may appear under one
    of its names or all. Buffers that older library versions saved and today's compute are skipped.

    Raises:
        CheckpointError: naming the first few missing, unexpected and misshapen weights, and how many there are.
    """
    given = _unwrapped(state)
    own: dict[str, Tensor] = model.state_dict()
    aliases = _aliases(own)
    _check_ties(given, aliases, path)
    missing = [key for key in own if not any(alias in given for alias in aliases[key])]
    unexpected = [key for key in given if key not in own and not _obsolete(model, key)]
    shapes = [
        f"{key} {list(own[key].shape)} here, {list(given[key].shape)} in the file"
        for key in own
        if key in given and given[key].shape != own[key].shape
    ]
    parts = []
    if missing:
        parts.append(f"{len(missing)} of its {len(own)} weights are missing ({_some(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} weights are unknown to it ({_some(unexpected)})")
    if shapes:
        parts.append(f"{len(shapes)} have another shape ({_some(shapes)})")
    if odd := [f"{key} {_kind(given[key])}" for key in own if key in given and not _copies(given[key], own[key])]:
        parts.append(f"{len(odd)} are not plain numbers of the kind it has ({_some(odd)})")
    if parts:
        raise CheckpointError(
            f"{path} does not fit {name}: {'; '.join(parts)}. It belongs to another model or is incomplete."
        )
    with torch.no_grad():
        for key, tensor in own.items():
            if key in given:
                tensor.copy_(given[key])


def _copies(given: Tensor, own: Tensor) -> bool:
    """Whether copying `given` into a weight keeps its meaning: dense and real; whole numbers only where they belong."""
    plain = given.layout == torch.strided and not given.is_quantized and given.device.type != "meta"
    return plain and not given.is_complex() and given.is_floating_point() == own.is_floating_point()


def _kind(given: Tensor) -> str:
    if given.layout != torch.strided:
        return "sparse"
    return "without values" if given.device.type == "meta" else str(given.dtype).removeprefix("torch.")


def state_digest(model: HFModel, state: Mapping[str, Tensor]) -> str:
    """SHA-256 over the tensors that `apply_state` would copy, as they are in the file, under the model's names.

    A wrapper's prefix, skipped buffers and the name a tied weight goes by make no difference.
    """
    given = _unwrapped(state)
    aliases = _aliases(model.state_dict())
    return tensors_digest({aliases[key][0]: tensor for key, tensor in given.items() if key in aliases})


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    given = dict(state)
    stripped = True
    while stripped:
        stripped = False
        for prefix in _WRAPPERS:
            if given and all(key.startswith(prefix) for key in given):
                given = {key[len(prefix) :]: value for key, value in given.items()}
                stripped = True
    return given


def _aliases(own: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """For each name all the names of the same storage: `lm_head.weight` and the embedding when they are tied."""
    groups: dict[tuple[int, tuple[int, ...]], list[str]] = {}
    for key, tensor in own.items():
        groups.setdefault((tensor.data_ptr(), tuple(tensor.shape)), []).append(key)
    return {key: names for names in groups.values() for key in names}


def _check_ties(given: Mapping[str, Tensor], aliases: Mapping[str, list[str]], path: Path) -> None:
    for names in {id(names): names for names in aliases.values()}.values():
        present = [name for name in names if name in given]
        for other in present[1:]:
            first, second = given[present[0]], given[other]
            if first.data_ptr() != second.data_ptr() and first.shape == second.shape and not torch.equal(first, second):
                raise CheckpointError(
                    f"{path}: {present[0]} and {other} are one weight in this model and differ in the file;"
                    " it was trained with untied weights."
                )


def _obsolete(model: HFModel, key: str) -> bool:
    patterns = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or []
    buffers = {name for name, _ in model.named_buffers()}
    return (
        key in buffers
        or key.startswith("pooler.")  # an encoder's pooler is never run here, so it is not loaded either
        or key.endswith(("rotary_emb.inv_freq", "attn.bias", "attn.masked_bias", "embeddings.position_ids"))
        or any(re.search(pattern, key) for pattern in patterns)
    )


def _some(names: list[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def describe_file(path: Path, step: int) -> CheckpointInfo:
    """What a model's card says of a checkpoint file."""
    return CheckpointInfo(path=str(path), step=step, fingerprint=files.sha256(path))


def describe_folder(folder: Path) -> CheckpointInfo:
    """The same of a folder of weights; the step comes from a trainer's `trainer_state.json`, else it is 0."""
    digest = hashlib.sha256()
    for weights in sorted(folder.glob("*.safetensors")):
        digest.update(f"{weights.name}\0{files.sha256(weights)}\n".encode())
    state = folder / "trainer_state.json"
    step = json.loads(state.read_text(encoding="utf-8")).get("global_step", 0) if state.is_file() else 0
    return CheckpointInfo(path=str(folder), step=int(step), fingerprint=digest.hexdigest())
