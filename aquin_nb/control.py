"""How long work talks to whoever started it: progress out, cancel in. The engine knows nothing else of its caller."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from .errors import Cancelled


@dataclass(frozen=True)
class Tick:
    """One report of progress: `done` of `total` units of the named stage."""

    stage: str
    done: int
    total: int
    unit: str = ""

    @property
    def fraction(self) -> float:
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0


class Control:
    """Passed into every long function; the default one reports to nobody and is never cancelled.

    >>> seen = []
    >>> control = Control(on_tick=seen.append)
    >>> control.tick("collect", 1, 4, "tokens"); seen[0].fraction
    0.25
    >>> control.cancel(); control.check()
    Traceback (most recent call last):
    aquin_nb.errors.Cancelled: Cancelled.
    """

    def __init__(self, on_tick: Callable[[Tick], None] | None = None) -> None:
        self._on_tick = on_tick
        self._cancel = threading.Event()

    def tick(self, stage: str, done: int, total: int, unit: str = "") -> None:
        """Report progress; call it once a batch, it is cheap. Raises `Cancelled` when the work should stop."""
        if self._on_tick is not None:
            self._on_tick(Tick(stage, done, total, unit))
        self.check()

    def cancel(self) -> None:
        """Ask the work to stop at its next tick; safe from any thread."""
        self._cancel.set()

    @property
    def cancelled(self) -> bool:
        return self._cancel.is_set()

    def check(self) -> None:
        """Raise `Cancelled` if somebody asked for it."""
        if self._cancel.is_set():
            raise Cancelled("Cancelled.")
