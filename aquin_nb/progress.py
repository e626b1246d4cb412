"""Progress of a verb that blocks its cell: one line that appears only when the work takes more than a second."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from types import FrameType
from typing import Any, TypeVar

from .control import Control, Tick
from .errors import Cancelled
from .jobs import FINISHED, Job

T = TypeVar("T")

PATIENCE_SECONDS = 1.0
INTERVAL_SECONDS = 0.25


@contextmanager
def visible(title: str) -> Iterator[Control]:
    """A control whose progress is shown in the cell, or on standard error in a terminal, and removed at the end."""
    line = _Line(title)
    control = Control(on_tick=line.tick)
    try:
        with _interrupt_cancels(control):
            yield control
    finally:
        line.clear()


@contextmanager
def _interrupt_cancels(control: Control) -> Iterator[None]:
    """The first interrupt asks the work to stop at its next step, so that it keeps what it has; a second ends it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(signum: int, frame: FrameType | None) -> None:
        if control.cancelled:
            raise KeyboardInterrupt
        control.cancel()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
    if control.cancelled:
        raise KeyboardInterrupt  # the work was over before it could stop; what comes after it must still hear


class _Line:
    def __init__(self, title: str) -> None:
        self.title = title
        self._began = self._shown = time.monotonic()
        self._handle: Any = None
        self._written = False

    def tick(self, tick: Tick) -> None:
        now = time.monotonic()
        if now - self._began < PATIENCE_SECONDS or now - self._shown < INTERVAL_SECONDS:
            return
        self._shown = now
        text = f"{self.title}: {tick.stage} {tick.done:,} of {tick.total:,} {tick.unit}".rstrip()
        if _kernel():
            from IPython.display import display

            bar = f'<progress value="{tick.fraction:.4f}" max="1"></progress> {escape(text)}'
            view = {"text/html": f'<div style="font-size:13px">{bar}</div>', "text/plain": text}
            if self._handle is None:
                self._handle = display(view, raw=True, display_id=True)
            else:
                self._handle.update(view, raw=True)
        elif sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
            self._written = True

    def clear(self) -> None:
        if self._handle is not None:
            self._handle.update({"text/html": "", "text/plain": ""}, raw=True)
        if self._written:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _kernel() -> bool:
    """Whether we run inside a notebook kernel; IPython is not imported to find out."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return getattr(shell, "kernel", None) is not None


def terminal(job: Job[T]) -> T:
    """Wait for a job, its notes and progress on standard error: a moving line on a terminal, else a line every 5 %."""
    moving, said = sys.stderr.isatty(), -1
    sys.stderr.writelines(f"{note}\n" for note in job.notes)
    while job.status not in FINISHED:
        text = f"{job.name}: {job.progress:.0%} {job.stage}"
        if moving:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
        elif int(job.progress * 20) > said:
            said = int(job.progress * 20)
            sys.stderr.write(f"{text}\n")
        time.sleep(INTERVAL_SECONDS)
    if moving:
        sys.stderr.write("\r\x1b[K")
    return job.wait()


def attend(job: Job[T]) -> T:
    """Show a job where its starter is looking, the cell or the terminal, and wait; interrupting cancels it.

    A second interrupt no longer waits for it.
    """
    try:
        if _kernel():
            job._ipython_display_()
            return job.wait()
        return terminal(job)
    except KeyboardInterrupt:
        job.cancel()
    try:
        return job.wait()
    except KeyboardInterrupt:
        place = f" to {job.output}" if job.output is not None else ""
        raise Cancelled(f"Left alone: {job.name} stops after its present step and writes what it has{place}.") from None
