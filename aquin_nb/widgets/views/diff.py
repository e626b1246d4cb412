"""What the view of a diff carries inside, and what it asks the kernel for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path, PurePath
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...cards import SaeDiffCard
from ...errors import AquinError
from .codes import log_codes

Answer = Callable[[dict[str, Any]], dict[str, Any]]
Drive = Callable[[int], Mapping[str, Any]]

WHOLE: Final = 20_000
"""Features up to which all are carried; of more, the `MOST` that changed most, and a sample for the scatter."""
MOST: Final = 5_000
SAMPLE: Final = 2_000
PAGE: Final = 32_768
BUDGET: Final = 118_000  # bytes, which the drivers of the first features may fill
DRIVEN: Final = 12
PROBES: Final = 40  # of those that drive a feature
LONG: Final = 1_200  # characters of a probe
BRIEF: Final = (6, 360)  # the same two for drivers carried in the page

COLUMNS: Final = ("mean_base", "mean_checkpoint", "delta", "rate_base", "rate_checkpoint", "q", "probes")
"""Columns of a page of features beside `feature`; q and probes are lacking before version 0.2."""


def diff_data(card: SaeDiffCard, frame: pd.DataFrame, drivers: Drive | None = None) -> dict[str, Any]:
    """The digest: the card, numbers of all features or of those that changed most, and what drives the first.

    Args:
        frame: one row a feature, see `SaeDiff.frame`.
        drivers: feature -> `driving`; asked for features in the order of the table until `BUDGET` is spent.

    Returns:
        `card` (without `top`), `compared`, `words` (tokens on which the top features change most), `features` (see
        `_encoded`, and `complete`: whether they are all), `sample` (of the others: feature, mean_base, mean_checkpoint)
        and `drivers`.
    """
    told = card.model_dump(mode="json", exclude={"top"})
    words = {str(delta.feature): delta.tokens for delta in card.top if delta.tokens}
    order = most_changed(frame)
    complete = len(frame) <= WHOLE
    kept = np.arange(len(frame)) if complete else order[:MOST]
    table = _encoded(card, frame)
    data: dict[str, Any] = {
        "card": told,
        "compared": compared(card),
        "words": words,
        "features": _rows(table, kept) | {"complete": complete},
    }
    if not complete:
        rest = np.sort(order[MOST:])
        rest = rest[np.linspace(0, len(rest) - 1, min(SAMPLE, len(rest))).astype(np.int64)]
        data["sample"] = _rows({name: table[name] for name in ("feature", "mean_base", "mean_checkpoint")}, rest)
    data["drivers"] = {}
    left = BUDGET - _size(data)
    for row in order[:DRIVEN] if drivers else ():
        assert drivers is not None
        feature = int(frame["feature"].iloc[row])
        found = _brief(drivers(feature))
        left -= len(json.dumps(found, ensure_ascii=False).encode())
        if left < 0:
            break
        data["drivers"][str(feature)] = found
    return data


def diff_answers(
    card: SaeDiffCard,
    frame: pd.DataFrame,
    drivers: Drive,
    cohort: Callable[[], pd.DataFrame] | None = None,
    words: Callable[[], dict[str, list[str]]] | None = None,
) -> dict[str, Answer]:
    """What the view asks for: `features` (a page of them), `drivers` of one, a `cohort`'s numbers, and `words`.

    Args:
        drivers: feature -> `driving`. cohort: the frame of `SaeDiff.cohorts()`, where the diff has cohorts.
        words: feature -> tokens on which it changes most, of all features for which they are kept.
    """

    @cache
    def table() -> dict[str, Any]:
        return _encoded(card, frame)

    def features(params: dict[str, Any]) -> dict[str, Any]:
        start = whole(params, "start", 0, max(len(frame) - 1, 0))
        return _rows(table(), np.arange(start, min(start + PAGE, len(frame)))) | {"total": len(frame)}

    def drive(params: dict[str, Any]) -> dict[str, Any]:
        return dict(drivers(whole(params, "feature", 0, max(card.n_features - 1, 0))))

    def of_cohort(params: dict[str, Any]) -> dict[str, Any]:
        assert cohort is not None
        found, name = cohort(), params.get("cohort")
        part = found[found["cohort"] == name]
        if not len(part):
            raise AquinError(f"This diff has no cohort {name!r:.80}.")
        return _rows(_encoded(card, part), np.arange(len(part)))

    answers: dict[str, Answer] = {"features": features, "drivers": drive}
    if cohort is not None:
        answers["cohort"] = of_cohort
    if words is not None:
        answers["words"] = lambda _params: {"words": words()}
    return answers


def compared(card: SaeDiffCard) -> str:
    """The checkpoint in words: file, step, and the rank of an adapter whose folder is still there.

    >>> compared(SaeDiffCard(name="d"))
    'checkpoint'
    """
    ref = card.model.checkpoint if card.model is not None else None
    if ref is None:
        return "checkpoint"
    adapter = Path(ref.path) / "adapter_config.json"
    form = ""
    if adapter.is_file():
        try:
            form = f"LoRA adapter of rank {int(json.loads(adapter.read_text(encoding='utf-8'))['r'])}, merged"
        except (OSError, ValueError, KeyError, TypeError):
            form = "adapter, merged"
    told = ", ".join(filter(None, [f"step {ref.step:,}" if ref.step else "", form]))
    return PurePath(ref.path).name + (f" ({told})" if told else "")


def driving(title: str, probes: pd.DataFrame, tokens: pd.DataFrame) -> dict[str, Any]:
    """What drives one feature, as the page takes it; the frames are those of `Drivers`."""
    known = ("probe", "base", "checkpoint", "delta", "share", "tokens", "text")
    meta = [name for name in probes if name not in known]
    shown = probes.head(PROBES)
    rows = [
        {
            **{name: _plain(row[name]) for name in known},
            "text": _cut(str(row["text"]), LONG),
            "metadata": {str(name): _said(row[name]) for name in meta if row[name] is not None},
        }
        for row in shown.to_dict("records")
    ]
    names = ("probe", "position", "before", "token", "after", "base", "checkpoint")
    cuts = [{name: _plain(row[name]) for name in names} for row in tokens.to_dict("records")]
    return {"title": title, "probes": rows, "total": len(probes), "tokens": cuts}


def _brief(found: Mapping[str, Any]) -> dict[str, Any]:
    few, long = BRIEF
    probes = [row | {"text": _cut(row["text"], long)} for row in found["probes"][:few]]
    return {**found, "probes": probes}


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def most_changed(frame: pd.DataFrame) -> NDArray[np.int64]:
    """Rows of the frame, the changed ones first, then by |delta|; what is not finite comes last."""
    size = np.abs(frame["delta"].to_numpy(np.float64))
    changed = frame["changed"].to_numpy(np.bool_) if "changed" in frame else np.zeros(len(frame), np.bool_)
    return np.lexsort((-np.nan_to_num(size, nan=-1.0), ~changed)).astype(np.int64)


def whole(params: Mapping[str, Any], name: str, least: int, most: int) -> int:
    """A whole number that a page sent.

    Raises:
        AquinError: it is none, or out of range.
    """
    value = params.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise AquinError(f"{name} must be a whole number from {least:,} to {most:,}, not {value!r:.40}.")
    return value


def _encoded(card: SaeDiffCard, frame: pd.DataFrame) -> dict[str, Any]:
    """Columns in 16 bytes a feature: delta as float32, since thresholds cut it; the others as `log_codes`.

    A feature's number is left out where row i is feature i.
    """
    own = {name: frame[name].to_numpy(np.float64) for name in COLUMNS if name in frame}
    table: dict[str, Any] = {"rows": len(frame)}
    number = frame["feature"].to_numpy(np.int32)
    table["feature"] = number
    table["delta"] = own.pop("delta").astype(np.float32)
    if "probes" in own:
        probes = np.nan_to_num(own.pop("probes"), nan=0.0)
        table["probes"] = probes.astype(np.uint16 if probes.max(initial=0) < 65_536 else np.int32)
    for name, values in own.items():
        table[name] = log_codes(values, exact=card.fdr if name == "q" else None)
    return table


def _rows(table: Mapping[str, Any], rows: NDArray[np.int64]) -> dict[str, Any]:
    cut: dict[str, Any] = {"rows": len(rows), "codes": {}, "numbers": {}}
    for name, values in table.items():
        if isinstance(values, dict):
            cut["codes"][name] = values | {"codes": values["codes"][rows]}
        elif name != "rows":
            cut["numbers"][name] = values[rows]
    number = cut["numbers"].get("feature")
    if number is not None and len(number) and np.array_equal(number, np.arange(number[0], number[0] + len(number))):
        del cut["numbers"]["feature"]
        cut["first"] = int(number[0])
    return cut


def _size(data: Any) -> int:
    """Bytes that the digest takes in the page."""
    from ..pack import embed

    return len(json.dumps(embed(data), ensure_ascii=False, separators=(",", ":")).encode())


def _plain(value: Any) -> Any:
    """A number or text that JSON has; six digits are enough to be looked at."""
    if isinstance(value, float | np.floating):
        return float(f"{float(value):.6g}") if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _said(value: Any) -> str:
    return str(value)[:120]
