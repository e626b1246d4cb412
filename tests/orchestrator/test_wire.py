"""What a sender may rely on: the contract of POST /v1/events, heartbeats and blobs."""

from __future__ import annotations

import gzip
import hashlib
import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from senders import Sender, uuid7
from serving import BATCH, Answer, Served, served, spawn

from aquin_nb.orchestrator.board import Limits
from aquin_nb.orchestrator.storage import StorageBusy


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(str(tmp_path_factory.mktemp("board") / "board.db")) as one:
        yield one


def post(board: Served, events: Any, **headers: str) -> Answer:
    raw = events if isinstance(events, bytes) else json.dumps(events).encode()
    return board.ask("POST", "/v1/events", raw, **({"Content_Type": BATCH} | headers))


def test_a_batch_is_answered_by_counts_and_the_last_contiguous_sequence(board: Served) -> None:
    sender, card = Sender(), uuid7()
    events = sender.run(card)
    assert board.send(events[:2]) == {"accepted": 2, "duplicates": 0, "rejected": [], "next": {sender.source: 2}}
    assert board.send(events) == {"accepted": 3, "duplicates": 2, "rejected": [], "next": {sender.source: 5}}
    assert board.send(events[:1])["duplicates"] == 1


def test_a_poisoned_event_is_named_and_stops_no_other(board: Served) -> None:
    sender, card = Sender(), uuid7()
    events: list[Any] = [
        sender.start(card),
        sender.progress(card, 1) | {"time": "yesterday"},
        "not an event",
        sender.progress(card, 2) | {"attempt": 0},
        sender.progress(card, 3) | {"extra": "x" * 70_000},
        sender.progress(card, 4) | {"room": "a\0b"},
        sender.result(card),
    ]
    answer = board.send(events)
    assert answer["accepted"] == 2
    assert [one["index"] for one in answer["rejected"]] == [1, 2, 3, 4, 5]
    assert answer["rejected"][0]["id"] == events[1]["id"]
    assert "time" in answer["rejected"][0]["reason"]
    assert "65536" in answer["rejected"][3]["reason"]
    stolen = sender.progress(card, 9) | {"sequence": 1}
    mixed = board.send([events[2], stolen, sender.progress(card, 10)])
    assert [one["index"] for one in mixed["rejected"]] == [0, 1]


def test_gzip_is_taken_and_bombs_are_not(board: Served) -> None:
    sender = Sender()
    packed = gzip.compress(json.dumps(sender.run(uuid7())).encode())
    assert post(board, packed, Content_Encoding="gzip").body["accepted"] == 5
    bomb = gzip.compress(b" " * (30 << 20), 9)
    assert len(bomb) < 1 << 20
    assert post(board, bomb, Content_Encoding="gzip").status == 413
    assert post(board, packed[:-9], Content_Encoding="gzip").status == 400
    assert post(board, b"nonsense", Content_Encoding="gzip").status == 400
    assert post(board, packed, Content_Encoding="br").status == 415


def test_limits_are_said_and_kept(board: Served) -> None:
    sender, card = Sender(), uuid7()
    assert post(board, [sender.progress(card, n) for n in range(501)]).status == 400
    assert post(board, b"[" + b" " * (1 << 20) + b"]").status == 413
    assert post(board, b"[]", Content_Length=str(2 << 20)).status == 413
    assert post(board, b"[" * 100_000).status == 400
    assert post(board, b"{}").status == 400
    assert post(board, b'[{"a": NaN}]').status == 400
    assert post(board, b"[]", Content_Type="application/octet-stream").status == 415
    deep: Any = 1
    for _ in range(20):
        deep = [deep]
    assert "16 levels" in board.send([sender.event("card.x", card, {"a": deep})])["rejected"][0]["reason"]
    long = sender.event("card.x", card, {"a": "x" * 40_000})
    assert "32768 characters" in board.send([long])["rejected"][0]["reason"]
    assert board.send([]) == {"accepted": 0, "duplicates": 0, "rejected": [], "next": {}}


def test_another_version_of_the_contract_is_told_which_one_is_spoken(board: Served) -> None:
    answer = post(board, [Sender().start(uuid7()) | {"specversion": "2.0"}])
    assert (answer.status, answer.body["schema"]) == (409, 1)
    assert board.get("/v1/health") == {"name": "aquin-nb orchestrator", "schema": 1}


def test_a_sender_that_goes_in_the_middle_of_a_word_is_no_error_and_nothing_of_it_is_kept(tmp_path: Path) -> None:
    process, board = spawn(str(tmp_path / "board.db"), "--port", "0")
    body = json.dumps([Sender().start(uuid7())]).encode()
    try:
        for path in ("POST /v1/events", f"PUT /v1/producers/{uuid7()}", f"PUT /v1/blobs/{'a' * 64}", "POST /v1/tokens"):
            with socket.create_connection(("127.0.0.1", board.port), timeout=20) as connection:
                head = f"{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {board.token}\r\n"
                asked = f"Content-Type: {BATCH}\r\nContent-Length: {len(body) + 1}\r\nExpect: 100-continue\r\n\r\n"
                connection.sendall((head + asked).encode())
                assert connection.recv(100).startswith(b"HTTP/1.1 100")  # its route waits for the body
                connection.sendall(body)
        assert board.get("/v1/events?after=0")["events"] == []
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=20)[1]
    assert said == ""


def test_a_full_disk_asks_to_come_back_and_loses_nothing(board: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    sender, card = Sender(), uuid7()
    events = sender.run(card)

    def full(*_: Any) -> None:
        raise StorageBusy("The database cannot be written right now: database or disk is full.")

    monkeypatch.setattr(board.board.storage, "insert_events", full)
    answer = post(board, events)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert "disk is full" in answer.body["detail"]
    monkeypatch.undo()
    assert board.send(events)["accepted"] == 5


def test_one_batch_that_cannot_be_written_does_not_take_its_neighbours_along(board: Served) -> None:
    import concurrent.futures as futures

    def send(_: int) -> int:
        return int(board.send(Sender().run(uuid7(), 20))["accepted"])

    with futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(send, range(40))) == [22] * 40


def test_too_many_requests_are_asked_to_wait(tmp_path: Path) -> None:
    with served(str(tmp_path / "b.db"), Limits(requests_per_second=0.5, burst=3)) as board:
        answers = [board.ask("GET", "/v1/rooms") for _ in range(5)]
    assert [one.status for one in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].headers["Retry-After"] == "2"


def test_a_heartbeat_makes_a_run_live_and_a_goodbye_interrupted_and_a_late_event_revives_it(board: Served) -> None:
    sender, card = Sender(), uuid7()
    board.send([sender.start(card)])

    def beat(alive: bool) -> None:
        told = {
            "alive": alive,
            "pid": 1,
            "host": "elsewhere",
            "kernel": "k",
            "pending": 4,
            "started_at": "2026-01-01T00:00:00Z",
        }
        assert board.json("PUT", f"/v1/producers/{sender.uuid}", told).status == 204

    def contact() -> tuple[str, str | None]:
        view = board.get(f"/v1/cards/{card}")
        return view["status"], view["contact"]

    beat(True)
    assert contact() == ("running", "live")
    assert board.get(f"/v1/cards/{card}")["pending"] == 4
    beat(False)
    assert contact() == ("running", "interrupted")
    board.send([sender.progress(card, 5)])
    assert contact() == ("running", "live")
    board.send([sender.result(card)])
    assert contact() == ("completed", None)


def test_a_restarted_kernel_ends_the_runs_of_its_last_process_at_once(board: Served) -> None:
    old, new, card = Sender(), Sender(), uuid7()
    board.send([old.start(card)])
    for sender, pid, day in ((old, 100, 1), (new, 101, 2)):
        told = {"pid": pid, "host": "elsewhere", "kernel": "same", "started_at": f"2026-01-0{day}T00:00:00Z"}
        board.json("PUT", f"/v1/producers/{sender.uuid}", told)
    assert board.get(f"/v1/cards/{card}")["contact"] == "interrupted"


def test_silence_is_shown_as_silence_and_never_as_an_end(board: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    sender, card = Sender(), uuid7()
    board.send([sender.start(card)])
    now = time.time
    monkeypatch.setattr(board.board.views, "since", 0.0)
    for later, expected in ((10, "live"), (40, "silent"), (400, "lost"), (86_400, "lost"), (-86_400, "live")):
        monkeypatch.setattr(time, "time", lambda later=later: now() + later)
        assert board.board.views.one("default", card)["contact"] == expected  # type: ignore[index]


def test_a_heartbeat_that_makes_no_sense_is_refused(board: Served) -> None:
    path = f"/v1/producers/{uuid7()}"
    assert board.json("PUT", path, {"pid": "many"}).status == 422
    assert board.json("PUT", "/v1/producers/me", {}).status == 422
    assert board.ask("PUT", path, b"", Content_Type="application/json").status == 422


def test_blobs_are_kept_under_their_own_hash_and_only_harmless_kinds(board: Served) -> None:
    png = b"\x89PNG\r\n\x1a\n" + bytes(100)
    name = hashlib.sha256(png).hexdigest()
    assert [board.ask("PUT", f"/v1/blobs/{name}", png).status for _ in range(2)] == [201, 200]
    got = board.ask("GET", f"/v1/blobs/{name}")
    assert (got.raw, got.headers["Content-Type"]) == (png, "image/png")
    assert "sandbox" in got.headers["Content-Security-Policy"]
    assert got.headers["Content-Disposition"].startswith("attachment")
    assert board.ask("PUT", f"/v1/blobs/{name}", png + b"x").status == 400
    for harmful in (b"\x80\x04\x95", b"PK\x03\x04\x00\x00", b"\x00\x01"):
        assert board.ask("PUT", f"/v1/blobs/{hashlib.sha256(harmful).hexdigest()}", harmful).status == 400
    page = b"<script>alert(1)</script>"
    board.ask("PUT", f"/v1/blobs/{hashlib.sha256(page).hexdigest()}", page)
    shown = board.ask("GET", f"/v1/blobs/{hashlib.sha256(page).hexdigest()}").headers["Content-Type"]
    assert shown == "text/plain; charset=utf-8"
    for bad in ("..%2f..%2fetc%2fpasswd", "A" * 64, "0" * 63):
        assert board.ask("GET", f"/v1/blobs/{bad}").status in (404, 422)
