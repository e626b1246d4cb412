"""How fast does a night's backlog reach the board, and how long do live events wait meanwhile?

    python benchmarks/sync_backlog.py [--events 1000000] [--repeats 1] [--postgres]

A session tells 1,000,000 events (points of eight trainings, five numbers each) into a real outbox while no board is
there. Then a real board starts, and three speak to it at once: that session's sender, which delivers the backlog; the
same session, which after a second begins a new card and tells of it ten times a second; and another session, which
does so twenty times a second. Rate: events over the seconds from the first request to the last answer, each answer
after an fsync. Delay: from the call that tells a live event until a viewer's stream shows its card at that point or
beyond it.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from report import write
from sync_ingest import HERE, free_port, postgresql, started, values

from aquin_nb.orchestrator.tokens import new_token
from aquin_nb.sync import Outbox
from aquin_nb.sync.identity import uuid7

CARDS = 8
OWN_SECONDS, OTHER_SECONDS = 0.1, 0.05  # between two live events of the session with the backlog, and of another one


def tell(outbox: Outbox, card: str, step: int) -> float:
    """One point; when it was told."""
    now = time.time()
    outbox.log("card.progress", card, {"point": {"step": step, **values(step)}})
    return now


def backlogged(folder: Path, url: str, token: str, count: int) -> None:
    """The session whose events wait: prepares them, waits for a word, and delivers them."""
    outbox = Outbox(folder, url, token)
    cards = [uuid7() for _ in range(CARDS)]
    for card in cards:
        outbox.log("tool.start", card, {"tool": "sae.train", "kind": "saeTrain", "name": card[:8]})
    for step in range(count - CARDS):
        tell(outbox, cards[step % CARDS], step)
    print(json.dumps({"card": (live := uuid7()), "cards": cards}), flush=True)
    sys.stdin.readline()
    used, began, told, due = time.process_time(), time.monotonic(), [], time.monotonic() + 1
    outbox.flush(0)  # try again now
    while outbox.status().delivered < count + len(told) or not told:
        if time.monotonic() >= due:
            told.append(tell(outbox, live, len(told)))
            due += OWN_SECONDS
        time.sleep(0.01)
    seconds = time.monotonic() - began
    print(json.dumps({"seconds": seconds, "cpu": time.process_time() - used, "told": told}), flush=True)
    outbox.close()


def living(folder: Path, url: str, token: str) -> None:
    """Another session: tells of a run until it hears a word."""
    outbox, card, told = Outbox(folder, url, token), uuid7(), []
    print(json.dumps({"card": card}), flush=True)
    sys.stdin.readline()
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), ended.set()), daemon=True).start()
    while not ended.wait(OTHER_SECONDS):
        told.append(tell(outbox, card, len(told)))
    outbox.close(10.0)
    print(json.dumps({"told": told}), flush=True)


class Viewer:
    """A browser's stream: when each card was first shown at each step."""

    def __init__(self, port: int, token: str) -> None:
        self.shown: dict[str, list[tuple[float, int]]] = {}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/v1/stream", headers={"Authorization": f"Bearer {token}"})
        self._answer = connection.getresponse()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            while line := self._answer.readline():
                if line.startswith(b'data: {"room"'):
                    view = json.loads(line[6:])
                    step = (view["point"] or {}).get("step", -1)
                    self.shown.setdefault(view["id"], []).append((time.time(), step))

    def delays(self, card: str, told: list[float]) -> list[float]:
        """Seconds from telling each step of a card to its being shown."""
        frames, at, found = self.shown.get(card, []), 0, []
        for step, when in enumerate(told):
            while at < len(frames) and frames[at][1] < step:
                at += 1
            assert at < len(frames), f"step {step} of {len(told)} was never shown"
            found.append(frames[at][0] - when)
        return found


@contextlib.contextmanager
def session(role: str, folder: Path, url: str, token: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, __file__, "--role", role, "--folder", str(folder), "--url", url, *more],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "AQUIN_NB_TOKEN": token, "PYTHONPATH": str(HERE.parent)},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def heard(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def measure(count: int, root: Path, db: str) -> dict[str, float]:
    port, token = free_port(), new_token()
    url = f"http://127.0.0.1:{port}"
    serve = [sys.executable, "-m", "aquin_nb.cli", "orchestrator", "serve", "--json", "--port", str(port), "--db", db]
    env = {"AQUIN_NB_TOKEN": token, "PYTHONPATH": str(HERE.parent), "AQUIN_HOME": str(root)}
    with (
        session("backlogged", root / "first", url, token, "--events", str(count)) as waiting,
        session("living", root / "second", url, token) as other,
    ):
        own_card, other_card = heard(waiting)["card"], heard(other)["card"]
        with started(serve, env, root) as server:
            assert server.stdout is not None
            server.stdout.readline()
            viewer, process = Viewer(port, token), psutil.Process(server.pid)
            say(other)
            time.sleep(1)
            before = sum(process.cpu_times()[:2])
            say(waiting)
            done = heard(waiting)
            cpu = sum(process.cpu_times()[:2]) - before
            say(other)
            told = heard(other)["told"]
            time.sleep(1)
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/v1/cards", headers={"Authorization": f"Bearer {token}"})
            kept = sum(card["events"] for card in json.loads(connection.getresponse().read())["cards"])
            assert kept == count + len(done["told"]) + len(told), f"{kept} are there"
            own, others = viewer.delays(own_card, done["told"]), viewer.delays(other_card, told)
            return {
                "per_second": count / done["seconds"],
                "server_cpu_us": 1e6 * cpu / count,
                "sender_cpu_us": 1e6 * done["cpu"] / count,
                "server_rss_mb": process.memory_info().rss / 1e6,
                "other_p50_s": statistics.median(others),
                "other_max_s": max(others),
                "own_p50_s": statistics.median(own),
                "own_max_s": max(own),
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--postgres", action="store_true", help="over PostgreSQL too, where it is installed")
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role == "backlogged":
        return backlogged(Path(args.folder), args.url, os.environ["AQUIN_NB_TOKEN"], args.events)
    if args.role == "living":
        return living(Path(args.folder), args.url, os.environ["AQUIN_NB_TOKEN"])
    rows: list[dict[str, Any]] = []
    for database in ("sqlite", *(["postgresql"] if args.postgres else [])):
        runs = []
        for _ in range(args.repeats):
            with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
                root = Path(folder)
                db = str(root / "board.db") if database == "sqlite" else stack.enter_context(postgresql())
                runs.append(measure(args.events, root, db))
        rows.append(
            {"database": database} | {key: round(statistics.median(one[key] for one in runs), 2) for key in runs[0]}
        )
    load = round(os.getloadavg()[0], 1)
    write("sync_backlog", {"events": args.events, "cards": CARDS, "repeats": args.repeats, "load": load}, rows)


if __name__ == "__main__":
    main()
