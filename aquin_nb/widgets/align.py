"""What an alignment shows without any script."""

from __future__ import annotations

import pandas as pd

from ..cards import SaeAlignCard
from . import parts
from .charts import histogram
from .snapshots import dictionary_words, end
from .tables import index_cell, table
from .text import count, esc, number, percent


def align_snapshot(card: SaeAlignCard, pairs: pd.DataFrame | None) -> str:
    """Header numbers, the histogram of matched cosines, the weakest and strongest pairs."""
    exact = "exact" if card.gap <= 1e-6 * max(1.0, abs(card.bound)) else f"at most {number(card.gap)} below the best"
    head = parts.header(card, [f"{dictionary_words(card.a)} with {dictionary_words(card.b)}"])
    body = parts.line(esc(parts.ended(card)))
    body += parts.facts(
        [
            (number(card.mean_cosine), "mean cosine", "over matched pairs of decoder rows"),
            (number(card.median_cosine), "median cosine", "over matched pairs of decoder rows"),
            (percent(card.share_above_0_7), "pairs above 0.7", "share of matched pairs"),
            (percent(card.share_above_0_9), "pairs above 0.9", "share of matched pairs"),
            (exact, f"{count(card.n_pairs)} pairs", f"sum {number(card.objective)}, at most {number(card.bound)}"),
        ]
    )
    if card.zero_a or card.zero_b:
        body += parts.line(f"left out, without a direction: {count(card.zero_a)} of a, {count(card.zero_b)} of b")
    if card.histogram:
        body += histogram(card.histogram, -1.0, 1.0)
    columns = ["a", "b", "cosine"]
    if pairs is not None and len(pairs):
        ranked = pairs.dropna(subset=["cosine"]).sort_values("cosine", kind="stable")
        ends = {"Weakest pairs": ranked.head(12), "Strongest pairs": ranked.tail(12)[::-1]}
        columns += [name for name in ("kind",) if name in pairs]
    else:
        ends = {
            title: pd.DataFrame([pair.model_dump() for pair in listed])
            for title, listed in (("Weakest pairs", card.weakest), ("Strongest pairs", card.strongest))
        }
    tables = "".join(
        f'<div style="margin:10px 36px 0px 0px"><b style="font-size:12px">{title}</b>'
        + table(_with_bar(end, columns), search=False, render={"a": index_cell, "b": index_cell, "": _cosine_bar})
        + "</div>"
        for title, end in ends.items()
        if len(end)
    )
    rows = [
        (f"dictionary {name}", f"{dictionary_words(ref)}, {ref.path}") for name, ref in (("a", card.a), ("b", card.b))
    ]
    body += f'<div style="display:flex;flex-wrap:wrap">{tables}</div>'
    return head + body + end(card) + parts.details("Details", rows)


def _with_bar(pairs: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    shown = pairs[columns].reset_index(drop=True)
    shown.insert(3, "", shown["cosine"])
    return shown


def _cosine_bar(cosine: float) -> str:
    return parts.diverging_bar(cosine, width=100) if cosine < 0 else parts.bar(cosine, width=100)
