"""Processes that fork, sleep, live in another time or are shut out: what was promised is there once."""

from __future__ import annotations

import datetime
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from history import History
from kills import Writers, kill
from seeds import STOPPED, seeded, slow
from server import ROOT, Server
from serving import served

from aquin_nb.sync import Outbox, identity
from aquin_nb.sync.drain import drain
from aquin_nb.sync.identity import uuid7

DAY = 86400


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(str(tmp_path_factory.mktemp("board") / "board.db")) as server:
        yield server


def head(server):
    return server.get("/v1/cards?limit=1")["next"]


def read(history, *files):
    for file in files:
        with open(file, encoding="utf-8", newline="\n") as stream:
            history.read(stream)


def tell(box, history, dice, count, cards):
    for step in range(count):
        data = {"point": {"step": step, "fvu": dice.random()}}
        sequence = box.log(dice.choice(["card.progress"] * 9 + ["tool.result"]), cards[step % len(cards)], data)
        history.tell(box.source, sequence, data)
        if dice.random() < 0.1:
            time.sleep(dice.uniform(0, 0.01))


@seeded
def test_every_fork_tells_as_itself_and_none_hangs(tmp_path, server, seed):
    history, after = History(), head(server)
    env = os.environ | {"PYTHONPATH": str(ROOT), "AQUIN_NB_TOKEN": server.token}
    told, spool = tmp_path / "told", tmp_path / "outbox"
    command = [sys.executable, str(Path(__file__).with_name("forker.py")), str(spool), server.url, str(seed), str(told)]
    subprocess.run(command, check=True, env=env, timeout=60)
    read(history, *tmp_path.glob("told.*"))
    report = drain(spool, server.url, server.token, 20)
    assert (report.waiting, report.dead) == (0, 0)
    history.stored = server.get(f"/v1/events?after={after}&limit=5000")["events"]
    history.judge()
    assert len({source for source, _ in history.told}) > 2


@seeded
def test_clocks_that_jump_by_a_day_change_no_order(tmp_path, server, seed, monkeypatch):
    dice, history, after, ahead = random.Random(seed), History(), head(server), [0.0]
    now, now_ns, real = time.time, time.time_ns, datetime.datetime

    class Clock(real):
        @classmethod
        def now(cls, tz=None):
            return real.now(tz) + datetime.timedelta(seconds=ahead[0])

    monkeypatch.setattr(time, "time", lambda: now() + ahead[0])
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + int(ahead[0] * 1e9))
    monkeypatch.setattr(identity, "datetime", Clock)
    cards = [uuid7() for _ in range(2)]
    with Outbox(tmp_path, server.url, server.token) as box:
        for _ in range(8):
            tell(box, history, dice, dice.randint(5, 40), cards)
            ahead[0] = dice.choice([0.0, -DAY, DAY, dice.uniform(-DAY, DAY)])
        assert box.flush(20), box.status()
    history.stored = server.get(f"/v1/events?after={after}&limit=5000")["events"]
    history.cards = [server.get(f"/v1/cards/{card}") for card in cards]
    history.judge()
    points = server.get(f"/v1/cards/{cards[0]}/points?most=2000")["points"]
    assert points == [event["data"]["point"] for event in history.stored if _is_point(event, cards[0])]


def _is_point(event, card):
    return event["subject"] == card and event["type"] == "card.progress"


@seeded
def test_a_token_taken_back_while_sessions_run_pauses_them_and_nothing_is_lost(tmp_path, server, seed):
    dice, history, after = random.Random(seed), History(), head(server)
    owner, cards = server.with_token(server.token), [uuid7() for _ in range(2)]
    lent = owner.new_token("ingest")
    name = lent.token.split("_")[1]
    lost = threading.Timer(dice.uniform(0, 0.2), lambda: owner.ask("DELETE", f"/v1/tokens/{name}"))
    lost.start()
    with Outbox(tmp_path, server.url, lent.token) as box:
        tell(box, history, dice, 200, cards)
        lost.join()
        tell(box, history, dice, 20, cards)
        box.flush(0.3)
        assert box.status().state == "refused"
        assert "The token was refused" in str(box.status())
        assert (box.status().dead, box.status().lost) == (0, 0)
        box.close(0.1)
    assert drain(tmp_path, server.url, server.token, 20).waiting == 0
    history.stored = server.get(f"/v1/events?after={after}&limit=5000")["events"]
    history.cards = [server.get(f"/v1/cards/{card}") for card in cards]
    history.judge()


@slow
@pytest.mark.parametrize("sleeper", ["board", "session", "both"])
def test_who_is_stopped_for_a_while_goes_on_and_is_not_robbed(tmp_path, sleeper, seed):
    """As a laptop that sleeps: two sessions share a folder, and one that is only stopped keeps its outbox."""
    dice, history, spool = random.Random(seed), History(), tmp_path / "outbox"
    files = [tmp_path / f"told-{n}.txt" for n in range(2)]
    with Server(tmp_path / "board.db") as server, Writers() as writers:
        pids = [
            writers.start(spool, server.url, seed * 10 + n, 10**6, file, server.token, pace=0.002)
            for n, file in enumerate(files)
        ]
        try:
            deadline = time.monotonic() + 30
            while not all(file.exists() and file.stat().st_size for file in files) and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(dice.uniform(0.0, 0.5))
            stopped = {"board": [server.process.pid], "session": pids[:1], "both": [server.process.pid, pids[0]]}[
                sleeper
            ]
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(STOPPED / 2)
            report = drain(spool, server.url, server.token, 0.1) if sleeper == "session" else None
            assert report is None or (report.delivered, report.waiting) == (0, 0)
            time.sleep(STOPPED / 2)
            dice.shuffle(stopped)
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
                time.sleep(dice.uniform(0, 0.2))
            time.sleep(dice.uniform(0.1, 0.6))
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
                kill(pid)
        read(history, *[file for file in files if file.exists()])
        assert drain(spool, server.url, server.token, 60).waiting == 0
        history.stored, history.cards = server.events(), server.cards()
        history.judge()
        assert len({source for source, _ in history.told}) == 2
