"""Kill sessions and their orchestrator at random instants, in the numbers that the suite has no time for.

    python tools/torture.py [--kernels 1000] [--servers 500] [--both 200] [--faults 50] [--seed 0]

A real orchestrator on a database of its own; writers that print what `log` promised. At the end of each part what is
left is delivered by `aquin-nb sync`, and the history checker of the tests judges: nothing that was promised is lost,
duplicated, changed, or out of order within its card.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "sync")]

import apsw  # noqa: E402
from history import History  # noqa: E402
from kills import Writers, kill, killed_writers  # noqa: E402

from aquin_nb.sync.drain import drain  # noqa: E402

ROUND = 50
"""Writers after which what is left is delivered, so that a part needs little room."""


class Orchestrator:
    """A real one on a database, killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.db = folder / "board.db"
        self.token, self.port = "", 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "aquin_nb.cli", "orchestrator", "serve", "--json", "--port", str(self.port)]
        env = {**os.environ, "PYTHONPATH": str(ROOT)} | ({"AQUIN_NB_TOKEN": self.token} if self.token else {})
        self._process = subprocess.Popen([*command, "--db", str(self.db)], stdout=subprocess.PIPE, text=True, env=env)
        running = json.loads(self._process.stdout.readline())
        self.url, self.token = running["url"], running["token"]
        self.port = int(self.url.rsplit(":", 1)[1])

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def events(self) -> list[dict]:
        found, cursor = [], 0
        while True:
            address = f"{self.url}/v1/events?after={cursor}&limit=1000"
            asked = urllib.request.Request(address, headers={"Authorization": f"Bearer {self.token}"})
            with urllib.request.urlopen(asked, timeout=60) as response:
                page = json.load(response)
            if not page["events"]:
                return found
            found += page["events"]
            cursor = page["next"]


def judged(name: str, history: History, server: Orchestrator, spool: Path, began: float) -> None:
    report = drain(spool, server.url, server.token, 300, say=print)
    assert not report.waiting, report
    assert not report.dead, report
    history.stored = server.events()
    history.judge()
    connection = apsw.Connection(str(server.db), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.pragma("integrity_check") == "ok"
    connection.close()
    print(f"{name}: {len(history.told):,} promised events, none lost, {time.monotonic() - began:.0f} s", flush=True)


def kernels(count: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, began, history = Path(name), time.monotonic(), History()
        spool = folder / "spool"
        spool.mkdir()
        server = Orchestrator(folder)
        try:
            for at in range(0, count, ROUND):
                killed_writers(spool, server.url, min(ROUND, count - at), seed + at, history, server.token)
                drain(spool, server.url, server.token, 300, say=print)
            judged(f"{count} killed kernels", history, server, spool, began)
        finally:
            server.kill()


def servers(count: int, seed: int, *, both: bool) -> None:
    """Kill the orchestrator `count` times; with `both` the writer dies each time as well."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as name, Writers() as writers:
        folder, began, history = Path(name), time.monotonic(), History()
        spool = folder / "spool"
        spool.mkdir()
        server, pid, told = Orchestrator(folder), 0, folder / "told.txt"

        def read() -> None:
            if told.exists():
                with open(told, encoding="utf-8", newline="\n") as stream:
                    history.read(stream)
                told.unlink()

        try:
            for number in range(count):
                if not pid:
                    pid = writers.start(spool, server.url, seed + number, 10**7, told, server.token)
                time.sleep(dice.uniform(0.0, 0.5))
                victims = [server.kill, partial(kill, pid)] if both or number % 20 == 19 else [server.kill]
                dice.shuffle(victims)
                for victim in victims:
                    victim()
                    time.sleep(dice.uniform(0.0, 0.1))
                if len(victims) == 2:
                    read()
                    pid = 0
                server.start()
            if pid:
                kill(pid)
                read()
            judged(f"{count} killed {'pairs' if both else 'servers'}", history, server, spool, began)
        finally:
            if pid:
                kill(pid)
            server.kill()


def faults(seeds: int) -> None:
    """Every fault of the network and the server, `seeds` times each."""
    test = ROOT / "tests" / "sync" / "test_delivery.py"
    command = [sys.executable, "-m", "pytest", "-q", "-k", "test_faults", str(test)]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "AQUIN_FAULT_SEEDS": str(seeds)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", type=int, default=1000)
    parser.add_argument("--servers", type=int, default=500)
    parser.add_argument("--both", type=int, default=200)
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.kernels:
        kernels(args.kernels, args.seed)
    if args.servers:
        servers(args.servers, args.seed + 1, both=False)
    if args.faults:
        faults(args.faults)
    if args.both:
        servers(args.both, args.seed + 2, both=True)


if __name__ == "__main__":
    main()
