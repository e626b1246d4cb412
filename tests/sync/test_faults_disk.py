"""A disk that is full, read-only or failing on either side: what was promised is there once, losses are counted."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from contextlib import suppress

import apsw
import pytest
from bad_disk import ERRORS, BadDisk, Filler, on_a_disk_of
from history import History
from kills import Writers, kill
from seeds import SEEDS, seeded, slow
from senders import Sender, checked
from server import ROOT, Server
from serving import served

from aquin_nb.orchestrator.storage import StorageBusy, StorageError, open_storage
from aquin_nb.sync import Outbox, outbox, ring
from aquin_nb.sync.drain import drain
from aquin_nb.sync.identity import uuid7
from aquin_nb.sync.journal import Damaged, Journal

# SQLite passes over what fails while a file is closed; apsw tells of it all the same.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
CARDS = [uuid7() for _ in range(3)]
STRIDE = 1 if SEEDS > 5 else 5
"""The suite tries every fifth operation of a sweep."""
SWEEPS = [("EIO", 1), ("EIO", 10**9), ("full", 1)]


def until(condition, timeout=10.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def server(tmp_path):
    with served(str(tmp_path / "board.db")) as server:
        yield server


def told(box, history, dice, step):
    type = dice.choices(["card.progress", "tool.start", "tool.result"], [90, 5, 5])[0]
    data = {"point": {"step": step}, "pad": "x" * dice.randint(0, 500)}
    sequence = box.log(type, CARDS[step % 3], data)
    if sequence:
        history.tell(box.source, sequence, data)


@seeded
@pytest.mark.parametrize("kind", ERRORS)
def test_a_failing_disk_under_a_session_loses_nothing_that_is_not_counted(tmp_path, server, kind, seed, monkeypatch):
    monkeypatch.setattr(ring, "RING_BYTES", 20_000)
    monkeypatch.setattr(ring, "RESERVE_BYTES", 64 * 1024)
    monkeypatch.setattr(outbox, "GROUP_SECONDS", 0.01)
    monkeypatch.setattr("aquin_nb.sync.spool.WAL_PAGES", 20)  # checkpoints are hit too
    dice, history, broken = random.Random(seed), History(), False
    real = os.fdatasync

    def synced(handle):
        if broken and kind == "EIO" and dice.random() < 0.5:
            raise OSError(5, "Input/output error")
        real(handle)

    monkeypatch.setattr(os, "fdatasync", synced)
    with BadDisk(".outbox") as disk, Outbox(tmp_path / "outbox", server.url, server.token) as box:
        for step in range(400):
            if dice.random() < 0.03:
                broken = not broken
                disk.breaks(kind, dice) if broken else disk.mend()
            told(box, history, dice, step)
            if dice.random() < 0.1:
                time.sleep(dice.uniform(0, 0.02))
        broken = False
        disk.mend()
        until(lambda: not box._journal.ring.active)
        assert box.flush(20), box.status()
        history.counted = box.status().lost
        assert box.status().dead == 0
    # Where there was no time to remove it, what was delivered is delivered again, and changes nothing.
    assert drain(tmp_path / "outbox", server.url, server.token, 20).waiting == 0
    assert not list((tmp_path / "outbox").iterdir())
    history.stored = server.get("/v1/events?limit=5000")["events"]
    history.cards = server.get("/v1/cards")["cards"]
    history.judge()


@seeded
@pytest.mark.parametrize("kind", ERRORS)
def test_a_failing_disk_under_the_board_delays_and_loses_nothing(tmp_path, kind, seed):
    dice, history = random.Random(seed), History()
    with BadDisk("board.db") as disk:
        with (
            served(str(tmp_path / "board.db")) as server,
            Outbox(tmp_path / "outbox", server.url, server.token) as box,
        ):
            for step in range(300):
                if dice.random() < 0.03:
                    disk.breaks(kind, dice) if dice.random() < 0.6 else disk.mend()
                told(box, history, dice, step)
                if dice.random() < 0.15:
                    time.sleep(dice.uniform(0, 0.03))
            disk.mend()
            assert box.flush(30), box.status()
            assert box.status().dead == 0
            history.stored = server.get("/v1/events?limit=5000")["events"]
            history.cards = server.get("/v1/cards")["cards"]
            history.judge()
        storage = open_storage(str(tmp_path / "board.db"))
        assert storage.check() == []
        storage.close()


@pytest.mark.parametrize(("kind", "lasts"), SWEEPS)
def test_whichever_write_of_the_board_fails_what_it_answered_is_there(tmp_path, kind, lasts):
    """The n-th operation fails, or all from then on, for every n; then another process opens it."""
    at = 1 - STRIDE
    while True:
        at += STRIDE
        sender, acked, place = Sender(), [], str(tmp_path / f"{at}" / "board.db")
        with BadDisk("board.db") as disk:
            disk.refuses = lambda _, number, at=at: ERRORS[kind]() if at <= number < at + lasts else None
            with suppress(StorageError):
                storage = open_storage(place)
                for _ in range(4):
                    batch = sender.run(CARDS[0], 3)
                    for _ in range(2):  # once more after a refusal, as a sender does
                        with suppress(StorageBusy):
                            storage.write([checked(batch)], 1.0)
                            acked += batch
                            break
                with suppress(apsw.Error):
                    storage.close()
            used = disk.count
        again = open_storage(place)
        kept = [body for _, body in again.every()]
        assert len(set(kept)) == len(kept)
        wanted = [event.body for event in checked(acked)]
        assert [body for body in kept if body in set(wanted)] == wanted
        again.close()
        if at > used:
            return


@pytest.mark.parametrize(("kind", "lasts"), SWEEPS)
def test_whichever_write_of_a_session_fails_what_it_promised_is_delivered(tmp_path, kind, lasts, monkeypatch):
    monkeypatch.setattr(ring, "RESERVE_BYTES", 4096)
    monkeypatch.setattr("aquin_nb.sync.spool.WAL_PAGES", 3)
    with served(str(tmp_path / "board.db")) as server:
        history, at, runs = History(), 1 - STRIDE, 0
        while True:
            at, runs = at + STRIDE, runs + 1
            folder = tmp_path / f"{at}"
            with BadDisk(".outbox") as disk:
                disk.refuses = lambda _, number, at=at: ERRORS[kind]() if at <= number < at + lasts else None
                journal = Journal(folder, "default")
                for step in range(12):
                    data = {"point": {"step": step}, "pad": "x" * 900}
                    with suppress(Damaged):
                        type = "tool.result" if step % 4 == 3 else "card.progress"
                        if sequence := journal.keep(type, CARDS[0], data, 1):
                            history.tell(journal.producer.source, sequence, data)
                    if step % 5 == 4:
                        journal.tend()
                used = disk.count
                journal.abandon()  # killed: what only memory had was never promised
            assert not drain(folder, server.url, server.token, 20).waiting
            if at > used:
                break
        history.stored = server.get("/v1/events?limit=5000")["events"]
        history.judge(holes=True)
        assert len(history.told) > 4 * runs


@slow
def test_a_small_disk_under_a_board_that_fills_up_is_waited_for(tmp_path, seed):
    dice, history, place = random.Random(seed), History(), tmp_path / "small"
    before = on_a_disk_of(place, "size=6m")
    with Server(place / "board.db", before=before) as server:
        filler = Filler(server.process.pid, place)
        with Outbox(tmp_path / "outbox", server.url, server.token) as box:
            for step in range(600):
                if step in (100, 350):
                    filler.fill()
                if step in (250, 500):
                    filler.free()
                told(box, history, dice, step)
                if dice.random() < 0.05:
                    time.sleep(dice.uniform(0, 0.05))
            assert box.flush(30), box.status()
        history.stored, history.cards = server.events(), server.cards()
        history.judge()


@slow
def test_a_small_disk_under_a_killed_session_keeps_what_was_promised(tmp_path, seed):
    dice, history, place = random.Random(seed), History(), tmp_path / "small"
    before = on_a_disk_of(place, "size=12m")
    with Server(tmp_path / "board.db") as server, Writers(before) as writers:
        filler, said = Filler(writers.pid, place), tmp_path / "told.txt"
        for number in range(2):
            pid = writers.start(place / "outbox", server.url, seed * 10 + number, 10**6, said, server.token)
            for _ in range(2):
                time.sleep(dice.uniform(0.05, 0.3))
                filler.fill()
                time.sleep(dice.uniform(0.05, 0.3))
                filler.free()
            kill(pid)
            if said.exists():
                with open(said, encoding="utf-8", newline="\n") as stream:
                    history.read(stream)
                said.unlink()
        writers.drain(place / "outbox", server.url, server.token)
        history.stored, history.cards = server.events(), server.cards()
        history.judge(holes=True)


def test_a_read_only_disk_is_named_by_the_board_and_survived_by_the_session(tmp_path, server):
    place = tmp_path / "still"
    before = on_a_disk_of(place, "ro")
    env = os.environ | {"PYTHONPATH": str(ROOT), "AQUIN_NB_TOKEN": server.token}
    command = [*before, sys.executable, "-m", "aquin_nb.cli", "orchestrator", "serve", "--port", "0"]
    said = subprocess.run([*command, "--db", str(place / "b.db")], capture_output=True, text=True, env=env, timeout=60)
    assert said.returncode == 1
    assert "cannot be opened as the board's database" in said.stderr
    assert len(said.stderr.splitlines()) == 1
    code = """
import os, sys
from aquin_nb.sync import Outbox
with Outbox(sys.argv[1], sys.argv[2], os.environ["AQUIN_NB_TOKEN"]) as box:
    assert [box.log("card.progress", "a card", {"point": {"step": i}}) for i in range(50)] == [0] * 50
    assert "kept in memory" in box.status().problem, box.status()
    assert box.flush(20), box.status()
"""
    command = [*before, sys.executable, "-c", code, str(place / "outbox"), server.url]
    subprocess.run(command, check=True, env=env, timeout=60)
    stored = server.get("/v1/events")["events"]
    assert [event["data"]["point"]["step"] for event in stored] == list(range(50))
    History(stored=stored).judge()
