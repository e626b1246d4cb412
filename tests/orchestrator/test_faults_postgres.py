"""PostgreSQL is restarted or stopped at once under a board, and its sessions notice nothing but a delay."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest
from history import History
from postgresql import BINARIES, run
from seeds import slow
from serving import served

from aquin_nb.sync import Outbox, delivery
from aquin_nb.sync.identity import uuid7


def restart(data: Path, how: str) -> None:
    command = [str(BINARIES[-1] / "pg_ctl"), "-D", str(data), "-w", "-l", str(data / "log2"), "-m", how, "restart"]
    run(command, data.parent)


@slow
def test_postgres_restarted_while_sessions_tell_loses_nothing(
    postgres_server: tuple[Path, str], postgres: str, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(delivery, "LONGEST", 0.1)
    dice, history, cards = random.Random(seed), History(), [uuid7() for _ in range(3)]
    ended = threading.Event()

    def tell(box: Outbox, own: random.Random) -> None:
        step = 0
        while step < 60 or (not ended.is_set() and step < 1500):
            step += 1
            data = {"point": {"step": step, "fvu": own.random()}}
            history.tell(box.source, box.log("card.progress", cards[step % 3], data), data)
            time.sleep(own.uniform(0, 0.004))

    with served(postgres) as board:
        boxes = [Outbox(tmp_path, board.url, board.token) for _ in range(2)]
        threads = [
            threading.Thread(target=tell, args=(box, random.Random(seed * 10 + n))) for n, box in enumerate(boxes)
        ]
        for thread in threads:
            thread.start()
        for _ in range(dice.randint(1, 2)):
            time.sleep(dice.uniform(0.05, 0.4))
            restart(postgres_server[0], dice.choice(["immediate", "fast"]))
        ended.set()
        for thread, box in zip(threads, boxes, strict=True):
            thread.join()
            assert box.flush(30), box.status()
            assert (box.status().dead, box.status().lost) == (0, 0)
            box.close()
        history.stored = board.get("/v1/events?limit=5000")["events"]
        history.cards = board.get("/v1/cards")["cards"]
    history.judge()
