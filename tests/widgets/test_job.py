"""The face of a running job, as a front end sees it through a comm, and what stays when the job is over."""

from __future__ import annotations

import threading
import time

import pytest
from test_monitor import FakeComm

from aquin_nb.jobs import JobQueue
from aquin_nb.live import LiveJob
from aquin_nb.widgets.job import JobView, job_html

PROGRESS = {
    "stage": "collect",
    "done": 5,
    "total": 10,
    "unit": "tokens",
    "fraction": 0.5,
    "rate": 2.0,
    "eta_seconds": 2.5,
}


def state(**changes):
    fields = {
        "name": "collect x",
        "about": "tiny",
        "status": "running",
        "progress": PROGRESS,
        "notes": [],
        "problem": "",
    }
    return fields | changes


@pytest.fixture
def view():
    made = []

    def make(**kwargs):
        widget = JobView(state(), **kwargs)
        widget.comm = FakeComm()
        made.append(widget)
        return widget

    yield make
    for widget in made:
        widget.close()


def states(widget):
    return [data["state"]["state"] for data, _ in widget.comm.sent if data["method"] == "update"]


def test_states_are_paced_and_the_last_one_arrives(view):
    widget = view()
    began = time.monotonic()
    for done in range(400):
        widget.update(state(progress=PROGRESS | {"done": done}))
        time.sleep(0.001)
    seconds = time.monotonic() - began
    widget.update(state(status="completed", notes=["kept"]))  # returns when the end is sent
    sent = states(widget)
    assert len(sent) <= 20 * seconds + 3
    assert (sent[-1]["status"], sent[-1]["notes"]) == ("completed", ["kept"])
    assert widget.state["status"] == "completed"  # what a page that is loaded later asks for


def test_cancel_reaches_the_job_and_every_view(view):
    called = threading.Event()
    widget = view(on_cancel=called.set)
    assert widget.state["cancellable"] is True
    widget._handle_custom_msg({"type": "cancel"}, [])
    assert called.is_set()
    widget.update(state(status="cancelled"))
    assert states(widget)[-1]["cancelling"] is True


def test_a_cancel_that_fails_is_shown_and_can_be_tried_again(view):
    def broken():
        raise RuntimeError("no job")

    widget = view(on_cancel=broken)
    widget._handle_custom_msg({"type": "cancel"}, [])
    assert widget.error == "RuntimeError while cancelling: no job"
    assert widget._cancelling is False


def test_messages_that_make_no_sense_are_ignored(view):
    widget = view()
    for message in ({"type": "cancel"}, {"type": "hello"}, "cancel", None):
        widget._handle_custom_msg(message, [])
    assert (widget.error, widget.state["cancelling"]) == ("", False)


def test_what_stays_is_told_to_pages_that_forgot_the_output(view):
    widget = view()
    widget.update(state(status="completed"))
    widget.keep({"text/html": "<b>kept</b>"})
    assert widget.comm.messages("keep")[0][0] == {
        "type": "keep",
        "model_id": widget.model_id,
        "data": {"text/html": "<b>kept</b>"},
    }


def test_a_reader_without_scripts_sees_how_far_it_was(view):
    shown = view().fallback_html()
    assert "5 of 10 tokens" in shown
    assert "<script" not in job_html(state(name="<script>", notes=["<img>"]))


class Handle:
    def __init__(self):
        self.shown = []

    def update(self, view, raw):
        self.shown.append(view["text/html"])


@pytest.fixture
def in_a_cell(monkeypatch):
    handle, shown = Handle(), []

    def display(view, **kwargs):
        shown.append(view)
        return handle

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr("aquin_nb.widgets.bridge.in_kernel", lambda: True)
    return handle, shown


def test_a_job_of_any_kind_is_live_while_it_runs_and_leaves_a_page(in_a_cell):
    handle, shown = in_a_cell
    go = threading.Event()

    def work(control):
        go.wait(10)
        control.tick("count", 3, 4, "sheep")
        return 7

    job = JobQueue("test").submit("count sheep", work)
    job.notes.append("mind the fence")
    LiveJob(job, about="a field")
    job._ipython_display_()
    assert isinstance(shown[0], JobView)
    assert (shown[0].state["about"], shown[0].state["notes"]) == ("a field", ["mind the fence"])
    go.set()
    assert job.wait(10) == 7
    assert shown[0].state["status"] == "completed"
    assert "3 of 4 sheep" in handle.shown[-1]
    job._ipython_display_()  # afterwards there is only the page
    assert "3 of 4 sheep" in shown[-1]["text/html"]


def test_a_failure_stays_as_what_the_job_left(in_a_cell):
    handle, _ = in_a_cell
    go = threading.Event()

    def work(control):
        go.wait(10)
        raise ValueError("a <wolf>")

    job = JobQueue("test").submit("count", work)
    LiveJob(job)
    job._ipython_display_()
    go.set()
    with pytest.raises(ValueError, match="wolf"):
        job.wait(10)
    assert "a &lt;wolf&gt;" in handle.shown[-1]
