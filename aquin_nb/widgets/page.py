"""A page of its own, for `.save("x.html")` and the demo: no network, light or dark as the reader's system is."""

from __future__ import annotations

from collections.abc import Iterable

from .text import esc

_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0 auto; max-width: 1120px; padding: 28px 20px 60px; color: #1f2328; background: #ffffff;
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 22px; font-weight: 600; margin: 0 0 18px; }
section { margin: 0 0 22px; }
@media (prefers-color-scheme: dark) { body { color: #e6e7e9; background: #16181c; } }
"""


def standalone_page(title: str, parts: Iterable[str]) -> str:
    """A self-contained HTML page of results.

    Args:
        title: plain text.
        parts: HTML from this package (`result_html`, `frame_html`, …), which is already safe; text goes through
            `text.esc` first.
    """
    sections = "".join(f"<section>{part}</section>\n" for part in parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{esc(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{esc(title)}</h1>\n{sections}</body></html>\n"
    )
