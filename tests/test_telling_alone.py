"""Functions without a session, and sessions nobody connected, are told where the process is; no run has two cards."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from board import TOKEN, Board

import aquin_nb
from aquin_nb import Session, telling
from aquin_nb.errors import AquinError
from aquin_nb.verbs import bare

PROBES = ["The cat sat on the mat.", "Two and two are four."]
CONFIG = {"d_sae": 32, "k": 4, "steps": 10, "batch_size": 32}


@pytest.fixture
def board():
    with Board() as board:
        yield board


@pytest.fixture
def home(tmp_path, monkeypatch, board):
    monkeypatch.setenv("AQUIN_HOME", str(tmp_path))
    monkeypatch.setenv("AQUIN_NB_TOKEN", TOKEN)
    monkeypatch.setattr(telling, "_connected", telling._Connected())
    yield tmp_path
    if (process := telling.process_telling()) is not None:
        process.outbox.close()


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return torch.randn(256, 128)


def starts(board, tool=None):
    found = [event["data"] for event in board.stored if event["type"] == "tool.start"]
    return [start for start in found if tool is None or start["tool"] == tool]


def delivered():
    assert telling.process_telling().outbox.flush(10)


def test_functions_without_a_session_are_told_from_start_to_result(home, board, pair):
    assert aquin_nb.connect(board.url, name="a script", device="the laptop").state in ("connecting", "connected")
    one = aquin_nb.sae_train(pair, CONFIG | {"name": "one"})
    aquin_nb.sae_align(one, one)
    delivered()
    cards = {}
    for event in board.stored:
        cards.setdefault(event["subject"], []).append(event)
    train, align = cards.values()
    assert (train[0]["type"], train[-1]["type"]) == ("tool.start", "tool.result")
    assert (
        train[0]["data"].items()
        >= {"tool": "sae.train", "name": "one", "session": "a script", "device": "the laptop"}.items()
    )
    assert [e["data"]["point"]["step"] for e in train if "point" in e["data"]] == one.history["step"].tolist()
    assert (train[-1]["data"]["status"], train[-1]["data"]["card"]["kind"]) == ("completed", "saeTrain")
    assert (align[0]["data"]["tool"], align[-1]["data"]["card"]["kind"]) == ("sae.align", "saeAlign")
    assert aquin_nb.sync_status().pending == 0


def test_going_on_with_a_named_training_is_its_next_attempt(home, board, pair, monkeypatch):
    def left(job):
        job.on_point(lambda member, point: job.cancel())
        return job.wait(60)

    aquin_nb.connect(board.url)
    output = home / "one.pt"
    with monkeypatch.context() as patch:
        patch.setattr(bare, "attend", left)
        with pytest.raises(AquinError):
            aquin_nb.sae_train(pair, CONFIG | {"name": "one", "steps": 2000, "output": str(output)})
    aquin_nb.sae_resume(output, pair)
    delivered()
    first, again = [event for event in board.stored if event["type"] == "tool.start"]
    assert first["subject"] == again["subject"]
    assert (first["attempt"], again["attempt"]) == (1, 2)
    results = [event["data"]["status"] for event in board.stored if event["type"] == "tool.result"]
    assert results == ["cancelled", "completed"]


def test_a_session_nobody_connected_tells_where_the_process_does(home, board, pair):
    session = Session("tiny")
    aquin_nb.connect(board.url, name="the process")
    session.capture_activations(PROBES)
    session.sae.train(activations=pair, name="x", **CONFIG).wait()
    assert session.sync_status().url == board.url
    delivered()
    assert [start["tool"] for start in starts(board)] == ["capture_activations", "sae.train"]
    assert {start["session"] for start in starts(board)} == {"the process"}
    session.close()
    aquin_nb.sae_align(pair_of(home), pair_of(home))
    delivered()
    assert len(starts(board, "sae.align")) == 1  # a session that is closed closes no connection that is not its own


def pair_of(home):
    (path,) = home.glob("sae/user/**/*.pt")
    return path


def test_a_verb_that_another_one_calls_has_no_card_of_its_own(home, board, pair):
    aquin_nb.connect(board.url)
    with Board() as other:
        session = Session("tiny", orchestrator=other.url)
        one = session.sae.train(activations=pair, name="x", **CONFIG).wait()
        session.sae.align(one, one)
        assert session.telling.outbox.flush(10)
        assert [start["tool"] for start in starts(other)] == ["sae.train", "sae.align"]
        session.close()
    delivered()
    assert starts(board) == []


def test_without_a_connection_of_its_own_the_process_tells_the_open_session_that_connected_last(home, board, pair):
    with Board() as first, Board() as last:
        one, two = Session("tiny", orchestrator=first.url), Session("tiny", orchestrator=last.url)
        dictionary = aquin_nb.sae_train(pair, CONFIG | {"name": "one"})
        assert two.telling.outbox.flush(10)
        assert (len(starts(first)), len(starts(last))) == (0, 1)
        two.close()
        aquin_nb.sae_align(dictionary, dictionary)
        assert one.telling.outbox.flush(10)
        assert (len(starts(first)), len(starts(last))) == (1, 1)
        one.close()
    aquin_nb.sae_align(dictionary, dictionary)  # nobody is told, and nobody minds
    assert "aquin_nb.connect()" in str(aquin_nb.sync_status())


def test_connecting_again_delivers_what_the_last_connection_holds_and_replaces_it(home, board, pair):
    with Board() as first:
        aquin_nb.connect(first.url)
        dictionary = aquin_nb.sae_train(pair, CONFIG | {"name": "one"})
        aquin_nb.connect(board.url)
        assert starts(first) != []
        aquin_nb.sae_align(dictionary, dictionary)
        delivered()
        assert [start["tool"] for start in starts(board)] == ["sae.align"]


def test_a_function_that_fails_is_told_as_failed(home, board):
    aquin_nb.connect(board.url)
    with pytest.raises(AquinError):
        aquin_nb.sae_align("nowhere.pt", "nowhere.pt")
    delivered()
    (result,) = [event["data"] for event in board.stored if event["type"] == "tool.result"]
    assert (result["status"], result["tool"]) == ("failed", "sae.align")


def test_a_training_that_the_end_of_the_process_stops_is_told_as_cancelled(home, board):
    code = f"""
import os, threading, time
import torch, aquin_nb
session = aquin_nb.Session("tiny")
aquin_nb.connect({board.url!r})
job = session.sae.train(activations=torch.randn(256, 128), d_sae=32, k=4, steps=10**6, batch_size=32, name="x")
while job.status == "queued": time.sleep(0.001)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert [event["data"]["status"] for event in board.stored if event["type"] == "tool.result"] == ["cancelled"]
