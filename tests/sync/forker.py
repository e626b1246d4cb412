"""A session that forks while it tells, as data loaders do, and whose children tell as well.

    python forker.py DIRECTORY URL SEED TOLD      (token from AQUIN_NB_TOKEN)

Each process writes what it told into TOLD.<pid>, as the history checker reads it. A child closes its outbox, ends
without a word, or is killed; some fork again.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
from collections.abc import Callable

from aquin_nb.sync import Outbox
from aquin_nb.sync.identity import uuid7


def tell(outbox: Outbox, dice: random.Random, count: int, told: str, then: Callable[[int], None]) -> None:
    """Tell `count` events, calling `then` now and again."""
    card = uuid7()
    with open(f"{told}.{os.getpid()}.{threading.get_native_id()}", "a", encoding="utf-8", buffering=1) as out:
        for step in range(count):
            type = dice.choices(["card.progress", "tool.start", "tool.result"], [90, 5, 5])[0]
            data = {"point": {"step": step}}
            sequence = outbox.log(type, card, data)
            out.write(f"{outbox.source}\t{sequence}\t{json.dumps(data)}\n")
            if dice.random() < 0.02:
                then(step)


def fork(outbox: Outbox, dice: random.Random, told: str, depth: int, children: list[int]) -> None:
    seed, end = dice.randrange(10**9), dice.choice(["close", "exit", "kill"])
    child = os.fork()
    if child:
        children.append(child)
        return
    try:
        own, mine = random.Random(seed), list[int]()
        tell(
            outbox, own, own.randint(0, 60), told, lambda _: fork(outbox, own, told, depth - 1, mine) if depth else None
        )
        for one in mine:
            os.waitpid(one, 0)
        if end == "close":
            outbox.close(10)
        elif end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
    finally:
        os._exit(0)


def main(directory: str, url: str, seed: str, told: str) -> None:
    dice, children = random.Random(int(seed)), list[int]()
    with Outbox(directory, url, os.environ["AQUIN_NB_TOKEN"]) as outbox:
        # Another thread tells meanwhile: it may hold any lock at the moment of a fork.
        other = random.Random(int(seed) + 1)
        thread = threading.Thread(target=tell, args=(outbox, other, 300, told, lambda _: None))
        thread.start()
        tell(outbox, dice, 300, told, lambda _: fork(outbox, dice, told, 1, children))
        thread.join()
        for child in children:
            os.waitpid(child, 0)
        outbox.flush(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
