"""Dictionaries on disk: one `.pt` of tensors and plain values, read without executing anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ...errors import DictionaryError
from ...files import whole_file
from ..models.torchfiles import Unreadable, load_plain
from .dictionary import SparseAutoencoder, shapes
from .record import SaeConfig

FORMAT = "aquin-nb/sae"
VERSION = 2
"""1 knew topk and relu; 2 adds the other architectures and their tensors."""
ALWAYS = ("W_enc", "W_dec", "b_enc", "b_dec")


def save_dictionary(sae: SparseAutoencoder, path: Path) -> Path:
    """Write `{format, version, cfg, W_enc, W_dec, b_enc, b_dec, ...}` to `path`; an existing file is replaced whole."""
    state: dict[str, Any] = {"format": FORMAT, "version": VERSION, "cfg": sae.cfg.to_dict()}
    state |= {name: tensor.detach().float().cpu().contiguous() for name, tensor in sae.tensors().items()}
    with whole_file(path) as temporary:
        torch.save(state, temporary)
    sae.path = path
    return path


def load_dictionary(path: str | Path) -> SparseAutoencoder:
    """Read a dictionary written by `SparseAutoencoder.save`, on the CPU; `.to(device)` moves it.

    Raises:
        DictionaryError: the file is missing, is no dictionary, is damaged, holds code, or comes from a newer version.

    >>> sae = load_dictionary("~/.aquin/sae/user/tiny/demo/sae_layer3.pt")   # doctest: +SKIP
    """
    path = Path(path).expanduser()
    if path.is_dir():
        inside = sorted(p.name for p in path.glob("*.pt"))
        hint = f" It holds {', '.join(inside[:6])}." if inside else " It holds no .pt file."
        raise DictionaryError(f"{path} is a folder; name the file inside it.{hint}")
    if not path.is_file():
        raise DictionaryError(f"There is no dictionary at {path}.")
    try:
        state = load_plain(path)
    except Unreadable as error:
        raise DictionaryError(f"{path} {error}.") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise DictionaryError(f"{path} is a .pt file, but not a dictionary written by aquin-nb.")
    version = state.get("version")
    if not isinstance(version, int) or not isinstance(state.get("cfg", {}), dict):
        raise DictionaryError(f"{path} is damaged: its version or its cfg is of the wrong kind.")
    if version > VERSION:
        raise DictionaryError(f"{path} was written by a newer aquin-nb (format {version}); please upgrade.")
    missing = [name for name in (*ALWAYS, "cfg") if name not in state]
    if missing:
        raise DictionaryError(f"{path} lacks {', '.join(missing)}.")
    try:
        cfg = SaeConfig.from_dict(state["cfg"])
        known = shapes(cfg)
    except (DictionaryError, TypeError, ValueError) as error:
        raise DictionaryError(f"{path}: {error}") from error
    tensors = {name: state[name] for name in known if name in state}
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or not tensor.is_floating_point():
            raise DictionaryError(f"{path} is damaged: {name} is not a dense tensor of floats.")
        if not bool(torch.isfinite(tensor).all()):
            raise DictionaryError(f"{path}: {name} holds NaN or infinite weights: the training that wrote it diverged.")
    try:
        sae = SparseAutoencoder(cfg, **{name: tensor.float() for name, tensor in tensors.items()})
    except DictionaryError as error:
        raise DictionaryError(f"{path}: {error}") from error
    sae.path = path
    return sae
