"""SIGTERM, as batch systems and containers send it: one Ctrl-C, told apart by the exit status."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Termination:
    """Whether the process was asked to end."""

    def __init__(self) -> None:
        self.asked = False
        self._interrupts = signal.getsignal(signal.SIGINT)

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Interrupt as Ctrl-C does now. Once: `timeout` and batch systems repeat it, and SIGKILL ends what lingers."""
        if self.asked:
            return
        self.asked = True
        now = signal.getsignal(signal.SIGINT)
        if callable(now):
            now(signal.SIGINT, frame)
        elif now == self._interrupts:  # a shell that starts a command in the background has it ignore Ctrl-C
            raise KeyboardInterrupt


@contextmanager
def termination() -> Iterator[Termination]:
    """Take SIGTERM as an interrupt, where nobody else has taken it."""
    asked = Termination()
    free = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )
    if free:
        signal.signal(signal.SIGTERM, asked.handle)
    try:
        yield asked
    finally:
        if free:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
