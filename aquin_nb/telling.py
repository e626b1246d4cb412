"""What a session tells of its runs: every verb's start, progress and result, as events of its card.

The one place where verbs and sync meet. Without an orchestrator nothing is told and nothing is written.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from .cards.events import slim
from .errors import Cancelled
from .jobs import FINISHED, Job

if TYPE_CHECKING:
    from .cards import Card
    from .sync import Outbox

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
log = logging.getLogger("aquin_nb.telling")

PROGRESS_SECONDS = 1.0
SNAPSHOT_SECONDS = 5.0


def told(
    tool: str, kind: str, *, named: bool = False
) -> Callable[[Callable[Concatenate[S, P], R]], Callable[Concatenate[S, P], R]]:
    """A verb of a session, told to its orchestrator: a job as long as it runs, anything else from call to return.

    `named`: the run's name is its first argument, else its argument `name`.
    """

    def tells(verb: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
        @functools.wraps(verb)
        def calls(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            telling: Telling | None = getattr(getattr(self, "_session", self), "telling", None)
            if telling is None:
                return verb(self, *args, **kwargs)
            name = args[0] if named and args else kwargs.get("name")
            return telling.call(tool, kind, str(name or ""), lambda: verb(self, *args, **kwargs))

        return calls

    return tells


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
        self._calling = threading.local()

    def call(self, tool: str, kind: str, name: str, work: Callable[[], R]) -> R:
        """Do the work of a verb and tell it."""
        if kind in JOBS:
            self._calling.verb = (tool, kind, name)
            try:
                return work()  # what is refused at once was never a run; the rest is announced
            finally:
                self._calling.verb = None
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
                run.end("completed", None, getattr(result, "card", None))
        return result

    def announce(self, job: Job[Any]) -> None:
        """Tell a job, of the verb that this thread is in, from before it begins until it ends."""
        verb: tuple[str, str, str] | None = getattr(self._calling, "verb", None)
        if verb is not None:
            tool, kind, name = verb
            with _harmless():
                Run(self, tool, kind, name, job.card).follow(job)

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
            self.end(job.status, job.error, job.card)

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

    def end(self, status: str, error: BaseException | None, card: Card | None) -> None:
        """Tell how it ended, once."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            for artifact in card.artifacts if card is not None else ():
                self._log("card.artifact", artifact.model_dump(mode="json"))
            said: dict[str, Any] = {"status": status, "tool": self._tool, "seconds": time.monotonic() - self._began}
            if error is not None:
                said["error"] = {"type": type(error).__name__, "message": str(error)}
            self._log("tool.result", said | _slimmed(card))

    def _log(self, type: str, data: dict[str, Any]) -> None:
        self._outbox.log(type, self._subject, data, attempt=self._attempt)


def _slimmed(card: Card | None) -> dict[str, Any]:
    if card is None:
        return {}
    kept, left = slim(card.model_dump(mode="json"))
    return {"card": kept, "left_out": left}
