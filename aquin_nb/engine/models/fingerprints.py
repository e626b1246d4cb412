"""Fingerprints of weights and tokenizers: the same numbers give the same 64 hexadecimal digits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import torch

from .untyped import HFTokenizer

_PIECE = 64 * 1024 * 1024  # bytes hashed at a time, so that a large tensor on a GPU is never copied whole twice


def weights_fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 over sorted (name, dtype, shape, bytes) of the weights; a tied weight counts once.

    Reads tensor by tensor: no copy of the state dict is made.
    """
    digest = hashlib.sha256()
    for name, tensor in _distinct(model):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        flat = tensor.detach().reshape(-1).view(torch.uint8) if tensor.numel() else tensor.new_empty(0).byte()
        for start in range(0, flat.numel(), _PIECE):
            piece = flat[start : start + _PIECE].cpu().numpy()
            digest.update(piece.data)
    return digest.hexdigest()


def _distinct(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    seen: set[tuple[int, tuple[int, ...]]] = set()
    for name, tensor in sorted(model.state_dict().items()):
        place = (tensor.data_ptr(), tuple(tensor.shape))
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        yield name, tensor


def tokenizer_fingerprint(tokenizer: HFTokenizer) -> str:
    """SHA-256 over what decides the ids: the vocabulary, the merges and normalisation, and the special tokens.

    Padding and truncation settings are left out: they change with use, and our batches are padded by ourselves.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        rules: Any = json.loads(backend.to_str())
        rules.pop("padding", None)
        rules.pop("truncation", None)
    else:
        rules = tokenizer.get_vocab()
    special = {
        name: getattr(tokenizer, f"{name}_token_id", None)
        for name in ("bos", "eos", "pad", "unk", "sep", "cls", "mask")
    }
    text = json.dumps([type(tokenizer).__name__ if backend is None else "", rules, special], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
