"""Fingerprints of weights and tokenizers: the same numbers give the same 64 hexadecimal digits.

A model's fingerprint is that of its weights *as stored*: the dtype they are cast to, the device and the backend make no
difference, so two sessions on one file always agree.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ... import files
from ...errors import ModelError
from .untyped import HFTokenizer

_PIECE = 16 << 20  # bytes hashed at a time
_HEADER_LIMIT = 100 << 20  # safetensors' own limit
_DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
}  # safetensors' words


def stored_fingerprint(path: Path) -> str:
    """SHA-256 of a model's weights as they lie on disk: a folder of safetensors, or a .gguf file (its bytes).

    Over sorted (name, dtype, shape, bytes) of the tensors: how they are split into files and what else stands in the
    headers makes no difference.

    Raises:
        ModelError: a file is damaged.
    """
    if path.is_file():
        return files.sha256(path)
    places = {name: (file, *rest) for file in weight_files(path) for name, rest in _header(file).items()}
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_PIECE))
    for name, (file, dtype, shape, start, stop) in sorted(places.items()):
        digest.update(f"{name}\0{dtype}\0{shape}\0".encode())
        with open(file, "rb", buffering=0) as stream:
            stream.seek(start)
            left = stop - start
            while left > 0 and (count := stream.readinto(buffer[: min(left, _PIECE)])):
                digest.update(buffer[:count])
                left -= count
        if left:
            raise ModelError(f"{file} is damaged: it ends within the tensor {name}.")
    return digest.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder that are loaded: one file, the shards of an index, or all there are."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if index.is_file():
        return [folder / name for name in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))]
    return sorted(folder.glob("*.safetensors"))


def _header(file: Path) -> dict[str, tuple[str, list[int], int, int]]:
    """{name: (dtype, shape, first byte, end)} of a safetensors file."""
    try:
        with open(file, "rb") as stream:
            (size,) = struct.unpack("<Q", stream.read(8))
            if size > _HEADER_LIMIT:
                raise ValueError("an impossible header")
            header = json.loads(stream.read(size))
        return {
            name: (
                entry["dtype"],
                entry["shape"],
                8 + size + entry["data_offsets"][0],
                8 + size + entry["data_offsets"][1],
            )
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ModelError(f"{file} is damaged or missing ({type(error).__name__} in its header).") from None


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over sorted (name, dtype, shape, bytes) of CPU tensors; as `stored_fingerprint` of the same in a file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        dtype = _DTYPES.get(tensor.dtype, str(tensor.dtype).removeprefix("torch."))
        digest.update(f"{name}\0{dtype}\0{list(tensor.shape)}\0".encode())
        if tensor.numel():
            data = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
            for start in range(0, len(data), _PIECE):
                digest.update(data[start : start + _PIECE].numpy().data)
    return digest.hexdigest()


def tuned_fingerprint(base: str, state: str) -> str:
    """The fingerprint of a base model (its own) with fine-tuned weights in it (theirs).

    The same fine-tune of the same base always has the same one. It differs from that of the fine-tuned weights loaded
    as a model of their own, because it names the base too.
    """
    return hashlib.sha256(f"{base}\0{state}".encode()).hexdigest()


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
