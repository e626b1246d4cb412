"""What a diff shows without any script."""

from __future__ import annotations

import pandas as pd

from ..cards import SaeDiffCard
from . import parts
from .snapshots import TOP_ROWS, dictionary_words, end, model_rows
from .tables import index_cell, table
from .text import count, esc, number, percent


def diff_snapshot(card: SaeDiffCard, features: pd.DataFrame | None) -> str:
    """Header numbers and the features that changed most, with diverging bars."""
    head = parts.header(card, [parts.model_words(card), f"layer {card.layer}", dictionary_words(card.dictionary)])
    fvu = "–" if card.fvu_base is None else f"{number(card.fvu_base)} → {number(card.fvu_checkpoint)}"
    share = f"{count(card.n_changed)} of {count(card.n_features)}"
    embedding = card.model is not None and card.model.mode == "embedding"
    seen = f"{count(card.n_prompts)} prompts" + ("" if embedding else f", {count(card.n_tokens)} tokens")
    body = parts.line(esc(" · ".join(filter(None, [parts.ended(card), seen]))))
    body += parts.facts(
        [
            (share, "features changed", f"mean activation moved by more than {number(card.threshold)}"),
            (number(card.mean_abs_delta), "mean |Δ|", "mean over features of the change of their mean activation"),
            (number(card.max_abs_delta), "max |Δ|", "largest change of a feature's mean activation"),
            (fvu, "FVU, base → checkpoint", "how well the dictionary reconstructs each; a rise means it fits less"),
        ]
    )
    if features is None:
        features = pd.DataFrame([delta.model_dump() for delta in card.top])
    if len(features):
        features = features.reindex(features["delta"].abs().sort_values(ascending=False, kind="stable").index)
        columns = ["feature", "mean_base", "mean_checkpoint", "delta", "rate_base", "rate_checkpoint"]
        top = features[columns].head(TOP_ROWS).reset_index(drop=True)
        top.insert(4, "", top["delta"])
        most = float(top["delta"].abs().max()) or 1.0
        body += '<div style="height:8px"></div>' + table(
            top,
            limit=TOP_ROWS,
            total=card.n_features or len(features),
            labels={"mean_base": "mean, base", "mean_checkpoint": "mean, checkpoint", "delta": "Δ",
                    "rate_base": "fires, base", "rate_checkpoint": "fires, checkpoint"},
            render={"feature": index_cell, "": lambda delta: parts.diverging_bar(delta / most),
                    "rate_base": percent, "rate_checkpoint": percent},
        )  # fmt: skip
    return head + body + end(card) + parts.details("Details", model_rows(card))
