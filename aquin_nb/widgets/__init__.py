"""The views, Python half: live monitor, static HTML with an interactive layer, plotly figures. Never imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .html import card_html, frame_html, result_html
    from .job import JobView
    from .monitor import TrainingMonitor
    from .page import standalone_page
    from .tokens import tokens_html

__all__ = ["JobView", "TrainingMonitor", "card_html", "frame_html", "result_html", "standalone_page", "tokens_html"]

_HOME = {
    "JobView": "job",
    "TrainingMonitor": "monitor",
    "card_html": "html",
    "frame_html": "html",
    "result_html": "html",
    "standalone_page": "page",
    "tokens_html": "tokens",
}


def __getattr__(name: str) -> Any:
    """Import a view when it is first used: ipywidgets and pandas take longer than the rest of the package."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
