"""Long work that leaves the cell free: a queue of jobs, one at a time, each with progress, cancel and a result."""

from __future__ import annotations

import atexit
import logging
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from .control import Control, Tick
from .errors import Cancelled, SessionError

if TYPE_CHECKING:
    from .cards import Card

T = TypeVar("T")
log = logging.getLogger("aquin_nb.jobs")
Status = Literal["queued", "running", "completed", "failed", "cancelled"]
FINISHED = ("completed", "failed", "cancelled")


class Job(Generic[T]):
    """A piece of work in a worker thread.

    Attributes:
        status: queued, running, completed, failed or cancelled.
        progress: 0 to 1 over the whole job.
        stage: what it is doing now, with its own count: `collect 12,288 of 100,000 tokens`.
        error: the exception of a failed or cancelled job.
        output: the file it is to write, if it is one.
        notes: what whoever waits for it should know, such as the room it needs on disk.
        card: what it makes, where that is a card.

    >>> queue = JobQueue("example")
    >>> job = queue.submit("add", lambda control: 1 + 1)
    >>> job.wait(timeout=10), job.status
    (2, 'completed')
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Control], T],
        stages: dict[str, float] | None = None,
        output: Path | None = None,
    ) -> None:
        """`stages` gives each stage's share of the whole, in order; a job of one stage needs none."""
        self.name = name
        self.status: Status = "queued"
        self.progress = 0.0
        self.error: BaseException | None = None
        self.output = output
        self.notes: list[str] = []
        self.card: Card | None = None
        self._work = work
        self._stages = stages or {}
        self._control = Control(on_tick=self._on_tick)
        self._tick: Tick | None = None
        self._result: T | None = None
        self._finished = threading.Event()
        self._listeners: list[Callable[[Job[T]], None]] = []
        self._point_listeners: list[Callable[[str, Mapping[str, Any]], None]] = []
        self._at_end: list[Callable[[], None]] = []
        self._face: Any = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        tail = f" · {self.stage}" if self.status == "running" and self.stage else ""
        problem = f" · {self.error}" if self.error is not None else ""
        return f"<Job {self.name}: {self.status}, {self.progress:.0%}{tail}{problem}>"

    @property
    def stage(self) -> str:
        t = self._tick
        return f"{t.stage} {t.done:,} of {t.total:,} {t.unit}".strip() if t is not None else ""

    @property
    def result(self) -> T:
        """The result of a completed job.

        Raises:
            SessionError: it has not finished; `wait()` waits for it.
            BaseException: what the job raised, when it failed or was cancelled.
        """
        if not self._finished.is_set():
            raise SessionError(f"{self.name} is {self.status} ({self.progress:.0%}); call .wait() for its result.")
        if self.error is not None:
            raise self.error
        return self._result  # type: ignore[return-value]

    def wait(self, timeout: float | None = None) -> T:
        """Block until the job ends and return its result, or raise its error.

        Interrupting the cell leaves the job running; `cancel()` stops it.

        Raises:
            TimeoutError: `timeout` seconds passed; the job goes on.
        """
        if not self._finished.wait(timeout):
            raise TimeoutError(f"{self.name} is still {self.status} after {timeout:g} s ({self.progress:.0%}).")
        self._notify()
        return self.result

    def cancel(self) -> None:
        """Ask the job to stop at its next step; a queued one never starts. What it wrote stays readable."""
        self._control.cancel()
        with self._lock:
            queued = self.status == "queued"
            if queued:
                self.status, self.error = "cancelled", Cancelled(f"{self.name} was cancelled before it began.")
        if queued:
            self._end("cancelled")

    @property
    def cancelling(self) -> bool:
        """Whether it was asked to stop."""
        return self._control.cancelled

    def on_change(self, listener: Callable[[Job[T]], None]) -> None:
        """Call `listener(job)` when the job starts, after each report of progress and when it ends, from any thread."""
        self._listeners.append(listener)

    def on_point(self, listener: Callable[[str, Mapping[str, Any]], None]) -> None:
        """Call `listener(name, point)` for each logged point of what is learning there, from any thread."""
        self._point_listeners.append(listener)

    def point(self, name: str, point: Mapping[str, Any]) -> None:
        """Say that `name` logged a point."""
        for listener in self._point_listeners:
            try:
                listener(name, point)
            except Exception:  # as in `_notify`
                log.exception("a listener of %s failed", self.name)

    def at_end(self, call: Callable[[], None]) -> None:
        """Call `call()` once when the job has ended, before `wait()` returns: what it held is free then."""
        self._at_end.append(call)

    def show_as(self, face: Any) -> None:
        """Give the job a face: an object whose `display()` shows it live in a cell."""
        self._face = face

    @property
    def face(self) -> Any:
        """What `show_as` was given."""
        return self._face

    def _ipython_display_(self) -> None:
        if self._face is not None:
            self._face.display()
        else:
            print(repr(self))  # noqa: T201  the plain form of a job in a terminal

    def _on_tick(self, tick: Tick) -> None:
        self._tick = tick
        before = 0.0
        for stage, share in self._stages.items():
            if stage == tick.stage:
                self.progress = min(1.0, before + share * tick.fraction)
                break
            before += share
        else:
            if not self._stages:
                self.progress = tick.fraction
        self._notify()

    @property
    def tick(self) -> Tick | None:
        """The latest report of progress."""
        return self._tick

    def _notify(self) -> None:
        for listener in self._listeners:
            try:
                listener(self)
            except Exception:  # a view that fails must not end the work it shows, nor hide it from other views
                log.exception("a listener of %s failed", self.name)

    def _run(self) -> None:
        with self._lock:
            if self.status != "queued":
                return
            self.status = "running"
        self._notify()
        status: Status = "completed"
        try:
            self._result = self._work(self._control)
            self.progress = 1.0
        except Cancelled as error:
            self.error, status = error, "cancelled"
        except BaseException as error:
            # Kept and raised again by wait() and .result: a worker thread has nobody above it to catch it.
            self.error, status = error, "failed"
        self._end(status)

    def _end(self, status: Status) -> None:
        self.status = status
        for call in self._at_end:
            try:
                call()
            except Exception:
                log.exception("what %s was to do at its end failed", self.name)
        self._finished.set()
        self._work = _done  # it holds the model and the data; the job may be kept for its result
        self._notify()


def _done(control: Control) -> Any:
    raise SessionError("This job has run.")


class JobQueue:
    """Runs jobs one after another in one daemon thread, which lives while there is work."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.jobs: list[Job[Any]] = []
        self.announce: Callable[[Job[Any]], None] | None = None
        """Called with each job before it can begin."""
        self._queue: SimpleQueue[Job[Any]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.cancel_at_exit()

    def __repr__(self) -> str:
        return "\n".join(repr(job) for job in self.jobs) or f"<JobQueue {self.name}: no jobs yet>"

    def cancel_at_exit(self) -> None:
        """Stop the work before Python ends, and before all that was registered for its end until now.

        A daemon thread inside torch while Python shuts down aborts the process; and what it has is saved.
        """
        atexit.register(_cancel_all, weakref.ref(self))

    def submit(self, name: str, work: Callable[[Control], T], stages: dict[str, float] | None = None) -> Job[T]:
        """Queue `work(control)` and return its job at once."""
        job = Job(name, work, stages)
        self.add(job)
        return job

    def add(self, job: Job[Any]) -> None:
        if self.announce is not None:
            self.announce(job)
        with self._lock:
            self.jobs.append(job)
            self._queue.put(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name=f"aquin-nb {self.name}", daemon=True)
                self._thread.start()

    def _loop(self) -> None:
        while True:
            with self._lock:
                if self._queue.empty():
                    self._thread = None  # an idle thread would keep the session and its model alive
                    return
                job = self._queue.get()
            job._run()

    def unfinished(self) -> list[Job[Any]]:
        """Jobs that are queued or running."""
        return [job for job in self.jobs if job.status not in FINISHED]

    def cancel_all(self, timeout: float = 5.0) -> None:
        """Cancel every unfinished job and wait up to `timeout` seconds for them to stop."""
        unfinished = self.unfinished()
        for job in unfinished:
            job.cancel()
        deadline = time.monotonic() + timeout
        for job in unfinished:
            job._finished.wait(max(0.0, deadline - time.monotonic()))


def _cancel_all(queue: weakref.ref[JobQueue]) -> None:
    if (alive := queue()) is not None:
        alive.cancel_all(timeout=20.0)
