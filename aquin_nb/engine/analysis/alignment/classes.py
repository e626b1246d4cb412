"""What became of each feature: shared, rotated, split, merged, displaced, unmatched, weak, or dead."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from ....errors import DictionaryError
from .spans import Span

CLASSES = ("shared", "rotated", "split", "merged", "displaced", "weak", "unmatched", "rare", "dead")


@dataclass(frozen=True)
class Thresholds:
    """Where one class ends and the next begins.

    Let s be the similarity of a feature's nearest neighbour on the other side. The first that applies:

        dead       no direction (zero, NaN or infinite row), or it never fired on the sample of activations
        rare       fired on fewer than 10 rows of the sample: too few to correlate (only when aligned by firings)
        split      one feature of a and several of b: at least two features of b, each more similar than `claim` and the
                   null line, have it as their nearest, and a non-negative combination of them explains at least `span`
                   of it (R²), `gain` more than the best of them alone. It and they are in the class.
        merged     the mirror: several features of a and one of b
        shared     s >= tau, and each is the other's nearest
        rotated    null < s < tau, and each is the other's nearest: the same feature may have turned
        unmatched  s <= null: no better than an unrelated feature's nearest would be
        displaced  its nearest neighbour is matched with another, and its own partner is less similar by more than
                   `regret` (or it has none)
        weak       the rest: something above the null is near, but prefers another

    null is the line that an unrelated feature's best neighbour stays below with probability `level`.
    """

    tau: float = 0.7
    claim: float = 0.4
    span: float = 0.6
    gain: float = 0.1
    regret: float = 0.1
    level: float = 0.99

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
                raise DictionaryError(f"thresholds: {field.name} must be a number between 0 and 1, not {value!r}.")


@dataclass(frozen=True)
class Side:
    """One dictionary's features as the classifier sees them, [n] each, those without a direction left out.

    nearest: int64, feature of the other side; similarity: of it; mutual: whether it is the other's nearest too.
    matched: similarity of the partner, NaN without one; partner: int64, -1 without one.
    dead: never fired on the sample.
    """

    nearest: np.ndarray
    similarity: np.ndarray
    mutual: np.ndarray
    partner: np.ndarray
    matched: np.ndarray
    dead: np.ndarray


def accepted(spans: list[Span], limits: Thresholds) -> list[Span]:
    """Those that are splits (or merges) by `Thresholds`."""
    return [s for s in spans if s.explained >= limits.span and s.explained - s.single >= limits.gain]


def classify(
    side: Side, own: list[Span], theirs: list[Span], null: float, limits: Thresholds, names: str
) -> np.ndarray:
    """Class of each feature, str [n].

    Args:
        own: accepted spans whose parent is here; theirs: whose members are here.
        names: "a" or "b": several features of b with one of a are split, several of a with one of b are merged.
    """
    n = len(side.nearest)
    parent, member = np.zeros(n, bool), np.zeros(n, bool)
    parent[[span.parent for span in own]] = True
    for span in theirs:
        member[span.members] = True
    split, merged = (parent, member) if names == "a" else (member, parent)
    above = side.similarity > null
    elsewhere = side.partner != side.nearest
    lost = ~(side.similarity - np.nan_to_num(side.matched, nan=-np.inf) <= limits.regret)
    conditions = [
        side.dead,
        split,
        merged,
        side.mutual & above & (side.similarity >= limits.tau),
        side.mutual & above,
        ~above,
        elsewhere & lost,
    ]
    chosen = ["dead", "split", "merged", "shared", "rotated", "unmatched", "displaced"]
    return np.select(conditions, chosen, "weak").astype(object)
