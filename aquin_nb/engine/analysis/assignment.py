"""Maximum-weight one-to-one matching of two sets of directions, with a proof of how good it is.

Small sets are matched by scipy on their whole similarity matrix (`matching.dense`), large ones without it
(`matching.sparse`). Either way the bound is computed from dual prices, by code that does not know how they were found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from ...control import Control
from ...errors import DictionaryError, OutOfMemory
from .matching import dense, sparse
from .matching.certificate import TOLERANCE
from .matching.found import Found
from .matching.similarity import Similarities, full_float32
from .matching.ties import settled
from .matching.watch import Watch

DENSE_PAIRS = 2048**2
"""Up to this many pairs the whole matrix is faster, and scipy takes at most seconds on the hardest of them."""

LONGEST = 1.001
"""Length that a unit row may have by rounding."""


@dataclass(frozen=True)
class Matching:
    """Pairs of a matching and what is proven about them.

    rows, cols: int64 [pairs], ascending in rows. cosine: float64 [pairs], similarities of the float32 rows summed in
    float64. objective: their sum. bound: no one-to-one matching has a larger sum. gap: bound - objective, and 0 when
    that is within 1e-10 a pair, which makes the matching certified. rounds: how often the assignment was solved.
    seconds: wall time. peak_bytes: what the process needed above its resident memory at the start (0 where the system
    does not tell), A and B not included.

    row_price, col_price: float64 [n_a], [n_b], the dual prices that prove the bound, which is their sum.

    - `row_price[i] + col_price[j] >= A[i] · B[j]` for every pair, matched or not, certified or not; what float64 makes
      of the right side may exceed it by 1e-12.
    - The prices of the larger side are at least 0. Those of the smaller side, and of both if n_a = n_b, have any sign:
      a row that must be matched may cost.
    - Over the matched pairs, what `row_price + col_price` has more than the similarity, plus the prices of rows
      without a partner, is `bound - objective`. So in a certified matching each matched pair has equality and each row
      without a partner the price 0, within 1e-10 a pair in all.
    - They are not the only such prices.
    """

    rows: np.ndarray
    cols: np.ndarray
    cosine: np.ndarray
    objective: float
    bound: float
    gap: float
    rounds: int
    seconds: float
    peak_bytes: int
    row_price: np.ndarray
    col_price: np.ndarray

    @property
    def certified(self) -> bool:
        """No other matching is better, by more than rounding."""
        return self.gap == 0.0

    @property
    def verdict(self) -> str:
        """What may be said about the matching, in a few words: `optimal` or `within 0.3 % of optimal`."""
        if self.certified:
            return "optimal"
        if self.objective > 0:
            return f"within {_up(100 * self.gap / self.bound)} % of optimal"
        return f"at most {_up(self.gap / len(self.rows))} a pair below the optimum"


def match_directions(
    A: Tensor, B: Tensor, *, time_limit: float | None = None, progress: Control | None = None
) -> Matching:
    """Match rows of A [n_a, d] with rows of B [n_b, d] one to one so that the sum of their dot products is largest.

    All of the smaller side is matched, at whatever similarity. Rows are float32 and of length 1, or shorter (zero rows
    count as similar to nothing by 0); other dtypes are converted. The products run on the tensors' device.

    The optimum is exact: the bound is recomputed from the dual prices alone over every pair, in float64 wherever the
    fast product could hide a better one. Nothing is drawn: equal inputs give equal pairs, and of several equal rows the
    first gets the first of their partners. Only among matchings of distinct rows whose sums are equal to 1e-10 a pair,
    which one is found may depend on the precision that is fast on the machine.

    Memory beyond A and B is O(n_a + n_b), about 8 kB a feature; sets with at most 2,048² pairs have their matrix built.

    Args:
        A, B: rows to match.
        time_limit: seconds after which the best matching so far is returned with its proven gap. Half of a second or
            so may pass on top, and more on sets so small that scipy solves them in one go.
        progress: reports to it and stops with its cancellation.

    Raises:
        DictionaryError: widths differ, a value is not finite or a row is longer than 1 (the message names the first
            such row), or numba is missing where it is needed.
        Cancelled: `progress` was cancelled; nothing is left behind.
        OutOfMemory: the GPU cannot hold the rows and a block of similarities.

    >>> import torch
    >>> match_directions(torch.eye(3), torch.eye(3)[[2, 0, 1]]).cols.tolist()
    [1, 2, 0]
    """
    if time_limit is not None and not time_limit > 0:
        raise DictionaryError(f"time_limit must be a number of seconds above 0, not {time_limit!r}.")
    watch = Watch(progress, time_limit)
    A, B = _checked(A, "A"), _checked(B, "B").to(A.device)
    if A.shape[1] != B.shape[1]:
        raise DictionaryError(f"Directions of width {A.shape[1]} cannot be matched with directions of {B.shape[1]}.")
    if not len(A) or not len(B):
        none = np.zeros(0, np.int64)
        zero = np.zeros(len(A)), np.zeros(len(B))
        return Matching(none, none, np.zeros(0), 0.0, 0.0, 0.0, 0, watch.seconds, 0, *zero)
    swapped = len(A) > len(B)
    few, many = (B, A) if swapped else (A, B)
    try:
        found, cosine = _solved(few, many, watch)
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            f"The GPU has too little memory to match {len(A):,} × {len(B):,} directions of width {A.shape[1]}:"
            " pass tensors on the CPU."
        ) from error
    rows, cols = np.arange(len(few)), found.row_col
    if swapped:
        order = np.argsort(cols)
        rows, cols, cosine = cols[order], order, cosine[order]
    objective = math.fsum(cosine)
    gap = found.bound - objective
    gap = 0.0 if gap <= TOLERANCE * len(rows) else gap
    prices = (found.prices, found.gains) if swapped else (found.gains, found.prices)
    return Matching(
        rows, cols, cosine, objective, found.bound, gap, found.rounds, watch.seconds, watch.peak_bytes, *prices
    )


def _solved(few: Tensor, many: Tensor, watch: Watch) -> tuple[Found, np.ndarray]:
    """A matching of all rows of `few`, and the similarity of each pair in float64."""
    with torch.no_grad(), full_float32():
        if len(few) * len(many) <= DENSE_PAIRS:
            found = dense.match(few, many, watch)
        else:
            if find_spec("numba") is None:
                raise DictionaryError(
                    f"Matching {len(few):,} × {len(many):,} directions needs numba: pip install 'aquin-nb[engine]'."
                )
            similarities = Similarities(few, many)
            found = sparse.match(similarities, watch)
            row_col = settled(found.row_col, few, many)
            return replace(found, row_col=row_col), similarities.exact(np.arange(len(few)), row_col)
    row_col = settled(found.row_col, few, many)
    cosine = few.double().mul_(many[torch.from_numpy(row_col).to(many.device)]).sum(dim=1)
    return replace(found, row_col=row_col), cosine.cpu().numpy()


def _checked(X: Tensor, name: str) -> Tensor:
    """`X` as contiguous float32 rows that may be matched."""
    if X.dim() != 2:
        raise DictionaryError(f"{name} must be a matrix of one direction a row, not a tensor of shape {[*X.shape]}.")
    X = X.detach().float().contiguous()
    if not X.shape[1]:
        raise DictionaryError(f"{name} has directions of width 0.")
    lengths = torch.linalg.vector_norm(X, dim=1)
    if bool((lengths <= LONGEST).all()):  # False where a value is NaN
        return X
    finite = torch.isfinite(X).all(dim=1)
    for wrong, what in (
        (~finite, "holds NaN or infinite values"),
        (lengths > LONGEST, "is longer than 1; divide each row by its length"),
    ):
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            more = f" ({int(wrong.sum())} such rows in all)" if wrong.sum() > 1 else ""
            raise DictionaryError(f"Row {row} of {name} {what}{more}.")
    return X


def _up(value: float) -> str:
    """Two digits, rounded up: a claim about a gap must not sound better than it is."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    up = math.ceil(value / step - 1e-9) * step
    return f"{up:.0f}" if up >= 10 else f"{up:.2g}"
