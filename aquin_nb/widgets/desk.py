"""Answers what views on a page ask of results in this kernel, over one comm."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, Protocol

from ..errors import AquinError, SelectionError
from .pace import Coalescer
from .pack import pack
from .selection import Selection, Selections

log = logging.getLogger("aquin_nb.widgets")

Handler = Callable[[dict[str, Any]], dict[str, Any]]
"""Parameters from the page, which may be anything, to JSON values and numpy arrays."""

RATE: Final = 20.0  # pushes a second; a notebook server sends in bursts above about 25
WORKERS: Final = 2


Heard = Callable[[str, Any], None]


class Served:
    """A result as pages ask for it: handlers by name, what is selected in it, and what its pages are told unasked."""

    def __init__(self, answers: Mapping[str, Handler], selections: Selections | None = None) -> None:
        self.answers, self.selections = answers, selections or Selections(())
        self._lock = threading.Lock()
        self._told: dict[str, Any] = {}
        self._pages: list[Heard] = []

    def push(self, topic: str, data: Any) -> None:
        """Give every page that shows the result the present state of a topic, at most `RATE` times a second."""
        with self._lock:  # all the way, so that no page ends on an older state than another
            self._told[topic] = data
            for page in self._pages:
                page(topic, data)

    def attach(self, page: Heard) -> Callable[[], None]:
        """Call `page(topic, data)`, which returns at once, with what was pushed last of each topic, and from now on.

        Returns:
            What stops it.
        """
        with self._lock:
            self._pages.append(page)
            for topic, data in self._told.items():
                page(topic, data)
        deaf = self.selections.listen(lambda chosen: page(f"select:{chosen.of}", chosen.as_json()))

        def stop() -> None:
            deaf()
            with self._lock:
                if page in self._pages:
                    self._pages.remove(page)

        return stop


class Send(Protocol):
    """How a comm sends: a JSON message and buffers."""

    def __call__(self, content: dict[str, Any], buffers: list[bytes] | None = None, /) -> None: ...


class Desk:
    """One side of the conversation that `widgets/src/core/kernel.ts` is the other side of.

    A page sends `hello`, `ask`, `drop` and `select`; it gets `there`, `answer` or `failed`, and `push`. Two threads of
    its own answer, so that the thread that hears clicks is free at once; a question that was dropped meanwhile is not
    answered. Pushes hold a state, not a step: the last one a topic counts, and `hello` brings them all.

    Args:
        send: of the comm; called by one thread at a time.
        find: a view's name -> what it shows, None for one that this kernel does not know any more.
        fail: told of what goes wrong in here.
    """

    def __init__(
        self, send: Send, find: Callable[[str], Served | None], fail: Callable[[BaseException, str], None]
    ) -> None:
        self._send, self._find, self._fail = send, find, fail
        self._sending, self._lock = threading.Lock(), threading.Lock()
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="aquin-answers")
        self._asked: dict[str, Future[None]] = {}
        self._pushed: dict[tuple[str, str], Any] = {}
        self._fresh: set[tuple[str, str]] = set()
        self._pace = Coalescer(self._flush, rate=RATE, on_error=lambda error: fail(error, "sending to the page"))

    def receive(self, content: object) -> None:
        """A message from the page, on any thread. Never raises."""
        if not isinstance(content, dict):
            return
        kind, view, name = content.get("type"), str(content.get("view", "")), str(content.get("id", ""))
        try:
            if kind == "ask":
                self._take(view, name, str(content.get("what", "")), content.get("params"))
            elif kind == "drop":
                with self._lock:
                    asked = self._asked.pop(name, None)
                if asked is not None:
                    asked.cancel()
            elif kind == "hello":
                self._greet(view)
            elif kind == "select":
                self._select(view, content.get("selection"))
        except Exception as error:
            self._fail(error, "hearing the page")

    def push(self, view: str, topic: str, data: Any) -> None:
        """Give every page that shows `view` the present state of a topic; returns at once."""
        with self._lock:
            self._pushed[view, topic] = data
            self._fresh.add((view, topic))
        self._pace.mark()

    def forget(self, view: str) -> None:
        """Drop what was kept to be pushed again."""
        with self._lock:
            for key in [key for key in self._pushed if key[0] == view]:
                del self._pushed[key]
                self._fresh.discard(key)

    def close(self) -> None:
        self._pace.close()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _take(self, view: str, name: str, what: str, params: object) -> None:
        with self._lock:
            self._asked[name] = self._workers.submit(self._answer, view, name, what, params)

    def _answer(self, view: str, name: str, what: str, params: object) -> None:
        served = self._find(view)
        handler = served.answers.get(what) if served is not None else None
        try:
            if served is None:
                raise SelectionError("The kernel does not hold this result any more: run the cell again.")
            if handler is None:
                raise SelectionError(f"This result has no {what[:80]!r}: page and kernel are of different versions.")
            packed, buffers = pack(handler(params if isinstance(params, dict) else {}))
            message = {"type": "answer", "id": name, "data": packed}
        except Exception as error:
            if not isinstance(error, AquinError):
                log.error("a view asked for %s", what, exc_info=error)
            text = str(error) if isinstance(error, AquinError) else f"{type(error).__name__} in {what}: {error}"
            message, buffers = {"type": "failed", "id": name, "error": text}, []
        with self._lock:
            dropped = self._asked.pop(name, None) is None
        if not dropped:
            self._out(message, buffers)

    def _greet(self, view: str) -> None:
        served = self._find(view)
        with self._lock:
            pushes = {topic: data for (of, topic), data in self._pushed.items() if of == view}
        message: dict[str, Any] = {"type": "there", "view": view, "known": served is not None, "pushes": pushes}
        if served is not None:
            message["selections"] = [served.selections.get(kind).as_json() for kind in served.selections.kinds]
        packed, buffers = pack(message)
        self._out(packed, buffers)

    def _select(self, view: str, selection: object) -> None:
        served = self._find(view)
        if served is None or not isinstance(selection, dict):
            return
        ids = selection.get("ids")
        if not isinstance(ids, list) or not all(type(one) is int and one >= 0 for one in ids):
            raise SelectionError("A selection is a list of whole numbers.")
        by = str(selection.get("by", ""))[:60]
        served.selections.set(Selection(str(selection.get("of")), tuple(ids), by))

    def _flush(self) -> None:
        with self._lock:
            fresh = {key: self._pushed[key] for key in self._fresh}
            self._fresh.clear()
        for (view, topic), data in fresh.items():
            packed, buffers = pack(data)
            self._out({"type": "push", "view": view, "topic": topic, "data": packed}, buffers)

    def _out(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        with self._sending:
            self._send(message, buffers)
