"""Batches made ahead in a thread, so that reading them overlaps with the work done on them."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Generator, Iterable
from queue import SimpleQueue
from typing import TypeVar, cast

from torch import Tensor

from ...errors import StoreError

T = TypeVar("T")


def prefetch(batches: Iterable[T], depth: int = 2, *, pin: bool = False) -> Generator[T, None, None]:
    """The same batches in the same order, up to `depth` of them made ahead in a daemon thread.

    The thread starts with the first batch asked for. It ends, and closes `batches` where they can be closed, after the
    last batch, after an exception (raised again here, after the batches before it), and when this generator is closed
    or no longer referenced: then as soon as the batch in the making is done. With `pin` batches that are
    tensors lie in page-locked memory, from which `.to("cuda", non_blocking=True)` does not wait; that needs CUDA.

    Raises:
        StoreError: depth below 1; and whatever `batches` raises.

    >>> import torch
    >>> [int(batch.sum()) for batch in prefetch([torch.ones(2), torch.ones(3)])]
    [2, 3]
    """
    if depth < 1:
        raise StoreError(f"depth={depth} must be at least 1: the batches made ahead.")
    return _ahead(batches, depth, pin)


def _ahead(batches: Iterable[T], depth: int, pin: bool) -> Generator[T, None, None]:
    # SimpleQueue may be used while the garbage collector closes a generator, whatever thread that happens in.
    ready: SimpleQueue[T | _End] = SimpleQueue()
    room: SimpleQueue[bool] = SimpleQueue()  # True: one more batch may be made
    stop = threading.Event()
    for _ in range(depth):
        room.put(True)
    thread = threading.Thread(target=_make, args=(batches, pin, ready, room, stop), name="prefetch", daemon=True)

    def end() -> None:
        stop.set()
        room.put(False)
        if thread is not threading.current_thread():
            thread.join()

    atexit.register(end)  # a thread inside torch when the interpreter ends would abort the process
    thread.start()
    del batches  # the thread's alone from here on
    try:
        while True:
            batch = ready.get()
            if isinstance(batch, _End):
                error = batch.error
                del batch
                if error is None:
                    return
                try:
                    raise error
                finally:
                    del error  # it refers to this frame
            room.put(True)
            yield batch
            del batch
    finally:
        atexit.unregister(end)
        end()


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def _make(
    batches: Iterable[T],
    pin: bool,
    ready: SimpleQueue[T | _End],
    room: SimpleQueue[bool],
    stop: threading.Event,
) -> None:
    error: BaseException | None = None
    iterator = None
    try:
        iterator = iter(batches)
        while room.get() and not stop.is_set():
            batch = next(iterator, None)
            if batch is None:
                break
            ready.put(cast(T, batch.pin_memory()) if pin and isinstance(batch, Tensor) else batch)
            del batch
    except BaseException as raised:
        error = raised
    try:
        if isinstance(iterator, Generator):
            iterator.close()
    except BaseException as raised:
        error = error or raised
    ready.put(_End(error))
    del error  # it refers to this frame
