"""The outbox: what was told is on disk, whatever happens to the process, and comes out once and in order."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import uuid
from datetime import datetime

import pytest
from board import TOKEN
from history import History

from aquin_nb.cards.events import parse
from aquin_nb.errors import NetworkError
from aquin_nb.sync import Outbox
from aquin_nb.sync.spool import Spool

CARD = "01890000-0000-7000-8000-0000000000aa"
POINT = {"point": {"step": 1, "fvu": 0.5}}


def told(path):
    """The events in an outbox file, read as another process would."""
    spool = Spool(path)
    try:
        batch = spool.batch(0, 2**60, 10**6, 10**9)
        return json.loads(batch.body) if batch is not None else []
    finally:
        spool.close()


def test_telling_needs_no_torch_and_a_session_without_orchestrator_no_apsw():
    code = """
import sys
import aquin_nb.sync, aquin_nb.telling
assert "apsw" not in sys.modules
from aquin_nb.sync import Outbox
assert not {"torch", "pandas", "numpy"} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_event_is_on_disk_when_log_returns(tmp_path):
    with Outbox(tmp_path) as outbox:
        assert [outbox.log("card.progress", CARD, POINT) for _ in range(3)] == [1, 2, 3]
        events = told(next(tmp_path.glob("*.outbox")))
    assert [event["sequence"] for event in events] == [1, 2, 3]
    assert {event["source"] for event in events} == {outbox.source}
    assert [parse(event).data.point["fvu"] for event in events] == [0.5] * 3


def test_everything_arrives_once_and_in_order(tmp_path, board):
    history = History(stored=board.stored)
    with Outbox(tmp_path, board.url, TOKEN) as outbox:
        for i in range(1500):
            data = {"point": {"step": i}}
            history.tell(outbox.source, outbox.log("card.progress", CARD, data), data)
        assert outbox.flush(10)
        assert outbox.status().state == "connected"
        assert outbox.status().pending == 0
    history.judge()
    assert list(tmp_path.iterdir()) == []


def test_threads_share_an_outbox(tmp_path, board):
    history, lock = History(stored=board.stored), threading.Lock()

    def work(card):
        for i in range(100):
            data = {"point": {"step": i}}
            sequence = outbox.log("card.progress", card, data)
            with lock:
                history.tell(outbox.source, sequence, data)

    with Outbox(tmp_path, board.url, TOKEN) as outbox:
        threads = [threading.Thread(target=work, args=(f"card {i}",)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outbox.flush(10)
    history.judge()
    steps = [event["data"]["point"]["step"] for event in board.stored if event["subject"] == "card 3"]
    assert steps == list(range(100))


def test_without_an_orchestrator_events_gather_and_flush_does_not_wait(tmp_path):
    outbox = Outbox(tmp_path)
    outbox.log("tool.start", CARD, {"tool": "sae.train"})
    assert outbox.flush(60) is False
    assert (outbox.status().state, outbox.status().pending) == ("off", 1)
    outbox.close()
    assert len(told(next(tmp_path.glob("*.outbox")))) == 1


def test_an_outbox_nobody_told_anything_leaves_nothing(tmp_path):
    Outbox(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_attempt_room_and_type_are_in_the_envelope(tmp_path, board):
    with Outbox(tmp_path, board.url, TOKEN, room="ours") as outbox:
        outbox.log("card.applauded", CARD, {"hands": 2}, attempt=3)
        outbox.flush(5)
    (event,) = board.stored
    assert (event["attempt"], event["room"], event["type"]) == (3, "ours", "card.applauded")
    assert parse(event).data == {"hands": 2}


def test_nan_arrives_as_text(tmp_path, board):
    with Outbox(tmp_path, board.url, TOKEN) as outbox:
        outbox.log("card.progress", CARD, {"point": {"fvu": math.nan, "l0": -math.inf}})
        outbox.flush(5)
    assert board.stored[0]["data"]["point"] == {"fvu": "NaN", "l0": "-Infinity"}


@pytest.mark.parametrize("data", [object(), None, {"x": object()}, {"\ud800": "\ud800"}, ["a"], {1: {2, 3}}, "text"])
def test_nothing_that_is_told_raises_or_stops_the_queue(tmp_path, board, data):
    with Outbox(tmp_path, board.url, TOKEN) as outbox:
        assert outbox.log("card.progress", CARD, data) == 1
        assert outbox.log("card.progress", CARD, POINT) == 2
        assert outbox.flush(5)
    assert len(board.stored) == 2


def test_a_card_too_large_for_an_event_is_slimmed_and_says_so(tmp_path, board):
    card = {"kind": "saeDiff", "top": [{"token": "x" * 100}] * 3000}
    with Outbox(tmp_path, board.url, TOKEN) as outbox:
        outbox.log("card.snapshot", CARD, {"card": card})
        outbox.flush(5)
    data = parse(board.stored[0]).data
    assert len(data.card["top"]) == 64
    assert [(one.path, one.what) for one in data.left_out] == [("/top", "2936 of 3000 items")]


def test_other_data_too_large_for_an_event_goes_by_its_hash_before_the_event(tmp_path, board):
    with Outbox(tmp_path, board.url, TOKEN) as outbox:
        outbox.log("card.progress", CARD, POINT)
        outbox.log("card.weighed", CARD, {"rows": [1.5] * 50_000})
        outbox.flush(5)
    external = board.stored[1]["data"]["external"]
    assert json.loads(board.blobs[external["sha256"]]) == {"rows": [1.5] * 50_000}
    assert external["bytes"] == len(board.blobs[external["sha256"]])


def test_large_data_that_is_refused_stays_here_and_its_event_goes_on(tmp_path, board):
    board.fault = lambda path, number: (413, {}, {}) if "/blobs/" in path else None
    with Outbox(tmp_path, board.url, TOKEN) as outbox:
        outbox.log("card.weighed", CARD, {"rows": [1.5] * 50_000})
        outbox.log("card.progress", CARD, POINT)
        assert outbox.flush(5)
        assert (outbox.status().delivered, outbox.status().dead) == (2, 1)
    spool = Spool(next(tmp_path.glob("*.outbox")))
    assert spool.counts() == (0, 1)
    spool.close()


def test_telling_a_closed_outbox_is_harmless_and_visible(tmp_path):
    outbox = Outbox(tmp_path)
    outbox.close()
    outbox.close()
    assert outbox.log("card.progress", CARD, POINT) == 0
    assert "after the outbox was closed" in outbox.status().problem


def test_an_address_that_is_none_is_refused_at_once(tmp_path):
    for url in ("localhost:80", "ftp://x", "http://", "http://host:port"):
        with pytest.raises(NetworkError, match="no address of an orchestrator"):
            Outbox(tmp_path, url)
    assert list(tmp_path.iterdir()) == []


def test_a_clock_that_jumps_changes_no_order(tmp_path, board, monkeypatch):
    import aquin_nb.sync.identity as identity

    history = History(stored=board.stored)
    real = identity.time.time_ns
    with Outbox(tmp_path, board.url, TOKEN) as outbox:
        for day in (0, 1, -1, -20_000, 3):
            monkeypatch.setattr(identity.time, "time_ns", lambda day=day: max(0, real() + day * 86_400_000_000_000))
            for i in range(20):
                data = {"point": {"step": i, "day": day}}
                history.tell(outbox.source, outbox.log("card.progress", CARD, data), data)
        assert outbox.flush(10)
    history.judge()


def test_a_forked_child_is_a_producer_of_its_own(tmp_path, board):
    history = History(stored=board.stored)
    with Outbox(tmp_path, board.url, TOKEN) as outbox:
        history.tell(outbox.source, outbox.log("card.progress", CARD, POINT), POINT)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                lines = []
                for _ in range(50):
                    sequence = outbox.log("card.progress", CARD, POINT)
                    lines.append(f"{outbox.source}\t{sequence}\t{json.dumps(POINT)}\n")
                os.write(writing, "".join(lines).encode())
                status = 0 if outbox.flush(10) else 2
            finally:
                os._exit(status)
        for _ in range(50):
            history.tell(outbox.source, outbox.log("card.progress", CARD, POINT), POINT)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        os.close(writing)
        with os.fdopen(reading) as stream:
            history.read(stream)
        assert outbox.flush(10)
    assert len({source for source, _ in history.told}) == 2
    history.judge()


def test_forking_while_others_tell_never_hangs(tmp_path):
    code = """
import os, sys, threading
from aquin_nb.sync import Outbox
outbox = Outbox(sys.argv[1])
stop = threading.Event()
def tell():
    while not stop.is_set():
        outbox.log("card.progress", "a card", {"point": {"step": 1}})
threads = [threading.Thread(target=tell) for _ in range(3)]
for thread in threads: thread.start()
for _ in range(8):
    child = os.fork()
    if child == 0:
        os._exit(0 if outbox.log("card.progress", "a card", {}) == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads: thread.join()
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, tmp_path], check=True, timeout=60)


def test_identifiers_are_uuid7_sort_by_the_clock_and_are_all_different(monkeypatch):
    from aquin_nb.sync.identity import Stamps

    stamps, other = Stamps(), Stamps()
    found = [json.loads("{" + one.next() + "}") for _ in range(5000) for one in (stamps, other)]
    ids = [uuid.UUID(one["id"]) for one in found]
    assert len(set(ids)) == 10_000
    assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}
    milliseconds = [one.int >> 80 for one in ids]
    assert milliseconds == sorted(milliseconds)
    told = [datetime.fromisoformat(one["time"]).timestamp() * 1000 for one in found]
    assert all(abs(a - b) < 1 for a, b in zip(milliseconds, map(int, told), strict=True))
    monkeypatch.setattr("aquin_nb.sync.identity.time.time_ns", lambda: 1)
    assert len({stamps.next() for _ in range(100)}) == 100  # a clock that stands still
