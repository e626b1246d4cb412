"""Processes of a soak: producers that tell at a steady rate, and viewers that follow the board.

    python soaked.py tell  FOLDER URL HOW_MANY RATE FILE     (stops when stdin ends; token from AQUIN_NB_TOKEN)
    python soaked.py watch FOLDER URL HOW_MANY RATE FILE

What a producer told goes into FILE as the history checker reads it; a viewer writes there the milliseconds from an
event's being told until its card came over the stream.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
import threading
import time
from typing import Any, TextIO
from urllib.parse import urlsplit

from aquin_nb.sync import Outbox
from aquin_nb.sync.identity import uuid7

RUN_SECONDS = 300.0
WRITING = threading.Lock()


class Producer:
    """One session: runs of five minutes each, one after the other, each on a card of its own."""

    def __init__(self, folder: str, url: str, token: str, rate: float, out: TextIO) -> None:
        self._outbox = Outbox(folder, url, token)
        self._out = out
        self._points = max(2, int(RUN_SECONDS * rate))
        self._step, self._card = 0, ""

    def turn(self) -> None:
        self._step += 1
        if self._step == 1:
            self._card = uuid7()
            self._log("tool.start", {"tool": "sae.train", "kind": "saeTrain", "name": "soak"})
        # Gone up to the millisecond: what is compared at the end is a text in a file.
        point = {"step": self._step, "told": round(time.time(), 3), "fvu": round(1 / self._step, 6)}
        self._log("card.progress", {"point": point})
        if self._step == self._points:
            self._log("tool.result", {"status": "completed"})
            self._step = 0

    def _log(self, type: str, data: dict[str, Any]) -> None:
        sequence = self._outbox.log(type, self._card, data)
        self._out.write(f"{self._outbox.source}\t{sequence}\t{json.dumps(data)}\n")

    def close(self) -> None:
        self._outbox.close(30)


def tell(folder: str, url: str, token: str, count: int, rate: float, out: TextIO, ended: threading.Event) -> None:
    """`count` producers at `rate` events a second each, out of step with one another."""
    producers = [Producer(folder, url, token, rate, out) for _ in range(count)]
    began, turn = time.monotonic(), 0
    while not ended.wait(max(0.0, began + turn / (rate * count) - time.monotonic())):
        producers[turn % count].turn()
        turn += 1
        if turn % 100 == 0:
            out.flush()
    for one in producers:
        one.close()


def watch(folder: str, url: str, token: str, count: int, rate: float, out: TextIO, ended: threading.Event) -> None:
    """`count` viewers, each with a stream of its own that is opened again when it breaks."""
    for _ in range(count):
        threading.Thread(target=_follow, args=(url, token, out), daemon=True).start()
    ended.wait()


def _follow(url: str, token: str, out: TextIO) -> None:
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
            connection.request("GET", "/v1/stream", headers={"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            seen: set[float] = set()
            while line := response.readline():
                if line.startswith(b'data: {"room"'):
                    told = (json.loads(line[6:]).get("point") or {}).get("told")
                    if told and told not in seen:  # a card comes again when its sender is heard of
                        seen = {one for one in seen if one > told - 60} | {told}
                        with WRITING:
                            out.write(f"{1000 * (time.time() - told):.1f}\n")
        time.sleep(0.5)


def _until_closed(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    what, folder_, url_, count_, rate_, file_ = sys.argv[1:]
    ended_ = threading.Event()
    threading.Thread(target=_until_closed, args=(ended_,), daemon=True).start()
    with open(file_, "w", encoding="utf-8", newline="\n") as out_:
        work = tell if what == "tell" else watch
        work(folder_, url_, os.environ["AQUIN_NB_TOKEN"], int(count_), float(rate_), out_, ended_)
        out_.flush()
        os._exit(0) if what == "watch" else None
