"""Dictionaries that SAELens wrote (`cfg.json`, `sae_weights.safetensors`) as ours: the same function of the input."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import DictionaryError
from .dictionary import SparseAutoencoder
from .record import SaeConfig

CFG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
ARCHITECTURES = {"standard": "relu", "topk": "topk", "jumprelu": "jumprelu"}
NAMES = {"gpt2-small": "gpt2"}
"""Models that go by another name there."""


def read_saelens(folder: Path, model: str | None = None) -> tuple[SparseAutoencoder, list[str]]:
    """A dictionary and what a reader of it must know.

    Read before block n is the output of block n - 1, which is its layer here. Where b_dec is not subtracted from the
    input, as ours do, b_enc becomes b_enc + b_dec W_enc.

    Args:
        folder: holds `cfg.json` and `sae_weights.safetensors`.
        model: what its model is called here; default: as its file says.

    Raises:
        DictionaryError: a file is missing or damaged, or it is of a kind that cannot be expressed exactly.

    >>> read_saelens(Path("blocks.8.hook_resid_pre"), "gpt2")[0]     # doctest: +SKIP
    SparseAutoencoder(blocks.8.hook_resid_pre: relu, 768 → 24576, layer 7 of gpt2)
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        told: Any = json.loads((folder / CFG).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise DictionaryError(f"{folder} cannot be read as a SAELens dictionary: {error}") from None
    if not isinstance(told, dict):
        raise DictionaryError(f"{folder / CFG} is damaged: it holds no settings.")
    about = {**told, **(told["metadata"] if isinstance(told.get("metadata"), dict) else {})}
    kind = _kind(about, folder)
    layer, hook = _place(str(about.get("hook_name", "")), folder)
    name = model or NAMES.get(str(about.get("model_name", "")), str(about.get("model_name", "")))
    return _built(tensors, about, kind, folder, {"layer": layer, "hook": hook, "model": name}), _notes(about)


def _kind(about: dict[str, Any], folder: Path) -> str:
    """Our name of its architecture."""
    said = str(about.get("architecture", "standard"))
    if said == "standard" and str(about.get("activation_fn_str", about.get("activation_fn", "relu"))) == "topk":
        said = "topk"
    if said not in ARCHITECTURES:
        raise DictionaryError(f"{folder}: a SAELens dictionary of architecture {said!r} cannot be read; standard, topk"
                              " and jumprelu can.")  # fmt: skip
    scaled = about.get("normalize_activations", "none")
    if scaled not in ("none", None, False) or about.get("finetuning_scaling_factor"):
        raise DictionaryError(f"{folder}: it scales its inputs or features ({scaled}), which the weights do not say.")
    return ARCHITECTURES[said]


def _place(hook: str, folder: Path) -> tuple[int, str]:
    found = re.fullmatch(r"blocks\.(\d+)\.hook_resid_(pre|post)", hook)
    layer = -1 if found is None else int(found[1]) - (found[2] == "pre")
    if layer < 0:
        raise DictionaryError(f"{folder}: it reads {hook or 'an unnamed place'}; outputs of blocks can be read here.")
    return layer, f"blocks.{layer}.hook_resid_post"


def _built(
    tensors: dict[str, Tensor], about: dict[str, Any], kind: str, folder: Path, place: dict[str, Any]
) -> SparseAutoencoder:
    wanted = ["W_enc", "W_dec", "b_enc", "b_dec", *(["threshold"] if kind == "jumprelu" else [])]
    if lacking := [name for name in wanted if name not in tensors or not tensors[name].is_floating_point()]:
        raise DictionaryError(f"{folder / WEIGHTS} lacks {', '.join(lacking)}.")
    given = {name: tensors[name].float() for name in wanted}
    if not all(bool(torch.isfinite(one).all()) for one in given.values()) or given["W_enc"].ndim != 2:
        raise DictionaryError(f"{folder / WEIGHTS} is damaged: weights that are not finite, or of no matrix.")
    d_in, d_sae = given["W_enc"].shape
    if not about.get("apply_b_dec_to_input", True):
        given["b_enc"] = given["b_enc"] + given["b_dec"] @ given["W_enc"]
    options = about.get("activation_fn_kwargs")
    k = about.get("k", options.get("k") if isinstance(options, dict) else None)
    cfg = SaeConfig(kind, d_in, d_sae, d_in, k=k if kind == "topk" else None, name=folder.name, **place)  # type: ignore[arg-type]
    return SparseAutoencoder(cfg, **given)


def _notes(about: dict[str, Any]) -> list[str]:
    how = about.get("model_from_pretrained_kwargs")
    if isinstance(how, dict) and how.get("center_writing_weights"):
        return [
            "It was trained on a model whose residual stream TransformerLens had centred; on the model as published it"
            " reconstructs less well."
        ]
    return []
