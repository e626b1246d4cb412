"""What a diff shows without any script, and in a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..cards import CohortDelta, SaeDiffCard
from . import parts
from .snapshots import TOP_ROWS, dictionary_words, end, model_rows
from .tables import Render, index_cell, table
from .text import count, esc, number, percent, plural

ADVICE = {
    "keep": ("good", "Keep the dictionary"),
    "align": ("warn", "Read the deltas, then train on the checkpoint and align"),
    "retrain": ("bad", "Train a dictionary on the checkpoint"),
}
COHORTS = 8  # columns of the table by cohort
COHORT_FEATURES = 12
FEW = "too few to tell any change from chance"  # in the note that the engine writes then
TOKEN = 16  # characters of a token in a table
IN_TERMINAL = 5  # features, and cohorts
LABELS = {
    "mean_base": "mean, base", "mean_checkpoint": "checkpoint", "delta": "Δ", "rate_base": "fires, base",
    "rate_checkpoint": "checkpoint", "probes": "probes",
}  # fmt: skip


def diff_snapshot(card: SaeDiffCard, features: pd.DataFrame | None) -> str:
    """Header numbers, the advice, the features that changed most with their significance, and cohorts."""
    head = parts.header(card, [parts.model_words(card), f"layer {card.layer}", dictionary_words(card.dictionary)])
    body = parts.line(esc(" · ".join(filter(None, [parts.ended(card), seen(card)]))))
    body += parts.facts(_facts(card))
    if card.same:
        body += parts.note("idle", "No change", text=card.notes[0] if card.notes else "")
    unheard = [note for note in card.notes if not card.same and FEW in note]
    for note in unheard:
        body += parts.note("warn", "Too few probes", text=note)
    if card.advice is not None:
        body += parts.note(*ADVICE[card.advice], text=card.advice_reason)
    body += _features(card, features)
    if card.cohorts:
        body += _cohorts(card)
    told = [*unheard, *(card.notes[:1] if card.same else [])]
    rest = card.model_copy(update={"notes": [note for note in card.notes if note not in told]})
    rows: list[tuple[str, object]] = []
    if card.fdr is not None:
        rows.append(("changed", f"{rule(card)}; q over {count(card.n_tested)} features tested"))
        rows.append(("p", "sign-flip test over probes: are the changes of one feature as often up as down?"))
    return head + body + end(rest) + parts.details("Details", rows + model_rows(card))


def seen(card: SaeDiffCard) -> str:
    """How much was looked at."""
    embedding = card.model is not None and card.model.mode == "embedding"
    return plural(card.n_prompts, "prompt") + ("" if embedding else f", {plural(card.n_tokens, 'token')}")


def rule(card: SaeDiffCard) -> str:
    """What makes a feature count as changed."""
    size = f"|Δ| {'>' if card.fdr is None else '≥'} {number(card.threshold)}"
    return size if card.fdr is None else f"q ≤ {card.fdr:g} and {size}"


def diff_lines(card: SaeDiffCard) -> list[str]:
    """What a terminal shows: one line, and some below it."""
    unit = "text" if card.model is not None and card.model.mode == "embedding" else "token"
    lines = [
        f"SaeDiff {card.name}: {card.n_changed:,} of {card.n_features:,} features changed ({rule(card)}), mean |Δ|"
        f" {card.mean_abs_delta:.4g}, max |Δ| {card.max_abs_delta:.4g} over {plural(card.n_tokens, unit)}"
    ]
    if card.same:
        lines.append(card.notes[0])
    elif card.n_over is not None and card.n_over != card.n_changed:
        lines.append(f"{card.n_over:,} move by the threshold or more; {card.n_tested or 0:,} could be tested")
    for delta in [one for one in card.top if one.changed][:IN_TERMINAL]:
        tokens = ", ".join(repr(token) for token in delta.tokens)
        lines.append(
            f"feature {delta.feature}: {number(delta.mean_base)} → {number(delta.mean_checkpoint)}, q {number(delta.q)}"
            + (f", on {tokens}" if tokens else "")
        )
    for cohort in card.cohorts[:IN_TERMINAL]:
        lines.append(f"{card.by} {cohort.cohort}: {cohort.n_changed:,} changed, {plural(cohort.n_prompts, 'prompt')}")
    if len(card.cohorts) > IN_TERMINAL:
        lines.append(f"{len(card.cohorts) - IN_TERMINAL} more cohorts in .cohorts()")
    if card.advice is not None:
        lines.append(f"Dictionary: {card.advice}. {card.advice_reason}")
    return [*lines, *card.notes[1 if card.same else 0 :]]


def tinted(value: float, most: float, *, bold: bool = True) -> str:
    """A change on an orange (up) or blue (down) ground, as strong as it is large; not bold where it may be chance."""
    if not math.isfinite(value):
        return "–"
    share = 0.06 + 0.5 * min(1.0, abs(value) / most) if value else 0.0
    colour = f"rgba(217, 130, 43, {share:.2f})" if value > 0 else f"rgba(61, 127, 217, {share:.2f})"
    weight = "font-weight:600" if bold else "opacity:0.6"
    return f'<div style="background-color:{colour};padding:0px 6px;text-align:right;{weight}">{number(value)}</div>'


def shown_token(token: str) -> str:
    """A token as a small chip; white space as signs, so that a token of one space is seen."""
    plain = (
        token.replace("\n", "⏎").replace("\t", "⇥").replace("\r", "␍").replace(" ", "␣" if not token.strip() else " ")
    )
    cut = plain if len(plain) <= TOKEN else plain[: TOKEN - 1] + "…"
    style = "display:inline-block;margin-right:4px;padding:0px 4px;border-radius:3px;white-space:pre"
    return f'<span style="{style};background-color:rgba(128, 128, 128, 0.16)">{esc(cut)}</span>'


def _facts(card: SaeDiffCard) -> list[tuple[str, str, str]]:
    share = f"{count(card.n_changed)} of {count(card.n_features)}"
    fvu = "–" if card.fvu_base is None else f"{number(card.fvu_base)} → {number(card.fvu_checkpoint)}"
    facts = [(share, f"features changed: {rule(card)}", "in one direction across probes, and by enough to matter")]
    if card.n_over is not None:
        why = "mean activation moved by the threshold or more, whether or not it may be chance"
        facts.append((count(card.n_over), f"moved by {number(card.threshold)} or more", why))
    return [
        *facts,
        (number(card.mean_abs_delta), "mean |Δ|", "mean over features of the change of their mean activation"),
        (number(card.max_abs_delta), "max |Δ|", "largest change of a feature's mean activation"),
        (fvu, "FVU, base → checkpoint", "how well the dictionary reconstructs each; a rise means it fits less"),
    ]


def _features(card: SaeDiffCard, features: pd.DataFrame | None) -> str:
    if features is None:
        features = pd.DataFrame([delta.model_dump(exclude={"tokens"}) for delta in card.top])
    if not len(features):
        return ""
    columns = ["feature", "mean_base", "mean_checkpoint", "delta", "rate_base", "rate_checkpoint"]
    size = features["delta"].abs().to_numpy(np.float64)
    tested = card.fdr is not None and {"q", "changed", "probes"} <= set(features)
    changed = features["changed"].to_numpy(np.bool_) if tested else np.ones(len(features), np.bool_)
    order = np.lexsort((-size, ~changed))[:TOP_ROWS]
    top = features.iloc[order][[*columns, *(["probes", "q"] if tested else [])]].reset_index(drop=True)
    most = float(size.max()) or 1.0
    top.insert(4, "", list(zip(top["delta"], changed[order], strict=True)))
    tokens = {delta.feature: delta.tokens for delta in card.top if delta.tokens}
    if tokens:
        top["changes most on"] = [tokens.get(feature, []) for feature in top["feature"]]
    render: dict[str, Render] = {
        "feature": index_cell, "": lambda at: _bar(at, most), "rate_base": percent, "rate_checkpoint": percent,
        "changes most on": lambda some: f'<div style="white-space:nowrap">{"".join(map(shown_token, some))}</div>',
    }  # fmt: skip
    if tested:
        render["q"] = _q(card.fdr or 0.0)
    total = card.n_features or len(features)
    return '<div style="height:10px"></div>' + table(top, limit=TOP_ROWS, total=total, labels=LABELS, render=render)


def _bar(at: tuple[float, bool], most: float) -> str:
    delta, changed = at
    bar = parts.diverging_bar(delta / most, width=110)
    return bar if changed else f'<div style="opacity:0.35" title="may be chance, or small">{bar}</div>'


def _q(fdr: float) -> Render:
    def render(q: Any) -> str:
        if q is None or math.isnan(q):
            return '<span style="opacity:0.6" title="differs on too few probes to be tested">untested</span>'
        shown = "0" if q == 0 else f"{q:.0e}".replace("e-0", "e-") if q < 0.001 else number(q)
        return f"<b>{shown}</b>" if q <= fdr else f'<span style="opacity:0.6">{shown}</span>'

    return render


def _cohorts(card: SaeDiffCard) -> str:
    """How much changed in each cohort, and what."""
    shown = card.cohorts[:COHORTS]
    rows = pd.DataFrame(
        {
            str(card.by): [one.cohort for one in card.cohorts],
            "prompts": [one.n_prompts for one in card.cohorts],
            "changed": [one.n_changed for one in card.cohorts],
            "moved": [one.n_over for one in card.cohorts],
            "tested": [one.n_tested for one in card.cohorts],
            "mean |Δ|": [one.mean_abs_delta for one in card.cohorts],
        }
    )
    heading = f'<div style="margin-top:14px"><b style="font-size:12px">By {esc(card.by)}</b></div>'
    body = heading + table(rows, limit=len(rows), height=260, search=False)
    matrix = _matrix(card.cohort_features[:COHORT_FEATURES], shown)
    if len(matrix):
        most = max((abs(delta) for one in shown for delta in one.deltas[:COHORT_FEATURES]), default=0.0) or 1.0
        cell: Mapping[str, Render] = {
            **{one.cohort: lambda at: tinted(at[0], most, bold=at[1]) for one in shown}, "feature": index_cell,
        }  # fmt: skip
        said = f"Δ by {card.by}; bold: changed within the cohort"
        if len(card.cohorts) > COHORTS:
            said += f"; {COHORTS} of {len(card.cohorts)} cohorts, all are in .cohorts()"
        body += parts.line(esc(said), top=10) + table(matrix, limit=len(matrix), search=False, render=cell)
    return body


def _matrix(features: Sequence[int], shown: Sequence[CohortDelta]) -> pd.DataFrame:
    cells: dict[str, Any] = {"feature": list(features)}
    for one in shown:
        cells[one.cohort] = list(zip(one.deltas[: len(features)], one.changed[: len(features)], strict=True))
    return pd.DataFrame(cells)
