"""What the session bar shows: one state as JSON, pushed while somebody looks and something changes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypedDict

from ...errors import AquinError, SelectionError
from ..desk import Handler

log = logging.getLogger("aquin_nb.widgets")

PERIOD_SECONDS: Final = 0.5
"""Between looks at the state, and so between pushes."""
LEASE_SECONDS: Final = 15.0
"""A page that goes on looking says so more often than this; the half of it in `widgets/src/session/view.ts`."""


class ModelState(TypedDict):
    """The locked model; `device` and `dtype` are those it computes with."""

    name: str
    mode: str
    n_layers: int
    d_model: int
    dtype: str
    device: str
    backend: str


class DictionaryState(TypedDict):
    """The bound dictionary; `verdict` is None where no card lies beside it."""

    name: str
    architecture: str
    d_in: int
    d_sae: int
    layer: int | None
    verdict: str | None


class MemoryState(TypedDict):
    """Bytes: resident in this process, and on the model's GPU, where it is on one."""

    resident: int | None
    gpu: int | None
    gpu_total: int | None


class JobState(TypedDict):
    """`id` names it for "cancel"; `fraction` is 0 to 1 over the whole job; `problem` says how it failed."""

    id: int
    name: str
    status: str
    stage: str
    fraction: float
    eta_seconds: float | None
    cancelling: bool
    problem: str


class SyncState(TypedDict):
    """Delivery to the board; `contact` is its last answer, in seconds since 1970."""

    state: str
    said: str
    pending: int
    lost: int
    url: str
    problem: str
    contact: float | None


class SessionState(TypedDict):
    """`earlier` counts ended jobs that are not listed; `at` is when this was true, in seconds since 1970."""

    name: str
    model: ModelState
    dictionary: DictionaryState | None
    memory: MemoryState
    jobs: list[JobState]
    earlier: int
    sync: SyncState
    at: float


class Watched:
    """Pushes a state to the pages that look at it, from a thread that lives as long as one does.

    Args:
        state: the present state; called from that thread and from those that answer pages.
        push: gives it to the pages.
        changing: the part of a state that decides whether it is another one; its time alone does not.
    """

    def __init__(
        self,
        state: Callable[[], Any],
        push: Callable[[Any], None],
        changing: Callable[[Any], Any] = lambda state: state,
    ) -> None:
        self._state, self._push, self._changing = state, push, changing
        self._lock = threading.Lock()
        self._until = 0.0
        self._thread: threading.Thread | None = None

    def look(self) -> Any:
        """Somebody looks, and will say so again before the lease ends; returns the state as it is."""
        with self._lock:
            self._until = time.monotonic() + LEASE_SECONDS
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="aquin-session", daemon=True)
                self._thread.start()
        return self._state()

    @property
    def watching(self) -> bool:
        """Whether the thread lives."""
        return self._thread is not None

    def _run(self) -> None:
        last: Any = None
        try:
            while True:
                with self._lock:
                    if time.monotonic() >= self._until:
                        self._thread = None  # here, under the lock: who looks now begins another one
                        return
                state = self._state()
                now = self._changing(state)
                if now != last:
                    last = now
                    self._push(state)
                time.sleep(PERIOD_SECONDS)
        except AquinError:  # the session is gone; a page that looks again is told
            pass
        except Exception:
            log.exception("the session bar stopped following its session")
        finally:
            with self._lock:
                if self._thread is threading.current_thread():
                    self._thread = None


def session_answers(watched: Watched, cancel: Callable[[int], None]) -> dict[str, Handler]:
    """What a page asks: "look" for the state, every few seconds while it is in sight, and "cancel" of a job."""

    def stop(params: dict[str, Any]) -> dict[str, Any]:
        job = params.get("job")
        if type(job) is not int:
            raise SelectionError("A job is named by its number.")
        cancel(job)
        return {}

    return {"look": lambda _params: watched.look(), "cancel": stop}
