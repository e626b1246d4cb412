"""Kill sessions and their orchestrator at random instants, in the numbers that the suite has no time for.

    python tools/torture.py [--kernels 1000] [--servers 500] [--both 200] [--faults 50] [--stopped 60] [--seed 0]

A real orchestrator on a database of its own; writers that print what `log` promised. After every 50 kills what is left
is delivered as `aquin-nb sync` does, and the history checker of the tests judges: nothing that was promised is lost,
duplicated, changed, or out of order within its card, and every card counts its events. Then each fault of the tests,
as often as `--faults` says; a process that is stopped is stopped for so many seconds.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "sync")]

import apsw  # noqa: E402
from history import History  # noqa: E402
from kills import Writers, kill, killed_writers  # noqa: E402
from server import Server  # noqa: E402

from aquin_nb.sync.drain import drain  # noqa: E402

ROUND = 50
"""Kills on one database and in one folder of outboxes, so that a round needs little room."""
FLIGHT = 4
"""Sessions in one folder at a time."""
FASTEST, SLOWEST = 0.0, 0.002
"""Seconds between the events of a session whose orchestrator is killed; half of them go as fast as they can."""


def rounds(name: str, count: int, seed: int, work: Callable[[Path, Server, History, int, int], None]) -> None:
    """`count` kills, judged after each `ROUND` of them."""
    began, told = time.monotonic(), 0
    for at in range(0, count, ROUND):
        with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "board.db") as server:
            spool, history = Path(folder) / "spool", History()
            spool.mkdir()
            work(spool, server, history, min(ROUND, count - at), seed + at)
            report = drain(spool, server.url, server.token, 300, say=print)
            assert not report.waiting, report
            assert not report.dead, report
            history.stored, history.cards = server.events(), server.cards()
            history.judge()
            connection = apsw.Connection(server.place, flags=apsw.SQLITE_OPEN_READONLY)
            assert connection.pragma("integrity_check") == "ok"
            connection.close()
            told += len(history.told)
        done = min(at + ROUND, count)
        print(f"{done} {name}: {told:,} promised events, none lost, {time.monotonic() - began:.0f} s", flush=True)


def kernels(spool: Path, server: Server, history: History, count: int, seed: int) -> None:
    """Kill sessions while others start, tell, and deliver what the killed ones left."""
    killed_writers(spool, server.url, count, seed, history, server.token, flight=FLIGHT)


def servers(spool: Path, server: Server, history: History, count: int, seed: int, *, both: bool) -> None:
    """Kill the orchestrator `count` times; with `both` the session dies each time as well, else now and then."""
    dice, pid, told = random.Random(seed), 0, spool.parent / "told.txt"
    with Writers() as writers:
        try:
            for number in range(count):
                if not pid:
                    pace = dice.choice([FASTEST, SLOWEST])
                    pid = writers.start(spool, server.url, seed + number, 10**7, told, server.token, pace)
                time.sleep(dice.uniform(0.0, 0.5))
                last = both or number % 20 == 19 or number == count - 1
                victims = [server.kill, partial(kill, pid)] if last else [server.kill]
                dice.shuffle(victims)
                for victim in victims:
                    victim()
                    time.sleep(dice.uniform(0.0, 0.1))
                if last:
                    pid = 0
                    if told.exists():
                        with open(told, encoding="utf-8", newline="\n") as stream:
                            history.read(stream)
                        told.unlink()
                server.start()
        finally:
            if pid:
                kill(pid)


def faults(seeds: int, stopped: float) -> None:
    """Every fault of network, disk and processes, `seeds` times each; those that sleep, many at a time."""
    env = os.environ | {"AQUIN_FAULT_SEEDS": f"{seeds}", "AQUIN_STOPPED_SECONDS": f"{stopped}"}
    env |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "AQUIN_MACHINE_EXAMPLES": "500",
    }
    sync, board = ROOT / "tests" / "sync", ROOT / "tests" / "orchestrator"
    tests = [*sorted(sync.glob("test_faults_*.py")), board / "test_faults_postgres.py", board / "test_machine.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, tests)]
    parts = [["-n", "2", "-k", "not stopped"], ["-n", "10", "-k", "stopped"]]
    failed = [subprocess.run([*command, *part], cwd=ROOT, env=env).returncode for part in parts]
    if any(failed):
        sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", type=int, default=1000)
    parser.add_argument("--servers", type=int, default=500)
    parser.add_argument("--both", type=int, default=200)
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--stopped", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rounds("killed kernels", args.kernels, args.seed, kernels)
    rounds("killed servers", args.servers, args.seed + 1, partial(servers, both=False))
    rounds("killed pairs", args.both, args.seed + 2, partial(servers, both=True))
    if args.faults:
        faults(args.faults, args.stopped)


if __name__ == "__main__":
    main()
