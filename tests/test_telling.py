"""Every verb tells its orchestrator what it does, from its call to its result; without one nothing is written."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
import types

import pytest
from board import TOKEN, Board
from history import History

from aquin_nb import Session
from aquin_nb.cards.events import parse
from aquin_nb.errors import AquinError, NetworkError
from aquin_nb.sync import Outbox, attempts

PROBES = ["The cat sat on the mat.", "Two and two are four.", "Rain falls in spring."]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A session that called every verb, and what its orchestrator was told."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch, Board() as board:
        patch.setenv("AQUIN_HOME", str(home))
        patch.setenv("AQUIN_NB_TOKEN", TOKEN)
        session = Session("tiny", orchestrator=board.url)
        session.capture_activations(PROBES)
        kept = session.collect_activations("packaged", tokens=600, name="kept").wait()
        options = {"d_sae": 64, "k": 4, "steps": 40, "batch_size": 64}
        one = session.sae.train(activations=kept, name="one", **options).wait()
        session.sae.train(activations=kept, name="two", **options | {"steps": 20}).wait()
        session.sae.sweep([1, 2], corpus="packaged", tokens=600, d_sae=32, k=4, steps=10).wait()
        session.load_sae(path=one)
        session.sae.align(one.path)
        with contextlib.suppress(AquinError):
            session.sae.diff("nowhere.pt", PROBES)
        with contextlib.suppress(AquinError):
            session.sae.train(activations="nowhere")
        assert session.telling.outbox.flush(20)
        status = session.sync_status()
        session.close()
        yield types.SimpleNamespace(session=session, events=board.stored, status=status, home=home, one=one)


def of(told, tool):
    """Events of the cards that a verb made, by card."""
    cards = {e["subject"] for e in told.events if e["type"] == "tool.start" and e["data"]["tool"] == tool}
    return [[e for e in told.events if e["subject"] == card] for card in sorted(cards)]


def test_every_event_is_well_formed_and_in_order(told):
    History(stored=told.events).judge()
    assert [parse(event) for event in told.events]
    assert (told.status.state, told.status.pending, told.status.dead) == ("connected", 0, 0)


@pytest.mark.parametrize(
    ("tool", "kind", "runs"),
    [
        ("capture_activations", "activationCapture", 1),
        ("collect_activations", "activationStore", 1),
        ("sae.train", "saeTrain", 2),
        ("sae.sweep", "saeSweep", 1),
        ("sae.align", "saeAlign", 1),
    ],
)
def test_a_verb_is_told_from_its_start_to_its_card(told, tool, kind, runs):
    cards = of(told, tool)
    assert len(cards) == runs
    for events in cards:
        first, last = events[0], events[-1]
        assert (first["type"], first["data"]["kind"], first["data"]["session"]) == (
            "tool.start",
            kind,
            told.session.name,
        )
        assert (last["type"], last["data"]["status"], last["data"]["card"]["kind"]) == (
            "tool.result",
            "completed",
            kind,
        )
        assert last["data"]["card"]["status"] == "completed"
        assert {event["attempt"] for event in events} == {1}


def test_every_point_of_a_curve_is_told(told):
    events = next(events for events in of(told, "sae.train") if events[0]["data"]["name"] == "one")
    points = [event["data"]["point"] for event in events if "point" in event["data"]]
    assert [point["step"] for point in points] == told.one.history["step"].tolist()
    assert [point["fvu"] for point in points] == pytest.approx(told.one.history["fvu"].tolist())


def test_what_a_run_wrote_is_told_by_its_hash(told):
    events = next(events for events in of(told, "sae.train") if events[0]["data"]["name"] == "one")
    files = [event["data"] for event in events if event["type"] == "card.artifact"]
    assert [file["sha256"] for file in files if file["role"] == "dictionary"] == [told.one.card.artifacts[-1].sha256]


def test_a_verb_that_fails_is_told_and_one_refused_at_once_never_ran(told):
    ((_, result),) = of(told, "sae.diff")
    assert (result["data"]["status"], result["data"]["error"]["type"]) == ("failed", "CheckpointError")
    assert len(of(told, "sae.train")) == 2


def test_a_session_that_is_closed_leaves_an_empty_outbox(told):
    assert [path.name for path in (told.home / "outbox").iterdir()] == ["attempts.db"]


def test_without_an_orchestrator_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("AQUIN_HOME", str(tmp_path))
    session = Session("tiny")
    session.capture_activations(PROBES)
    assert session.sync_status().state == "off"
    assert "session.connect()" in str(session.sync_status())
    assert not (tmp_path / "outbox").exists()


def test_a_session_works_while_nobody_is_there_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("AQUIN_HOME", str(tmp_path))
    session = Session("tiny", orchestrator="http://127.0.0.1:1")
    session.capture_activations(PROBES)
    assert "will sync later" in str(session.sync_status())
    assert session.sync_status().pending == 3  # its start, what its view shows, its result
    session.telling.outbox.close(0.1)
    assert len(list((tmp_path / "outbox").glob("*.outbox"))) == 1


def test_a_session_and_its_machine_are_called_on_the_board_as_they_were_asked_to_be(tmp_path, monkeypatch):
    monkeypatch.setenv("AQUIN_HOME", str(tmp_path))
    with Board() as board, Outbox(tmp_path / "outbox", board.url, TOKEN) as outbox:
        session = Session("tiny", name="mine")
        for words in ({}, {"name": "an ablation", "device": "the laptop"}):
            session.connect(outbox, **words)
            session.capture_activations(PROBES)
        assert outbox.flush(10)
        starts = [event["data"] for event in board.stored if event["type"] == "tool.start"]
    told = [(start["session"], start["device"]) for start in starts]
    assert told == [("mine", socket.gethostname()), ("an ablation", "the laptop")]
    assert session.name == "mine"


def test_an_address_that_is_none_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("AQUIN_HOME", str(tmp_path))
    with pytest.raises(NetworkError, match="no address"):
        Session("tiny", orchestrator="somewhere")


def test_an_outbox_that_fails_disturbs_no_verb(tmp_path, monkeypatch):
    monkeypatch.setenv("AQUIN_HOME", str(tmp_path))
    with Outbox(tmp_path / "outbox") as outbox:
        session = Session("tiny", orchestrator=outbox)

        def fails(*_, **__):
            raise RuntimeError("a defect")

        monkeypatch.setattr(outbox._journal, "keep", fails)
        monkeypatch.setattr(attempts, "next_attempt", fails)
        assert len(session.capture_activations(PROBES).frame) == 3
        assert "a defect" in session.sync_status().problem


def test_a_cancelled_job_is_told_as_cancelled(tmp_path, monkeypatch):
    monkeypatch.setenv("AQUIN_HOME", str(tmp_path))
    with Board() as board, Outbox(tmp_path / "outbox", board.url, TOKEN) as outbox:
        session = Session("tiny", orchestrator=outbox)
        job = session.collect_activations("packaged", tokens=50_000)
        while job.status == "queued":
            time.sleep(0.001)
        job.cancel()
        with pytest.raises(AquinError):
            job.wait(60)
        assert outbox.flush(10)
        results = [event["data"]["status"] for event in board.stored if event["type"] == "tool.result"]
        assert results == ["cancelled"]


def test_a_job_that_the_end_of_the_process_stops_is_told_as_cancelled(tmp_path):
    code = f"""
import sys, time
from aquin_nb.jobs import JobQueue
from aquin_nb.sync import Outbox
from aquin_nb.telling import Telling
queue, telling = JobQueue("a queue"), Telling(Outbox(sys.argv[1], sys.argv[2], {TOKEN!r}), "a session")
telling.attend(queue)
def work(control):
    while True:
        control.tick("train", 1, 10)
        time.sleep(0.01)
job = telling.call("sae.train", "saeTrain", "x", lambda: queue.submit("train x", work))
while job.status == "queued": time.sleep(0.001)
"""
    with Board() as board:
        subprocess.run([sys.executable, "-c", code, tmp_path, board.url], check=True, timeout=60)
        types_ = [event["type"] for event in board.stored]
        assert (types_[0], types_[-1]) == ("tool.start", "tool.result")
        assert board.stored[-1]["data"]["status"] == "cancelled"


class Kernel:
    """As much of an ipykernel as tells which cell runs."""

    def __init__(self, cell, execution=1):
        self.config = {"IPKernelApp": {"connection_file": "/run/kernel-1234.json"}}
        self.cell, self.execution_count = cell, execution

    def get_parent(self, channel):
        return {"metadata": {"cellId": self.cell}, "content": {"code": "session.sae.train()"}}


def identities(outbox, monkeypatch, *calls):
    from aquin_nb.telling import Telling

    telling, found = Telling(outbox, "a session"), []
    for cell, execution, tool, name in calls:
        monkeypatch.setattr(attempts, "running_kernel", lambda cell=cell, n=execution: Kernel(cell, n))
        found.append(telling.identify(tool, name))
    return found


def test_running_a_cell_again_is_the_next_attempt_of_the_same_card_also_after_a_restart(tmp_path, monkeypatch):
    with Outbox(tmp_path) as outbox:
        first, again, other = identities(
            outbox, monkeypatch, ("a", 1, "sae.train", ""), ("a", 2, "sae.train", ""), ("b", 3, "sae.train", "")
        )
        (restarted,) = identities(outbox, monkeypatch, ("a", 1, "sae.train", ""))
    assert (first[0], 2) == again
    assert (first[0], 3) == restarted
    assert other[0] != first[0]
    assert (first[1], other[1]) == (1, 1)


def test_two_calls_in_one_execution_of_a_cell_are_two_cards(tmp_path, monkeypatch):
    with Outbox(tmp_path) as outbox:
        one, two, again, twice = identities(
            outbox, monkeypatch, *[("a", n, "sae.train", "") for n in (1, 1, 2, 2)]
        )  # fmt: skip
    assert one[0] != two[0]
    assert (again, twice) == ((one[0], 2), (two[0], 2))


def test_a_run_with_a_name_is_the_same_card_in_any_cell(tmp_path, monkeypatch):
    with Outbox(tmp_path) as outbox:
        one, resumed, other = identities(
            outbox, monkeypatch, ("a", 1, "sae.train", "x"), ("b", 2, "sae.train", "x"), ("a", 3, "sae.train", "y")
        )
    assert (one[0], 2) == resumed
    assert other[0] != one[0]


def test_the_kernel_is_named_by_its_connection_file(monkeypatch):
    from aquin_nb.sync import identity

    monkeypatch.setattr(identity, "running_kernel", lambda: Kernel("a"))
    assert identity.kernel_id() == "1234"
    assert json.dumps(identity.Producer.here().fields())
