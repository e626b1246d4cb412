"""A disk that is full, read-only or failing: the run goes on, starts and results are kept, losses are counted."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import apsw
import pytest
from board import TOKEN, Board
from history import History

from aquin_nb.sync import Outbox, journal, outbox, ring
from aquin_nb.sync.client import Client
from aquin_nb.sync.delivery import Delivery
from aquin_nb.sync.sender import OwnFeed

CARD = "01890000-0000-7000-8000-0000000000aa"


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(ring, "RESERVE_BYTES", 256 * 1024)
    monkeypatch.setattr(outbox, "GROUP_SECONDS", 0.02)


def fill(box):
    """No page more than there is: what a full disk is to SQLite."""
    writer = box._journal.spool._writer
    with box._journal.spool.lock:
        writer.pragma("max_page_count", writer.pragma("page_count"))


def free(box):
    with box._journal.spool.lock:
        box._journal.spool._writer.pragma("max_page_count", 1 << 30)


def until(condition, timeout=5.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def point(step):
    return {"point": {"step": step}, "pad": "x" * 200}


def test_events_of_a_full_disk_are_in_memory_and_on_disk_when_it_has_room_again(tmp_path, board):
    history = History(stored=board.stored)
    with Outbox(tmp_path) as box:
        fill(box)
        given = [box.log("card.progress", CARD, point(i)) for i in range(100)]
        assert given == sorted(given, key=lambda n: (n == 0, n))  # once the disk is full nothing is promised
        assert given[-1] == 0
        status = box.status()
        assert status.in_memory == given.count(0)
        assert status.lost == 0
        assert "takes nothing" in status.problem
        free(box)
        until(lambda: box.status().in_memory == 0)
        assert box.status().problem == ""
        assert box.log("card.progress", CARD, point(100)) == 101
    with Outbox(tmp_path, board.url, TOKEN):
        board.wait(101)
    history.judge()
    assert [event["data"]["point"]["step"] for event in board.stored] == list(range(101))


def test_with_a_full_disk_events_go_to_the_orchestrator_from_memory(tmp_path, board):
    history = History(stored=board.stored)
    with Outbox(tmp_path, board.url, TOKEN) as box:
        fill(box)
        for i in range(300):
            box.log("card.progress", CARD, point(i))
        assert box.flush(10)
        free(box)
        until(lambda: not box.status().problem)
        for i in range(300, 320):
            box.log("card.progress", CARD, point(i))
        assert box.flush(10)
        assert (box.status().lost, box.status().in_memory) == (0, 0)
    history.judge()
    assert [event["data"]["point"]["step"] for event in board.stored] == list(range(320))


def test_what_went_to_the_disk_between_two_looks_goes_before_what_is_in_memory(tmp_path, board, monkeypatch):
    """The disk was full, had room, and was full again, all while the sender turned from the file to the memory."""
    monkeypatch.setattr(outbox, "GROUP_SECONDS", 60)
    history = History(stored=board.stored)
    box = Outbox(tmp_path)
    journal, feed = box._journal, OwnFeed(box._journal)
    numbered = journal.assign

    def late(most):
        monkeypatch.setattr(journal, "assign", numbered)
        free(box)
        journal.recover()
        fill(box)
        for i in range(50, 200):
            box.log("card.progress", CARD, point(i))
        return journal.assign(most)

    fill(box)
    for i in range(50):
        box.log("card.progress", CARD, point(i))
    monkeypatch.setattr(journal, "assign", late)
    delivery = Delivery(Client(board.url, TOKEN))
    while delivery.step(feed):
        pass
    delivery.client.close()
    assert journal.assign == numbered
    assert [event["data"]["point"]["step"] for event in board.stored] == list(range(200))
    history.judge()
    box.close()


def test_what_memory_has_no_room_for_is_counted_exactly_and_told(tmp_path, board, monkeypatch):
    monkeypatch.setattr(ring, "RING_BYTES", 40_000)
    with Outbox(tmp_path) as box:
        fill(box)
        for i in range(500):
            box.log("card.progress", CARD, {"point": {"step": i, "fvu": i / 500}})
        lost = box.status().lost
        assert 0 < lost < 500
        free(box)
        until(lambda: not box.status().problem)
        box.log("tool.result", CARD, {"status": "completed"})
    with Outbox(tmp_path, board.url, TOKEN):
        board.wait(500 - lost + 2)
    History(stored=board.stored, counted=lost).judge()
    (gap,) = [event for event in board.stored if event["type"] == "sync.gap"]
    assert gap["subject"] == CARD
    assert gap["data"]["ranges"]["step"] == {"min": 500 - lost, "max": 499, "last": 499}
    assert gap["data"]["after"] == gap["sequence"] - 1


def test_a_result_is_kept_though_the_disk_is_full(tmp_path):
    """A real file system of 3 MB, filled to the last byte by somebody else, in a namespace of its own."""
    code = """
import ctypes, os, sys, json
from pathlib import Path
place = Path(sys.argv[1]); place.mkdir()
libc = ctypes.CDLL(None, use_errno=True)
if os.geteuid() != 0 or libc.unshare(0x00020000) or libc.mount(b"none", b"/", None, 0x44000, None):
    sys.exit(77)
if libc.mount(b"tmpfs", os.fsencode(place), b"tmpfs", 0, b"size=3m"):
    sys.exit(77)
from aquin_nb.sync import Outbox, outbox, ring
ring.RESERVE_BYTES, ring.RING_BYTES, outbox.GROUP_SECONDS = 512 * 1024, 60_000, 0.02
box = Outbox(place / "outbox")
started = box.log("tool.start", "a card", {"tool": "sae.train"})
filler = open(place / "filler", "wb")
try:
    while True: filler.write(bytes(65536)); filler.flush()
except OSError: pass
steps = [box.log("card.progress", "a card", {"point": {"step": i}, "pad": "x" * 300}) for i in range(2000)]
assert started == 1 and steps[-1] == 0, (started, steps[-1])
result = box.log("tool.result", "a card", {"status": "completed"})
lost = box.status().lost
path = next((place / "outbox").glob("*.outbox"))
from aquin_nb.sync.spool import Spool
spool = Spool(path)
events = json.loads(spool.batch(0, 2**60, 10**6, 10**9).body)
print(json.dumps([result, lost, events]))
os._exit(0)
"""
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "small"], capture_output=True, text=True, timeout=60)
    if run.returncode == 77:
        pytest.skip("a file system of its own can be mounted by root only")
    assert run.returncode == 0, run.stderr
    result, lost, events = json.loads(run.stdout)
    assert result == events[-1]["sequence"]
    assert (events[0]["type"], events[-1]["type"]) == ("tool.start", "tool.result")
    kept = [event["data"]["point"]["step"] for event in events if event["type"] == "card.progress"]
    assert len(kept) + lost == 2000
    History(stored=events, counted=lost).judge()


def test_a_folder_that_cannot_be_written_is_memory_and_delivery_goes_on(tmp_path, board):
    (tmp_path / "file").write_text("in the way")
    with Outbox(tmp_path / "file" / "outbox", board.url, TOKEN) as box:
        for i in range(50):
            assert box.log("card.progress", CARD, point(i)) == 0
        assert "events are kept in memory" in box.status().problem
        assert box.flush(10)
    History(stored=board.stored).judge()
    assert len(board.stored) == 50


@pytest.mark.parametrize(
    "error", [apsw.IOError, apsw.FullError, apsw.ReadOnlyError, apsw.BusyError, apsw.CantOpenError]
)
def test_no_trouble_of_the_disk_raises_into_the_run(tmp_path, board, error, monkeypatch):
    history = History(stored=board.stored)
    with Outbox(tmp_path, board.url, TOKEN) as box:
        history.tell(box.source, box.log("card.progress", CARD, point(0)), point(0))
        spool = box._journal.spool

        def fails(*_, **__):
            raise error("it is broken")

        with monkeypatch.context() as broken:
            broken.setattr(spool, "append", fails)
            broken.setattr(spool, "append_all", fails)
            assert box.log("card.progress", CARD, point(1)) == 0
            assert box.log("tool.result", CARD, {"status": "failed"}) == 0
            assert box.flush(10)
        until(lambda: not box.status().problem)
        history.tell(box.source, box.log("card.progress", CARD, point(2)), point(2))
        assert box.flush(10)
    history.judge()
    assert len(board.stored) == 4


def test_a_disk_that_does_not_confirm_is_visible(tmp_path, monkeypatch):
    with Outbox(tmp_path) as box:

        def fails():
            raise OSError("Input/output error")

        monkeypatch.setattr(box._journal.spool, "sync", fails)
        assert box.log("tool.start", CARD, {"tool": "x"}) == 1
        assert "may not survive a power cut" in box.status().problem


def test_results_are_synced_to_the_disk_before_log_returns_and_progress_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox, "GROUP_SECONDS", 60)
    with Outbox(tmp_path) as box:
        synced, real = [], box._journal.spool.sync
        monkeypatch.setattr(box._journal.spool, "sync", lambda: (synced.append(1), real()))
        box.log("card.progress", CARD, {})
        assert synced == []
        for type in ("tool.start", "tool.result", "card.artifact", "sync.gap"):
            box.log(type, CARD, {})
        assert len(synced) == 4


def test_progress_is_synced_in_groups(tmp_path, monkeypatch):
    with Outbox(tmp_path) as box:
        synced, real = [], box._journal.spool.sync
        monkeypatch.setattr(box._journal.spool, "sync", lambda: (synced.append(1), real()))
        for _ in range(200):
            box.log("card.progress", CARD, {})
        until(lambda: synced)
        assert len(synced) < 50


def test_the_log_stays_bounded_under_a_long_run(tmp_path, monkeypatch):
    monkeypatch.setattr("aquin_nb.sync.spool.WAL_PAGES", 50)
    with Board() as board, Outbox(tmp_path, board.url, TOKEN) as box:
        for i in range(6000):
            box.log("card.progress", CARD, point(i))
            if i % 500 == 0:
                box._journal.tend()
        assert box.flush(20)
        sizes = {path.suffix: path.stat().st_size for path in tmp_path.iterdir()}
        assert sum(sizes.values()) < 8 * 1024 * 1024, sizes
        assert len(box._journal.ring) == 0


def test_a_gap_told_from_memory_is_counted_once(tmp_path, board, monkeypatch):
    monkeypatch.setattr(ring, "RING_BYTES", 20_000)
    monkeypatch.setattr(journal.Reserve, "fill", lambda self: False)  # the disk stays full until the end
    down = True
    board.fault = lambda path, number: (503, {}, {}) if down else None
    with Outbox(tmp_path, board.url, TOKEN) as box:
        fill(box)
        for i in range(300):
            box.log("card.progress", CARD, point(i))
        lost = box.status().lost
        down = False
        assert box.flush(10)
        until(lambda: any(event["type"] == "sync.gap" for event in board.stored))
        assert box.flush(10)
    History(stored=board.stored, counted=lost).judge()
    assert list(tmp_path.iterdir()) == []
