"""Orders that depend on a seed alone: a full permutation, and a shuffle within a bounded buffer."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ...errors import CorpusError

BUFFER_DOCUMENTS = 10_000
BUFFER_SIZE = 64 << 20  # characters or ids; long documents fill the buffer before their number does

Placed = TypeVar("Placed", bound=tuple[str, Any])


def checked_seed(seed: object) -> int:
    """`seed` as it is.

    Raises:
        CorpusError: not a whole number of at least 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise CorpusError(f"seed={seed!r:.40} must be a whole number of at least 0 (or None for the source's order).")
    return int(seed)


def permuted(count: int, seed: int) -> npt.NDArray[np.int64]:
    """The numbers below `count` [count] in an order drawn from `seed`, each equally likely."""
    return np.random.default_rng(seed).permutation(count)


def buffered(
    rows: Iterator[Placed], seed: int, *, most: int = BUFFER_DOCUMENTS, size: int = BUFFER_SIZE
) -> Iterator[Placed]:
    """The same (where, document), each put off by a random while: what leaves is drawn from the rows now held.

    At most `most` rows and about `size` characters are held; a document moves ahead by less than `most` places and
    may stay back as long as chance has it.

    >>> sorted(buffered(iter([("row 1", "a"), ("row 2", "b")]), seed=3))
    [('row 1', 'a'), ('row 2', 'b')]
    """
    draw = random.Random(seed)
    held: list[Placed] = []
    weight = 0

    def drawn() -> Placed:
        nonlocal weight
        at = draw.randrange(len(held))
        held[at], held[-1] = held[-1], held[at]
        row = held.pop()
        weight -= _size(row)
        return row

    for row in rows:
        held.append(row)
        weight += _size(row)
        while len(held) > most or weight > size:
            yield drawn()
    while held:
        yield drawn()


def _size(row: tuple[str, Any]) -> int:
    return 0 if row[1] is None else len(row[1])
