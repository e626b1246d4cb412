"""Sessions, a board and its viewers for as long as you like: memory, files and logs must stay as they were.

    python tools/soak.py [--minutes 480] [--rate 2] [--producers 20] [--viewers 4] [--processes 4]

Samples every few seconds what each process holds and how large the write-ahead logs are. At the end the history
checker of the tests judges what arrived, and a table says what grew; exit status 1 when something grew too much.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "sync")]

from history import History  # noqa: E402
from server import Server  # noqa: E402

from aquin_nb.sync.drain import drain  # noqa: E402

GROWTH = 0.05
"""Of resident memory, from the end of the first quarter to the last one."""
SLACK = 2 << 20
"""Bytes that it may grow beyond that: a page that malloc asks for late is no leak in a run of minutes."""
WAL = 64 << 20
FILES = 4
"""Open files more than after warming up: a connection that is being replaced."""


@dataclass
class Samples:
    """What a process held, over time."""

    rss: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    cpu: float = 0.0

    def take(self, pid: int) -> None:
        with open(f"/proc/{pid}/statm", encoding="ascii") as stream:
            self.rss.append(int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        self.files.append(sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()))
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stream:
            times = stream.read().rsplit(")", 1)[1].split()[11:13]
        self.cpu = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")

    def growth(self) -> tuple[int, int]:
        """Resident bytes in the second quarter and in the last one, medians."""
        quarter = max(1, len(self.rss) // 4)
        return int(statistics.median(self.rss[quarter : 2 * quarter] or self.rss)), int(
            statistics.median(self.rss[-quarter:])
        )


class Soak:
    """All processes of it in one folder."""

    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        self.folder, self.args = folder, args
        self.spool = folder / "spool"
        self.spool.mkdir()
        self.server = Server(folder / "board.db")
        self.samples: dict[str, Samples] = defaultdict(Samples)
        self.wal = {"outboxes": 0, "board": 0}
        self.children = {
            f"producers {number + 1}": self._child("tell", len(range(number, args.producers, args.processes)), number)
            for number in range(args.processes)
        } | {"viewers": self._child("watch", args.viewers, 0)}

    def _child(self, what: str, count: int, number: int) -> subprocess.Popen[str]:
        command = [sys.executable, str(ROOT / "tests" / "sync" / "soaked.py"), what, str(self.spool), self.server.url]
        env = os.environ | {"PYTHONPATH": str(ROOT), "AQUIN_NB_TOKEN": self.server.token}
        file = self.folder / f"{what}-{number}.txt"
        return subprocess.Popen(
            [*command, str(count), str(self.args.rate), str(file)], stdin=subprocess.PIPE, text=True, env=env
        )

    def pids(self) -> Iterator[tuple[str, int]]:
        yield "board", self.server.process.pid
        for name, child in self.children.items():
            yield name, child.pid

    def sample(self) -> None:
        for name, pid in self.pids():
            self.samples[name].take(pid)
        for key, pattern in (("outboxes", "spool/*-wal"), ("board", "board.db-wal")):
            for path in self.folder.glob(pattern):
                with suppress(FileNotFoundError):
                    self.wal[key] = max(self.wal[key], path.stat().st_size)

    def run(self) -> float:
        """Sample until the time is over; seconds that it took."""
        began = time.monotonic()
        while (passed := time.monotonic() - began) < self.args.minutes * 60:
            time.sleep(min(self.args.every, max(0.1, self.args.minutes * 60 - passed)))
            self.sample()
            for name, child in self.children.items():
                assert child.poll() is None, f"{name} ended with status {child.returncode}"
        return time.monotonic() - began

    def end(self) -> History:
        for child in self.children.values():
            assert child.stdin is not None
            child.stdin.close()
        for child in self.children.values():
            child.wait(120)
        history = History()
        for path in sorted(self.folder.glob("tell-*.txt")):
            with open(path, encoding="utf-8", newline="\n") as stream:
                history.read(stream)
        report = drain(self.spool, self.server.url, self.server.token, 60)
        assert not report.waiting, report
        history.stored, history.cards = self.server.events(), self.server.cards()
        return history

    def stop(self) -> None:
        for child in self.children.values():
            child.kill()
            child.wait()
        self.server.kill()


def table(soak: Soak, seconds: float, history: History) -> list[str]:
    """Print what was seen; what is wrong with it, a sentence each."""
    wrong = []
    print(f"{'process':<14}{'RSS then':>10}{'now':>8}{'growth':>9}{'files':>12}{'CPU':>8}")
    for name, one in soak.samples.items():
        before, after = one.growth()
        quarter = len(one.files) // 4
        held, most = max(one.files[quarter : 2 * quarter] or one.files), max(one.files[2 * quarter :])
        share = one.cpu / seconds
        sizes = f"{before >> 20:>6} MiB{after >> 20:>4} MiB{(after - before) / before:>8.1%}"
        print(f"{name:<14}{sizes}{held:>6} → {most:<3}{share:>8.1%}")
        if after > before * (1 + GROWTH) + SLACK:
            wrong.append(f"{name} grew from {before:,} to {after:,} bytes")
        if most > held + FILES:
            wrong.append(f"{name} had {held} files open, and {most} later")
    for name, size in soak.wal.items():
        print(f"largest write-ahead log of {name}: {size / 2**20:.1f} MiB")
        if size > WAL:
            wrong.append(f"the write-ahead log of {name} grew to {size:,} bytes")
    total = sum(one.cpu for one in soak.samples.values())
    print(f"CPU of all: {total / seconds:.1%} of a core, {len(history.told):,} events in {seconds:.0f} s")
    delays = [float(line) for line in (soak.folder / "watch-0.txt").read_text().splitlines()]
    for name, part in (("first half", delays[: len(delays) // 2]), ("second half", delays[len(delays) // 2 :])):
        if len(part) > 1:
            cuts = statistics.quantiles(part, n=100)
            print(f"told → streamed, {name}: p50 {cuts[49]:.0f} ms, p99 {cuts[98]:.0f} ms ({len(part):,} frames)")
    if soak.args.viewers and not delays:
        wrong.append("no viewer saw anything")
    return wrong + history.violations()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=480)
    parser.add_argument("--rate", type=float, default=2, help="events a second of each producer")
    parser.add_argument("--producers", type=int, default=20)
    parser.add_argument("--viewers", type=int, default=4)
    parser.add_argument("--processes", type=int, default=4, help="that the producers live in")
    parser.add_argument("--every", type=float, default=5, help="seconds between two samples")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        soak = Soak(Path(name), args)
        try:
            seconds = soak.run()
            wrong = table(soak, seconds, soak.end())
        finally:
            soak.stop()
    print(*(wrong[:20] or ["nothing is wrong"]), sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
