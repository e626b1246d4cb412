"""Prefetch: the same batches in the same order, made ahead, and never a thread left behind."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aquin_nb.engine.activations.prefetch import prefetch
from aquin_nb.engine.activations.stream import ShuffledStream
from aquin_nb.errors import StoreError


def counted(count: int | None = None, made: list[int] | None = None, closed: threading.Event | None = None):
    """Batches that hold their number; without `count` no end."""
    number = 0
    try:
        while number != count:
            if made is not None:
                made.append(number)
            yield torch.full((2,), number)
            number += 1
    finally:
        if closed is not None:
            closed.set()


def running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.fixture(scope="module", autouse=True)
def others() -> None:
    """Trainings that failed in other tests may still be held by what pytest keeps of them."""
    EARLIER.extend(running())


EARLIER: list[threading.Thread] = []


def threads() -> list[threading.Thread]:
    return [thread for thread in running() if thread not in EARLIER]


@settings(max_examples=50, deadline=None)
@given(count=st.integers(0, 60), depth=st.integers(1, 9))
def test_the_same_batches_in_the_same_order_and_no_thread_at_the_end(count, depth):
    assert [int(batch[0]) for batch in prefetch(counted(count), depth)] == list(range(count))
    assert threads() == []


def test_a_stream_is_the_same_with_and_without():
    stream = ShuffledStream(torch.randn(500, 3), 32)
    ahead = list(prefetch(stream.epoch(0, skip=2)))
    assert torch.equal(torch.stack(ahead), torch.stack(list(stream.epoch(0, skip=2))))


def test_an_exception_comes_after_the_batches_before_it_and_once():
    def failing():
        yield from counted(3)
        raise StoreError("chunk 7 is damaged")

    batches = prefetch(failing(), 8)
    assert [int(next(batches)[0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(StoreError, match="chunk 7 is damaged"):
        next(batches)
    assert threads() == []
    with pytest.raises(StopIteration):
        next(batches)


def test_what_cannot_be_iterated_is_told_to_the_consumer():
    with pytest.raises(TypeError, match="not iterable"):
        next(prefetch(7))
    assert threads() == []


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_is_made_than_asked_for(depth):
    """`depth` batches beside the one that the consumer has."""
    made: list[int] = []
    enough = threading.Event()

    def watched():
        for batch in counted(made=made):
            if len(made) == depth + 1:
                enough.set()
            yield batch

    batches = prefetch(watched(), depth)
    next(batches)
    assert enough.wait(60)
    assert made == list(range(depth + 1))
    batches.close()
    assert made == list(range(depth + 1))


def test_nothing_runs_before_the_first_batch_is_asked_for():
    made: list[int] = []
    batches = prefetch(counted(made=made))
    assert threads() == []
    batches.close()
    assert made == []


def test_closing_ends_the_thread_and_closes_the_source():
    closed = threading.Event()
    batches = prefetch(counted(closed=closed))
    next(batches)
    assert len(threads()) == 1
    batches.close()
    assert threads() == []
    assert closed.is_set()
    with pytest.raises(StopIteration):
        next(batches)


def test_a_consumer_that_fails_leaves_no_thread():
    def consume():
        for batch in prefetch(counted()):
            if batch[0] == 5:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        consume()
    del caught
    gc.collect()
    assert threads() == []


def test_a_forgotten_one_leaves_no_thread():
    batches = prefetch(counted())
    next(batches)
    gone = weakref.ref(batches)
    del batches
    assert gone() is None
    assert threads() == []


def test_the_collector_may_run_in_the_thread_itself():
    """A generator in a cycle of garbage, found by a collection that happens while its own thread makes a batch."""
    dropped = threading.Event()

    def collecting():
        yield torch.zeros(1)
        assert dropped.wait(60)
        gc.collect()
        yield from counted()

    gc.disable()
    try:
        batches = prefetch(collecting())
        next(batches)
        (thread,) = threads()
        cycle: list[object] = [batches]
        cycle.append(cycle)
        del batches, cycle
        dropped.set()
        thread.join(60)
    finally:
        gc.enable()
    assert not thread.is_alive()


def test_a_failure_keeps_nothing_alive():
    class Held:
        pass

    def failing(held: Held):
        yield torch.zeros(1)
        raise ValueError(id(held))

    held = Held()
    gone = weakref.ref(held)
    gc.disable()
    try:
        batches = prefetch(failing(held))
        del held
        next(batches)
        with pytest.raises(ValueError):
            next(batches)
        del batches
        assert gone() is None
    finally:
        gc.enable()


def test_a_process_may_end_in_the_middle():
    """The interpreter ends while the thread is at work inside torch."""
    code = (
        "import itertools, torch\n"
        "from aquin_nb.engine.activations.prefetch import prefetch\n"
        "x = torch.randn(100_000, 64)\n"
        "batches = prefetch((x[torch.randint(len(x), (4096,))] for _ in itertools.count()), depth=10_000)\n"
        "next(batches)\n"
        "print('done')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_depth_below_one_is_refused():
    with pytest.raises(StoreError, match="depth=0 must be at least 1"):
        prefetch(counted(), 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="pinned memory needs CUDA")
def test_pinned_batches_are_pinned_and_equal():
    batches = list(prefetch(counted(4), pin=True))
    assert all(batch.is_pinned() for batch in batches)
    assert [int(batch[0]) for batch in batches] == [0, 1, 2, 3]
