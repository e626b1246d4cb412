"""The one thread that writes: what waits is taken together, so that many senders share one fsync."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from .envelope import Event
from .storage import Outcome, Storage, StorageBusy

GROUP: Final = 5_000  # events in one transaction
WAITING: Final = 20_000  # events in the queue before senders are told to come back
T = TypeVar("T")


@dataclass
class _Batch:
    events: Sequence[Event]
    future: Future[Outcome]


@dataclass
class _Call:
    work: Callable[[], Any]
    future: Future[Any]


class Writer:
    """Owns the writing half of a storage.

    Args:
        published: called in the writer's thread with the cards that a transaction changed and the head after it.
    """

    def __init__(self, storage: Storage, published: Callable[[set[tuple[str, str]], int], None]) -> None:
        self._storage, self._published = storage, published
        self._queue: queue.SimpleQueue[_Batch | _Call | None] = queue.SimpleQueue()
        self._waiting, self._closed, self._guard = 0, False, threading.Lock()
        self._thread = threading.Thread(target=self._run, name="aquin-writer", daemon=True)
        self._thread.start()

    def add(self, events: Sequence[Event]) -> Future[Outcome]:
        """Keep a batch; the future is resolved once it is on disk.

        Raises:
            StorageBusy: too much waits already.
        """
        future: Future[Outcome] = Future()
        with self._guard:
            self._open()
            if self._waiting + len(events) > WAITING:
                raise StorageBusy("More events are waiting than the database takes; send again in a moment.")
            self._waiting += len(events)
            self._queue.put(_Batch(events, future))
        return future

    def call(self, work: Callable[[], T]) -> Future[T]:
        """Any other write, in its turn.

        Raises:
            StorageBusy: the server stops.
        """
        future: Future[T] = Future()
        with self._guard:
            self._open()
            self._queue.put(_Call(work, future))
        return future

    def _open(self) -> None:
        if self._closed:
            raise StorageBusy("The board is stopping; send again once it serves.")

    def close(self) -> None:
        """Write what waits, and end."""
        with self._guard:
            self._closed = True
            self._queue.put(None)
        self._thread.join(30)

    def _run(self) -> None:
        while True:
            jobs = self._together()
            group = [job for job in jobs if isinstance(job, _Batch)]
            if group:
                self._commit(group)
                with self._guard:
                    self._waiting -= sum(len(batch.events) for batch in group)
            last = jobs[-1]
            if isinstance(last, _Call):
                _resolve(last.future, last.work)
            elif last is None:
                return

    def _together(self) -> list[_Batch | _Call | None]:
        """What waits, up to and with the first that is no batch; waits for something."""
        jobs, count = [self._queue.get()], 0
        while isinstance(last := jobs[-1], _Batch):
            count += len(last.events)
            if count >= GROUP:
                break
            try:
                jobs.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return jobs

    def _commit(self, group: list[_Batch]) -> None:
        try:
            outcomes = self._storage.write([batch.events for batch in group], time.time())
        except StorageBusy as error:
            for batch in group:
                _settle(batch.future, error)
        except Exception as error:
            if len(group) == 1:
                _settle(group[0].future, error)
                return
            for batch in group:  # one of them cannot be written: the others must not pay for it
                self._commit([batch])
        else:
            for batch, outcome in zip(group, outcomes, strict=True):
                _settle(batch.future, outcome)
            changed = set().union(*(outcome.changed for outcome in outcomes))
            if changed:
                self._published(changed, outcomes[-1].head)


def _resolve(future: Future[T], work: Callable[[], T]) -> None:
    try:
        result: T | Exception = work()
    except Exception as error:
        result = error
    _settle(future, result)


def _settle(future: Future[T], result: T | Exception) -> None:
    """Tell whoever waits, unless nobody does any more."""
    with suppress(InvalidStateError):
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
