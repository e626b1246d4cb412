"""An outbox is a good guest of the process that it is in: it holds up nothing, leaves nothing and shows no secret."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from board import TOKEN
from test_outbox import CARD, POINT, told

from aquin_nb.errors import NetworkError
from aquin_nb.sync import Outbox


def test_a_token_that_cannot_be_one_is_refused_without_being_shown(tmp_path, board):
    for token in ("a\nsecret", "ein geheimes Wört", "a\x00secret"):
        with pytest.raises(NetworkError, match="AQUIN_NB_TOKEN") as error:
            Outbox(tmp_path, board.url, token)
        assert token not in str(error.value)
    with Outbox(tmp_path, board.url, f" {TOKEN}\n") as outbox:  # as a file that was read gives it
        outbox.log("card.progress", CARD, POINT)
        assert outbox.flush(10)


def test_what_ends_with_the_process_is_said(tmp_path, caplog):
    (tmp_path / "file").touch()
    outbox = Outbox(tmp_path / "file")
    assert outbox.log("card.progress", CARD, POINT) == 0
    said = str(outbox.status())
    assert f"{tmp_path / 'file'} takes nothing" in said
    assert "AQUIN_HOME" in said
    outbox.close()
    assert caplog.messages[-1].startswith("Events that memory alone had are lost: 1.")


def test_another_program_at_the_address_is_no_contact(tmp_path, board):
    board.fault = lambda path, number: (200, {}, b"<html>hello</html>")
    with Outbox(tmp_path, board.url, TOKEN) as outbox:
        outbox.log("card.progress", CARD, POINT)
        assert outbox.flush(0.3) is False
        status = outbox.status()
        assert (status.state, status.seconds_since_contact, status.pending) == ("waiting", None, 1)
        assert "is not an orchestrator's" in status.problem
        board.fault = None
        assert outbox.flush(10)


def test_files_are_for_their_owner_alone(tmp_path):
    with Outbox(tmp_path / "new") as outbox:
        outbox.log("card.progress", CARD, POINT)
        assert (tmp_path / "new").stat().st_mode & 0o077 == 0
        assert {path.stat().st_mode & 0o077 for path in (tmp_path / "new").iterdir()} == {0}


def test_the_token_is_on_no_disk_and_in_no_text(tmp_path, board):
    with Outbox(tmp_path, board.url, TOKEN) as outbox:
        outbox.log("card.progress", CARD, POINT)
        outbox.flush(5)
        outbox.log("card.progress", CARD, POINT)
        assert all(TOKEN.encode() not in path.read_bytes() for path in tmp_path.iterdir())
        assert TOKEN not in repr(outbox) + str(outbox.status()) + repr(outbox.status())
    assert board.seen_tokens == {f"Bearer {TOKEN}"}


def test_exit_delivers_what_can_be_delivered(tmp_path, board):
    code = f"""
import sys
from aquin_nb.sync import Outbox
outbox = Outbox(sys.argv[1], {board.url!r}, {TOKEN!r})
for i in range(500): outbox.log("card.progress", "a card", {{"point": {{"step": i}}}})
"""
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, timeout=60)
    assert len(board.stored) == 500
    assert [beats[-1]["alive"] for beats in board.beats.values()] == [False]


def test_a_signal_that_tells_while_its_thread_tells_neither_hangs_nor_loses(tmp_path):
    with Outbox(tmp_path) as outbox:
        found = []
        signal.signal(signal.SIGALRM, lambda *_: found.append(outbox.log("card.progress", "of the handler", POINT)))
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        try:
            found += [outbox.log("card.progress", CARD, POINT) for _ in range(5000)]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        events = told(next(tmp_path.glob("*.outbox")))
    assert len(found) > 5000
    assert sorted(found) == [event["sequence"] for event in events] == list(range(1, len(found) + 1))


def test_the_end_of_a_process_is_quiet_and_keeps_what_nobody_took(tmp_path):
    code = """
import sys, time
from aquin_nb.sync import Outbox
outbox = Outbox(sys.argv[1], "http://127.0.0.1:1", "x")
outbox.log("card.progress", "a card", {})
while outbox.status().state == "connecting": time.sleep(0.01)
"""
    run = subprocess.run([sys.executable, "-c", code, tmp_path], check=True, timeout=60, capture_output=True, text=True)
    assert run.stderr == ""
    assert len(told(next(tmp_path.glob("*.outbox")))) == 1


def test_outboxes_that_are_closed_leave_no_thread_and_no_file_open(tmp_path, board):
    others = set(threading.enumerate())  # of tests before this one, in the same process

    def held():
        names = [one.name for one in threading.enumerate() if one.name.startswith("aquin-nb") and one not in others]
        return names, len(list(Path("/proc/self/fd").iterdir()))

    def use(damaged):
        with Outbox(tmp_path, board.url, TOKEN) as outbox:
            outbox.log("card.progress", CARD, POINT)
            if damaged:
                outbox._again(outbox._journal)
                outbox.log("card.progress", CARD, POINT)
            assert outbox.flush(10)

    use(False)
    _settled(lambda: held()[0] == [])
    before = held()[1]
    for i in range(10):
        use(i % 3 == 0)
    _settled(lambda: held()[0] == [])
    _settled(lambda: held()[1] <= before + 2)  # connections that the server still closes


def _settled(true):
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
