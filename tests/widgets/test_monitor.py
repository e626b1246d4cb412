"""The monitor's protocol, as a front end sees it through a comm."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from view_samples import history, train_card

from aquin_nb.widgets.monitor import CURVE_POINTS, UNHEARD_POINTS, TrainingMonitor
from aquin_nb.widgets.protocol import COLUMNS, MAX_POINTS, WIRE


class FakeComm:
    """Records what would travel to the browser."""

    comm_id = "fake"

    def __init__(self):
        self.sent = []

    def send(self, data=None, metadata=None, buffers=None):
        self.sent.append((data, buffers or []))

    def on_msg(self, handler):
        self.handler = handler

    def close(self, *args, **kwargs):
        self.closed = True

    def messages(self, *kinds):
        custom = [(data["content"], buffers) for data, buffers in self.sent if data["method"] == "custom"]
        return [(content, buffers) for content, buffers in custom if not kinds or content["type"] in kinds]


@pytest.fixture
def monitor():
    made = []

    def make(card=None, **kwargs):
        widget = TrainingMonitor(card or train_card(), **kwargs)
        widget.comm = FakeComm()
        made.append(widget)
        return widget

    yield make
    for widget in made:
        widget.close()


def hello(widget):
    widget._handle_custom_msg({"type": "hello"}, [])


def settled(widget, *kinds, count=1):
    end = time.monotonic() + 5
    while len(widget.comm.messages(*kinds)) < count and time.monotonic() < end:
        time.sleep(0.005)
    found = widget.comm.messages(*kinds)
    assert len(found) >= count
    return found


def columns(message, buffer):
    """What was logged of each point: all but the seconds, which are derived."""
    return np.frombuffer(buffer, dtype="<f8").reshape(len(WIRE), message["rows"])[: len(COLUMNS)]


def points(start, stop):
    steps = np.arange(start, stop, dtype=np.float64)
    flat = steps * 0
    error = 1 / (steps + 1)
    return np.stack([steps, steps * 2.0**24 + 1, error, error, 1 - error, flat, steps % 7, steps, flat, flat, flat], 1)


def test_a_monitor_that_nobody_displayed_sends_nothing(monitor):
    widget = monitor()
    widget.push(points(0, 5))
    widget._pace.close()
    assert widget.comm.messages() == []


def test_a_busy_kernel_that_hears_no_hello_still_shows_the_run(monitor, monkeypatch):
    monkeypatch.setattr("aquin_nb.widgets.monitor.UNHEARD_SECONDS", 0.05)
    card = train_card()
    card.start()
    widget = monitor(card)
    widget._repr_mimebundle_()
    for i in range(3):
        widget.push(points(i * 1000, (i + 1) * 1000))
        time.sleep(0.06)
    first = settled(widget, "snapshot", count=2)[-1][0]
    assert first["rows"] <= UNHEARD_POINTS
    card.finish("completed")
    widget.update(card)
    last = widget.comm.messages("snapshot")[-1][0]
    assert (last["card"]["status"], last["total"]) == ("completed", 3000)
    assert [message["seq"] for message, _ in widget.comm.messages()] == list(range(len(widget.comm.messages())))


def test_hello_brings_a_snapshot_and_pushes_follow_as_numbered_appends(monitor):
    widget = monitor()
    widget.push(points(0, 5))
    hello(widget)
    (message, (buffer,)), *_ = settled(widget, "snapshot")
    assert (message["seq"], message["rows"], message["total"]) == (0, 5, 5)
    assert message["columns"] == list(WIRE)
    assert message["card"]["kind"] == "saeTrain"
    assert np.array_equal(columns(message, buffer), points(0, 5).T)  # float64: exact beyond 2^24

    widget.push(points(5, 6)[0])
    settled(widget, "append")
    widget.push(points(6, 9))
    settled(widget, "append", count=2)
    appended = widget.comm.messages("append")
    assert [message["seq"] for message, _ in appended] == [1, 2]
    assert np.array_equal(np.hstack([columns(m, b[0]) for m, b in appended]), points(5, 9).T)
    assert appended[0][0]["card"] == {}


def test_appends_carry_only_the_changed_fields_of_the_card(monitor):
    card = train_card()
    widget = monitor(card)
    hello(widget)
    settled(widget, "snapshot")
    card.start()
    widget.update(card)
    (message, _), *_ = settled(widget, "append")
    assert set(message["card"]) == {"status", "started_at"}
    assert message["rows"] == 0


def test_a_second_hello_brings_the_whole_history_again(monitor):
    widget = monitor()
    hello(widget)
    settled(widget, "snapshot")
    widget.push(points(0, 3))
    settled(widget, "append")
    hello(widget)
    found = settled(widget, "snapshot", count=2)
    assert found[1][0]["seq"] == 2
    assert found[1][0]["rows"] == 3


def test_a_long_history_is_decimated_and_says_so(monitor):
    widget = monitor()
    many = points(0, 200_000)
    many[123_456, 2] = 1e9
    many[77_777, 3] = np.nan
    widget.push(many)
    hello(widget)
    (message, (buffer,)), *_ = settled(widget, "snapshot")
    kept = columns(message, buffer)
    assert message["rows"] <= MAX_POINTS < message["total"] == 200_000
    assert kept[2].max() == 1e9
    assert np.isnan(kept[3]).sum() == 1
    assert (np.diff(kept[0]) > 0).all()
    assert (kept[0, 0], kept[0, -1]) == (0, 199_999)


def test_messages_are_paced_and_the_last_state_arrives(monitor):
    card = train_card()
    card.start()
    widget = monitor(card)
    hello(widget)
    settled(widget, "snapshot")
    began = time.monotonic()
    for i in range(400):
        widget.push(points(i, i + 1))
        time.sleep(0.001)
    seconds = time.monotonic() - began
    card.verdict = "usable"
    card.finish("completed")
    widget.update(card)  # returns when the end is sent
    sent = widget.comm.messages("append")
    assert len(sent) <= 20 * seconds + 3
    assert sum(message["rows"] for message, _ in sent) == 400
    assert sent[-1][0]["total"] == 400
    final = {}
    for message, _ in sent:
        final |= message["card"]
    assert (final["status"], final["verdict"]) == ("completed", "usable")
    assert widget.summary["status"] == "completed"
    assert len(widget.curve) // (8 * len(WIRE)) == 400 <= CURVE_POINTS


def test_a_page_that_comes_after_the_end_still_gets_everything(monitor):
    card = train_card()
    card.start()
    widget = monitor(card)
    widget.push(points(0, 10))
    card.finish("completed")
    widget.update(card)
    hello(widget)
    message, _ = widget.comm.messages("snapshot")[0]
    assert (message["rows"], message["card"]["status"]) == (10, "completed")


def test_cancel_reaches_the_callback_and_the_views(monitor):
    called = threading.Event()
    widget = monitor(on_cancel=called.set)
    hello(widget)
    widget._handle_custom_msg({"type": "cancel"}, [])
    assert called.is_set()
    widget.push(points(0, 1))
    assert settled(widget, "snapshot", "append")[-1][0]["cancelling"] is True


def test_a_cancel_that_fails_is_shown_and_can_be_tried_again(monitor):
    def broken():
        raise RuntimeError("no job")

    widget = monitor(on_cancel=broken)
    widget._handle_custom_msg({"type": "cancel"}, [])
    assert widget.error == "RuntimeError while cancelling: no job"
    assert widget._cancelling is False


def test_a_bad_point_never_raises_into_the_training_but_is_recorded(monitor):
    widget = monitor()
    widget.push([[1.0, 2.0]])
    assert "points must be [n, 11]" in widget.error
    widget.push(points(0, 2))
    assert len(widget.history) == 2


def test_pushes_and_updates_from_threads_all_arrive(monitor):
    widget = monitor()
    hello(widget)
    tasks = [
        lambda i: widget.push(points(3 * i, 3 * i + 3)),
        lambda _: widget.update(train_card()),
        lambda _: hello(widget),
    ]
    threads = [threading.Thread(target=lambda task=task: [task(i) for i in range(100)]) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(widget.history.to_numpy(), points(0, 300))


def test_steps_that_a_resumed_run_logs_again_replace_the_old_ones(monitor):
    widget = monitor()
    hello(widget)
    settled(widget, "snapshot")
    widget.push(points(0, 10))
    settled(widget, "append")
    again = points(6, 8)
    again[:, 2] = 5.0
    widget.push(again)
    message, (buffer,) = settled(widget, "append", count=2)[-1]
    assert (message["rows"], message["total"]) == (2, 8)
    assert np.array_equal(columns(message, buffer), again.T)
    assert np.array_equal(widget.history.to_numpy(), np.vstack([points(0, 6), again]))


@pytest.mark.parametrize("batch", [[3, 4, 5, 4, 5, 6], [5, 9, 3, 4, 5, 6], [3, 4, 5, 6, 6]])
def test_a_resume_within_one_push_is_sorted_out_too(monitor, batch):
    widget = monitor()
    widget.push(points(0, 6))
    widget.push(points(0, 10)[batch])
    assert widget.history["step"].tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_an_unknown_argument_is_refused():
    from aquin_nb.widgets.base import AquinWidget

    with pytest.raises(TypeError, match=r"no argument 'eror'\. Did you mean error"):
        AquinWidget(eror="x")


def test_our_names_do_not_hide_those_of_ipywidgets():
    import inspect
    import re

    import anywidget

    taken = set(dir(anywidget.AnyWidget)) - {"close", "_repr_mimebundle_", "__init__", "_esm", "_descriptors"}
    source = inspect.getsource(inspect.getmodule(TrainingMonitor))
    ours = set(re.findall(r"def (\w+)\(self", source)) | set(re.findall(r"self\.(_\w+)\b[^(]", source))
    assert not ours & (taken - {"__init__"}), ours & taken


def test_the_saved_fallback_needs_no_script(monitor):
    widget = monitor()
    widget.push(points(0, 4))
    data, _ = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert "<script" not in data["text/html"]


def answer(widget, what, **params):
    widget._handle_custom_msg({"type": "ask", "view": "", "id": f"{what} {params}", "what": what, "params": params}, [])
    end = time.monotonic() + 5
    while time.monotonic() < end:
        for message, buffers in widget.comm.messages("answer", "failed"):
            if message["id"] == f"{what} {params}":
                return message, buffers
        time.sleep(0.005)
    raise AssertionError(f"{what} was not answered")


def test_a_zoom_gets_every_point_that_the_whole_run_was_thinned_of(monitor):
    widget = monitor()
    widget.push(points(0, 200_000))
    message, (buffer,) = answer(widget, "points", **{"from": 1000, "to": 1999})
    found = np.frombuffer(buffer, dtype="<f8").reshape(len(WIRE), -1)
    assert found[0].tolist() == list(range(999, 2001))  # one more on each side: the line leaves the chart
    assert message["data"]["total"] == 1002
    wide, _ = answer(widget, "points", **{"from": 0, "to": 199_999})
    assert wide["data"]["total"] == 200_000
    assert wide["data"]["curve"]["shape"][0] <= MAX_POINTS * len(WIRE)


@pytest.mark.parametrize("wrong", [None, "1", float("nan"), True, [1]])
def test_a_range_that_is_none_is_refused_in_words(monitor, wrong):
    message, _ = answer(monitor(), "points", **{"from": wrong, "to": 5})
    assert message["type"] == "failed"
    assert "'from' must be a step" in message["error"]


def test_time_passes_while_rows_are_trained_on_and_not_while_a_run_lies_stopped(monitor):
    widget = monitor()
    logged = points(0, 4)
    logged[:, 1], logged[:, 10] = [100, 200, 300, 400], [50, 100, np.nan, 100]
    for point in logged:
        widget.push(point)
    hello(widget)
    (message, (buffer,)), *_ = settled(widget, "snapshot")
    assert np.frombuffer(buffer, dtype="<f8").reshape(len(WIRE), message["rows"])[-1].tolist() == [2, 3, 4, 5]


def test_other_trainings_are_drawn_behind_the_one_that_runs(monitor):
    class Before:
        card, history = train_card(), history(50)

    widget = monitor()
    hello(widget)
    widget.compare(Before())
    (message, (buffer,)), *_ = settled(widget, "push")
    (one,) = message["data"]
    assert (message["topic"], one["name"], one["d_sae"], one["total"]) == ("others", train_card().name, 1024, 50)
    assert len(buffer) == 8 * 50 * len(WIRE)
