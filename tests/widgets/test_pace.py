"""The coalescer: paced, thread-safe, and the last value always arrives."""

from __future__ import annotations

import threading
import time

from aquin_nb.widgets.pace import Coalescer


def test_a_flood_is_paced_and_ends_on_the_last_value():
    value, sent = [0], []
    pace = Coalescer(lambda: sent.append(value[0]), rate=50)
    began = time.monotonic()
    while time.monotonic() < began + 0.3:
        value[0] += 1
        pace.mark()
    pace.close()
    assert sent[-1] == value[0] > 100
    assert len(sent) <= (time.monotonic() - began) * 50 + 2


def test_marks_from_many_threads_lose_nothing():
    lock, total, seen = threading.Lock(), [0], []
    pace = Coalescer(lambda: seen.append(total[0]), rate=500)

    def work():
        for _ in range(200):
            with lock:
                total[0] += 1
            pace.mark()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pace.close()
    assert seen[-1] == 800


def test_close_twice_then_mark_sends_in_the_caller():
    names = []
    pace = Coalescer(lambda: names.append(threading.current_thread().name))
    pace.mark()
    pace.close()
    pace.close()
    pace.mark()
    assert names == ["aquin-coalescer", threading.current_thread().name]


def test_idle_is_called_while_nothing_changes():
    beat = threading.Event()
    pace = Coalescer(lambda: None, idle=beat.set, idle_seconds=0.01)
    pace.mark()
    assert beat.wait(5)
    pace.close()


def test_an_error_is_handed_over_and_the_next_value_still_sent():
    errors, sent = [], []

    def send():
        if not sent and not errors:
            raise RuntimeError("comm closed")
        sent.append(1)

    pace = Coalescer(send, rate=1000, on_error=errors.append)
    pace.mark()
    while not errors:
        time.sleep(0.001)
    pace.mark()
    pace.close()
    assert [str(error) for error in errors] == ["comm closed"]
    assert sent == [1]
