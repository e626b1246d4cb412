"""Between sessions and a real orchestrator anything happens, and every event is there once, in order, on its card."""

from __future__ import annotations

import itertools
import random
import threading
import time

import pytest
from history import History
from proxy import Proxy
from seeds import seeded
from serving import served

from aquin_nb.sync import Outbox
from aquin_nb.sync.identity import uuid7

FAULTS = {
    "reset": ["reset", "half a request"],
    "lost ack": ["lost ack", "half an answer"],
    "black hole": ["black hole"],
    "half-open": ["half-open"],
    "slow": ["slow"],
    "5xx storm": [(500, {}, b"{}"), (502, {}, b"<html>"), (503, {}, b"{}"), (504, {}, b"")],
    "429": [(429, {"Retry-After": "0"}, b"{}"), (429, {"Retry-After": "0.1"}, b""), (429, {}, b"{}")],
    "a login page": [(200, {}, b"<html>please log in</html>"), (302, {"Location": "http://example.com/"}, b"")],
    "duplicated": ["twice", "again later"],
    "reordered": ["overtaken", "again later"],
}
FAULTS["all of it"] = [fault for faults in FAULTS.values() for fault in faults]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(str(tmp_path_factory.mktemp("board") / "board.db")) as server:
        yield server


class Session(threading.Thread):
    """Tells of a few runs in bursts."""

    def __init__(self, folder, url, token, history, seed):
        super().__init__()
        self.outbox, self.history, self.dice = Outbox(folder, url, token), history, random.Random(seed)
        self.cards = [uuid7() for _ in range(3)]
        self.delivered = False

    def run(self):
        with self.outbox as outbox:
            for step in range(self.dice.randint(50, 250)):
                type = "tool.start" if step < 3 else self.dice.choice(["card.progress"] * 9 + ["card.snapshot"])
                data = {"point": {"step": step, "fvu": self.dice.random()}, "pad": "x" * self.dice.randint(0, 400)}
                sequence = outbox.log(type, self.cards[step % 3], data, attempt=1 + step // 100)
                self.history.tell(outbox.source, sequence, data)
                if self.dice.random() < 0.05:
                    time.sleep(self.dice.uniform(0, 0.03))
            self.delivered = outbox.flush(30)


def judged(server, after, sessions, history):
    for one in sessions:
        one.start()
    for one in sessions:
        one.join(60)
    assert all(one.delivered for one in sessions), [one.outbox.status() for one in sessions]
    history.stored = server.get(f"/v1/events?after={after}&limit=5000")["events"]
    history.cards = [server.get(f"/v1/cards/{card}") for one in sessions for card in one.cards]
    history.judge()


@seeded
@pytest.mark.parametrize("name", FAULTS)
def test_faults_lose_duplicate_and_reorder_nothing(tmp_path, server, name, seed, monkeypatch):
    monkeypatch.setattr("aquin_nb.sync.client.TIMEOUT", 0.2 if name in ("black hole", "half-open", "all of it") else 10)
    dice, history, after = random.Random(seed), History(), server.get("/v1/cards?limit=1")["next"]
    share = dice.uniform(0.2, 0.7)
    shares = itertools.chain([1.0], itertools.repeat(share))
    with Proxy(server.port, lambda: dice.choice(FAULTS[name]) if dice.random() < next(shares) else None, seed) as proxy:
        sessions = [Session(tmp_path, proxy.url, server.token, history, seed * 10 + n) for n in range(2)]
        judged(server, after, sessions, history)


def test_nobody_asks_again_before_the_time_that_retry_after_names(tmp_path, server):
    history, after = History(), server.get("/v1/cards?limit=1")["next"]
    answers = iter([None, (429, {"Retry-After": "0.4"}, b"{}"), (503, {"Retry-After": "0.4"}, b"{}")])
    with Proxy(server.port, lambda: next(answers, None)) as proxy:
        judged(server, after, [Session(tmp_path, proxy.url, server.token, history, 1)], history)
        for (asked, fault), (again, _) in zip(proxy.requests, proxy.requests[1:], strict=False):
            assert fault is None or again - asked >= 0.4
