"""Where the rows of a stream come from: a tensor in memory, a store on disk, or several of them side by side."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, reduce
from itertools import accumulate, groupby, pairwise
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import StoreError
from .buffer import BLOCK_BYTES, Numbers, blocks, finite, gathered, put
from .reuse import Reuse
from .store import ORIGINS, Store

OPEN_FILES = 64
MAPPED_ORIGINS = 256  # chunks whose documents are; they take a hundredth of the rows' room
CHECKED_CHUNKS = 5  # of stores side by side: whether their rows come from the same tokens
HASHED_BYTES = 256 << 20  # a larger tensor is known by HASHED_ROWS of its rows
HASHED_ROWS = 4096

Take = Callable[[Numbers, Tensor], Tensor]
"""Rows by their numbers, in this tensor and in its dtype."""


class Rows(Protocol):
    """Rows in order, each known by its number."""

    name: str  # in messages
    widths: list[int]  # of the sources that stand side by side in a row; one for a single source
    dtype: torch.dtype  # holds every value exactly
    count: int
    in_memory: bool
    notes: list[str]

    def fill(self, numbers: Numbers, out: Tensor, places: Numbers) -> None:
        """Write the rows `numbers`, each once and in any order, into the rows `places` of `out` [m, sum(widths)].

        Raises:
            StoreError: a damaged chunk, or a value that is not finite.
        """
        ...

    def resident(self, numbers: Numbers) -> Take:
        """These rows in memory for good, to be taken by their places in `numbers`."""
        ...

    def documents(self, start: int, stop: int) -> Numbers | None:
        """The document of each of these rows; None where rows stand for themselves."""
        ...

    def fingerprints(self) -> list[str]:
        """Hex SHA-256 of each source; see `fingerprint`."""
        ...

    def descriptions(self) -> list[dict[str, Any]]:
        """Plain values of each source; see `describe`."""
        ...


def rows_of(source: Store | Tensor | Sequence[Store | Tensor]) -> Rows:
    """The rows of a store or of a float tensor [n, d_in]; of a tuple or list of them, side by side.

    Sites of one store that are next to one another are read together.

    Raises:
        StoreError: no rows, another shape, values of a tensor that are not finite; sources that do not belong together.
    """
    if not isinstance(source, tuple | list):
        return _single([source], "the activations")
    named = [(part, f"activations[{place}]") for place, part in enumerate(source)]
    if not named:
        raise StoreError("An empty tuple or list of activations; give one tensor or store at least.")
    groups = [list(group) for _, group in groupby(named, key=lambda pair: _folder(*pair))]
    parts = [_single([part for part, _ in group], group[0][1]) for group in groups]
    return parts[0] if len(parts) == 1 else _SideBySide(parts)


def fingerprint(rows: Rows) -> str:
    """Hex SHA-256 that tells whether data are the same; see `ShuffledStream.fingerprint`."""
    parts = rows.fingerprints()
    return parts[0] if len(parts) == 1 else digest({"kind": "several", "parts": parts})


def describe(rows: Rows) -> dict[str, Any]:
    """What the rows come from, in plain values; see `ShuffledStream.describe`."""
    parts = rows.descriptions()
    return parts[0] if len(parts) == 1 else {"kind": "several", "parts": parts}


def _folder(part: object, name: str) -> object:
    return _address(part) if isinstance(part, Store) else name


def _single(sources: list[Any], name: str) -> Rows:
    """The rows of a tensor, or of sites of one store."""
    first = sources[0]
    rows: Rows
    if isinstance(first, Tensor):
        rows = _TensorRows(first, name)
    elif isinstance(first, Store):
        rows = _StoreRows(sources)
    else:
        raise StoreError(f"Activations are a float tensor [rows, d_in] or a Store; {name}: got {first!r:.80}.")
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

    def fill(self, numbers: Numbers, out: Tensor, places: Numbers) -> None:
        for start, stop in blocks(len(numbers), self._x):
            put(out, places[start:stop], torch.index_select(self._x, 0, torch.from_numpy(numbers[start:stop])))

    def resident(self, numbers: Numbers) -> Take:
        return lambda places, out: gathered(self._x, numbers[places], out)

    def documents(self, start: int, stop: int) -> Numbers | None:
        return None

    def fingerprints(self) -> list[str]:
        found = hashlib.sha256(json.dumps(describe(self), sort_keys=True).encode())
        x = self._x
        if x.nbytes > HASHED_BYTES:
            x = x[torch.from_numpy(np.unique(np.linspace(0, self.count - 1, HASHED_ROWS).astype(np.int64)))]
        for start, stop in blocks(len(x), x):
            found.update(x[start:stop].contiguous().view(torch.uint8).numpy().data)
        return [found.hexdigest()]

    def descriptions(self) -> list[dict[str, Any]]:
        return [{"kind": "tensor", "shape": list(self._x.shape), "dtype": str(self.dtype).removeprefix("torch.")}]

    def _check(self) -> None:
        first, count = -1, 0
        for start, stop in blocks(self.count, self._x):
            block = self._x[start:stop]
            if not finite(block):
                bad = _bad_rows(block)
                first = start + int(bad[0]) if first < 0 else first
                count += len(bad)
        if count:
            raise StoreError(
                f"Row {first:,} (counted from 0) of {self.name} holds {_fault(self._x[first])} ({count:,} rows of"
                f" {self.count:,} do); drop such rows first: x[torch.isfinite(x.float()).all(1)]."
            )


class _StoreRows:
    """Rows of a store: of one of its sites, or of several side by side."""

    in_memory = False

    def __init__(self, sites: list[Store]) -> None:
        first = sites[0]
        self._sites, self.name = sites, first.address
        self._files = [lru_cache(maxsize=OPEN_FILES)(site.row_file) for site in sites]
        self._origins = lru_cache(maxsize=MAPPED_ORIGINS)(first.origins)
        self.widths, self.dtype, self.count = [site.d_in for site in sites], first.dtype, first.rows
        self._block = Reuse((max(BLOCK_BYTES // self.dtype.itemsize, *self.widths),), self.dtype)
        self.notes, self.chunks = list[str](), first.chunks
        self.starts = np.concatenate([[0], np.cumsum([chunk.rows for chunk in first.chunks], dtype=np.int64)])
        if not first.complete:
            self.notes.append(f"{first.address} is incomplete: its collection was stopped at {first.rows:,} rows.")

    def fill(self, numbers: Numbers, out: Tensor, places: Numbers) -> None:
        steps = np.diff(numbers)
        if not bool((steps > 0).all()):
            order = np.argsort(numbers, kind="stable")
            numbers, places = numbers[order], places[order]
            steps = np.diff(numbers)
        columns = _columns(out, self.widths)
        for first, last in pairwise([0, *(np.flatnonzero(steps > 1) + 1).tolist(), len(numbers)]):
            start = int(numbers[first]) if first < last else 0
            for chunk, begin, end in self._ranges(start, start + last - first):
                for site, part in enumerate(columns):
                    self._fill(site, chunk, begin, part, places[first : first + end - begin])
                first += end - begin

    def resident(self, numbers: Numbers) -> Take:
        x = torch.empty(len(numbers), sum(self.widths), dtype=self.dtype)
        self.fill(numbers, x, np.arange(len(numbers)))
        return lambda places, out: gathered(x, places, out)

    def documents(self, start: int, stop: int) -> Numbers | None:
        return self.origins("documents", start, stop)

    def origins(self, name: str, start: int, stop: int) -> Numbers:
        """One of token_ids, documents and positions, of these rows."""
        parts = [getattr(self._origins(chunk), name)[first:end] for chunk, first, end in self._ranges(start, stop)]
        joined: Numbers = torch.cat(parts).numpy().astype(np.int64)
        return joined

    def fingerprints(self) -> list[str]:
        about = {"kind": "store", "rows": self.count, "dtype": str(self.dtype)}
        about |= {"chunks": [chunk.sha256 for chunk in self.chunks]}
        return [digest(about | {"d_in": site.d_in} | _site(site)) for site in self._sites]

    def descriptions(self) -> list[dict[str, Any]]:
        return [{"kind": "store", "path": _address(site)} | _site(site) for site in self._sites]

    def place(self, row: int) -> str:
        """A row in words."""
        chunk = int(self._chunk_of(np.int64(row)))
        return f"row {row:,} of {self.name} ({self.chunks[chunk].file})"

    def _fill(self, site: int, chunk: int, row: int, out: Tensor, places: Numbers) -> None:
        """Rows of one site and chunk, from `row` on, into their places."""
        file, width = self._files[site](chunk), out.shape[1]
        for start, stop in blocks(len(places), out):
            rows = self._block()[: (stop - start) * width].view(stop - start, width)
            file.read(row + start, rows.view(torch.uint8).numpy())
            if not finite(rows):
                self._refuse(site, chunk, row + start, rows)
            put(out, places[start:stop], rows)

    def _refuse(self, site: int, chunk: int, row: int, rows: Tensor) -> None:
        bad = int(_bad_rows(rows)[0])
        fault, row = _fault(rows[bad]), row + bad
        path = f"{self._sites[site].address}/{self.chunks[chunk].file}"
        where = _site(self._sites[site]).get("site", "")
        raise StoreError(
            f"{path} holds {fault} in its row {row:,}{where and f' at {where}'}, row"
            f" {row + int(self.starts[chunk]):,} of the store (counted from 0). It was damaged after it was written, or"
            " not written by aquin-nb: collect these activations again, or leave the chunk out by giving the rows of"
            " the others as a tensor."
        )

    def _chunk_of(self, numbers: NDArray[np.int64] | np.int64) -> NDArray[np.int64]:
        return np.searchsorted(self.starts, numbers, side="right") - 1

    def _ranges(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """(chunk, first, end): rows `start` to `stop` of the store as rows of its chunks."""
        while start < stop:
            chunk = int(self._chunk_of(np.int64(start)))
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
            if store.name != stores[0].name:
                _check_same_tokens(stores[0], store)
        self._parts, self.name, self.count = parts, " and ".join(part.name for part in parts), first.count
        self.widths = [width for part in parts for width in part.widths]
        self.dtype = reduce(torch.promote_types, (part.dtype for part in parts))
        self.in_memory = all(part.in_memory for part in parts)
        self.notes = [note for part in parts for note in part.notes]

    def fill(self, numbers: Numbers, out: Tensor, places: Numbers) -> None:
        for part, columns in zip(self._parts, _columns(out, [sum(part.widths) for part in self._parts]), strict=True):
            part.fill(numbers, columns, places)

    def resident(self, numbers: Numbers) -> Take:
        takes, widths = [part.resident(numbers) for part in self._parts], [sum(part.widths) for part in self._parts]

        def take(places: Numbers, out: Tensor) -> Tensor:
            for part, columns in zip(takes, _columns(out, widths), strict=True):
                part(places, columns)
            return out

        return take

    def documents(self, start: int, stop: int) -> Numbers | None:
        return self._parts[0].documents(start, stop)

    def fingerprints(self) -> list[str]:
        return [found for part in self._parts for found in part.fingerprints()]

    def descriptions(self) -> list[dict[str, Any]]:
        return [description for part in self._parts for description in part.descriptions()]


def _columns(out: Tensor, widths: list[int]) -> list[Tensor]:
    return [out[:, start:stop] for start, stop in pairwise(accumulate(widths, initial=0))]


def _address(store: Store) -> str:
    """What opens it again from any folder."""
    return store.address if "://" in store.address else str(store.path.absolute())


def _site(store: Store) -> dict[str, str]:
    """Which site of a store it is, where there are several."""
    return {"site": store.hook} if len(store.sites) > 1 else {}


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


def digest(values: dict[str, Any]) -> str:
    """Hex SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _bad_rows(x: Tensor) -> Numbers:
    """The rows of `x` with a value that is not finite in float32."""
    bad: Numbers = torch.nonzero(~torch.isfinite(x.float()).all(1)).flatten().numpy()
    return bad


def _fault(row: Tensor) -> str:
    if bool(row.isnan().any()):
        return "NaN"
    return "infinity" if bool(row.isinf().any()) else "a number too large for float32"
