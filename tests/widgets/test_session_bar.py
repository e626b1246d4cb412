"""What a session says of itself: fields that the page reads, pushes only while somebody looks, cancel by number."""

from __future__ import annotations

import gc
import re
import threading
import time
import typing
from pathlib import Path

import pytest

import aquin_nb
from aquin_nb import session_bar
from aquin_nb.errors import SelectionError, SessionError
from aquin_nb.jobs import Job
from aquin_nb.widgets.views import session as views

SOURCE = Path(__file__).parents[2] / "widgets" / "src" / "session"


@pytest.fixture(scope="module")
def session():
    opened = aquin_nb.Session("tiny")
    yield opened
    opened.close()


def wait_for(true, seconds=5.0):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    assert true()


def test_the_page_reads_the_fields_that_python_sends(session):
    text = (SOURCE / "words.ts").read_text(encoding="utf-8")
    for name in ("ModelState", "DictionaryState", "MemoryState", "JobState", "SyncState", "SessionState"):
        body = re.search(rf"export interface {name} {{(.*?)\n}}", text, re.DOTALL)[1]
        theirs = re.findall(r"^\s+(\w+):", body, re.MULTILINE)
        assert theirs == list(typing.get_type_hints(getattr(views, name))), name
    assert list(session._bar.state()) == list(typing.get_type_hints(views.SessionState))


def test_a_page_says_that_it_looks_before_its_lease_ends():
    told = re.search(r"LOOK_MS = (\d+)", (SOURCE / "view.ts").read_text(encoding="utf-8"))
    assert int(told[1]) * 2 < views.LEASE_SECONDS * 1000


def test_jobs_are_listed_with_their_progress_and_cancelled_by_their_number(session):
    going = threading.Event()

    def work(control):
        going.set()
        while True:
            control.tick("count", 3, 10)
            time.sleep(0.005)

    first, second = session.jobs.submit("first", work), session.jobs.submit("second", lambda control: None)
    going.wait(5)
    wait_for(lambda: first.progress > 0)
    number = session.jobs.jobs.index(first)
    listed = {job["id"]: job for job in session._bar.state()["jobs"]}
    assert (listed[number]["status"], listed[number]["fraction"]) == ("running", 0.3)
    assert listed[number + 1]["status"] == "queued"
    session._bar._answers()["cancel"]({"job": number})
    wait_for(lambda: first.status == "cancelled" and second.status == "completed")


@pytest.mark.parametrize("number", [-1, 10_000, "0", None, True, 1.0])
def test_a_job_that_is_none_is_refused_in_words(session, number):
    with pytest.raises((SelectionError, SessionError), match="job"):
        session._bar._answers()["cancel"]({"job": number})


def test_old_jobs_are_counted_and_not_listed(session):
    before = session._bar.state()["earlier"]
    for i in range(session_bar.ENDED + 3):
        session.jobs.submit(f"job {i}", lambda control: None)
    wait_for(lambda: not session.jobs.unfinished())
    state = session._bar.state()
    assert len(state["jobs"]) == session_bar.ENDED
    assert state["earlier"] >= before + 3
    assert state["jobs"][-1]["name"] == f"job {session_bar.ENDED + 2}"


def test_memory_dictionary_and_sync_are_told(session):
    state = session._bar.state()
    assert state["memory"]["resident"] > 50_000_000
    assert state["memory"]["gpu"] is None
    assert state["dictionary"] is None
    assert (state["sync"]["state"], state["sync"]["url"]) == ("off", "")


def test_what_changes_is_pushed_once_and_only_while_somebody_looks(monkeypatch):
    monkeypatch.setattr(views, "PERIOD_SECONDS", 0.01)
    monkeypatch.setattr(views, "LEASE_SECONDS", 0.3)
    now, pushed = {"at": 0, "jobs": 1}, []
    watched = views.Watched(lambda: dict(now), pushed.append, lambda state: state["jobs"])
    assert not watched.watching, "nobody looks yet"
    assert watched.look() == now
    wait_for(lambda: len(pushed) == 1)
    now["at"] = 5
    time.sleep(0.1)
    assert len(pushed) == 1, "its time alone is no news"
    now["jobs"] = 2
    wait_for(lambda: len(pushed) == 2)
    wait_for(lambda: not watched.watching)
    now["jobs"] = 3
    time.sleep(0.05)
    assert len(pushed) == 2, "nobody looks any more"
    watched.look()
    wait_for(lambda: len(pushed) == 3)


def test_a_state_that_fails_ends_the_thread_and_the_next_look_is_told(monkeypatch):
    monkeypatch.setattr(views, "PERIOD_SECONDS", 0.01)
    gone = threading.Event()

    def state():
        if gone.is_set():
            raise SessionError("gone")
        return 1

    watched = views.Watched(state, lambda _: None)
    watched.look()
    gone.set()
    wait_for(lambda: not watched.watching)
    with pytest.raises(SessionError):
        watched.look()


def test_a_page_does_not_keep_a_session_in_memory():
    class Small:
        """As much of a session as the bar holds."""

    one = Small()
    bar = session_bar.SessionBar(one)
    del one
    gc.collect()
    with pytest.raises(SessionError, match="This session is gone"):
        bar.state()


def test_time_left_follows_from_how_the_share_grew(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(session_bar.time, "monotonic", lambda: clock[0])
    eta, job = session_bar.Eta(), Job("x", lambda control: None)
    assert eta.left(0, job) is None
    job.status, job.progress = "running", 0.2
    assert eta.left(0, job) is None
    clock[0], job.progress = 10.0, 0.4
    assert eta.left(0, job) == pytest.approx(30.0)


def test_the_cell_shows_the_view_and_a_snapshot_that_needs_no_script(session):
    bundle = session._repr_mimebundle_()
    assert bundle["text/plain"].startswith("Session(tiny")
    assert 'data-aquin="session"' in bundle["text/html"]
    assert "<script" not in session._bar.freeze().html
