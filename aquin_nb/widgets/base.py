"""What all our widgets share: strict arguments, a bundle read when needed, and errors that are shown."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import anywidget
import traitlets as t

from ..errors import did_you_mean
from .assets import bundle

log = logging.getLogger("aquin_nb.widgets")

NO_WIDGETS = "Its view needs a front end with widgets: JupyterLab, Notebook 7, VS Code, Colab or marimo."


class AquinWidget(anywidget.AnyWidget):  # type: ignore[misc]
    """An anywidget with one bundle and one place for its own failures.

    Unknown keyword arguments raise `TypeError` (ipywidgets would take them in silence).
    """

    bundle_name: ClassVar[str]

    _esm = t.Unicode().tag(sync=True)

    error = t.Unicode("").tag(sync=True)
    """What went wrong inside the widget, shown under it; empty while all is well."""

    told: Callable[[], str] | None = None
    """Says in text what the widget shows, for front ends that draw neither widgets nor HTML."""

    def __init__(self, **kwargs: Any) -> None:
        known = self.trait_names()
        for name in kwargs:
            if name not in known:
                public = [trait for trait in known if not trait.startswith("_")]
                raise TypeError(f"{type(self).__name__} has no argument {name!r}. {did_you_mean(name, public)}")
        super().__init__(**kwargs)
        if hasattr(self.comm, "_reply_subshell_for"):
            # ipykernel 7.4 hands a comm's messages to the shell that last sent on it, which is the main one here, so a
            # click would wait until the running cell ends. Our handlers lock, so the front end's own choice is safe.
            self.comm._reply_subshell_for = lambda _data, default: default

    @t.default("_esm")
    def _read_bundle(self) -> str:
        return bundle(self.bundle_name)

    @abstractmethod
    def fallback_html(self) -> str:
        """What a reader without a kernel or without trust sees in a saved notebook, script-free."""

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        bundle: tuple[dict[str, Any], dict[str, Any]] | None = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        return {**data, "text/html": self.fallback_html(), "text/plain": self.fallback_text()}, metadata

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # ipywidgets' own would print every point of the curve

    def fallback_text(self) -> str:
        """What a console shows."""
        return self.told() if self.told is not None else f"{self!r} {NO_WIDGETS}"

    def fail(self, error: BaseException, doing: str) -> None:
        """Record a failure of the widget itself: in the log, and under the widget. Never raises."""
        log.error("%s failed while %s", type(self).__name__, doing, exc_info=error)
        text = f"{type(error).__name__} while {doing}: {error}"
        try:
            self.error = text
        except Exception:  # the comm is gone: the log has it
            log.exception("the failure could not be shown")
