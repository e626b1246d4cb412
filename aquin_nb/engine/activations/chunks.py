"""One chunk of a store: the safetensors file that holds its rows, and how large chunks are."""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import BufferedIOBase
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

from ...errors import StoreError
from .places import Place
from .statistics import PARTS, NormStatistics

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
ORIGINS = ("token_ids", "documents", "positions")
ORIGIN_BYTES = 12  # token id, document and position, int32 each
CHUNK_BYTES = 32 << 20  # what a kill may lose; twice of it is in memory while collecting
LARGEST_CHUNK = 256 << 20
CHUNKS = 2048  # of a large store: from here on chunks grow instead of becoming more
LEAST_ROWS = 1024
PIECE_BYTES = 256 << 10
LARGEST_HEAD = 16 << 20  # bytes of a safetensors header; ours takes a few hundred a site
NAMES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
NAMES |= {"I64": torch.int64, "I32": torch.int32}
_DTYPE_NAMES = {dtype: name for name, dtype in NAMES.items()}


class Chunk(NamedTuple):
    """Rows of a store: x [n, d_in] in the store's dtype; token_ids, documents, positions int32 [n]."""

    x: Tensor
    token_ids: Tensor
    documents: Tensor
    positions: Tensor


class Origins(NamedTuple):
    """Where rows come from: int32 [n] each."""

    token_ids: Tensor
    documents: Tensor
    positions: Tensor


@dataclass(frozen=True)
class ChunkInfo:
    """A chunk as manifest and journal name it.

    cursor, skip: where the row after its last one is: in the batch that begins at `cursor` (see `StoreWriter.mark`),
    after `skip` rows of it. bytes is 0 in stores of version 1, which did not say it.
    """

    file: str
    rows: int
    sha256: str
    bytes: int = 0
    cursor: Mapping[str, int] = field(default_factory=dict)
    skip: int = 0

    def record(self) -> dict[str, Any]:
        """As manifest and journal keep it."""
        return asdict(self)


def row_bytes(d_in: int, dtype: str) -> int:
    """Bytes on disk of one row, its origin included; `d_in` is the sum of the widths of several sites."""
    return d_in * DTYPES[dtype].itemsize + ORIGIN_BYTES


def chunk_of(d_in: int, dtype: str, rows: int | None = None) -> int:
    """Rows of a chunk: near 32 MB; of a store of more than 64 GB a 2,048th, up to 256 MB.

    Args:
        d_in: width of a row, the sum of several sites.
        dtype: of the store.
        rows: of the whole store, if known.

    >>> chunk_of(768, "float16"), chunk_of(768, "float16", 10**9)
    (21675, 173407)
    """
    row = row_bytes(d_in, dtype)
    wanted = max(CHUNK_BYTES, math.ceil((rows or 0) * row / CHUNKS))
    return max(1, min(max(LEAST_ROWS, wanted // row), LARGEST_CHUNK // row))


def fitting(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`x` if every value is finite and within the range of `dtype`.

    Raises:
        StoreError: with the value and what to do.
    """
    low, high = (float(value) for value in x.aminmax()) if x.numel() else (0.0, 0.0)
    peak = max(-low, high)
    if peak <= torch.finfo(dtype).max:
        return x
    if not math.isfinite(peak):
        raise StoreError("Activations are not finite (NaN or infinity); nothing of this batch was kept.")
    name = str(dtype).removeprefix("torch.")
    raise StoreError(
        f"An activation of {peak:,.0f} does not fit {name}, the number format of this store. Load the model with"
        " dtype='bfloat16': its activations are kept in bfloat16, which has room."
    )


def dtype_name(wanted: str, choices: Sequence[str] = ("auto", *DTYPES)) -> str:
    """`wanted` if it names a dtype that a store can have, else a StoreError with the choices."""
    if wanted not in choices:
        raise StoreError(f"dtype={wanted!r} is not one of {', '.join(choices)}.")
    return wanted


def part_name(site: int, part: str = "x") -> str:
    """The tensor of a chunk that holds a part of one site: `x.0`, `sum.0`, `norms.0`, `bins.0`, `counts.0`."""
    return f"{part}.{site}"


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write a safetensors file and wait until the disk has it; its SHA-256, taken on the way.

    safetensors' own writer leaves a temporary of a name of its own behind when it is killed, and would have to be read
    again for the hash. The layout is its own: the widest dtypes first, so that all are aligned.
    """
    head: dict[str, Any] = {}
    end = 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name)):
        start, end = end, end + tensors[name].nbytes
        dtype = _DTYPE_NAMES[tensors[name].dtype]
        head[name] = {"dtype": dtype, "shape": list(tensors[name].shape), "data_offsets": [start, end]}
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with open(path, "wb", buffering=0) as stream:
        pieces: Iterable[bytes | memoryview] = chain.from_iterable(_pieces(tensors[name]) for name in head)
        for piece in chain([struct.pack("<Q", len(text)) + text], pieces):
            digest.update(piece)
            left = memoryview(piece)
            while left:  # without a buffer a write may stop early: where a disk is about to be full
                left = left[stream.write(left) :]
        os.fsync(stream.fileno())
    return digest.hexdigest()


def _pieces(tensor: Tensor) -> Iterator[memoryview]:
    """The bytes of a tensor, in pieces that stay in the processor's cache between hashing and writing."""
    data = tensor.contiguous().flatten().view(torch.uint8).numpy().data
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]


def read_tensors(place: Place, name: str, wanted: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Some tensors of a chunk (None: all), read without the others and without mapping the file.

    Raises:
        StoreError: the file is missing or damaged, or lacks one of them.
    """
    try:
        with place.opened(name) as stream:
            head, data = read_head(stream)
            found = {}
            for tensor in head if wanted is None else wanted:
                start, stop = head[tensor]["data_offsets"]
                stream.seek(data + start)
                values = bytearray(stream.read(stop - start))
                dtype, shape = NAMES[head[tensor]["dtype"]], head[tensor]["shape"]
                flat = torch.frombuffer(values, dtype=dtype) if values else torch.empty(0, dtype=dtype)
                found[tensor] = flat.view(shape)
            return found
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, RecursionError, struct.error) as error:
        raise StoreError(f"{place.address}/{name} is damaged or missing ({error}).") from None


def read_head(stream: IO[bytes] | BufferedIOBase) -> tuple[dict[str, Any], int]:
    """What a safetensors file says of its tensors, and where the first begins.

    Raises:
        ValueError, struct.error: it is none.
    """
    (size,) = struct.unpack("<Q", stream.read(8))
    if size > LARGEST_HEAD:
        raise ValueError("its head is damaged")
    head = json.loads(stream.read(size))
    head.pop("__metadata__", None)
    return head, 8 + size


def rows_of(place: Place, name: str) -> int:
    """How many rows a chunk on disk has, whatever is recorded of it.

    Raises:
        StoreError: as `read_tensors`.
    """
    return len(read_tensors(place, name, ["positions"])["positions"])


def read_statistics(place: Place, name: str, sites: int) -> list[NormStatistics]:
    """A chunk's statistics, one a site.

    Raises:
        StoreError: as `read_tensors`.
    """
    tensors = read_tensors(place, name, [part_name(site, part) for site in range(sites) for part in PARTS])
    try:
        return [
            NormStatistics.from_tensors({part: tensors[part_name(site, part)] for part in PARTS})
            for site in range(sites)
        ]
    except ValueError as error:
        raise StoreError(f"{place.address}/{name} is damaged ({error}).") from None
