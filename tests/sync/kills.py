"""Killing writers at random instants, for the suite and, in large numbers, for `make torture`."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from board import TOKEN
from history import History

WRITER = Path(__file__).with_name("writer.py")


class Writers:
    """Starts writers by the dozen; see `writer.py`. before: a command that is put before their own."""

    def __init__(self, before: tuple[str, ...] = ()) -> None:
        paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [*before, sys.executable, str(WRITER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip

    def start(
        self, directory: Path, url: str, seed: int, count: int, told: Path, token: str = TOKEN, pace: float = 0.0
    ) -> int:
        """Its pid."""
        request = [str(directory), url, token if url else "", seed, count, str(told), pace]
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    @property
    def pid(self) -> int:
        return self._process.pid

    def drain(self, directory: Path, url: str, token: str, wait: float = 60.0) -> None:
        """Deliver what is left, where the writers are; nothing may stay."""
        request = ["drain", str(directory), url, token, wait]
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        assert said == "nothing is left\n", said

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def kill(pid: int) -> None:
    """SIGKILL, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        while True:
            os.kill(pid, 0)
            time.sleep(0.001)


def killed_writers(
    directory: Path, url: str, count: int, seed: int, history: History, token: str = TOKEN, *, flight: int = 1
) -> int:
    """Start `count` writers, `flight` at a time, SIGKILL each at a random instant; what they told goes into `history`.

    One in ten is killed while it begins; the others count their instant from their first event.
    Returns how many events were told by them all.
    """
    before = len(history.told)
    shares = [len(range(lane, count, flight)) for lane in range(flight)]
    with ThreadPoolExecutor(flight) as lanes:
        lives = [
            lanes.submit(_killed_one_by_one, directory, url, share, seed * flight + lane, history, token)
            for lane, share in enumerate(shares)
        ]
    for one in lives:
        one.result()
    return len(history.told) - before


def _killed_one_by_one(directory: Path, url: str, count: int, seed: int, history: History, token: str) -> None:
    dice = random.Random(seed)
    told = directory / f"told-{seed}.txt"
    with Writers() as writers:
        for _ in range(count):
            pid = writers.start(directory, url, dice.randrange(10**6), 10**6, told, token)
            begins = dice.random() < 0.1
            deadline = time.monotonic() + 20
            while not begins and time.monotonic() < deadline and not (told.exists() and told.stat().st_size):
                time.sleep(0.001)
            time.sleep(dice.uniform(0.0, 0.05 if begins else 0.2))
            kill(pid)
            if told.exists():
                with open(told, encoding="utf-8", newline="\n") as stream:
                    history.read(stream)
                told.unlink()
