"""The session in a cell: its model, memory, dictionary, jobs and sync, live while a page shows them."""

from __future__ import annotations

import os
import sys
import time
import weakref
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .cards import SaeTrainCard
from .errors import AquinError, SessionError
from .jobs import FINISHED, Job
from .records import read_card
from .showing import Shown
from .widgets.views.session import (
    DictionaryState,
    JobState,
    MemoryState,
    SessionState,
    SyncState,
    Watched,
    session_answers,
)

if TYPE_CHECKING:
    from .session import Session
    from .widgets.desk import Handler

ENDED: Final = 4
"""Jobs that are over and still listed, the newest."""
GRAIN: Final = 8_000_000
"""Bytes of memory that are no news."""


class SessionBar(Shown):
    """What `session` shows. Holds the session weakly: a page must not keep a model in memory."""

    def __init__(self, session: Session) -> None:
        self._session = weakref.ref(session)
        self._text = repr(session)
        self._eta = Eta()
        self._watched = Watched(self.state, self._push, _news)

    def summary(self) -> str:
        return repr(self._alive())

    def state(self) -> SessionState:
        """As it is now; costs well under a millisecond.

        Raises:
            SessionError: the session is gone.
        """
        session = self._alive()
        info = session.model.info
        jobs = list(session.jobs.jobs)
        ended = [i for i, job in enumerate(jobs) if job.status in FINISHED]
        shown = [i for i in range(len(jobs)) if i not in ended[: max(0, len(ended) - ENDED)]]
        return {
            "name": session.name,
            "model": {
                "name": info.name, "mode": info.mode, "n_layers": info.n_layers, "d_model": info.d_model,
                "dtype": info.dtype, "device": info.device, "backend": info.backend,
            },
            "dictionary": _dictionary(session),
            "memory": memory(info.device),
            "jobs": [self._job(i, jobs[i]) for i in shown],
            "earlier": len(jobs) - len(shown),
            "sync": _sync(session),
            "at": time.time(),
        }  # fmt: skip

    def _job(self, number: int, job: Job[Any]) -> JobState:
        return {
            "id": number,
            "name": job.name,
            "status": job.status,
            "stage": job.stage,
            "fraction": job.progress,
            "eta_seconds": self._eta.left(number, job),
            "cancelling": job.cancelling and job.status not in FINISHED,
            "problem": "" if job.error is None else str(job.error),
        }

    def cancel(self, number: int) -> None:
        """Cancel a job of the session's queue by its place in it.

        Raises:
            SessionError: there is none.
        """
        jobs = self._alive().jobs.jobs
        if not 0 <= number < len(jobs):
            raise SessionError(f"The session has no job {number}.")
        jobs[number].cancel()

    def _static(self, live: bool) -> str:
        from .widgets.html import result_html

        return result_html(self._alive().card, live=live)

    def _view(self) -> tuple[str, dict[str, Any]] | None:
        return "session", dict(self.state())

    def _answers(self) -> dict[str, Handler]:
        return session_answers(self._watched, self.cancel)

    def _push(self, state: SessionState) -> None:
        self._served.push("state", state)

    def _alive(self) -> Session:
        session = self._session()
        if session is None:
            raise SessionError(f"This session is gone: {self._text}. Open another one.")
        return session


class Eta:
    """Seconds until a job ends, from how its share of the whole has grown since it was first seen to grow."""

    def __init__(self) -> None:
        self._began: dict[int, tuple[float, float]] = {}

    def left(self, number: int, job: Job[Any]) -> float | None:
        """None while nothing can be said of it."""
        if job.status != "running":
            self._began.pop(number, None)
            return None
        now = time.monotonic()
        since, first = self._began.setdefault(number, (now, job.progress))
        grown = job.progress - first
        return (now - since) * (1 - job.progress) / grown if grown > 0.01 and now - since > 1 else None


def memory(device: str) -> MemoryState:
    """What this process holds, and the GPU of the model where torch runs on one."""
    used = total = None
    torch = sys.modules.get("torch")
    if device.startswith("cuda") and torch is not None:
        used, total = torch.cuda.memory_reserved(device), torch.cuda.get_device_properties(device).total_memory
    return {"resident": _resident(), "gpu": used, "gpu_total": total}


def _resident() -> int | None:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        pass
    try:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on a Mac, the one system that comes here
    except ImportError:
        return None
    return peak if sys.platform == "darwin" else peak * 1024


def _dictionary(session: Session) -> DictionaryState | None:
    sae = session.dictionary
    if sae is None:
        return None
    cfg = sae.cfg
    verdict = None
    if sae.path is not None:
        card = Path(sae.path).with_suffix(".card.json")
        try:
            verdict = _verdict(card, card.stat().st_mtime_ns)
        except OSError:
            verdict = None
    return {
        "name": cfg.name or (Path(sae.path).stem if sae.path else "unsaved"), "architecture": cfg.architecture,
        "d_in": cfg.d_in, "d_sae": cfg.d_sae, "layer": session.layer, "verdict": verdict,
    }  # fmt: skip


@lru_cache(maxsize=8)
def _verdict(card: Path, _changed: int) -> str | None:
    try:
        return read_card(card, SaeTrainCard).verdict
    except AquinError:
        return None


def _sync(session: Session) -> SyncState:
    status = session.sync_status()
    since = status.seconds_since_contact
    url = status.url if status.url.startswith(("http://", "https://")) else ""
    return {
        "state": status.state, "said": str(status), "pending": status.pending, "lost": status.lost, "url": url,
        "problem": status.problem, "contact": None if since is None else round(time.time() - since, 1),
    }  # fmt: skip


def _news(state: SessionState) -> Any:
    """What makes a state another one: not its time, nor a few megabytes, nor that the board was heard again."""
    told = state["memory"]
    grains = [None if size is None else size // GRAIN for size in (told["resident"], told["gpu"])]
    sync = {key: value for key, value in state["sync"].items() if key not in ("said", "contact")}
    return {**state, "at": None, "memory": grains, "sync": sync}
