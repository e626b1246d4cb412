"""The face of a running job of any kind: how far it is, what it says, and a Cancel button."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ClassVar, Final, TypedDict

import traitlets as t

from . import parts
from .base import AquinWidget
from .pace import Coalescer
from .protocol import BEAT_SECONDS
from .text import esc

RATE: Final = 20.0  # messages a second; a notebook server sends in bursts above about 25
OVER: Final = ("completed", "failed", "cancelled")


class Progress(TypedDict):
    """How far a job is: a stage and its own count, the share of the whole, units a second, seconds left."""

    stage: str
    done: int
    total: int
    unit: str
    fraction: float
    rate: float | None
    eta_seconds: float | None


class JobState(TypedDict):
    """What the view shows: `about` stands under the name, `notes` below; `problem` says how it failed."""

    name: str
    about: str
    status: str
    progress: Progress
    notes: list[str]
    problem: str


class JobView(AquinWidget):
    """A job's name, bar, rate, time left and notes while it runs. What it leaves is another view's matter.

    `update` may be called from any thread, returns at once and never raises into the caller; a failure is recorded in
    `error` and shown under the widget. Views get at most 20 states a second and always the last one.

    >>> view = JobView(state, on_cancel=job.cancel)                            # doctest: +SKIP
    >>> view.update(state | {"status": "completed"})                           # doctest: +SKIP
    """

    bundle_name: ClassVar[str] = "job.js"

    state = t.Dict().tag(sync=True)
    """A `JobState`, and whether it can be cancelled and is being cancelled."""

    def __init__(self, state: JobState, on_cancel: Callable[[], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._on_cancel, self._cancelling = on_cancel, False
        self._kept: dict[str, str] | None = None
        self._latest = state
        super().__init__(state=self._whole())
        self._pace = Coalescer(
            self._flush,
            rate=RATE,
            idle=lambda: self.send({"type": "beat"}),
            idle_seconds=BEAT_SECONDS,
            on_error=lambda error: self.fail(error, "sending to the notebook"),
        )
        self.on_msg(self._receive)

    def update(self, state: JobState) -> None:
        """Show this state. One that is over (completed, failed, cancelled) is sent before this returns."""
        with self._lock:
            self._latest = state
        self._pace.mark()
        if state["status"] in OVER:
            self._pace.close()

    def keep(self, data: dict[str, str]) -> None:
        """The job is over: have the notebook hold `data` (by mime type) wherever this view is shown."""
        with self._lock:
            self._kept = data
        self._pace.mark()

    def fallback_html(self) -> str:
        with self._lock:
            return job_html(self._latest)

    def close(self) -> None:
        """Close the widget and end its thread."""
        if hasattr(self, "_pace"):
            self._pace.close()
        super().close()

    def _whole(self) -> dict[str, Any]:
        return {**self._latest, "cancellable": self._on_cancel is not None, "cancelling": self._cancelling}

    def _flush(self) -> None:
        with self._lock:
            state, kept = self._whole(), self._kept
        self.state = state
        if kept is not None:
            self.send({"type": "keep", "model_id": self.model_id, "data": kept})

    def _receive(self, _widget: object, content: Any, _buffers: object) -> None:
        """Messages from a view; they come on the main thread or on a subshell's."""
        if not isinstance(content, dict) or content.get("type") != "cancel" or self._on_cancel is None:
            return
        with self._lock:
            self._cancelling = True
        try:
            self._on_cancel()
        except Exception as error:
            with self._lock:
                self._cancelling = False
            self.fail(error, "cancelling")
        self._pace.mark()


def job_html(state: JobState) -> str:
    """A job as it stands, as static HTML."""
    progress, done = state["progress"], ""
    if progress["total"]:
        done = f" · {progress['done']:,} of {progress['total']:,} {progress['unit']}".rstrip()
    lines = [state["about"], f"{state['status']}{done}", state["problem"], *state["notes"]]
    told = "".join(parts.line(esc(line)) for line in lines if line)
    return f'<div style="{parts.BOX}"><b style="font-size:15px">{esc(state["name"])}</b>{told}</div>'
