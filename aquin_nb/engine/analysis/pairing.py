"""Which probe of one capture is which of another, and which of them differ."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..activations.probes import Probe

SHOWN = 60  # characters of a value in a flag


@dataclass
class Pairing:
    """Rows of two captures that belong together.

    Attributes:
        by: "text", "position", or None where nothing belongs together.
        first, second: int64 [n], rows of either capture; in the order of the first.
        flags: one dict a probe that differs: `flag` ("missing": not in the second; "extra": not in the first; "text
            differs"; "metadata differs"), `first` and `second` (row or None), `text`, `detail`.
    """

    by: Literal["text", "position"] | None
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    flags: list[dict[str, Any]] = field(default_factory=list)


def pair(first: Sequence[Probe], second: Sequence[Probe]) -> Pairing:
    """Match probes by their text, the n-th of the same text with the n-th; by position where no text is in both.

    By position only when both have as many; every row is flagged then.

    >>> pair([Probe("a"), Probe("b")], [Probe("b"), Probe("c")]).flags[0]["flag"]
    'missing'
    """
    places: dict[str, list[int]] = defaultdict(list)
    for row in reversed(range(len(second))):
        places[second[row].text].append(row)
    found = [(row, places[probe.text].pop()) for row, probe in enumerate(first) if places.get(probe.text)]
    by: Literal["text", "position"] | None = "text"
    if not found:
        by = "position" if len(first) == len(second) else None
        found = [(row, row) for row in range(len(first))] if by else []
    flags = [_flag("missing", row, None, first[row].text) for row in _rest(len(first), [a for a, _ in found])]
    flags += [_flag("extra", None, row, second[row].text) for row in _rest(len(second), [b for _, b in found])]
    for a, b in found:
        if first[a].text != second[b].text:
            flags.append(_flag("text differs", a, b, first[a].text, f"second: {_short(second[b].text)}"))
        if changed := _changed(first[a].metadata, second[b].metadata):
            flags.append(_flag("metadata differs", a, b, first[a].text, "; ".join(changed)))
    rows = np.array(found, dtype=np.int64).reshape(-1, 2)
    return Pairing(by, rows[:, 0], rows[:, 1], flags)


def _rest(count: int, taken: Sequence[int]) -> list[int]:
    return sorted(set(range(count)).difference(taken))


def _flag(flag: str, first: int | None, second: int | None, text: str, detail: str = "") -> dict[str, Any]:
    return {"flag": flag, "first": first, "second": second, "text": text, "detail": detail}


def _changed(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Keys that both have, with other values; a key that one lacks altogether is no contradiction."""
    return [
        f"{key}: {_short(first[key])} and {_short(second[key])}"
        for key in first
        if key in second and first[key] != second[key]
    ]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
