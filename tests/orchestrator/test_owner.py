"""What an owner does while the board serves: thin, import, delete; and rooms that are full."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from senders import Sender, checked, uuid7
from serving import BATCH, Caller, served, spawn

from aquin_nb.cli import main
from aquin_nb.orchestrator import keeper, maintenance
from aquin_nb.orchestrator.board import Limits
from aquin_nb.orchestrator.maintenance import collect_garbage
from aquin_nb.orchestrator.storage import open_storage
from aquin_nb.sync import Outbox


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Caller]]:
    """A board that serves, as a process, and its database."""
    place = tmp_path_factory.mktemp("owner") / "board.db"
    process, board = spawn(str(place), "--port", "0")
    yield place, board
    process.kill()
    process.communicate()


def owner(*words: str) -> None:
    assert main(["orchestrator", *words]) == 0


def test_an_import_goes_through_the_board_that_serves(
    running: tuple[Path, Caller], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, board = running
    events = Sender(room="imported").run(uuid7(), 1_300)
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in events))
    owner("import", str(file), "--db", str(place))
    assert "1,302 events taken in" in capsys.readouterr().out
    owner("import", str(file), "--db", str(place))
    assert "0 events taken in, 1,302" in capsys.readouterr().out
    assert board.get("/v1/events?room=imported&limit=5000")["events"] == events
    file.write_bytes(orjson.dumps(events[0]) + b"\n" + orjson.dumps(events[1] | {"time": 5}) + b"\n")
    assert main(["orchestrator", "import", str(file), "--db", str(place)]) == 1
    assert "line 2: time" in capsys.readouterr().err


def test_gc_and_delete_go_through_the_board_that_serves(
    running: tuple[Path, Caller], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, board = running
    sender, card = Sender(room="old"), uuid7()
    for number in (1, 2, 3):
        board.send(sender.run(card, 10, attempt=number))
    owner("gc", "--attempts", "1", "--dry-run", "--db", str(place))
    assert "18 events and 0 blobs (0 B) would go" in capsys.readouterr().out
    owner("gc", "--attempts", "1", "--db", str(place))
    assert "18 events and 0 blobs (0 B) are gone" in capsys.readouterr().out
    assert len(board.get("/v1/events?room=old")["events"]) == 18
    monkeypatch.setenv("AQUIN_NB_TOKEN", board.token or "")
    owner("delete", card, "--room", "old", "--url", board.url)
    assert board.get("/v1/cards?room=old")["cards"] == []
    assert main(["orchestrator", "delete", card, "--room", "old", "--url", board.url]) == 1
    assert "no such card" in capsys.readouterr().err


def test_what_an_owner_asks_wrongly_is_said_in_words(
    running: tuple[Path, Caller], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, board = running
    monkeypatch.delenv("AQUIN_NB_TOKEN", raising=False)
    for words, said in (
        (["gc", "--url", "ftp://x"], "AQUIN_NB_TOKEN"),
        (["gc", "--url", board.url], "AQUIN_NB_TOKEN"),
        (["gc", "--days", "-1", "--db", str(place)], "--days wants 0"),
        (["import", "/no/such.jsonl", "--db", str(place)], "cannot be read"),
    ):
        assert main(["orchestrator", *words]) == 1
        assert said in capsys.readouterr().err
    reader = board.new_token("read")
    monkeypatch.setenv("AQUIN_NB_TOKEN", reader.token or "")
    for words, said in (
        (["gc", "--url", board.url], "lacks the scope admin"),
        (["gc", "--url", "http://127.0.0.1:1"], "was not reached"),
        (["gc", "--url", "127.0.0.1:8600"], "wants the address of a board"),
        (["gc", "--url", f"{board.url}/elsewhere"], "404"),
    ):
        assert main(["orchestrator", *words]) == 1
        assert said in capsys.readouterr().err


def test_without_a_board_the_database_is_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, card = str(tmp_path / "board.db"), uuid7()
    storage = open_storage(place)
    storage.write([checked(Sender().run(card))], time.time())
    storage.close()
    owner("gc", "--db", place)
    owner("delete", card, "--db", place)
    assert main(["orchestrator", "delete", card, "--db", place]) == 1
    assert "no card" in capsys.readouterr().err


def test_a_board_thins_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "FIRST_SECONDS", 0.2)
    place, card = str(tmp_path / "board.db"), uuid7()
    storage = open_storage(place)
    events = Sender().run(card, 3_000)
    storage.write([checked(events[begin : begin + 500]) for begin in range(0, 3_002, 500)], time.time() - 31 * 86400)
    storage.close()
    with served(place) as board:
        deadline = time.monotonic() + 20
        while (total := board.get(f"/v1/cards/{card}/points")["total"]) > 1_500:
            assert time.monotonic() < deadline, total
            time.sleep(0.05)
        assert board.get(f"/v1/cards/{card}")["status"] == "completed"


def test_a_curve_of_very_many_points_is_thinned_while_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "FULL", 1_000)
    storage = open_storage(str(tmp_path / "board.db"))
    sender, card = Sender(), uuid7()
    points = [sender.start(card), *(sender.progress(card, step) for step in range(4_000))]
    storage.write([checked(points[begin : begin + 500]) for begin in range(0, 4_001, 500)], time.time())
    gone = collect_garbage(storage).events
    left = [orjson.loads(body)["data"] for _, body in storage.events(0, 5_000, kind="card.progress")]
    steps = [data["point"]["step"] for data in left]
    assert gone == 4_000 - len(steps) > 1_500
    assert steps[-1_000:] == list(range(3_000, 4_000))
    assert steps[0] == 0
    assert collect_garbage(storage).events == 0
    storage.close()


def test_a_full_room_says_so_and_its_senders_keep_what_they_have(tmp_path: Path) -> None:
    with served(str(tmp_path / "board.db"), limits=Limits(room_events=4)) as board:
        sender = Sender(room="lab")
        board.send(sender.run(uuid7()))
        deadline = time.monotonic() + 20
        while (
            answer := board.ask("POST", "/v1/events", json.dumps([sender.start(uuid7())]).encode(), Content_Type=BATCH)
        ).status == 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert answer.status == 507
        assert answer.headers["Retry-After"] == "30"
        assert "The room lab is full" in answer.body["detail"]
        assert board.send(Sender(room="other").run(uuid7(), 1))["accepted"] == 3
        with Outbox(tmp_path / "outbox", board.url, board.token, room="lab") as outbox:
            outbox.log("tool.start", uuid7(), {})
            while not outbox.status().problem:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            status = outbox.status()
        assert (status.pending, status.dead, status.lost) == (1, 0, 0)
        assert "The room lab is full" in str(status)
        assert "delete cards" in str(status)
        assert board.get("/v1/rooms")["usage"]["lab"]["events"] >= 5
