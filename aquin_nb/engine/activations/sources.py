"""Where the rows of a stream come from: a tensor in memory, a store on disk, or several of them side by side."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, reduce
from itertools import accumulate, pairwise
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import StoreError
from .store import ORIGINS, Store

MAPPED_CHUNKS = 256
CHECKED_CHUNKS = 5  # of stores side by side: whether their rows come from the same tokens
HASHED_BYTES = 256 << 20  # a larger tensor is known by HASHED_ROWS of its rows
HASHED_ROWS = 4096
BLOCK_BYTES = 16 << 20  # read, copied and checked at a time

Numbers = NDArray[np.int64]
Fill = Callable[[Numbers, Tensor], None]  # of row numbers, in any order, and of the float tensor they are written into


class Rows(Protocol):
    """Rows in order, each known by its number."""

    name: str  # in messages
    widths: list[int]  # of the parts that stand side by side in a row; one for a single source
    dtype: torch.dtype  # holds every value exactly
    count: int
    in_memory: bool
    notes: list[str]

    def fill(self, numbers: Numbers, out: Tensor) -> None:
        """Write the rows `numbers`, in this order, into `out` [len(numbers), sum(widths)].

        Raises:
            StoreError: a damaged chunk, or a value that is not finite.
        """
        ...

    def resident(self, numbers: Numbers) -> Fill:
        """These rows in memory for good: the result is `fill` with places in `numbers` for row numbers."""
        ...

    def documents(self, start: int, stop: int) -> Numbers | None:
        """The document of each of these rows; None where rows stand for themselves."""
        ...

    def fingerprint(self) -> str:
        """Hex SHA-256; see `ShuffledStream.fingerprint`."""
        ...

    def describe(self) -> dict[str, Any]:
        """Plain values; see `ShuffledStream.describe`."""
        ...


def rows_of(source: Store | Tensor | Sequence[Store | Tensor]) -> Rows:
    """The rows of a store or of a float tensor [n, d_in]; of a tuple or list of them, side by side.

    Raises:
        StoreError: no rows, another shape, values of a tensor that are not finite; sources that do not belong together.
    """
    if not isinstance(source, tuple | list):
        return _single(source, "the activations")
    parts = [_single(part, f"activations[{place}]") for place, part in enumerate(source)]
    if not parts:
        raise StoreError("An empty tuple or list of activations; give one tensor or store at least.")
    return parts[0] if len(parts) == 1 else _SideBySide(parts)


def _single(source: object, name: str) -> Rows:
    rows: Rows
    if isinstance(source, Tensor):
        rows = _TensorRows(source, name)
    elif isinstance(source, Store):
        rows = _StoreRows(source)
    else:
        raise StoreError(f"Activations are a float tensor [rows, d_in] or a Store; {name}: got {source!r:.80}.")
    if rows.count == 0:
        raise StoreError(f"There are no rows in {rows.name}; collect activations first.")
    return rows


class _TensorRows:
    in_memory = True

    def __init__(self, x: Tensor, name: str) -> None:
        if x.ndim != 2 or x.shape[1] == 0 or not x.dtype.is_floating_point:
            raise StoreError(f"Activations are a float tensor [rows, d_in]; {name}: got {x.dtype} {list(x.shape)}.")
        self._x, self.name = x.detach().cpu(), name
        self.widths, self.dtype, self.count, self.notes = [x.shape[1]], x.dtype, len(x), list[str]()
        self._check()

    def fill(self, numbers: Numbers, out: Tensor) -> None:
        _gather(self._x, numbers, out)

    def resident(self, numbers: Numbers) -> Fill:
        return lambda places, out: _gather(self._x, numbers[places], out)

    def documents(self, start: int, stop: int) -> Numbers | None:
        return None

    def fingerprint(self) -> str:
        digest = hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode())
        x = self._x
        if x.nbytes > HASHED_BYTES:
            x = x[torch.from_numpy(np.unique(np.linspace(0, self.count - 1, HASHED_ROWS).astype(np.int64)))]
        for start, stop in blocks(len(x), x):
            digest.update(x[start:stop].contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        return {"kind": "tensor", "shape": list(self._x.shape), "dtype": str(self.dtype).removeprefix("torch.")}

    def _check(self) -> None:
        first, count = -1, 0
        for start, stop in blocks(self.count, self._x):
            block = self._x[start:stop]
            if not _finite(block):
                bad = _bad_rows(block)
                first = start + int(bad[0]) if first < 0 and len(bad) else first
                count += len(bad)
        if count:
            raise StoreError(
                f"Row {first:,} (counted from 0) of {self.name} holds {_fault(self._x[first])} ({count:,} rows of"
                f" {self.count:,} do); drop such rows first: x[torch.isfinite(x.float()).all(1)]."
            )


class _StoreRows:
    in_memory = False

    def __init__(self, store: Store) -> None:
        self._store, self.name = store, str(store.path)
        self._x = lru_cache(maxsize=MAPPED_CHUNKS)(store.x)
        self._read = lru_cache(maxsize=MAPPED_CHUNKS)(store.read)
        self.widths, self.dtype, self.count, self.notes = [store.d_in], store.dtype, store.rows, list[str]()
        self.chunks = store.chunks
        self.starts = np.concatenate([[0], np.cumsum([chunk.rows for chunk in store.chunks], dtype=np.int64)])
        if not store.complete:
            self.notes.append(f"{store.path} is incomplete: its collection was stopped at {store.rows:,} rows.")

    def fill(self, numbers: Numbers, out: Tensor) -> None:
        order = np.argsort(numbers, kind="stable")
        chunks = self.chunk_of(numbers[order])
        for of_chunk in np.split(order, np.flatnonzero(np.diff(chunks)) + 1):
            if len(of_chunk):
                self._fill(int(self.chunk_of(numbers[of_chunk[0]])), of_chunk, numbers, out)

    def resident(self, numbers: Numbers) -> Fill:
        x = torch.empty(len(numbers), self.widths[0], dtype=self.dtype)
        self.fill(numbers, x)
        return lambda places, out: _gather(x, places, out)

    def documents(self, start: int, stop: int) -> Numbers | None:
        return self.origins("documents", start, stop)

    def origins(self, name: str, start: int, stop: int) -> Numbers:
        """One of token_ids, documents and positions, of these rows."""
        parts = [getattr(self._read(chunk), name)[first:end] for chunk, first, end in self._ranges(start, stop)]
        return torch.cat(parts).numpy().astype(np.int64)

    def fingerprint(self) -> str:
        about = {"kind": "store", "rows": self.count, "d_in": self.widths[0], "dtype": str(self.dtype)}
        return _digest(about | {"chunks": [chunk.sha256 for chunk in self.chunks]})

    def describe(self) -> dict[str, Any]:
        return {"kind": "store", "path": str(self._store.path.absolute())}

    def place(self, row: int) -> str:
        """A row in words."""
        chunk = int(self.chunk_of(np.int64(row)))
        return f"row {row:,} of {self.name} ({self.chunks[chunk].file})"

    def _fill(self, chunk: int, places: Numbers, numbers: Numbers, out: Tensor) -> None:
        """Rows of one chunk into their places."""
        x = self._x(chunk)
        for start, stop in blocks(len(places), x):
            block = places[start:stop]
            inside = numbers[block] - self.starts[chunk]
            rows = x[_index(inside)]
            if not _finite(rows):
                self._check(chunk, inside, rows)
            out[_index(block)] = rows.to(out.dtype)

    def _check(self, chunk: int, inside: Numbers, rows: Tensor) -> None:
        bad = _bad_rows(rows)
        if not len(bad):  # finite values whose sum is not
            return
        row = int(inside[bad].min())
        path = self._store.path / self.chunks[chunk].file
        raise StoreError(
            f"{path} holds {_fault(self._x(chunk)[row])} in its row {row:,}, row {row + int(self.starts[chunk]):,}"
            " of the store (counted from 0). It was damaged after it was written, or not written by aquin-nb: collect"
            " these activations again, or leave the chunk out by giving the rows of the others as a tensor."
        )

    def chunk_of(self, numbers: NDArray[np.int64] | np.int64) -> NDArray[np.int64]:
        return np.searchsorted(self.starts, numbers, side="right") - 1

    def _ranges(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """(chunk, first, end): rows `start` to `stop` of the store as rows of its chunks."""
        while start < stop:
            chunk = int(self.chunk_of(np.int64(start)))
            first, end = int(self.starts[chunk]), min(stop, int(self.starts[chunk + 1]))
            yield chunk, start - first, end - first
            start = end


class _SideBySide:
    """Rows joined from the same row of every part."""

    def __init__(self, parts: list[Rows]) -> None:
        first = parts[0]
        for other in parts[1:]:
            if other.count != first.count:
                raise StoreError(
                    f"Activations side by side need the same rows: {first.name} has {first.count:,} and {other.name}"
                    f" {other.count:,}. Collect them in one go, or from the same corpus with the same settings."
                )
        stores = [part for part in parts if isinstance(part, _StoreRows)]
        for store in stores[1:]:
            _check_same_tokens(stores[0], store)
        self._parts, self.name, self.count = parts, " and ".join(part.name for part in parts), first.count
        self.widths = [width for part in parts for width in part.widths]
        self.dtype = reduce(torch.promote_types, (part.dtype for part in parts))
        self.in_memory = all(part.in_memory for part in parts)
        self.notes = [note for part in parts for note in part.notes]

    def fill(self, numbers: Numbers, out: Tensor) -> None:
        for part, columns in zip(self._parts, self._columns(out), strict=True):
            part.fill(numbers, columns)

    def resident(self, numbers: Numbers) -> Fill:
        fills = [part.resident(numbers) for part in self._parts]

        def fill(places: Numbers, out: Tensor) -> None:
            for of_part, columns in zip(fills, self._columns(out), strict=True):
                of_part(places, columns)

        return fill

    def documents(self, start: int, stop: int) -> Numbers | None:
        return self._parts[0].documents(start, stop)

    def fingerprint(self) -> str:
        return _digest({"kind": "several", "parts": [part.fingerprint() for part in self._parts]})

    def describe(self) -> dict[str, Any]:
        return {"kind": "several", "parts": [part.describe() for part in self._parts]}

    def _columns(self, out: Tensor) -> list[Tensor]:
        return [out[:, start:stop] for start, stop in pairwise(accumulate(self.widths, initial=0))]


def _check_same_tokens(a: _StoreRows, b: _StoreRows) -> None:
    """Row i of both comes from the same token, as far as a few chunks of `a`, the first and last among them, tell."""
    for chunk in np.unique(np.linspace(0, len(a.chunks) - 1, CHECKED_CHUNKS).astype(int)).tolist():
        start, stop = int(a.starts[chunk]), int(a.starts[chunk + 1])
        for name in ORIGINS:
            ours, theirs = a.origins(name, start, stop), b.origins(name, start, stop)
            differing = np.flatnonzero(ours != theirs)
            if len(differing):
                at = int(differing[0])
                raise StoreError(
                    f"Two stores hold rows of different tokens: {a.place(start + at)} has {name} {ours[at]},"
                    f" and {b.place(start + at)} has {theirs[at]}. Collect both from the same corpus with the"
                    " same settings."
                )


def blocks(count: int, x: Tensor) -> Iterator[tuple[int, int]]:
    """Ranges that cut `count` rows of `x` [n, d] into blocks of at most 16 MB."""
    size = max(1, BLOCK_BYTES // max(1, x.shape[1] * x.dtype.itemsize))
    for start in range(0, count, size):
        yield start, min(start + size, count)


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _gather(x: Tensor, numbers: Numbers, out: Tensor) -> None:
    index = torch.from_numpy(numbers)
    if x.dtype == out.dtype and out.is_contiguous():
        torch.index_select(x, 0, index, out=out)
    else:
        out.copy_(x[index])


def _index(numbers: Numbers) -> slice | Tensor:
    """An index for these rows; of consecutive ones a slice, which copies nothing."""
    if bool((np.diff(numbers) == 1).all()):
        return slice(int(numbers[0]), int(numbers[-1]) + 1)
    return torch.from_numpy(numbers)


def _finite(x: Tensor) -> bool:
    """Surely finite in float32: the sum of anything else is not. A sum that is not finite may still overflow."""
    return bool(torch.isfinite(x.sum(dtype=torch.float32)))


def _bad_rows(x: Tensor) -> Numbers:
    """The rows of `x` with a value that is not finite in float32."""
    bad: Numbers = torch.nonzero(~torch.isfinite(x.float()).all(1)).flatten().numpy()
    return bad


def _fault(row: Tensor) -> str:
    if bool(row.isnan().any()):
        return "NaN"
    return "infinity" if bool(row.isinf().any()) else "a number too large for float32"
