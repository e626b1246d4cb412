"""The server is killed while it takes events: what was answered is there, what is sent again is there once."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from postgresql import BINARIES, run
from senders import Sender, uuid7
from serving import Caller, served, spawn

from aquin_nb.cli import main
from aquin_nb.orchestrator.storage import open_storage

KILLS = int(os.environ.get("AQUIN_TORTURE_KILLS", "2"))


class Insistent(threading.Thread):
    """Sends its events in batches, in order, until each was answered; remembers what was answered."""

    def __init__(self, where: list[Caller], batches: int) -> None:
        super().__init__()
        self.where, self.sender, self.card = where, Sender(), uuid7()
        first = self.sender.start(self.card)
        self.events = [first, *(self.sender.progress(self.card, n) for n in range(1, batches * 20))]
        self.acknowledged = 0
        self.repeated = 0

    def run(self) -> None:
        while self.acknowledged < len(self.events):
            batch = self.events[self.acknowledged : self.acknowledged + 20]
            with contextlib.suppress(OSError, http.client.HTTPException):
                answer = self.where[-1].ask(
                    "POST", "/v1/events", json.dumps(batch).encode(),
                    Content_Type="application/cloudevents-batch+json",
                )  # fmt: skip
                if answer.status == 200:
                    assert answer.body["rejected"] == []
                    self.repeated += answer.body["duplicates"]
                    self.acknowledged += len(batch)
                    assert answer.body["next"][self.sender.source] >= self.acknowledged
                    continue
            time.sleep(0.01)


def judge(place: str, senders: list[Insistent]) -> None:
    """Every event once, byte for byte, in order; the database whole."""
    storage = open_storage(place)
    try:
        kept: dict[str, list[Any]] = {}
        cursors = []
        for cursor, body in storage.every():
            event = json.loads(body)
            kept.setdefault(event["source"], []).append(event)
            cursors.append(cursor)
        assert cursors == list(range(1, len(cursors) + 1))
        for one in senders:
            mine = kept.get(one.sender.source, [])
            assert mine == one.events[: len(mine)]
            assert len(mine) >= one.acknowledged
            row = storage.card("default", one.card)
            assert (row.attempts[-1].events if row else 0) == len(mine)
        assert storage.check() == []
    finally:
        storage.close()


def test_killed_while_ingesting_nothing_is_lost_and_nothing_is_there_twice(tmp_path: Path) -> None:
    place = str(tmp_path / "board.db")
    random_ = random.Random(7)
    process, caller = spawn(place, "--port", "0")
    where = [caller]
    senders = [Insistent(where, 20 + 10 * KILLS) for _ in range(3)]
    for one in senders:
        one.start()
    try:
        for number in range(KILLS):
            time.sleep(random_.uniform(0.02, 0.3))
            process.kill()
            process.wait()
            if number % 25 == 0:
                judge(place, senders)
            process, caller = spawn(place, "--port", "0")
            assert caller.token == where[-1].token  # running sessions are let in again
            where.append(caller)
        for one in senders:
            one.join(60 + KILLS)
            assert one.acknowledged == len(one.events)
    finally:
        for one in senders:
            one.acknowledged = max(one.acknowledged, len(one.events))
        process.kill()
        process.wait()
    judge(place, senders)


def test_a_server_that_is_asked_to_stop_ends_open_streams_and_leaves_a_whole_database(tmp_path: Path) -> None:
    place = str(tmp_path / "board.db")
    process, caller = spawn(place, "--port", "0", "--socket", str(tmp_path / "s"))
    modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()}
    assert modes["board.db"] == modes["board.db.token"] == modes["s"] == 0
    assert (tmp_path / "board.db.token").read_text().strip() == caller.token
    sender = Sender()
    caller.send(sender.run(uuid7()))
    with caller.stream("/v1/stream", Last_Event_ID="0") as frames:
        assert next(frames)[0] == "card"
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert time.monotonic() - began < 4
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert not (tmp_path / "s").exists()
    assert not (tmp_path / "board.db-wal").exists()
    storage = open_storage(place)
    assert storage.head() == 5
    storage.close()


def test_what_cannot_be_served_is_refused_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, other = str(tmp_path / "board.db"), str(tmp_path / "other.db")

    def refused(*arguments: str) -> str:
        assert main(["orchestrator", "serve", *arguments]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert len(said.err.splitlines()) == 1
        return said.err

    with served(place) as board:
        assert "Another orchestrator serves" in refused("--db", place, "--port", "0")
        assert f"Port {board.port} is taken" in refused("--db", other, "--port", str(board.port))
        assert "Browsers refuse" in refused("--db", other, "--port", "6666")
        assert "cannot be opened" in refused("--db", other, "--port", "70000")
        assert "cannot be opened" in refused("--db", str(tmp_path / "x" / "y" / "\0"), "--port", "0")


def test_postgres_that_restarts_is_waited_for(postgres_server: tuple[Path, str], postgres: str) -> None:
    data, _ = postgres_server
    with served(postgres) as board:
        sender, card = Sender(), uuid7()
        events = sender.run(card, 10)
        board.send(events[:5])
        stop = [
            str(BINARIES[-1] / "pg_ctl"),
            "-D",
            str(data),
            "-w",
            "-l",
            str(data / "log2"),
            "-m",
            "immediate",
            "restart",
        ]
        run(stop, data.parent)
        body = json.dumps(events).encode()
        for _ in range(50):
            answer = board.ask("POST", "/v1/events", body, Content_Type="application/cloudevents-batch+json")
            if answer.status == 200:
                break
            assert answer.status == 503, answer.raw
            time.sleep(0.1)
        assert (answer.body["accepted"], answer.body["duplicates"]) == (7, 5)
        assert board.get("/v1/events?after=0")["events"] == events
