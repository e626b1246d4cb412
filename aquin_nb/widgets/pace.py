"""At most so many sends a second, and always the last value: the server drops what comes faster, without a word."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Coalescer:
    """Calls `send()` from one thread of its own, at most `rate` times a second, after `mark()` said something changed.

    The first mark is sent at once; marks meanwhile become one later send; the last one always goes out, at the latest
    in `close()`. While nothing changes, `idle()` is called every `idle_seconds`, so that the other side knows we live.
    After `close()` a mark sends in the caller's thread. What `send` or `idle` raise goes to `on_error`.

    >>> sent = []
    >>> pace = Coalescer(lambda: sent.append("state"), rate=1000)
    >>> pace.mark(); pace.close(); sent
    ['state']
    """

    def __init__(
        self,
        send: Callable[[], None],
        *,
        rate: float = 20.0,
        idle: Callable[[], None] | None = None,
        idle_seconds: float = 5.0,
        on_error: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._send, self._idle, self._on_error = send, idle, on_error
        self._gap, self._idle_seconds = 1.0 / rate, idle_seconds
        self._changed = threading.Condition()
        self._dirty = False
        self._closing = False
        self._thread: threading.Thread | None = None

    def mark(self) -> None:
        """Say that there is something new to send; returns at once."""
        with self._changed:
            if not self._closing:
                woken, self._dirty = self._dirty, True
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="aquin-coalescer", daemon=True)
                    self._thread.start()
                elif not woken:  # else it waits for its slot, and waking it costs as much as sending
                    self._changed.notify()
                return
        self._call(self._send)

    def close(self, timeout: float = 5.0) -> None:
        """Send what is left and end the thread; calling it again does nothing."""
        with self._changed:
            self._closing = True
            thread = self._thread
            self._changed.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    @property
    def closed(self) -> bool:
        return self._closing

    def _run(self) -> None:
        next_send = 0.0
        while True:
            with self._changed:
                if not self._dirty and not self._closing:
                    self._changed.wait(self._idle_seconds)
                # Hold back until the next slot; a close cuts the wait short.
                while self._dirty and not self._closing and (wait := next_send - time.monotonic()) > 0:
                    self._changed.wait(wait)
                dirty, closing = self._dirty, self._closing
                self._dirty = False
            if dirty:
                next_send = time.monotonic() + self._gap
                self._call(self._send)
            elif not closing and self._idle is not None:
                self._call(self._idle)
            if closing:
                return

    def _call(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:  # a view that fails must not end the thread that feeds it
            if self._on_error is not None:
                self._on_error(error)
