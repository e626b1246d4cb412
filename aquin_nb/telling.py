"""What a session tells of its runs: every verb's start, progress and result, as events of its card.

The one place where verbs and sync meet. Without an orchestrator nothing is told and nothing is written.

Who is told: of a verb of a session, the session's connection, else that of the process (`aquin_nb.connect`); of a
function without a session, that of the process, else that of the session that connected last and is still open. A verb
that another verb calls is a part of it and has no card of its own.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import socket
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from .cards.events import slim
from .errors import Cancelled
from .jobs import FINISHED, Job, JobQueue
from .showing import Shown

if TYPE_CHECKING:
    from .cards import Card
    from .sync import Outbox

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
log = logging.getLogger("aquin_nb.telling")

MOST_VIEW_BYTES = 1 << 20
PROGRESS_SECONDS = 1.0
SNAPSHOT_SECONDS = 5.0


def told(
    tool: str, kind: str, *, named: bool = False
) -> Callable[[Callable[Concatenate[S, P], R]], Callable[Concatenate[S, P], R]]:
    """A verb of a session, told to an orchestrator: a job as long as it runs, anything else from call to return.

    `named`: the run's name is its first argument, else its argument `name`.
    """

    def tells(verb: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
        @functools.wraps(verb)
        def calls(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            session: Any = getattr(self, "_session", self)
            telling: Telling | None = session.telling or _connected.process
            if telling is None:
                return verb(self, *args, **kwargs)
            telling.attend(session.jobs)
            name = args[0] if named and args else kwargs.get("name")
            return telling.call(tool, kind, str(name or ""), lambda: verb(self, *args, **kwargs))

        return calls

    return tells


def told_alone(tool: str, kind: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function that needs no session, told from call to return; the run's name is its argument `name`."""

    def tells(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def calls(*args: P.args, **kwargs: P.kwargs) -> R:
            telling = _connected.to_anyone()
            if telling is None:
                return function(*args, **kwargs)
            return telling.call(tool, kind, str(kwargs.get("name") or ""), lambda: function(*args, **kwargs))

        return calls

    return tells


def tell_job(job: Job[Any], tool: str, kind: str, name: str) -> None:
    """Tell a job that no session runs, from now until it ends; `name` is empty when nobody gave it one."""
    telling = _connected.to_anyone()
    if telling is not None:
        with _harmless():
            Run(telling, tool, kind, name, job.card).follow(job)


class _Connected:
    """Who is told by this process.

    process: of `aquin_nb.connect`. sessions: of those that connected themselves, in that order.
    """

    def __init__(self) -> None:
        self.process: Telling | None = None
        self.sessions: list[Telling] = []

    def to_anyone(self) -> Telling | None:
        """Who is told of what belongs to no session."""
        self.sessions = [one for one in self.sessions if not one.outbox.closed]
        return self.process or (self.sessions[-1] if self.sessions else None)


_connected = _Connected()


def connect_process(telling: Telling | None) -> Telling | None:
    """Tell this from now on of every run of the process that belongs to no connected session; returns the last one."""
    _connected.process, before = telling, _connected.process
    return before


def connect_session(telling: Telling) -> None:
    """A session tells this of its runs."""
    _connected.sessions.append(telling)


def process_telling() -> Telling | None:
    """Who is told of runs that belong to no connected session."""
    return _connected.process


class _Verb(threading.local):
    """Which verb this thread is in: who is told, then tool, kind and name."""

    now: tuple[Telling, str, str, str] | None = None


_verb = _Verb()


def announce(job: Job[Any]) -> None:
    """Tell a job, of the verb that this thread is in, from before it begins until it ends."""
    if _verb.now is not None:
        telling, tool, kind, name = _verb.now
        with _harmless():
            Run(telling, tool, kind, name, job.card).follow(job)


class Telling:
    """Tells the runs of one session to an outbox.

    Args:
        session: what the board calls it.
        device: what the board calls its machine; default: the host's name.
    """

    def __init__(self, outbox: Outbox, session: str, device: str | None = None) -> None:
        self.outbox, self._session = outbox, session
        self._device = device or socket.gethostname()
        self._calls: Counter[tuple[str, str, int]] = Counter()
        self._attempts: Counter[str] = Counter()
        self._queues: weakref.WeakSet[JobQueue] = weakref.WeakSet()

    def attend(self, queue: JobQueue) -> None:
        """Hear of the jobs of a queue, also how they end when the process does."""
        if queue not in self._queues:
            self._queues.add(queue)
            queue.announce = announce
            queue.cancel_at_exit()  # before the outbox closes, so that it is told

    def call(self, tool: str, kind: str, name: str, work: Callable[[], R]) -> R:
        """Do the work of a verb and tell it, unless it is a part of another verb's."""
        if _verb.now is not None:
            return work()
        _verb.now = (self, tool, kind, name)
        try:
            if kind in JOBS:
                return work()  # what is refused at once was never a run; the rest is announced
            return self._call(tool, kind, name, work)
        finally:
            _verb.now = None

    def _call(self, tool: str, kind: str, name: str, work: Callable[[], R]) -> R:
        run: Run | None = None
        with _harmless():
            run = Run(self, tool, kind, name, None)
        try:
            result = work()
        except BaseException as error:
            stopped = isinstance(error, Cancelled | KeyboardInterrupt)
            with _harmless():
                if run is not None:
                    run.end("cancelled" if stopped else "failed", error, None)
            raise
        with _harmless():
            if run is not None:
                run.end("completed", None, getattr(result, "card", None), result)
        return result

    def identify(self, tool: str, name: str) -> tuple[str, int]:
        """The card that a call belongs to, and which attempt of it this is.

        A run with a name is the same card in any cell of its notebook, so that resuming it goes on with the card.
        One without is its cell's; the second call of a verb in one execution of a cell is another card than the first.
        """
        from .sync.attempts import card_id, next_attempt, this_cell

        notebook, cell, execution = this_cell()
        key = [notebook, tool, name]
        if not name:
            of = (tool, cell, execution)
            self._calls[of] += 1
            key += [cell, str(self._calls[of])]
        card = card_id(*key)
        self._attempts[card] += 1
        try:
            return card, next_attempt(self.outbox.directory, card)
        except Exception:  # a folder that cannot be written
            log.warning("attempts of %s are counted as far as this session knows", tool, exc_info=True)
            return card, self._attempts[card]

    def fields(self, tool: str, kind: str, name: str) -> dict[str, Any]:
        return {"tool": tool, "kind": kind, "name": name, "session": self._session, "device": self._device}


@contextlib.contextmanager
def _harmless() -> Iterator[None]:
    """A defect in telling must not end, or hide, the work that is told."""
    try:
        yield
    except Exception:
        log.exception("a run could not be told to its orchestrator")


JOBS = ("saeTrain", "saeSweep", "activationStore")
"""Kinds of cards whose verbs return a job."""


class Run:
    """One run of a verb, told as it goes."""

    def __init__(self, telling: Telling, tool: str, kind: str, name: str, card: Card | None) -> None:
        self._outbox, self._tool = telling.outbox, tool
        self._subject, self._attempt = telling.identify(tool, name)
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._ended = False
        self._next_progress = self._next_snapshot = 0.0
        self._snapshot: dict[str, Any] = {}
        start = telling.fields(tool, kind, name or (card.name if card is not None else ""))
        self._log("tool.start", start | _slimmed(card))

    def follow(self, job: Job[Any]) -> None:
        """Tell a job until it ends."""
        job.on_point(self._point)
        job.on_change(self._changed)
        self._changed(job)

    def _point(self, member: str, point: Mapping[str, Any]) -> None:
        with self._lock:
            if not self._ended:
                self._log("card.progress", {"member": member, "point": dict(point)})

    def _changed(self, job: Job[Any]) -> None:
        with self._lock:
            if self._ended:
                return
            now = time.monotonic()
            if job.status not in FINISHED:
                self._advance(job, now)
        if job.status in FINISHED:
            self.end(job.status, job.error, job.card, job.result if job.status == "completed" else None)

    def _advance(self, job: Job[Any], now: float) -> None:
        tick = job.tick
        if tick is not None and now >= self._next_progress:
            self._next_progress = now + PROGRESS_SECONDS
            progress = {"stage": tick.stage, "done": tick.done, "total": tick.total, "unit": tick.unit,
                        "fraction": job.progress}  # fmt: skip
            self._log("card.progress", {"progress": progress})
        if now >= self._next_snapshot and job.status == "running":
            self._next_snapshot = now + SNAPSHOT_SECONDS
            slimmed = _slimmed(job.card)
            seen = {key: value for key, value in slimmed.get("card", {}).items() if key != "progress"}
            if seen and seen != self._snapshot:
                self._snapshot = seen
                self._log("card.snapshot", slimmed)

    def end(self, status: str, error: BaseException | None, card: Card | None, result: Any = None) -> None:
        """Tell how it ended, once; with a result also what its view embeds, so that the board can show the same."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            for artifact in card.artifacts if card is not None else ():
                self._log("card.artifact", artifact.model_dump(mode="json"))
            with _harmless():
                self._view(result)
            said: dict[str, Any] = {"status": status, "tool": self._tool, "seconds": time.monotonic() - self._began}
            if error is not None:
                said["error"] = {"type": type(error).__name__, "message": str(error)}
            self._log("tool.result", said | _slimmed(card))

    def _view(self, result: Any) -> None:
        if not isinstance(result, Shown):
            return
        view = result._view()
        if view is None:
            return
        from .widgets.pack import embed

        kind, data = view
        body = json.dumps(embed(data), allow_nan=False, separators=(",", ":")).encode()
        if len(body) <= MOST_VIEW_BYTES:
            attached = ("application/json", body)
            told = {"role": "view", "name": kind}
            self._outbox.log("card.artifact", self._subject, told, attempt=self._attempt, attached=attached)

    def _log(self, type: str, data: dict[str, Any]) -> None:
        self._outbox.log(type, self._subject, data, attempt=self._attempt)


def _slimmed(card: Card | None) -> dict[str, Any]:
    if card is None:
        return {}
    kept, left = slim(card.model_dump(mode="json"))
    return {"card": kept, "left_out": left}
