"""Delivery: whatever the network and the orchestrator do, every event is there once, in order, and nobody waits."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import tempfile
import threading
import time

import pytest
from board import TOKEN, Board
from history import History

from aquin_nb.sync import Outbox
from aquin_nb.sync.client import Client, _wait
from aquin_nb.sync.feed import SpoolFeed
from aquin_nb.sync.spool import Spool

CARD = "01890000-0000-7000-8000-0000000000aa"


def tell(outbox, history, count, card=CARD):
    for i in range(count):
        data = {"point": {"step": i}}
        history.tell(outbox.source, outbox.log("card.progress", card, data), data)


def test_a_server_that_is_down_at_the_start_gets_everything_later(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    history = History()
    with Outbox(tmp_path, f"http://127.0.0.1:{port}", TOKEN) as outbox:
        tell(outbox, history, 50)
        assert outbox.flush(0.2) is False
        assert outbox.status().state == "waiting"
        assert "will sync later" in str(outbox.status())
        with Board(port=port) as board:
            history.stored = board.stored
            assert outbox.flush(10)
    history.judge()


def test_before_the_first_answer_nothing_is_said_to_have_failed(tmp_path):
    answer = threading.Event()
    with Board(lambda path, number: answer.wait(20) and None) as board, Outbox(tmp_path, board.url, TOKEN) as outbox:
        assert outbox.status().state == "connecting"
        assert str(outbox.status()).startswith(f"connecting to {board.url} · 0 delivered")
        answer.set()
        outbox.log("card.progress", CARD, {})
        assert outbox.flush(10)
        assert str(outbox.status()).startswith(f"connected to {board.url}")


def test_a_black_hole_delays_neither_log_nor_flush_nor_close(tmp_path):
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(8)  # accepts, and never says a word
        outbox = Outbox(tmp_path, f"http://127.0.0.1:{hole.getsockname()[1]}", TOKEN)
        began = time.monotonic()
        assert all(outbox.log("card.progress", CARD, {"point": {"step": i}}) for i in range(200))
        assert outbox.flush(0.2) is False
        outbox.close(0.2)
        assert time.monotonic() - began < 5
    assert len(list(tmp_path.glob("*.outbox"))) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_pauses_visibly_and_spooling_goes_on(tmp_path, status):
    history, refusing = History(), True
    with (
        Board(lambda path, number: (status, {}, {}) if refusing else None) as board,
        Outbox(tmp_path, board.url, TOKEN) as outbox,
    ):
        history.stored = board.stored
        tell(outbox, history, 10)
        outbox.flush(0.2)
        assert outbox.status().state == "refused"
        assert "The token was refused" in str(outbox.status())
        assert outbox.status().dead == 0
        tell(outbox, history, 10)
        refusing = False
        assert outbox.flush(10)
        assert outbox.status().problem == ""
    history.judge()


def test_an_orchestrator_of_another_version_pauses_and_loses_nothing(tmp_path):
    def fault(path, number):
        return (409, {}, {"detail": "this orchestrator speaks schema 2"}) if path == "/v1/events" else None

    with Board(fault) as board, Outbox(tmp_path, board.url, TOKEN) as outbox:
        history = History(stored=board.stored)
        tell(outbox, history, 10)
        outbox.flush(0.3)
        assert outbox.status().state == "incompatible"
        assert "speaks schema 2" in outbox.status().problem
        board.fault = None
        assert outbox.flush(10)
    history.judge()


def test_an_event_refused_by_name_is_set_aside_and_the_others_go_on(tmp_path, board):
    board.reject = lambda event: "no sevens" if event["data"]["point"]["step"] == 7 else None
    with Outbox(tmp_path, board.url, TOKEN) as outbox:
        for i in range(20):
            outbox.log("card.progress", CARD, {"point": {"step": i}})
        assert outbox.flush(10)
        assert (outbox.status().delivered, outbox.status().dead) == (19, 1)
    (path,) = tmp_path.glob("*.outbox")
    spool = Spool(path)
    ((sequence, reason, body),) = spool.dead()
    spool.close()
    assert (sequence, reason, json.loads(body)["data"]["point"]["step"]) == (8, "no sevens", 7)


def test_a_batch_refused_without_a_name_is_halved_until_the_poison_is_alone(tmp_path):
    with Board() as board:
        proper = board.take

        def take(path, headers, body):
            poison = path == "/v1/events" and any(e["data"]["point"]["step"] == 33 for e in json.loads(body))
            return (422, {}, {"detail": "cannot be"}) if poison else proper(path, headers, body)

        board.take = take
        with Outbox(tmp_path) as spooled:
            for i in range(100):
                spooled.log("card.progress", CARD, {"point": {"step": i}})
        with Outbox(tmp_path, board.url, TOKEN) as outbox:
            board.wait(99)
            assert outbox.status().state == "connected"
    assert [e["data"]["point"]["step"] for e in board.stored] == [i for i in range(100) if i != 33]


def test_a_batch_that_is_too_large_is_split(tmp_path):
    with Board() as board:
        proper = board.take

        def take(path, headers, body):
            return (413, {}, {}) if len(body) > 20_000 else proper(path, headers, body)

        board.take = take
        with Outbox(tmp_path, board.url, TOKEN) as outbox:
            history = History(stored=board.stored)
            tell(outbox, history, 400)
            assert outbox.flush(10)
        history.judge()


def test_batches_stay_below_a_mebibyte(tmp_path, board):
    with Outbox(tmp_path) as outbox:
        for i in range(60):
            outbox.log("card.weighed", CARD, {"i": i, "x": "y" * 60_000})
    with Outbox(tmp_path, board.url, TOKEN):
        board.wait(60)  # the tiny board answers 413 to more, and then the batch would be halved
    assert [event["data"]["i"] for event in board.stored] == list(range(60))
    assert board.posts <= 5


def test_retry_after_is_honoured_as_seconds_and_by_the_servers_own_clock():
    assert _wait({"Retry-After": "7"}) == 7
    assert _wait({"Retry-After": "1e9"}) == 300
    assert _wait({"Retry-After": "soon"}) is None
    assert _wait({"Retry-After": "nan"}) is None
    # Both clocks are a day wrong, and agree with each other.
    headers = {"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert _wait(headers) == 30


def test_a_kept_connection_that_the_server_closed_is_no_failure(tmp_path, board):
    with Outbox(tmp_path, board.url, TOKEN) as outbox:
        outbox.log("card.progress", CARD, {})
        assert outbox.flush(5)
        board._server.close_request = lambda request: None
        client = outbox._sender.delivery.client
        client._connection.sock.shutdown(socket.SHUT_RDWR)
        outbox.log("card.progress", CARD, {})
        assert outbox.flush(5)
        assert outbox.status().problem == ""


def test_a_unix_socket_is_an_address_too():
    folder = tempfile.mkdtemp()  # a socket's address is short, and pytest's folders are not
    where = f"{folder}/s"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(where)
    listener.listen()

    def answer():
        connection, _ = listener.accept()
        with connection:
            asked = b""
            while not asked.endswith(b'{"alive": true}'):
                asked += connection.recv(65536)
            assert asked.startswith(b"PUT /v1/producers/x HTTP/1.1")
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        assert Client(f"unix://{where}", TOKEN).beat("x", {"alive": True}).meaning == "taken"
    finally:
        thread.join(5)
        listener.close()
        shutil.rmtree(folder)


def test_the_heartbeat_says_who_lives_and_what_waits(tmp_path, board):
    with Outbox(tmp_path, board.url, TOKEN) as outbox:
        outbox.log("card.progress", CARD, {})
        outbox.flush(5)
        producer = outbox.source.removeprefix("urn:aquin:")
    first, *_, last = board.beats[producer]
    assert set(first) == {"alive", "pid", "host", "started_at", "kernel", "pending"}
    assert (first["alive"], first["pid"], last["alive"], last["pending"]) == (True, os.getpid(), False, 0)


def test_a_new_card_does_not_wait_behind_a_long_backlog_and_no_card_is_reordered(tmp_path, board, monkeypatch):
    monkeypatch.setattr("aquin_nb.sync.feed.LONG", 100)
    history = History(stored=board.stored)
    with Outbox(tmp_path) as outbox:
        spool = outbox._journal.spool
        feed = SpoolFeed(spool)
        tell(outbox, history, 300, "old")
        feed.look()
        tell(outbox, history, 20, "new")
        tell(outbox, history, 20, "old")
        order = []
        while (batch := feed.next(50)) is not None:
            order += [(event["subject"], event["sequence"]) for event in json.loads(batch.body)]
            feed.taken(batch, {})
    assert [at for at, (card, _) in enumerate(order) if card == "new"][-1] < 150
    assert len(order) == len(set(order)) == 340
    assert all(order.index(one) < order.index(two) for one, two in _pairs(order))


def _pairs(order):
    for card in ("old", "new"):
        own = sorted(one for one in order if one[0] == card)
        yield from itertools.pairwise(own)
