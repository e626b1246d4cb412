"""A running job in a cell: its view while it runs, the result's own HTML once it has ended."""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cards import SaeTrainCard, TrainMetrics
from .control import Tick
from .jobs import FINISHED, Job
from .records import HISTORY_DTYPES, history_frame
from .results import SaeTrain

if TYPE_CHECKING:
    from .widgets.job import JobState, Progress

INTERVAL_SECONDS = 0.1
LINES = 20
"""Lines of progress that a terminal gets, and one a stage."""
HERE = "print(job) says how far it is, job.wait() gives its result, job.cancel() stops it."


class Live(ABC):
    """The face of a job: shows it where it is displayed, and replaces every view when it ends.

    When the job ends every output is replaced by static HTML (`display_id`), because a widget whose kernel has gone
    shows nothing; so the saved notebook tells the story whoever opens it.
    """

    def __init__(self, job: Job[Any]) -> None:
        self.job = job
        self._view: Any = None
        self._handles: list[Any] = []
        self._lock = threading.RLock()
        self._stage, self._stage_began, self._stage_first = "", 0.0, 0
        self._shown = 0.0
        self._said: tuple[int, str] | None = None
        self._in_lines = False
        job.show_as(self)
        job.on_change(self._changed)

    @abstractmethod
    def _make(self) -> Any:
        """The widget, made when the job is first displayed, with `keep(data)`."""

    @abstractmethod
    def _refresh(self) -> None:
        """Give the widget, if there is one, the present state; under the lock."""

    @abstractmethod
    def _html(self) -> str:
        """What stays of a job that is over."""

    def display(self) -> None:
        """Show the job in the current cell."""
        from IPython.display import display

        with self._lock:
            if self.job.status in FINISHED:
                display(self._settled(), raw=True)
                return
            from .widgets.bridge import in_kernel

            if not in_kernel():
                display({"text/plain": f"{self.job!r}\n{HERE}"}, raw=True)
                self._in_lines = True
                return
            if self._view is None:
                self._view = self._make()
                self._view.told = self._told
            self._handles.append(display(self._view, display_id=True))

    def _changed(self, job: Job[Any]) -> None:
        now = time.monotonic()
        finished = job.status in FINISHED
        if not finished and now - self._shown < INTERVAL_SECONDS:
            return  # a training ticks on every step; a view needs no more than a few a second
        with self._lock:
            self._shown = now
            if self._in_lines:
                self._say(finished)
            if finished:
                self._settle()
            else:
                self._refresh()

    def _told(self) -> str:
        """For a console on a kernel, which gets no news of it."""
        from .widgets.base import NO_WIDGETS

        return f"{self.job!r}\n{NO_WIDGETS} Here {HERE}"

    def _say(self, finished: bool) -> None:
        """A line of progress where a terminal showed the job: one a stage and every 5 %."""
        job = self.job
        now = (int(job.progress * LINES), job.status if finished else job.tick.stage if job.tick is not None else "")
        if now == self._said:
            return
        self._said = now
        # The terminal's prompt may be waiting: IPython writes above it what is printed by other threads.
        print(repr(job) if finished else f"{job.name}: {job.progress:.0%} {job.stage}".rstrip())  # noqa: T201

    def _progress(self, tick: Tick) -> Progress:
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
        self._refresh()
        if self._view is not None:
            settled = self._settled()
            for handle in self._handles:
                handle.update(settled, raw=True)
            # A page that was reloaded meanwhile has forgotten the display ids, and replaces its views itself.
            self._view.keep(settled)

    def _settled(self) -> dict[str, str]:
        text = repr(self.job)
        if self.job.status == "completed":
            text += f"\n{self.job.result!r}"
        return {"text/html": self._html(), "text/plain": text}


class LiveJob(Live):
    """The face of any job: its bar, its notes and a Cancel button, and at the end the HTML of what it left.

    Args:
        about: a line under the job's name.
        left: HTML of what there is when it has ended, however it did; default: of the result, or what was last shown.

    >>> LiveJob(job, about="tiny · layer 3")                                    # doctest: +SKIP
    """

    def __init__(self, job: Job[Any], *, about: str = "", left: Callable[[], str] | None = None) -> None:
        self._about, self._left = about, left
        super().__init__(job)

    def _make(self) -> Any:
        from .widgets.job import JobView

        return JobView(self._state(), on_cancel=self.job.cancel)

    def _refresh(self) -> None:
        if self._view is not None:
            self._view.update(self._state())

    def _html(self) -> str:
        if self._left is not None:
            return self._left()
        from .widgets.job import job_html

        result: Any = self.job.result if self.job.status == "completed" else None
        html: str = result.html() if hasattr(result, "html") else job_html(self._state())
        return html

    def _state(self) -> JobState:
        job, tick = self.job, self.job.tick
        return {
            "name": job.name,
            "about": self._about,
            "status": job.status,
            "progress": self._progress(tick if tick is not None else Tick("", 0, 0)),
            "notes": list(job.notes),
            "problem": "" if job.error is None else str(job.error),
        }


class LiveTraining(Live):
    """Keeps a training's card and points, feeds the monitor that shows it, and freezes it when the job ends."""

    def __init__(self, job: Job[SaeTrain], card: SaeTrainCard) -> None:
        self.card = card
        self.points: list[tuple[Any, ...]] = []
        self.again: Callable[[], LiveTraining] | None = None
        """Goes on with the training when it was stopped; without it a resume works from what is on disk alone."""
        self._result: SaeTrain | None = None
        super().__init__(job)

    def state(self) -> tuple[SaeTrainCard, list[tuple[Any, ...]]]:
        """The card and the logged points as they are now."""
        with self._lock:
            self._refresh()
            return self.card.model_copy(), list(self.points)

    def point(self, point: tuple[Any, ...], density: list[int] | None = None) -> None:
        """Take a logged point; called from the training thread.

        Args:
            point: the columns of `records.HISTORY_DTYPES`, in their order.
            density: latents by firing rate since the last point, as `TrainMetrics.density`.
        """
        with self._lock:
            self._take([point])
            self.card.latest = self._metrics(point, density)
        self.job.point(self.card.name, dict(zip(HISTORY_DTYPES, point, strict=True)))

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
        if self._view is not None:
            self._view.push(np.asarray(points, dtype=np.float64))

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
            if self._view is not None:
                self._view.update(self.card)

    def _make(self) -> Any:
        import numpy as np

        from .earlier import Earlier
        from .widgets.bridge import bridge
        from .widgets.monitor import TrainingMonitor

        bridge()  # made now: what stays when the job ends is shown from its thread
        earlier = Earlier(self.card, self.job.output.parent if self.job.output is not None else None)
        monitor = TrainingMonitor(self.card, on_cancel=self.job.cancel, answers=earlier.answers())
        if self.points:
            monitor.push(np.asarray(self.points, dtype=np.float64))
        return monitor

    def _refresh(self) -> None:
        if self.job.status in FINISHED:
            self._close_card()
        elif (tick := self.job.tick) is not None:
            self.card.progress = self.card.progress.model_copy(update=dict(self._progress(tick)))
        if self._view is not None:
            self._view.update(self.card)

    def _close_card(self) -> None:
        """A job that failed or was cancelled before it could close its card leaves that to us."""
        if self.card.status not in FINISHED:
            self.card.finish(self.job.status, self.job.error)

    def _html(self) -> str:
        self._close_card()
        if self._result is None:
            self._result = SaeTrain(self._place(), self.card, history_frame(self.points))
            if self.again is not None:
                self._result.resume_with(self.again)
        return self._result._html_here()

    def _place(self) -> Path:
        """Where the dictionary is, or was to be."""
        written = [one.path for one in self.card.artifacts if one.role == "dictionary"]
        if written:
            return Path(written[0])
        if self.card.checkpoint is not None:
            return Path(self.card.checkpoint.path).parent.with_suffix(".pt")
        return self.job.output or Path(self.card.name)


class Together:
    """The views of several dictionaries that one job trains, one below the other."""

    def __init__(self, lives: Sequence[LiveTraining]) -> None:
        self.lives = list(lives)

    def display(self) -> None:
        """Show each in the current cell."""
        for live in self.lives:
            live.display()
