"""What each kind of result shows without any script: one function a card kind, from its card and frame to HTML."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..cards import (
    ActivationCaptureCard,
    ActivationStoreCard,
    Card,
    SaeSweepCard,
    SaeTrainCard,
    SessionCard,
)
from ..cards.base import DictionaryRef
from ..files import human_bytes
from . import parts, words
from .charts import density_panel, line_panel
from .sweep_figure import numbered
from .tables import index_cell, plain, table
from .text import count, esc, number, percent, plural

TOP_ROWS = 30
PROBE_ROWS = 25


def dictionary_words(ref: DictionaryRef | None) -> str | None:
    """Name, architecture and widths."""
    return None if ref is None else f"{ref.name} ({ref.architecture}, {count(ref.d_in)} → {count(ref.d_sae)})"


def model_rows(card: Card) -> list[tuple[str, object]]:
    """Which weights ran and how, for the details of a card."""
    model = card.model
    if model is None:
        return []
    rows: list[tuple[str, object]] = [
        ("model", f"{model.name} ({model.source}), {model.n_layers} layers, d_model {count(model.d_model)}"),
        ("ran as", f"{model.dtype} on {model.device}, {model.backend}"),
        ("weights", f"sha256 {model.fingerprint}"),
    ]
    if model.checkpoint is not None:
        rows.append(("checkpoint", f"{model.checkpoint.path}, step {model.checkpoint.step}"))
        rows.append(("checkpoint file", f"sha256 {model.checkpoint.fingerprint}"))
    return rows


def end(card: Card) -> str:
    """What every kind ends with: the failure, notes and files."""
    return parts.failure(card) + parts.remarks(card) + parts.artifacts(card)


def train(card: SaeTrainCard, history: pd.DataFrame | None) -> str:
    """Header, what was measured at the end, charts, verdict, what was trained, advice."""
    layer = None if card.layer is None else f"layer {card.layer}"
    ended = [parts.ended(card), f"{count(card.latest.tokens)} tokens" if card.latest.tokens else ""]
    measured = [" · ".join(word for word in ended if word), *words.held_out(card.held_out)]
    return (
        parts.header(card, [parts.model_words(card), layer, card.hook, *words.settings(card.config)])
        + "".join(parts.line(esc(text), top=6 if i == 0 else 0) for i, text in enumerate(measured))
        + _charts(card, history)
        + parts.verdict(card)
        + end(card)
        + (parts.note("idle", "Advice", card.advice) if card.advice else "")
    )


def _charts(card: SaeTrainCard, history: pd.DataFrame | None) -> str:
    panels, below = "", [words.last_point(card.latest)]
    if history is not None and len(history):
        panels = _curves(card, history)
        total = max(card.history_points, len(history))
        if total > len(history):
            below.append(f"{count(len(history))} of {count(total)} points shown, extremes kept")
    if card.latest.density:
        panels += density_panel(card.latest.density)
    below.append(words.state(card))
    shown = [parts.line(esc(text), top=4 if i == 0 else 0) for i, text in enumerate(filter(None, below))]
    return (f'<div style="display:flex;flex-wrap:wrap">{panels}</div>' if panels else "") + "".join(shown)


def _curves(card: SaeTrainCard, history: pd.DataFrame) -> str:
    steps = history["step"].to_numpy(np.float64)
    columns = {name: history[name].to_numpy(np.float64) for name in ("recon_mse", "fvu", "l0", "dead")}
    dead, shown = columns["dead"], plain
    if card.config is not None:
        dead = 100 * dead / card.config.d_sae
        shown = lambda value: percent(value / 100)  # noqa: E731
    recon, fvu, l0 = columns["recon_mse"], columns["fvu"], columns["l0"]
    marks = card.resumed_from
    return (
        line_panel("Recon MSE", number(recon[-1]), steps, recon, scale="log", marks=marks)
        + line_panel("FVU", number(fvu[-1]), steps, fvu, floor=0, clip=1, marks=marks)
        + line_panel("L0", number(l0[-1]), steps, l0, scale="auto", span=0.1, marks=marks)
        + line_panel("Dead %" if card.config else "Dead", shown(dead[-1]), steps, dead, floor=0, marks=marks)
    )


def train_details(card: SaeTrainCard) -> str:
    """The configuration, folded; stays under the interactive charts."""
    config = card.config
    rows: list[tuple[str, object]] = []
    if config is not None:
        main = config.model_dump(exclude={"full"})
        rest = {name: value for name, value in config.full.items() if name not in main}
        rows += [(name.replace("_", " "), value) for name, value in (main | rest).items()]
    if card.corpus is not None:
        rows.append(("corpus", f"{card.corpus.name}, {count(card.corpus.tokens)} rows"))
        rows.append(("why this corpus", card.corpus.why))
    return parts.details("Configuration", rows + model_rows(card), slot=True)


def capture(card: ActivationCaptureCard, probes: pd.DataFrame | None) -> str:
    """Header, norms by layer, probes with their metadata."""
    unit = "mean over tokens" if card.position == "mean" else "last token"
    head = parts.header(
        card,
        [parts.model_words(card), f"{count(card.n_probes)} probes", f"{len(card.layers)} layers", unit, card.dtype]
        + ([f"topic: {card.topic}"] if card.topic else []),
    )
    body = parts.line(esc(parts.ended(card)))
    if card.norms:
        most = max(norm.max for norm in card.norms) or 1.0
        norms = pd.DataFrame([norm.model_dump() for norm in card.norms])
        norms[""] = [(norm.median / most, norm.max / most) for norm in card.norms]
        body += table(
            norms,
            limit=len(norms),
            height=260,
            search=False,
            labels={"median": "median norm", "max": "max norm"},
            render={"layer": index_cell, "": lambda shares: _span(*shares)},
        )
    if probes is None and card.probes:
        probes = pd.DataFrame([probe.model_dump() for probe in card.probes])
    if probes is not None and len(probes):
        body += '<div style="height:10px"></div>'
        body += table(probes, limit=PROBE_ROWS, total=max(card.n_probes, len(probes)), render={"row": index_cell})
    rows: list[tuple[str, object]] = [("dictionary", dictionary_words(card.dictionary))]
    return head + body + end(card) + parts.details("Details", rows + model_rows(card))


def store(card: ActivationStoreCard) -> str:
    """Header, how much was kept, norms by site."""
    got = f"{plural(card.rows, card.unit)}" + (f" of {count(card.wanted)} asked for" if card.rows < card.wanted else "")
    read = "" if card.documents is None else f"from {plural(card.documents, 'document')}"
    head = parts.header(card, [parts.model_words(card), card.corpus.name if card.corpus else None, got])
    facts = [parts.ended(card), read, human_bytes(card.bytes) if card.bytes else "", card.dtype]
    if card.tokens_per_second:
        facts.append(f"{number(card.tokens_per_second)} {card.unit}s/s")
    body = parts.line(esc(" · ".join(word for word in facts if word)))
    if card.rows:
        body += _norms(card)
    corpus = card.corpus
    rows: list[tuple[str, object]] = [
        ("corpus", None if corpus is None else f"{corpus.name} ({corpus.why})"),
        ("left out", card.exclusions),
        ("context", f"{count(card.context_size)} tokens, {count(card.batch_size)} rows a forward pass"),
    ]
    return head + body + end(card) + parts.details("Details", rows + model_rows(card))


def _norms(card: ActivationStoreCard) -> str:
    most = max((site.max_norm or 0.0 for site in card.sites), default=0.0) or 1.0
    columns = ["hook", "d_in", "median_norm", "mean_norm", "max_norm", "outliers"]
    norms = pd.DataFrame([site.model_dump() for site in card.sites])[columns]
    norms[""] = [((site.median_norm or 0.0) / most, (site.max_norm or 0.0) / most) for site in card.sites]
    return table(
        norms,
        limit=len(norms),
        height=320,
        search=len(norms) > 12,
        labels={"median_norm": "median norm", "mean_norm": "mean norm", "max_norm": "max norm"},
        render={"": lambda shares: _span(*shares)},
    )


def _span(median: float, largest: float) -> str:
    """The median as a full bar and the maximum as a pale one behind it."""
    low, high = max(0.0, median) * 100, max(0.0, largest - median) * 100
    return (
        f'<div style="display:flex;width:160px;height:9px;margin-top:5px;background-color:rgba(128, 128, 128, 0.14)">'
        f'<div style="width:{low:.1f}%;background-color:{parts.LINE}"></div>'
        f'<div style="width:{high:.1f}%;background-color:rgba(61, 127, 217, 0.4)"></div></div>'
    )


def sweep(card: SaeSweepCard) -> str:
    """Header, the caution, one row a layer."""
    corpus = card.corpus
    head = parts.header(
        card,
        [
            parts.model_words(card),
            plural(len(card.members), "dictionary", "dictionaries"),
            None if corpus is None else f"{count(corpus.tokens)} rows of {corpus.name}",
        ],
    )
    body = parts.line(esc(parts.ended(card)))
    if card.members:
        body += _layers(card)
    return head + body + parts.note("idle", "How not to read this", text=card.caution) + end(card)


def _layers(card: SaeSweepCard) -> str:
    rows = pd.DataFrame([member.model_dump() for member in card.members])
    rows[" "] = rows["fvu"].astype(float)
    named = ["layer"] if numbered(rows) else ["hook"]
    columns = [*named, "fvu", " ", "recon_mse", "mean_norm", "cosine", "l0", "dead_share", "verdict"]
    return table(
        rows[columns],
        limit=len(rows),
        height=420,
        search=len(rows) > 12,
        labels={"fvu": "FVU", "recon_mse": "recon MSE", "mean_norm": "mean norm", "l0": "L0", "dead_share": "dead"},
        render={"layer": index_cell, " ": lambda fvu: "" if fvu != fvu else parts.bar(fvu), "dead_share": percent},
    )


def session(card: SessionCard) -> str:
    """The locked model and the bound dictionary."""
    rows: list[tuple[str, object]] = [("dictionary", dictionary_words(card.dictionary))]
    rows += sorted(card.versions.items())
    details = parts.details("Details", rows + model_rows(card))
    model = card.model
    words = [parts.model_words(card)]
    if model is not None:
        kind = "embedding model" if model.mode == "embedding" else "language model"
        words += [kind, f"{model.n_layers} layers", f"d_model {count(model.d_model)}"]
        words += [f"{model.dtype} on {model.device}", model.backend]
    bound = dictionary_words(card.dictionary)
    line = parts.line(esc(f"Bound: {bound}" if bound else "No dictionary is bound."), top=6)
    return parts.header(card, words) + line + end(card) + details
