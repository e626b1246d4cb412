"""From a matching and its neighbours to tables: one row a feature, one row a pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..assignment import Matching
from .classes import Side, Thresholds, accepted, classify
from .firing import Firings
from .margins import margins
from .neighbours import Neighbours
from .null import false_discovery
from .spans import Span, claims

TIE = 1e-6
"""Similarities closer than this are equal: they are looked at in float32 where there are many."""

Gram = Callable[[np.ndarray], np.ndarray]
"""Similarities among some features of one dictionary: [m] -> float64 [m, m]."""


@dataclass(frozen=True)
class Compared:
    """What matching two dictionaries by some similarity gave; features are numbered among those that took part.

    widths: features looked at. ids: int64 [n_a], [n_b], those that took part. cosine: float64 [pairs], p: their chance.
    error: what a similarity that `seen` holds may be wrong by. line: the null's. firings: on the sample, if there is.
    least: firings below which a feature took no part.
    """

    widths: tuple[int, int]
    ids: tuple[np.ndarray, np.ndarray]
    matching: Matching
    cosine: np.ndarray
    p: np.ndarray
    seen: Neighbours
    error: float
    line: float
    grams: tuple[Gram, Gram]
    firings: tuple[Firings, Firings] | None
    least: int = 0


@dataclass(frozen=True)
class Tables:
    """features: two frames, of a and of b, one row a feature:

        feature, class
        partner, cosine        the feature it is matched with and how similar they are; missing without one
        margin                 certified loss if the pair were forbidden (`margins`)
        p, q                   chance that an unrelated feature's best is as similar, and its false discovery rate
        nearest, nearest_cosine, second, second_cosine
                               the most similar features of the other dictionary, whoever these are matched with
        mutual                 each is the other's nearest
        members, explained     of a feature that is split or merged: features of the other side, and R² of their span
        parent                 of a member: the feature it is part of
        firing_rate            share of the sample's rows; missing without a sample

    pairs: a, b, cosine, class_a, class_b, margin, p, q; one row a pair, sorted by a.
    """

    features: tuple[pd.DataFrame, pd.DataFrame]
    pairs: pd.DataFrame


def tables(found: Compared, limits: Thresholds) -> Tables:
    """Classify every feature of both dictionaries and write it all down."""
    m, seen = found.matching, found.seen
    partner = np.full(len(found.ids[0]), -1)
    partner[m.rows] = m.cols
    margin = margins(partner, m.row_price, m.col_price, seen.row_rival, seen.col_rival, gap=m.gap, error=found.error)[
        m.rows
    ]
    q = false_discovery(found.p)
    sides = _side(found, 0), _side(found, 1)
    spans = _spans(found, sides, limits, 0), _spans(found, sides, limits, 1)
    frames = []
    for i in (0, 1):
        kinds = classify(sides[i], spans[i], spans[1 - i], found.line, limits, "ab"[i])
        at = m.rows if i == 0 else m.cols
        columns = {"margin": margin, "p": found.p, "q": q}
        frames.append(_features(found, i, sides[i], kinds, spans, {n: (at, v) for n, v in columns.items()}))
    a, b = found.ids[0][m.rows], found.ids[1][m.cols]
    pairs = pd.DataFrame(
        {
            "a": a, "b": b, "cosine": found.cosine, "class_a": frames[0]["class"].to_numpy()[a],
            "class_b": frames[1]["class"].to_numpy()[b], "margin": margin, "p": found.p, "q": q,
        }
    )  # fmt: skip
    return Tables((frames[0], frames[1]), pairs.sort_values("a", kind="stable", ignore_index=True))


def _side(found: Compared, i: int) -> Side:
    m, seen, n = found.matching, found.seen, len(found.ids[i])
    own, other = (m.rows, m.cols) if i == 0 else (m.cols, m.rows)
    partner, matched = np.full(n, -1), np.full(n, np.nan)
    partner[own], matched[own] = other, found.cosine
    nearest = (seen.a_ids[:, 0], seen.b_ids[:, 0])
    best = (seen.a_similarity[:, 0], seen.b_similarity[:, 0])
    mutual = best[1 - i][nearest[i]] <= best[i] + TIE  # by value: of equal features any may be listed first
    dead = np.zeros(n, bool) if found.firings is None else found.firings[i].counts[found.ids[i]] == 0
    return Side(nearest[i], best[i], mutual, partner, matched, dead)


def _spans(found: Compared, sides: tuple[Side, Side], limits: Thresholds, i: int) -> list[Span]:
    """Features of side i that several living ones of the other span."""
    other = sides[1 - i]
    alive = np.where(other.dead, np.nan, other.similarity)
    return accepted(claims(other.nearest, alive, max(limits.claim, found.line), found.grams[1 - i]), limits)


def _features(
    found: Compared,
    i: int,
    side: Side,
    kinds: np.ndarray,
    spans: tuple[list[Span], list[Span]],
    of_pairs: dict[str, tuple[np.ndarray, np.ndarray]],
) -> pd.DataFrame:
    ids, theirs, width = found.ids[i], found.ids[1 - i], found.widths[i]
    frame = pd.DataFrame({"feature": np.arange(width), "class": _absent(found, i)})
    frame.loc[ids, "class"] = kinds
    near, similar = (
        (found.seen.a_ids, found.seen.a_similarity) if i == 0 else (found.seen.b_ids, found.seen.b_similarity)
    )
    none = np.full(len(ids), -1)

    def numbers(name: str, values: np.ndarray) -> None:
        column = np.full(width, np.nan)
        column[ids] = values
        frame[name] = column

    def features(name: str, places: np.ndarray) -> None:
        column = np.full(width, -1, np.int64)
        column[ids] = np.where(places >= 0, theirs[places], -1)
        frame[name] = pd.array(np.where(column >= 0, column, 0), dtype="Int64")
        frame.loc[column < 0, name] = pd.NA

    features("partner", side.partner)
    numbers("cosine", side.matched)
    for name, (at, values) in of_pairs.items():
        column = np.full(len(ids), np.nan)
        column[at] = values
        numbers(name, column)
    features("nearest", side.nearest)
    numbers("nearest_cosine", side.similarity)
    features("second", near[:, 1] if near.shape[1] > 1 else none)
    numbers("second_cosine", similar[:, 1] if near.shape[1] > 1 else none * np.nan)
    mutual = np.zeros(width, bool)
    mutual[ids] = side.mutual
    frame["mutual"] = mutual
    members, explained, parent = [""] * width, np.full(width, np.nan), none.copy()
    for span in spans[1 - i]:
        parent[span.members] = span.parent
        explained[ids[span.members]] = span.explained
    for span in spans[i]:
        members[ids[span.parent]] = " ".join(str(theirs[member]) for member in span.members)
        explained[ids[span.parent]] = span.explained
    frame["members"], frame["explained"] = members, explained
    features("parent", parent)
    rate = np.nan if found.firings is None else found.firings[i].counts[:width] / found.firings[i].rows
    frame["firing_rate"] = rate
    return frame


def _absent(found: Compared, i: int) -> np.ndarray:
    """The class of features that took no part."""
    out = np.full(found.widths[i], "dead", dtype=object)
    if found.firings is not None:
        counts = found.firings[i].counts[: found.widths[i]]
        out[(counts > 0) & (counts < found.least)] = "rare"
    return out
