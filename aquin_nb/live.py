"""A running training in a cell: the monitor while it runs, the result's own HTML once it has ended."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from .cards import SaeTrainCard, TrainMetrics
from .control import Tick
from .jobs import FINISHED, Job
from .records import HISTORY_DTYPES, history_frame
from .results import SaeTrain

INTERVAL_SECONDS = 0.1


class LiveTraining:
    """Keeps a training's card and points, feeds the monitors that show it, and freezes them when the job ends.

    When the job ends every output is replaced by the static result (`display_id`), because a widget whose kernel has
    gone shows nothing; so the saved notebook tells the story whoever opens it.
    """

    def __init__(self, job: Job[SaeTrain], card: SaeTrainCard) -> None:
        self.job, self.card = job, card
        self.points: list[tuple[Any, ...]] = []
        self._monitor: Any = None
        self._handles: list[Any] = []
        self._lock = threading.RLock()
        self._stage, self._stage_began, self._stage_first = "", 0.0, 0
        self._shown = 0.0
        job.show_as(self)
        job.on_change(self._changed)

    def point(self, point: tuple[Any, ...], density: list[int] | None = None) -> None:
        """Take a logged point; called from the training thread.

        Args:
            point: the columns of `records.HISTORY_DTYPES`, in their order.
            density: latents by firing rate since the last point, as `TrainMetrics.density`.
        """
        with self._lock:
            self._take([point])
            self.card.latest = self._metrics(point, density)

    def resume(self, points: Sequence[tuple[Any, ...]], step: int) -> None:
        """The run goes on from the checkpoint at `step`: its curve starts with the earlier points up to there."""
        with self._lock:
            earlier = [point for point in points if point[0] <= step]
            if earlier:
                self._take(earlier)
                self.card.latest = self._metrics(earlier[-1], self.card.latest.density)
            self.edit(lambda card: card.resumed_from.append(step))

    def _take(self, points: Sequence[tuple[Any, ...]]) -> None:
        """Append points; those from the first one's step on were logged before a resume, and go."""
        import numpy as np

        while self.points and self.points[-1][0] >= points[0][0]:
            self.points.pop()
        self.points += points
        self.card.history_points = len(self.points)
        if self._monitor is not None:
            self._monitor.push(np.asarray(points, dtype=np.float64))

    def _metrics(self, point: tuple[Any, ...], density: list[int] | None) -> TrainMetrics:
        found = dict(zip(HISTORY_DTYPES, point, strict=True))
        del found["lr"]
        # Rows that do not vary have no FVU, and a quantity that was not measured is NaN.
        known = {name: value for name, value in found.items() if math.isfinite(value)}
        share = found["dead"] / self.card.config.d_sae if self.card.config else None
        return TrainMetrics(**known, dead_share=share, density=density)

    def edit(self, change: Callable[[SaeTrainCard], None]) -> None:
        """Change the card under the lock and show it."""
        with self._lock:
            change(self.card)
            if self._monitor is not None:
                self._monitor.update(self.card)

    def display(self) -> None:
        """Show the job in the current cell."""
        from IPython.display import display

        with self._lock:
            if self.job.status in FINISHED:
                self._close_card()
                display(self._settled(), raw=True)
                return
            if not _in_kernel():
                display({"text/plain": repr(self.job)}, raw=True)
                return
            if self._monitor is None:
                import numpy as np

                from .widgets.monitor import TrainingMonitor

                self._monitor = TrainingMonitor(self.card, on_cancel=self.job.cancel)
                if self.points:
                    self._monitor.push(np.asarray(self.points, dtype=np.float64))
            self._handles.append(display(self._monitor, display_id=True))

    def _changed(self, job: Job[SaeTrain]) -> None:
        now = time.monotonic()
        finished = job.status in FINISHED
        if not finished and now - self._shown < INTERVAL_SECONDS:
            return  # a training ticks on every step; a view needs no more than a few a second
        with self._lock:
            self._shown = now
            if finished:
                self._settle()
                return
            if (tick := job.tick) is not None:
                self.card.progress = self.card.progress.model_copy(update=self._progress(tick))
            if self._monitor is not None:
                self._monitor.update(self.card)

    def _progress(self, tick: Tick) -> dict[str, Any]:
        """Rate and time left, measured within the present stage."""
        now = time.monotonic()
        if tick.stage != self._stage:
            self._stage, self._stage_began, self._stage_first = tick.stage, now, tick.done
        seconds = now - self._stage_began
        rate = (tick.done - self._stage_first) / seconds if seconds > 0.5 else None
        return {
            "stage": tick.stage,
            "done": tick.done,
            "total": tick.total,
            "unit": tick.unit,
            "fraction": self.job.progress,
            "rate": rate,
            "eta_seconds": max(0.0, (tick.total - tick.done) / rate) if rate else None,
        }

    def _settle(self) -> None:
        """Replace what was live by what stays. Runs when the job ends and again in `wait()`.

        Twice, because an update sent between two cells is attributed to neither by headless runners (nbclient), and is
        lost there; the second one is sent from within the cell that waits.
        """
        self._close_card()
        if self._monitor is not None:
            self._monitor.update(self.card)
            view = self._settled()
            for handle in self._handles:
                handle.update(view, raw=True)
            # A page that was reloaded meanwhile has forgotten the display ids, and replaces its views itself.
            self._monitor.keep(view)

    def _close_card(self) -> None:
        """A job that failed or was cancelled before it could close its card leaves that to us."""
        if self.card.status not in FINISHED:
            self.card.finish(self.job.status, self.job.error)

    def _settled(self) -> dict[str, str]:
        from .widgets.html import result_html

        html = result_html(self.card, {"history": history_frame(self.points)})
        return {"text/html": html, "text/plain": repr(self.job)}


class Together:
    """The views of several dictionaries that one job trains, one below the other."""

    def __init__(self, lives: Sequence[LiveTraining]) -> None:
        self.lives = list(lives)

    def display(self) -> None:
        """Show each in the current cell."""
        for live in self.lives:
            live.display()


def _in_kernel() -> bool:
    """Whether a front end may be listening on comms: an ipykernel, not a plain IPython terminal."""
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None
