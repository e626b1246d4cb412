"""Pieces of static HTML: header, facts, notes, tables' cells and bars. Inline styles only, colours for light and dark.

A notebook's sanitiser removes style elements, svg, scripts, aria attributes and var() colours, so none is used here:
text takes the host's colour, and everything else is a middle tone or a transparent grey that reads on both grounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

from ..cards import Card, CheckpointRef, SaeTrainCard
from ..files import human_bytes
from .text import count, duration, esc

LINE = "#3d7fd9"
MORE, LESS = "#d9822b", "#3d7fd9"  # orange and blue: apart for colour-blind eyes too
RULE = "rgba(128, 128, 128, 0.28)"
FONT = "font-family:system-ui,-apple-system,Segoe UI,Roboto,sans-serif;font-size:13px;line-height:1.45;text-align:left"
MUTED = "opacity:0.72"
TONES = {
    "running": "#2b6cb0", "queued": "#6b7280", "cancelled": "#6b7280", "completed": "#1a7f47", "failed": "#a83a4a",
    "good": "#1a7f47", "warn": "#9a6700", "bad": "#a83a4a", "idle": "#6b7280",
}  # fmt: skip
TINTS = {
    "good": "rgba(26, 127, 71, 0.12)", "warn": "rgba(200, 140, 20, 0.14)", "bad": "rgba(168, 58, 74, 0.13)",
    "idle": "rgba(128, 128, 128, 0.13)",
}  # fmt: skip


BOX = f"{FONT};border:1px solid {RULE};border-radius:6px;padding:12px 14px;max-width:1280px;box-sizing:border-box"
BOX += ";margin-bottom:8px"  # a sweep shows several, one below the other


def header(card: Card, subtitle: Sequence[str | None]) -> str:
    """Name, status and one line of what it was run on."""
    pill = (
        f'<span style="display:inline-block;margin-left:10px;padding:0px 9px;border-radius:10px;font-size:12px;'
        f'line-height:20px;color:#ffffff;background-color:{TONES[card.status]}">{esc(card.status)}</span>'
    )
    line = " · ".join(part for part in subtitle if part)
    return (
        f'<div><b style="font-size:15px">{esc(card.name)}</b>{pill}</div>'
        f'<div style="font-size:12px;{MUTED}">{esc(line)}</div>'
    )


def model_words(card: Card) -> str | None:
    """ "tiny" or "tiny + bible.pt (step 200)"; a published fine-tune has no step."""
    if card.model is None:
        return None
    checkpoint = card.model.checkpoint
    return card.model.name + (f" + {_checkpoint(checkpoint)}" if checkpoint else "")


def _checkpoint(ref: CheckpointRef) -> str:
    name = PurePath(ref.path).name
    return f"{name} (step {count(ref.step)})" if ref.step else name


def ended(card: Card) -> str:
    """ "Finished after 75 s" for the muted line under the header; nothing while it runs."""
    how = {"completed": "Finished", "cancelled": "Cancelled", "failed": "Stopped"}.get(card.status)
    if how is None:
        return ""
    return how if card.seconds is None else f"{how} after {duration(card.seconds)}"


def line(text: str, *, top: int = 6) -> str:
    """A muted line of already escaped text."""
    return f'<div style="font-size:12px;margin-top:{top}px;{MUTED}">{text}</div>' if text else ""


def facts(values: Iterable[tuple[str, str, str]]) -> str:
    """Big numbers side by side: (value, label, explanation for the tooltip)."""
    cells = [
        f'<div style="margin-right:28px;margin-top:8px" title="{esc(why)}">'
        f'<div style="font-size:18px;font-weight:600;line-height:1.25">{esc(value)}</div>'
        f'<div style="font-size:12px;{MUTED}">{esc(label)}</div></div>'
        for value, label, why in values
    ]
    return f'<div style="display:flex;flex-wrap:wrap">{"".join(cells)}</div>'


def note(tone: str, title: str, items: Sequence[str] = (), text: str = "") -> str:
    """A block with a coloured edge: verdict, advice, error."""
    colour = TONES[tone]
    mark = (
        f'<span style="display:inline-block;width:10px;height:10px;border-radius:5px;margin-right:7px;'
        f'background-color:{colour}"></span>'
    )
    listed = "".join(f"<li>{esc(item)}</li>" for item in items)
    body = f'<ul style="margin:3px 0px 1px 0px;padding-left:20px">{listed}</ul>' if listed else ""
    if text:
        body += f'<div style="white-space:pre-wrap;margin-top:3px;overflow-wrap:anywhere">{esc(text)}</div>'
    style = f"margin-top:10px;padding:7px 11px;border-left:3px solid {colour};background-color:{TINTS[tone]}"
    return f'<div style="{style}">{mark}<b>{esc(title)}</b>{body}</div>'


VERDICTS = {"usable": ("good", "Usable"), "weak": ("warn", "Weak"), "smoke test only": ("bad", "Smoke test only")}


def verdict(card: SaeTrainCard) -> str:
    """The go/no-go and its reasons; nothing while there is none."""
    if card.verdict is None:
        return ""
    tone, title = VERDICTS[card.verdict]
    return note(tone, title, card.reasons)


def failure(card: Card) -> str:
    """What ended a failed or cancelled run."""
    if card.error is None:
        return ""
    return note("idle" if card.status == "cancelled" else "bad", card.error.type, text=card.error.message)


def remarks(card: Card) -> str:
    """What a reader must know."""
    return "".join(line(esc(text), top=8 if i == 0 else 2) for i, text in enumerate(card.notes))


def details(title: str, rows: Iterable[tuple[str, object]], *, slot: bool = False) -> str:
    """A folded table of names and values. With `slot`, the interactive view keeps it under its charts."""
    cells = "".join(
        f'<tr><td style="{CELL};{MUTED};white-space:nowrap">{esc(name)}</td>'
        f'<td style="{CELL};overflow-wrap:anywhere">{esc(value)}</td></tr>'
        for name, value in rows
        if value not in (None, "", [], {})
    )
    if not cells:
        return ""
    slotted = ' slot="details"' if slot else ""
    return (
        f'<details{slotted} style="margin-top:8px;font-size:12px">'
        f'<summary style="cursor:pointer">{esc(title)}</summary>'
        f'<table style="{TABLE}"><tbody>{cells}</tbody></table></details>'
    )


TABLE = "border-collapse:collapse;margin:4px 0px 0px 0px;font-size:12px;text-align:left"
_EDGE = f"border-bottom:1px solid {RULE};vertical-align:top"
CELL = f"padding:3px 10px 3px 0px;text-align:left;{_EDGE}"
RIGHT = f"padding:3px 10px 3px 6px;text-align:right;white-space:nowrap;{_EDGE}"


def bar(share: float, *, width: int = 120, colour: str = LINE) -> str:
    """A horizontal bar, `share` (0–1) of `width` pixels long."""
    filled = max(0.0, min(1.0, share)) * 100
    return (
        f'<div style="width:{width}px;height:9px;margin-top:5px;background-color:rgba(128, 128, 128, 0.14)">'
        f'<div style="width:{filled:.1f}%;height:9px;background-color:{colour}"></div></div>'
    )


def diverging_bar(share: float, *, width: int = 140) -> str:
    """A bar from the middle to the right (orange, share > 0) or to the left (blue), `share` in -1…1."""
    half = max(-1.0, min(1.0, share)) * 50
    left, colour = (50.0, MORE) if half >= 0 else (50.0 + half, LESS)
    return (
        f'<div style="width:{width}px;height:9px;margin-top:5px;background-color:rgba(128, 128, 128, 0.14)">'
        f'<div style="margin-left:{left:.1f}%;width:{abs(half):.1f}%;height:9px;background-color:{colour}"></div></div>'
    )


def artifacts(card: Card) -> str:
    """Where the run's files are."""
    sizes = ["" if a.bytes is None else f" ({human_bytes(a.bytes)})" for a in card.artifacts]
    lines = [f"{a.role}: {a.path}{size}" for a, size in zip(card.artifacts, sizes, strict=True)]
    return "".join(line(esc(text), top=8 if i == 0 else 2) for i, text in enumerate(lines))
