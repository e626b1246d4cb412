"""What the token view carries inside, and what it asks the kernel for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from .codes import log_codes

PAIRS: Final = 12_000
"""Pairs of a token and a feature that a page carries; the strongest of each token come first."""

Seen = tuple[pd.DataFrame, pd.DataFrame]


def tokens_data(title: str, texts: Sequence[Seen], *, pairs: int = PAIRS) -> dict[str, Any]:
    """The digest: the tokens of each text, and the features that they turn on.

    Args:
        texts: one `(frame, tokens)` a text, see `Inspection`.
        pairs: at most; each token keeps as many of its strongest features as then fit.

    Returns:
        `title`; `texts`, each with `tokens` and `positions`; `starts` int32 [tokens of all texts + 1], by which token i
        has the pairs starts[i] to starts[i + 1] of `feature` and `activation` (`log_codes`), strongest first; `kept`
        and `most`: features a token carries and could have at most.
    """
    shown: list[dict[str, Any]] = [
        {"tokens": list(map(str, t["token"])), "positions": t["position"].to_numpy(np.int32)} for _, t in texts
    ]
    offsets = np.cumsum([0, *(len(text["tokens"]) for text in shown)])
    rows = [
        frame.assign(at=offset + _places(tokens["position"], frame["position"]))
        for offset, (frame, tokens) in zip(offsets, texts, strict=False)
    ]
    names = ["at", "rank", "feature", "activation"]
    whole = pd.concat([row[names] for row in rows], ignore_index=True) if rows else pd.DataFrame(columns=names)
    whole = whole.astype({"at": np.int64, "rank": np.int64, "feature": np.int64, "activation": np.float64})
    most = int(whole["rank"].max()) if len(whole) else 0
    kept = most
    while kept > 1 and int((whole["rank"] <= kept).sum()) > pairs:
        kept -= 1
    part = whole[whole["rank"] <= kept].sort_values(["at", "rank"], kind="stable")
    feature = part["feature"].to_numpy(np.int64)
    return {
        "title": title,
        "texts": shown,
        "starts": np.searchsorted(part["at"].to_numpy(), np.arange(offsets[-1] + 1)).astype(np.int32),
        "feature": feature.astype(np.uint16 if feature.max(initial=0) < 65_536 else np.int32),
        "activation": log_codes(part["activation"]),
        "kept": kept,
        "most": most,
    }


def tokens_answers(title: str, texts: Sequence[Seen]) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    """What the view asks for: `all`, the same with every feature that was found."""
    return {"all": lambda _params: tokens_data(title, texts, pairs=10**9)}


def _places(positions: pd.Series[Any], wanted: pd.Series[Any]) -> np.ndarray:
    return np.searchsorted(positions.to_numpy(np.int64), wanted.to_numpy(np.int64))
