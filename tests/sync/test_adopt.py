"""What killed processes leave is delivered by whoever comes next, never twice, never while its owner lives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import apsw
import pytest
from board import TOKEN, Board
from history import History
from kills import Writers, kill, killed_writers

from aquin_nb.cards.events import NOBODY
from aquin_nb.cli import main
from aquin_nb.sync import Outbox
from aquin_nb.sync.adopt import Adoption, waiting_in
from aquin_nb.sync.lease import Lease
from aquin_nb.sync.spool import Spool

CARD = "01890000-0000-7000-8000-0000000000aa"


@pytest.fixture(autouse=True)
def _token(monkeypatch):
    monkeypatch.setenv("AQUIN_NB_TOKEN", TOKEN)


def spooled(directory, count, history=None):
    """An outbox that waits for its delivery; its file."""
    with Outbox(directory) as outbox:
        for i in range(count):
            data = {"point": {"step": i}}
            sequence = outbox.log("card.progress", CARD, data)
            if history is not None:
                history.tell(outbox.source, sequence, data)
    return directory / f"{outbox.source.removeprefix('urn:aquin:')}.outbox"


def sync(directory, board, wait=10.0):
    return main(["sync", "--outbox", str(directory), "--url", board.url, "--wait", str(wait)])


def test_killed_writers_lose_duplicate_and_reorder_nothing(tmp_path):
    history = History()
    with Board() as board:
        history.stored = board.stored
        told = killed_writers(tmp_path, board.url, 10, 1, history)
        told += killed_writers(tmp_path, "", 10, 2, history)
        assert sync(tmp_path, board, 30) == 0
    assert told > 1000
    history.judge()
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_stopped_and_goes_on_loses_nothing_and_is_not_robbed(tmp_path, board):
    history, told, spool = History(stored=board.stored), tmp_path / "told.txt", tmp_path / "spool"
    spool.mkdir()
    with Writers() as writers:
        pid = writers.start(spool, board.url, 5, 3000, told)
        board.wait(50)
        os.kill(pid, signal.SIGSTOP)
        before = len(board.stored)
        assert sync(spool, board, 0.5) in (0, 1)  # its outbox is its own, whether anything waits in it or not
        assert len(board.stored) <= before + 500  # what was on its way
        os.kill(pid, signal.SIGCONT)
        deadline = time.monotonic() + 30
        while list(spool.glob("*.outbox")) and time.monotonic() < deadline:
            time.sleep(0.01)
    with open(told, encoding="utf-8") as stream:
        history.read(stream)
    assert len(history.told) == 3000
    history.judge()


def test_the_next_session_delivers_what_a_killed_one_left(tmp_path, board):
    history = History(stored=board.stored)
    spooled(tmp_path, 100, history)
    with Outbox(tmp_path, board.url, TOKEN):
        board.wait(100)
    history.judge()
    deadline = time.monotonic() + 5
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(tmp_path.iterdir()) == []


def test_whoever_watches_a_folder_delivers_each_writer_once_it_is_killed_and_stops_when_told(tmp_path, board):
    history, told, spool = History(stored=board.stored), tmp_path / "told.txt", tmp_path / "spool"
    spool.mkdir()
    adoption = Adoption(spool, board.url, TOKEN, lambda type, data: None)
    adoption.watch(0.01)
    with Writers() as writers:
        for killed in (0, 1):
            pid = writers.start(spool, "", killed, 10**6, told)
            while not (told.exists() and told.stat().st_size > 2000):
                time.sleep(0.001)
            assert len({event["source"] for event in board.stored}) == killed  # what one that lives told is its own
            kill(pid)
            with open(told, encoding="utf-8", newline="\n") as stream:
                history.read(stream)
            told.unlink()
            board.wait(len(history.told))
            deadline = time.monotonic() + 10
            while list(spool.iterdir()) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert list(spool.iterdir()) == []
    history.judge()
    adoption.stop(5)
    spooled(spool, 3)
    time.sleep(0.05)
    assert len(list(spool.glob("*.outbox"))) == 1


def test_the_death_of_an_owner_is_told(tmp_path, board):
    path = spooled(tmp_path, 3)
    assert sync(tmp_path, board) == 0
    beats = board.beats[path.stem]
    assert [beat["alive"] for beat in beats] == [False, False]
    assert [beat["pending"] for beat in beats] == [3, 0]


def test_the_outbox_of_a_process_that_lives_is_left_to_it(tmp_path, board, capsys):
    with Outbox(tmp_path) as outbox:
        outbox.log("card.progress", CARD, {})
        assert sync(tmp_path, board, 0.3) == 1
        assert "belong to running processes" in capsys.readouterr().err
    assert board.stored == []
    assert sync(tmp_path, board) == 0
    assert len(board.stored) == 1


def test_a_lease_that_somebody_removed_proves_nothing(tmp_path, board):
    with Outbox(tmp_path) as outbox:
        outbox.log("card.progress", CARD, {})
        for lease in tmp_path.glob("*.lease"):
            lease.unlink()
        sync(tmp_path, board, 0.1)
        assert board.stored == []
        assert outbox.log("card.progress", CARD, {}) == 2


def test_a_forked_childs_life_does_not_keep_its_dead_parents_outbox(tmp_path):
    code = """
import os, sys, time
from aquin_nb.sync import Outbox
outbox = Outbox(sys.argv[1])
outbox.log("card.progress", "a card", {})
if os.fork() == 0:
    time.sleep(30)
print("ready", flush=True)
os.kill(os.getpid(), 9)
"""
    parent = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert parent.stdout.readline() == b"ready\n"
        parent.wait(10)
        (path,) = tmp_path.glob("*.lease")
        deadline = time.monotonic() + 20  # the child lets go of it when it first runs
        while (lease := Lease.take(path)) is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        lease.release()
    finally:
        os.killpg(parent.pid, 9)


def test_two_syncs_at_once_deliver_everything_once(tmp_path, board):
    history = History(stored=board.stored)
    for _ in range(4):
        spooled(tmp_path, 200, history)
    command = [sys.executable, "-m", "aquin_nb.cli", "sync", "--outbox", tmp_path, "--url", board.url, "--wait", "20"]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [run.wait(60) for run in runs] == [0, 0]
    assert all("nothing is left" in run.stdout.read() for run in runs)
    history.judge()


def test_sync_says_what_is_left_when_nobody_is_there(tmp_path, capsys):
    spooled(tmp_path, 7)
    assert main(["sync", "--outbox", str(tmp_path), "--url", "http://127.0.0.1:1", "--wait", "0.3"]) == 1
    assert "7 events or outboxes are left" in capsys.readouterr().err


def test_sync_with_a_wrong_token_ends_at_once(tmp_path, board, monkeypatch, capsys):
    monkeypatch.setenv("AQUIN_NB_TOKEN", "wrong")
    spooled(tmp_path, 7)
    began = time.monotonic()
    assert sync(tmp_path, board, 60) == 1
    assert time.monotonic() - began < 20
    assert "The token was refused" in capsys.readouterr().err


def test_sync_of_a_folder_that_is_not_there(tmp_path, board, capsys):
    assert sync(tmp_path / "nowhere", board) == 1
    assert "is no folder" in capsys.readouterr().err


def test_an_outbox_of_a_newer_version_is_left_alone(tmp_path, board, capsys):
    path = spooled(tmp_path, 3)
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", 99)
    connection.close()
    before = path.read_bytes()
    spooled(tmp_path, 5)
    assert sync(tmp_path, board, 0.3) == 1
    assert "newer aquin-nb" in capsys.readouterr().err
    assert len(board.stored) == 5
    assert path.read_bytes() == before


@pytest.mark.parametrize("left", [b"", b"S"])
def test_a_process_killed_while_it_made_its_outbox_leaves_nothing_to_do(tmp_path, board, left):
    (tmp_path / "01890000-0000-7000-8000-000000000001.outbox").write_bytes(left)
    assert sync(tmp_path, board) == 0


@pytest.mark.parametrize("damage", ["header", "middle", "end", "everything"])
def test_of_a_damaged_outbox_the_readable_part_is_delivered_and_the_rest_reported(tmp_path, board, damage, capsys):
    path = spooled(tmp_path, 400)
    data = bytearray(path.read_bytes())
    assert len(data) > 40_000
    at, size = {"header": (0, 100), "middle": (len(data) // 2 // 4096 * 4096, 8192), "end": (len(data) - 8192, 8192),
                "everything": (0, len(data))}[damage]  # fmt: skip
    data[at : at + size] = os.urandom(size)
    path.write_bytes(data)
    assert sync(tmp_path, board) == 0
    said = capsys.readouterr()
    assert "was damaged" in said.err
    events = [event for event in board.stored if event["type"] == "card.progress"]
    (gap,) = [event for event in board.stored if event["type"] == "sync.gap"]
    assert (gap["subject"], gap["data"]["origin"]) == (NOBODY, f"urn:aquin:{path.stem}")
    steps = [event["data"]["point"]["step"] for event in events]
    assert steps == sorted(set(steps))
    if damage == "everything":
        assert (steps, gap["data"]["count"]) == ([], None)
    else:
        assert len(steps) > 300
        lost = gap["data"]["count"]
        assert lost is None or lost + len(steps) == 400
    assert path.with_suffix(".damaged").exists()
    assert not path.exists()


def test_an_outbox_that_is_damaged_while_it_is_written_is_replaced_by_a_new_one(tmp_path):
    with Outbox(tmp_path) as outbox:
        before = outbox.source
        for _ in range(100):
            outbox.log("card.progress", CARD, {})
        spool = outbox._journal.spool

        def damaged(*_):
            raise apsw.CorruptError("database disk image is malformed")

        spool.append = damaged
        assert outbox.log("card.progress", CARD, {}) == 1
        assert outbox.source != before
        assert "is damaged" in outbox.status().problem


def test_a_log_cut_at_any_byte_gives_a_prefix_of_what_was_told(tmp_path, board):
    with Outbox(tmp_path / "live") as outbox:
        for i in range(60):
            outbox.log("card.progress", CARD, {"point": {"step": i}})
        outbox._journal.sync()
        (path,) = (tmp_path / "live").glob("*.outbox")
        whole, log = path.read_bytes(), (tmp_path / "live" / f"{path.name}-wal").read_bytes()
    found = []
    for share in (0.15, 0.4, 0.6, 0.85, 1.0):
        copy = tmp_path / str(share)
        copy.mkdir()
        (copy / path.name).write_bytes(whole)
        (copy / f"{path.name}-wal").write_bytes(log[: int(len(log) * share) - 3])
        try:
            spool = Spool.open(copy / path.name)
        except LookupError:
            found.append(0)
            continue
        batch = spool.batch(0, 2**60, 1000, 2**30)
        steps = [event["sequence"] for event in json.loads(batch.body)] if batch is not None else []
        spool.close()
        assert steps == list(range(1, len(steps) + 1))
        found.append(len(steps))
    assert found == sorted(found)
    assert found[-1] == 59
    assert waiting_in(path) == 60


def test_what_cannot_be_delivered_in_the_background_is_said_once(tmp_path, board, caplog):
    path = spooled(tmp_path, 3)
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", 99)
    connection.close()
    adoption = Adoption(tmp_path, board.url, TOKEN, lambda type, data: None)
    for _ in range(2):
        adoption._quietly()
    assert caplog.messages == [
        f"{path.name} was written by a newer aquin-nb; update this one (pip install -U aquin-nb) to deliver it."
    ]
