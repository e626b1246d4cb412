"""Which features fire on a sample of activations, how often, and how the firings of two dictionaries correlate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from ....control import Control
from ....errors import DictionaryError, OutOfMemory, StoreError
from ...activations.store import Store
from ...sae.dictionary import SparseAutoencoder
from .directions import listed, named

ROWS = 32_768
"""Rows of a sample, unless asked otherwise."""

LEAST = 10
"""Firings below which a feature is too rare to correlate: two that fire once, on the same row, would correlate by 1."""

ENTRIES = 1 << 24
"""Numbers of a block of dense activations: 64 MB."""

KEPT = 1 << 27
"""Firings that are kept of a dictionary: 1 GB."""

PAIRS = 1 << 25
"""Pairs whose correlations fit: 0.8 GB while they are matched."""

SHUFFLED = 512
"""Features of each side that are correlated with shifted rows for the null."""


@dataclass(frozen=True)
class Firings:
    """What one dictionary does on a sample.

    rows: of the sample. counts: int64 [d_sae], rows on which a feature fires. values: float32 [rows, d_sae] sparse,
    or None when only counts were asked for.
    """

    rows: int
    counts: np.ndarray
    values: sparse.csr_array | None


def sample_rows(source: Store | Tensor, rows: int) -> Iterator[Tensor]:
    """At most `rows` rows [n, d] of a source, block by block: of a store the first ones of every chunk.

    The same rows for every site of a store.

    Raises:
        StoreError: a chunk is damaged.
    """
    if isinstance(source, Tensor):
        yield source[:rows]
        return
    left = rows
    for number in range(len(source.chunks)):
        share = math.ceil(left / (len(source.chunks) - number))
        x = source.x(number)[:share]
        left -= len(x)
        if len(x):
            yield x


@torch.no_grad()
def firings(
    sae: SparseAutoencoder, source: Store | Tensor, rows: int, *, keep: bool, control: Control | None = None
) -> Firings:
    """Encode a sample of rows and count; a block at a time, so that dense activations are never held.

    Args:
        source: float [n, d_in], or a store with its site chosen.
        keep: also keep the activations, sparse.

    Raises:
        DictionaryError: rows of another width than the dictionary reads, or weights that are not finite.
        StoreError: no rows, NaN or infinity in them (says where), or a damaged chunk.
        OutOfMemory: more than 134 million firings to keep; says what to do.
    """
    control = control or Control()
    d_sae, seen, kept = sae.cfg.d_sae, 0, 0
    counts = np.zeros(d_sae, np.int64)
    parts: list[sparse.csr_array] = []
    size = max(1, ENTRIES // d_sae)
    for x in sample_rows(source, rows):
        sae.check_input(x.shape[-1], "the sample of activations")
        for start in range(0, len(x), size):
            block = x[start : start + size].float()
            finite = torch.isfinite(block).all(dim=1)
            if not bool(finite.all()):
                row = seen + int((~finite).nonzero()[0])
                raise StoreError(f"Row {row} of the sample of activations holds NaN or infinity.")
            f = sparse.csr_array(sae.encode(block).cpu().numpy())
            if not np.isfinite(f.data).all():
                wrong = np.unique(f.indices[~np.isfinite(f.data)])
                raise DictionaryError(
                    f"{named(sae)} gives NaN or infinite activations in its features {listed(wrong)}: its weights are"
                    " damaged. By decoder or encoder, without activations=, such features are left out."
                )
            counts += np.bincount(f.indices, minlength=d_sae)
            seen += len(block)
            if keep:
                kept += f.nnz
                if kept > KEPT:
                    raise OutOfMemory(
                        f"{named(sae)} fires more than {KEPT:,} times on {seen:,} rows: correlate on fewer (rows=)."
                    )
                parts.append(f)
            control.tick("firings", seen, rows, "rows")
    if not seen:
        raise StoreError("The sample of activations has no rows.")
    return Firings(seen, counts, sparse.vstack(parts, format="csr") if keep else None)


@dataclass(frozen=True)
class Correlations:
    """Pearson correlations of the firings of two dictionaries on the same rows, silent rows included.

    a, b: int64 [n_a], [n_b], features that fire at least `LEAST` times. matrix: float64 [n_a, n_b].
    best_by_chance: float64 [m], the best correlation of single features of either side with all of the other, when
    the rows of one are shifted against the other's by half of the sample. gram_a, gram_b: correlations among some of a
    or of b, by their places in `a` and `b`.
    """

    a: np.ndarray
    b: np.ndarray
    matrix: np.ndarray
    best_by_chance: np.ndarray
    gram_a: Callable[[np.ndarray], np.ndarray]
    gram_b: Callable[[np.ndarray], np.ndarray]


def correlations(
    of_a: Firings, of_b: Firings, limit: int | None = None, control: Control | None = None
) -> Correlations:
    """Correlate every feature of one with every feature of the other; sums in float64, from sparse activations.

    Args:
        limit: only the first that many features of each.

    Raises:
        StoreError: no feature of one of them fires often enough, or the samples differ in length.
        OutOfMemory: more than 33,554,432 pairs; says what to do.
    """
    control = control or Control()
    assert of_a.values is not None
    assert of_b.values is not None
    if of_a.rows != of_b.rows:
        raise StoreError(f"The samples differ: {of_a.rows:,} rows for one dictionary and {of_b.rows:,} for the other.")
    a, b = (np.flatnonzero(f.counts[:limit] >= LEAST) for f in (of_a, of_b))
    for ids, which in ((a, "first"), (b, "second")):
        if not len(ids):
            raise StoreError(
                f"No feature of the {which} dictionary fires on {LEAST} of the {of_a.rows:,} rows: there is nothing to"
                " correlate. Give more rows of the layer it was trained on."
            )
    if len(a) * len(b) > PAIRS:
        raise OutOfMemory(
            f"{len(a):,} × {len(b):,} features fire on the sample; correlations of at most {PAIRS:,} pairs are matched."
            f" Align the first {math.isqrt(PAIRS):,} of each (max_features={math.isqrt(PAIRS)}), or by decoder."
        )
    x, y = (_Standard(f.values[:, ids]) for f, ids in ((of_a, a), (of_b, b)) if f.values is not None)
    matrix = np.empty((len(a), len(b)))
    size = max(1, ENTRIES // len(b))
    for start in range(0, len(a), size):
        part = np.arange(start, min(start + size, len(a)))
        matrix[part] = x.with_(y, part)
        control.tick("correlations", len(part) + start, len(a), "features")
    shifted = _Standard(sparse.vstack([y.values[of_b.rows // 2 :], y.values[: of_b.rows // 2]], format="csr"))
    chance = [side.with_(other, _some(side.n)).max(axis=1) for side, other in ((x, shifted), (shifted, x))]
    return Correlations(a, b, matrix, np.concatenate(chance), x.among, y.among)


class _Standard:
    """Columns of sparse activations with their means and deviations."""

    def __init__(self, values: sparse.csr_array) -> None:
        self.values = values.astype(np.float64)
        self.rows, self.n = values.shape
        self.mean = np.asarray(self.values.sum(axis=0)).ravel() / self.rows
        square = np.asarray(self.values.multiply(self.values).sum(axis=0)).ravel() / self.rows
        deviation = np.sqrt(np.maximum(square - self.mean**2, 0.0))
        self.scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-12 * np.sqrt(square))

    def among(self, columns: np.ndarray) -> np.ndarray:
        """Correlations of some columns with each other, [columns, columns]."""
        few = _Standard(self.values[:, columns])
        return few.with_(few, np.arange(len(columns)))

    def with_(self, other: _Standard, columns: np.ndarray) -> np.ndarray:
        """Correlations of some columns with all of the other's, [columns, n]; 0 where one does not vary."""
        together = (self.values[:, columns].T @ other.values).toarray() / self.rows
        together -= self.mean[columns, None] * other.mean
        found: np.ndarray = np.clip(together * self.scale[columns, None] * other.scale, -1.0, 1.0)
        return found


def _some(n: int) -> np.ndarray:
    return np.unique(np.linspace(0, n - 1, min(n, SHUFFLED)).round().astype(int))
