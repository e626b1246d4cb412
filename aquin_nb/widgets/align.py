"""What an alignment shows without any script."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from ..cards import AlignedFeature, Neighbour, SaeAlignCard
from . import parts
from .snapshots import dictionary_words, end
from .tables import index_cell, table
from .text import count, esc, number, percent, tick

COLOURS = {
    "shared": "#3d7fd9", "rotated": "#2a9d8f", "split": "#8a63d2", "merged": "#c05fa8", "displaced": "#d9822b",
    "weak": "#b59a2c", "unmatched": "#c0504d", "rare": "#a9afb6", "dead": "#7b828a",
}  # fmt: skip
SHOWN = 12
COMPARED = {
    "decoder": "decoder rows", "encoder": "encoder columns", "both": "decoder rows, encoders beside",
    "firings": "correlation of firings",
}  # fmt: skip
GREY = "rgba(128, 128, 128, 0.55)"


def meanings(card: SaeAlignCard) -> dict[str, str]:
    """Each class in a sentence, with this alignment's thresholds."""
    t, line = card.thresholds, number(card.null_line)
    word = "correlation" if card.on == "firings" else "cosine"
    return {
        "shared": f"each the other's nearest, {word} at least {t.tau:g}",
        "rotated": f"each the other's nearest, {word} between {line} and {t.tau:g}: it may have turned",
        "split": "one feature of a, several of b: they have it as their nearest and span it"
        f" (R² at least {t.span:g}, {t.gain:g} more than the best alone)",
        "merged": "several features of a, one of b: the mirror of split",
        "displaced": f"its nearest went to another, its partner is less similar by more than {t.regret:g}",
        "weak": f"something above {line} is near, but prefers another",
        "unmatched": f"nothing more similar than {line}, what an unrelated feature would get",
        "rare": "fired too rarely on the sample to correlate",
        "dead": card.dead_by or "no direction",
    }


def align_snapshot(card: SaeAlignCard, pairs: pd.DataFrame | None) -> str:
    """Header numbers, histogram against the null, classes, weakest features and pairs.

    Args:
        pairs: columns a, b, cosine and, where they are known, class_a, class_b, margin; by default the card's.
    """
    head = parts.header(card, [f"a {dictionary_words(card.a)}", f"b {dictionary_words(card.b)}"])
    said = [parts.ended(card), f"by {COMPARED[card.on]}", f"encoded {card.sample}" if card.sample else ""]
    body = parts.line(esc(" · ".join(word for word in said if word)))
    body += parts.facts(_facts(card))
    body += _histogram(card)
    body += _classes(card)
    body += _weakest(card)
    body += _ends(card, pairs)
    rows: list[tuple[str, object]] = [
        (f"dictionary {name}", f"{dictionary_words(ref)}, {ref.path}") for name, ref in (("a", card.a), ("b", card.b))
    ]
    rows.append(("sum of cosines", f"{card.objective:.6g}; no matching has more than {card.bound:.6g}"))
    rows.append(("quantiles of cosine", ", ".join(f"{q} %: {number(v)}" for q, v in card.quantiles.items())))
    if card.null_isotropic is not None:
        lines = f"isotropic {number(card.null_isotropic)}, covariance-matched {number(card.null_covariance)}"
        rows.append(("unrelated feature's best, 99 %", lines))
    rows.append(("dead by", card.dead_by))
    rows.append(("thresholds", ", ".join(f"{name} {value:g}" for name, value in card.thresholds.model_dump().items())))
    return head + body + end(card) + parts.details("Details", rows)


def summary_lines(card: SaeAlignCard) -> list[str]:
    """What the terminal says."""
    head = (
        f"SaeAlign {card.name}: {card.n_pairs:,} pairs of {card.a.name} and {card.b.name}, mean cosine"
        f" {card.mean_cosine:.4f}, {card.share_above_0_7:.0%} ≥ 0.7, {card.share_above_0_9:.0%} ≥ 0.9"
    )
    lines = [head + (f" ({card.verdict}, gap {card.gap:g})" if card.verdict else f", gap {card.gap:g}")]
    if card.mean_max_a is not None:
        alive = "" if card.live_mean_cosine is None else f"; {card.live_mean_cosine:.4f} over pairs of living features"
        lines.append(
            f"nearest: {card.mean_max_a:.3f} from a, {card.mean_max_b:.3f} from b (MMCS), {percent(card.mutual)} mutual"
            + alive
        )
        lines.append(
            f"an unrelated feature's best: {number(card.null_typical)}, 99 % below {number(card.null_line)};"
            f" {card.n_significant:,} pairs above chance (FDR ≤ 1 %)"
        )
    if card.agreement is not None:
        lines.append(f"encoders and decoders agree on {percent(card.agreement)} of the pairs")
    for side, classes in (("a", card.classes_a), ("b", card.classes_b)):
        if classes:
            lines.append(f"{side}: " + ", ".join(f"{n:,} {name}" for name, n in classes.items()))
    return lines


def _facts(card: SaeAlignCard) -> list[tuple[str, str, str]]:
    word = "correlation" if card.on == "firings" else "cosine"
    facts = [(number(card.mean_cosine), f"mean {word}", "over matched pairs, dead features included")]
    if card.live_mean_cosine is not None and card.live_mean_cosine != card.mean_cosine:
        facts.append((number(card.live_mean_cosine), "of living features", "over pairs of which neither is dead"))
    facts += [
        (number(card.median_cosine), "median", "over matched pairs"),
        (percent(card.share_above_0_7), "pairs above 0.7", "share of matched pairs"),
        (percent(card.share_above_0_9), "pairs above 0.9", "share of matched pairs"),
    ]
    if card.mean_max_a is not None:
        both = f"{number(card.mean_max_a)} · {number(card.mean_max_b)}"
        facts.append((both, "nearest, a · b", f"mean best {word} (MMCS), from a and from b; not one to one"))
        facts.append((percent(card.mutual), "mutual", "features that are the nearest of their nearest"))
        why = f"an unrelated feature's best {word} is below this with 99 %; typically {number(card.null_typical)}"
        facts.append((number(card.null_line), "by chance, at most", why))
    if card.agreement is not None:
        facts.append((percent(card.agreement), "encoders agree", "pairs that matching by encoder gives too"))
    exact = card.verdict or (
        "optimal" if card.gap <= 1e-6 * max(1.0, abs(card.bound)) else f"at most {number(card.gap)} below the best"
    )
    facts.append((exact, f"{count(card.n_pairs)} pairs", f"sum {card.objective:.6g}, at most {card.bound:.6g}"))
    return facts


def _histogram(card: SaeAlignCard) -> str:
    """Matched cosines in boxes; grey below the null's line."""
    counts = card.histogram
    filled = [i for i, n in enumerate(counts) if n]
    if not filled:
        return ""
    bins = len(counts)
    first = min(filled[0], bins // 2)
    edge = [-1 + 2 * i / bins for i in range(bins + 1)]
    most, line = max(counts), card.null_line
    boxes = ""
    for i in range(first, bins):
        tall = max(2, round(84 * counts[i] / most)) if counts[i] else 0
        below = line is not None and edge[i + 1] <= line
        style = f"flex:1 1 0px;margin-right:1px;height:{tall}px;background-color:{GREY if below else parts.LINE}"
        boxes += f'<div title="{count(counts[i])} between {edge[i]:.2f} and {edge[i + 1]:.2f}" style="{style}"></div>'
    marks = "".join(f"<span>{tick(edge[first] + (1 - edge[first]) * at / 4)}</span>" for at in range(5))
    word = "correlations" if card.on == "firings" else "cosines"
    said = f"matched {word}" + (f"; grey: below {number(line)}, what chance gives" if line is not None else "")
    return (
        f'<div style="max-width:520px;margin-top:10px"><div style="display:flex;align-items:flex-end;height:84px;'
        f'border-bottom:1px solid rgba(128, 128, 128, 0.6)">{boxes}</div>'
        f'<div style="display:flex;justify-content:space-between;font-size:10px;{parts.MUTED}">{marks}</div>'
        f'<div style="font-size:11px;{parts.MUTED}">{esc(said)}</div></div>'
    )


def _classes(card: SaeAlignCard) -> str:
    """Stacked bars of both dictionaries, and what each class means."""
    if not card.classes_a and not card.classes_b:
        return ""
    sides = [(name, classes) for name, classes in (("a", card.classes_a), ("b", card.classes_b)) if classes]
    bars = ""
    for name, classes in sides:
        whole = sum(classes.values()) or 1
        cells = "".join(
            f'<div title="{count(n)} {esc(kind)}" style="width:{100 * n / whole:.2f}%;height:14px;'
            f'background-color:{COLOURS.get(kind, GREY)}"></div>'
            for kind, n in classes.items()
        )
        bars += (
            f'<div style="display:flex;align-items:center;margin-top:4px;font-size:12px"><div style="width:16px">{name}'
            f'</div><div style="display:flex;flex:1 1 auto">{cells}</div></div>'
        )
    told, rows = meanings(card), ""
    for kind in (kind for kind in told if any(kind in classes for _, classes in sides)):
        mark = (
            f'<span style="display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:6px;'
            f'background-color:{COLOURS[kind]}"></span>'
        )
        counts = "".join(
            f'<td style="{parts.RIGHT}">{count(classes.get(kind, 0))}</td>'
            f'<td style="{parts.RIGHT};{parts.MUTED}">{percent(classes.get(kind, 0) / sum(classes.values()))}</td>'
            for _, classes in sides
        )
        rows += (
            f'<tr><td style="{parts.CELL};white-space:nowrap">{mark}{kind}</td>{counts}'
            f'<td style="{parts.CELL};padding-left:14px;{parts.MUTED}">{esc(told[kind])}</td></tr>'
        )
    blank = f'<th style="{parts.CELL}"></th>'
    heads = "".join(f'<th style="{parts.RIGHT};font-weight:600">{name}</th>{blank}' for name, _ in sides)
    return (
        f'<div style="max-width:860px;margin-top:14px"><b style="font-size:12px">What became of the features</b>{bars}'
        f'<table style="{parts.TABLE};margin-top:6px"><thead><tr>{blank}{heads}{blank}</tr>'
        f"</thead><tbody>{rows}</tbody></table></div>"
    )


def _weakest(card: SaeAlignCard) -> str:
    """Features of both sides that nothing resembles, with their neighbours and margins."""
    tables = "".join(
        _titled(f"Weakest features of {side}", _feature_table(listed, other))
        for side, other, listed in (("a", "b", card.weakest_a), ("b", "a", card.weakest_b))
        if listed
    )
    if not tables:
        return ""
    return f'<div style="display:flex;flex-wrap:wrap;margin-top:6px">{tables}</div>' + parts.line(
        esc(_why(card)), top=8
    )


def _why(card: SaeAlignCard) -> str:
    tau = f"{card.thresholds.tau:g}"
    text = "A margin is what the whole matching would provably lose if the pair were forbidden."
    if card.exchangeable_low is not None:
        text += f" {percent(card.exchangeable_low)} of the pairs below {tau} have none above 0.01"
        if card.exchangeable_high is not None:
            text += f", of those above it {percent(card.exchangeable_high)}"
        text += ": at the low end a partner is often arbitrary"
    else:
        text += " Without one a partner may be arbitrary"
    return text + ". So read a weak feature by its neighbours; a weak pair is no finding about its partner."


def _feature_table(listed: Sequence[AlignedFeature], other: str) -> str:
    frame = pd.DataFrame(
        {
            "feature": [f.feature for f in listed],
            "class": [f.label for f in listed],
            f"nearest in {other}": [f.neighbours for f in listed],
            "partner": pd.array([f.partner for f in listed], dtype="Int64"),
            "cosine": [np.nan if f.cosine is None else f.cosine for f in listed],
            "margin": [np.nan if f.margin is None else f.margin for f in listed],
        }
    )
    render: dict[str, Callable[..., str]] = {
        "feature": index_cell, "partner": lambda value: "–" if value is pd.NA else index_cell(value),
        "class": _class_cell, f"nearest in {other}": _near, "margin": _margin,
    }  # fmt: skip
    return table(frame, limit=SHOWN, total=len(frame), search=False, render=render)


def _near(neighbours: Sequence[Neighbour]) -> str:
    return " · ".join(
        f'<span style="white-space:nowrap">{n.feature} <span style="{parts.MUTED}">{number(n.cosine)}</span></span>'
        for n in neighbours
    )


def _class_cell(kind: object) -> str:
    colour = COLOURS.get(str(kind), GREY)
    return (
        f'<span style="display:inline-block;width:8px;height:8px;border-radius:2px;margin-right:5px;'
        f'background-color:{colour}"></span>{esc(kind)}'
    )


def _margin(value: float) -> str:
    return "–" if value != value else "none" if value < 5e-4 else "∞" if np.isinf(value) else f"{value:.3f}"


def _ends(card: SaeAlignCard, pairs: pd.DataFrame | None) -> str:
    """The plain weakest and strongest pairs."""
    if pairs is not None and len(pairs):
        ranked = pairs.dropna(subset=["cosine"]).sort_values("cosine", kind="stable")
        known = [name for name in ("class_a", "class_b", "margin") if name in pairs]
        ends = {"Weakest pairs": ranked.head(SHOWN), "Strongest pairs": ranked.tail(SHOWN)[::-1]}
    else:
        ends = {
            title: pd.DataFrame([pair.model_dump() for pair in listed[:SHOWN]])
            for title, listed in (("Weakest pairs", card.weakest), ("Strongest pairs", card.strongest))
        }
        known = ["margin"]
    render = {"a": index_cell, "b": index_cell, "": _bar, "class_a": _class_cell, "class_b": _class_cell}
    render["margin"] = _margin
    labels = {"class_a": "class of a", "class_b": "class of b"}
    shown = ""
    for title, listed in ends.items():
        if len(listed):
            frame = listed[["a", "b", "cosine", *known]].reset_index(drop=True)
            if "margin" in known:
                frame["margin"] = frame["margin"].astype(float)
            frame.insert(3, "", frame["cosine"])
            shown += _titled(title, table(frame, search=False, render=render, labels=labels))
    return f'<div style="display:flex;flex-wrap:wrap;margin-top:6px">{shown}</div>'


def _titled(title: str, body: str) -> str:
    return f'<div style="margin:10px 36px 0px 0px"><b style="font-size:12px">{title}</b>{body}</div>'


def _bar(cosine: float) -> str:
    return parts.diverging_bar(cosine, width=80) if cosine < 0 else parts.bar(cosine, width=80)
