"""Jobs: one at a time, with progress, cancel, and errors that wait for whoever asks."""

import threading

import pytest

from aquin_nb.control import Control
from aquin_nb.errors import Cancelled, ModelError, SessionError
from aquin_nb.jobs import Job, JobQueue


def test_result_progress_and_stages() -> None:
    seen: list[float] = []

    def work(control: Control) -> str:
        control.tick("collect", 5, 10, "tokens")
        control.tick("train", 1, 2, "steps")
        return "done"

    job: Job[str] = Job("x", work, {"collect": 0.4, "train": 0.6})
    job.on_change(lambda j: seen.append(j.progress))
    JobQueue("t").add(job)
    assert job.wait(10) == "done"
    assert job.result == "done"
    assert job.status == "completed"
    assert seen[1:3] == pytest.approx([0.2, 0.7])
    assert job.progress == 1.0


def test_jobs_of_one_queue_run_one_after_another() -> None:
    queue, gate, order = JobQueue("t"), threading.Event(), []

    def first(control: Control) -> None:
        gate.wait(10)
        order.append("first")

    a = queue.submit("a", first)
    b = queue.submit("b", lambda control: order.append("second"))
    assert b.status == "queued"
    with pytest.raises(SessionError, match="b is queued"):
        _ = b.result
    with pytest.raises(TimeoutError, match="still"):
        b.wait(0.01)
    gate.set()
    b.wait(10)
    assert order == ["first", "second"]
    assert a.status == "completed"


def test_cancel_stops_at_the_next_tick_and_queued_ones_never_start() -> None:
    queue, started, ran = JobQueue("t"), threading.Event(), []

    def endless(control: Control) -> None:
        started.set()
        while True:
            control.tick("spin", 0, 1)

    running, waiting = queue.submit("run", endless), queue.submit("wait", lambda control: ran.append(1))
    started.wait(10)
    waiting.cancel()
    assert waiting.status == "cancelled"
    running.cancel()
    with pytest.raises(Cancelled):
        running.wait(10)
    with pytest.raises(Cancelled, match="before it began"):
        waiting.wait(10)
    assert running.status == "cancelled"
    assert queue.submit("after", lambda control: 3).wait(10) == 3
    assert ran == []


def test_an_error_is_kept_and_raised_where_it_is_asked_for() -> None:
    def broken(control: Control) -> None:
        raise ModelError("no such layer")

    job = JobQueue("t").submit("b", broken)
    with pytest.raises(ModelError, match="no such layer"):
        job.wait(10)
    assert job.status == "failed"
    with pytest.raises(ModelError):
        _ = job.result
    assert "no such layer" in repr(job)


def test_a_listener_that_fails_neither_stops_nor_hides_the_work() -> None:
    seen: list[str] = []

    def broken(job: Job[int]) -> None:
        raise RuntimeError("a view fell over")

    job: Job[int] = Job("x", lambda control: control.tick("s", 1, 2) or 7)
    job.on_change(broken)
    job.on_change(lambda j: seen.append(j.status))
    queue = JobQueue("t")
    queue.add(job)
    assert job.wait(10) == 7
    assert seen[-1] == "completed"
    assert queue.submit("after", lambda control: 1).wait(10) == 1
