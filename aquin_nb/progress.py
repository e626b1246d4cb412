"""Progress of work that somebody waits for, in the cell or the terminal; it appears after a second."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from html import escape
from types import FrameType
from typing import Any, TypeVar

from .control import Control, Tick
from .errors import Cancelled
from .jobs import FINISHED, Job

T = TypeVar("T")

PATIENCE_SECONDS = 1.0
INTERVAL_SECONDS = 0.25
PLAIN_SECONDS = 5.0
"""Between the lines of a log, where nothing can move."""
QUIET_SECONDS = 60.0
STOPPING = "Stopping after the present step, keeping what is there; Ctrl-C again does not wait."

_command: ContextVar[bool] = ContextVar("aquin_nb_command", default=False)


@contextmanager
def in_terminal() -> Iterator[None]:
    """A command of the terminal runs: where standard error is none, progress is said in plain lines."""
    token = _command.set(True)
    try:
        yield
    finally:
        _command.reset(token)


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

    command = _command.get()

    def handle(signum: int, frame: FrameType | None) -> None:
        if control.cancelled:
            raise KeyboardInterrupt
        control.cancel()
        if command:
            _say(STOPPING)

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
        self._bar: _Bar | None = None
        self._plain = _command.get()

    def tick(self, tick: Tick) -> None:
        now = time.monotonic()
        if now - self._began < PATIENCE_SECONDS or now - self._shown < INTERVAL_SECONDS:
            return
        text = f"{self.title}: {tick.stage} {tick.done:,} of {tick.total:,} {tick.unit}".rstrip()
        if _kernel():
            from IPython.display import display

            self._shown = now
            bar = f'<progress value="{tick.fraction:.4f}" max="1"></progress> {escape(text)}'
            view = {"text/html": f'<div style="font-size:13px">{bar}</div>', "text/plain": text}
            if self._handle is None:
                self._handle = display(view, raw=True, display_id=True)
            else:
                self._handle.update(view, raw=True)
        elif sys.stderr.isatty():
            self._shown = now
            self._bar = self._bar or _Bar()
            self._bar.show(tick.fraction, text)
        elif self._plain and now - self._shown >= PLAIN_SECONDS:
            self._shown = now
            _say(text)

    def clear(self) -> None:
        if self._handle is not None:
            self._handle.update({"text/html": "", "text/plain": ""}, raw=True)
        if self._bar is not None:
            self._bar.close()


class _Bar:
    """A moving bar on the terminal that standard error is; it leaves nothing behind."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            BarColumn(24),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True, soft_wrap=True),
            transient=True,
            redirect_stdout=False,
        )
        self._task = self._progress.add_task("", total=1.0)
        self._progress.start()

    def show(self, fraction: float, text: str) -> None:
        self._progress.update(self._task, completed=fraction, description=text)

    def close(self) -> None:
        self._progress.stop()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _kernel() -> bool:
    """Whether we run inside a notebook kernel; IPython is not imported to find out."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return getattr(shell, "kernel", None) is not None


def terminal(job: Job[T]) -> T:
    """Wait for a job, its notes and progress on standard error: a moving bar on a terminal, else a line a stage and
    every 5 %, and one a minute in any case.
    """
    for note in job.notes:
        _say(note)
    bar = _Bar() if sys.stderr.isatty() else None
    said: tuple[int, str, int] | None = None
    began = time.monotonic()
    try:
        while job.status not in FINISHED:
            if bar is not None:
                bar.show(job.progress, f"{job.name}: {job.stage}")
            else:
                stage = job.tick.stage if job.tick is not None else ""
                now = (int(job.progress * 20), stage, int((time.monotonic() - began) / QUIET_SECONDS))
                if now != said:
                    said = now
                    _say(f"{job.name}: {job.progress:.0%} {job.stage}".rstrip())
            time.sleep(INTERVAL_SECONDS)
    finally:
        if bar is not None:
            bar.close()
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
        if _command.get():
            _say(STOPPING)
    try:
        return job.wait()
    except KeyboardInterrupt:
        place = f" to {job.output}" if job.output is not None else ""
        raise Cancelled(f"Left alone: {job.name} stops after its present step and writes what it has{place}.") from None
