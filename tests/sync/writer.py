"""Processes that tell events until they are killed, forked from one that has imported everything.

Each line on stdin is a JSON list: directory, url (empty for none), token, seed, how many events, a file, seconds
between two of them. A child tells them, and writes source, sequence and data of each into the file once `log` returned;
its pid is printed. A list that begins with "drain" (directory, url, token, seconds) delivers what is left, and says
what stayed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time

from aquin_nb.sync import Outbox
from aquin_nb.sync.drain import drain


def write(directory: str, url: str, token: str, seed: int, count: int, told: str, pace: float) -> None:
    dice = random.Random(seed)
    outbox = Outbox(directory, url or None, token or None)
    with open(told, "w", encoding="utf-8", buffering=1) as out:
        for step in range(count):
            type = dice.choices(["card.progress", "tool.start", "tool.result", "card.snapshot"], [90, 3, 3, 4])[0]
            data = {
                "card.progress": {"point": {"step": step, "fvu": dice.random()}},
                "tool.start": {"tool": "sae.train", "name": "x" * dice.randint(0, 300)},
                "tool.result": {"status": "completed"},
                "card.snapshot": {"card": {"kind": "saeTrain", "notes": ["n"] * dice.randint(0, 50)}},
            }[type]
            card = f"01890000-0000-7000-8000-00000000000{dice.randint(0, 3)}"
            sequence = outbox.log(type, card, data)
            out.write(f"{outbox.source}\t{sequence}\t{json.dumps(data)}\n")
            if pace:
                time.sleep(dice.uniform(0, 2 * pace))
    outbox.close(30)


if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        request = json.loads(line)
        if request[0] == "drain":
            report = drain(*request[1:])
            print(f"{report}" if report.waiting or report.owned or report.dead else "nothing is left", flush=True)
            continue
        child = os.fork()
        if child == 0:
            try:
                write(*request)
            finally:
                os._exit(0)
        print(child, flush=True)
