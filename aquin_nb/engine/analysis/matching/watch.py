"""What long numeric work looks at between two steps: cancellation, the clock, and its memory."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ....control import Control

_STATM = Path("/proc/self/statm")


class Watch:
    """The clock of one piece of work, and its line to whoever started it."""

    def __init__(self, control: Control | None = None, time_limit: float | None = None) -> None:
        self._control = control or Control()
        self._limit = time_limit
        self._began = time.perf_counter()
        self._resident = _resident()
        self._peak = self._resident

    def tick(self, stage: str, done: int, total: int, unit: str = "") -> None:
        """Report progress. Raises `Cancelled` when the work should stop."""
        self._peak = max(self._peak, _resident())
        self._control.tick(stage, done, total, unit)

    def check(self) -> None:
        """Raise `Cancelled` if somebody asked for it."""
        self._peak = max(self._peak, _resident())
        self._control.check()

    @property
    def seconds(self) -> float:
        """Wall time since the start."""
        return time.perf_counter() - self._began

    @property
    def expired(self) -> bool:
        """Whether `time_limit` seconds have passed."""
        return self._limit is not None and self.seconds > self._limit

    @property
    def peak_bytes(self) -> int:
        """By how much the resident memory of the process has been above that at the start, as seen at each report.

        0 where the system does not tell (anything but Linux).
        """
        return self._peak - self._resident


def _resident() -> int:
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
