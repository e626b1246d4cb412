"""How many events a second does a board's server keep, and at what cost, beside the servers of trackio and MLflow?

    python -m venv .peers/trackio && .peers/trackio/bin/pip install trackio==0.43.0      # once
    python -m venv .peers/mlflow && .peers/mlflow/bin/pip install mlflow==3.17.2         # once
    python benchmarks/sync_ingest.py [--peers .peers] [--events 20000] [--repeats 3]

Events of five numbers in batches of 200 over one kept connection, made beforehand, servers in turns. Ours checks the
token and every event and answers once the batch is on disk (fsync); trackio answers after SQLite's synchronous=NORMAL,
MLflow's `log-batch` (200 steps of five metrics) after a commit of its own SQLite file. Every server is asked for what
it was told afterwards where it can say. PostgreSQL is Debian's, with fsync, where it is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from report import write

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "orchestrator"))
from postgresql import BINARIES, run  # noqa: E402
from senders import Sender, uuid7  # noqa: E402

BATCH = 200
NAMES = ("recon", "l0", "dead", "lr", "fvu")
JSON = {"Content-Type": "application/json"}


def values(step: int) -> dict[str, float]:
    return {name: 1 / (1 + step + place) for place, name in enumerate(NAMES)}


class Target:
    """A running server: requests for n events, and how many it has."""

    def __init__(
        self, process: subprocess.Popen[str], port: int, path: str, headers: dict[str, str],
        body: Callable[[range], Any], kept: Callable[[], int],
    ) -> None:  # fmt: skip
        self.process, self.port, self.path, self.headers, self.body, self.kept = (
            process,
            port,
            path,
            headers,
            body,
            kept,
        )

    def measure(self, count: int) -> dict[str, float]:
        steps = [range(begin, min(begin + BATCH, count)) for begin in range(0, count, BATCH)]
        bodies = [json.dumps(self.body(some)).encode() for some in steps]
        server = psutil.Process(self.process.pid)
        family = [server, *server.children(recursive=True)]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        waits = []
        before, began = cpu(family), time.perf_counter()
        for body in bodies:
            sent = time.perf_counter()
            connection.request("POST", self.path, body, self.headers)
            answer = connection.getresponse()
            text = answer.read()
            waits.append(time.perf_counter() - sent)
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {text[:300]!r}")
        seconds = time.perf_counter() - began
        used = cpu(family) - before
        assert (kept := self.kept()) == count, f"{kept} of {count} are there"
        return {
            "per_second": count / seconds,
            "cpu_us": 1e6 * used / count,
            "batch_p50_ms": 1e3 * statistics.median(waits),
            "batch_max_ms": 1e3 * max(waits),
        }


def cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in processes if one.is_running())


@contextlib.contextmanager
def started(command: list[str], env: dict[str, str], cwd: Path) -> Iterator[subprocess.Popen[str]]:
    with open(cwd / "log", "w") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=cwd, env={**os.environ, **env}
        )
        try:
            yield process
        finally:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()


@contextlib.contextmanager
def ours(folder: Path, db: str | None = None) -> Iterator[Target]:
    command = [sys.executable, "-m", "aquin_nb.cli", "orchestrator", "serve", "--json", "--port", "0"]
    with started(
        [*command, "--db", db or str(folder / "board.db")], {"PYTHONPATH": str(HERE.parent)}, folder
    ) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        port, sender, card = int(told["url"].rsplit(":", 1)[1]), Sender(), uuid7()
        headers = {
            "Content-Type": "application/cloudevents-batch+json",
            "Authorization": f"Bearer {told['token']}",
        }

        def body(steps: range) -> Any:
            return [sender.event("card.progress", card, {"point": {"step": step, **values(step)}}) for step in steps]

        def kept() -> int:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", f"/v1/cards/{card}", headers=headers)
            return int(json.loads(connection.getresponse().read())["events"])

        yield Target(process, port, "/v1/events", headers, body, kept)


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """URL of a database of a server of our own, with fsync."""
    root = Path(tempfile.mkdtemp(prefix="aquin-pg-"))
    if os.geteuid() == 0:
        shutil.chown(root, "postgres")
    data, port = root / "data", free_port()
    programs = BINARIES[-1]
    run([str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", "aquin"], root)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {root}"
    run([str(programs / "pg_ctl"), "-D", str(data), "-w", "-l", str(root / "log"), "-o", options, "start"], root)
    try:
        yield f"postgresql://aquin@127.0.0.1:{port}/postgres"
    finally:
        run([str(programs / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop"], root)
        shutil.rmtree(root, ignore_errors=True)


@contextlib.contextmanager
def ours_postgres(folder: Path) -> Iterator[Target]:
    with postgresql() as url, ours(folder, url) as target:
        yield target


@contextlib.contextmanager
def trackio(python: Path, folder: Path) -> Iterator[Target]:
    env = {"TRACKIO_DIR": str(folder / "trackio"), "HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    with started([str(python), str(HERE / "peers" / "serve_trackio.py"), str(free_port())], env, folder) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("READY "))
        told = json.loads(line.removeprefix("READY "))
        port = int(told["url"].rstrip("/").rsplit(":", 1)[1])

        def body(steps: range) -> Any:
            logs = [
                {"project": "bench", "run": "run", "metrics": values(step), "step": step, "log_id": uuid7()}
                for step in steps
            ]
            return {"args": [], "kwargs": {"logs": logs, "hf_token": None}}

        def kept() -> int:
            (database,) = (folder / "trackio").glob("bench*.db")
            with contextlib.closing(sqlite3.connect(database)) as connection:
                return int(connection.execute("SELECT count(*) FROM metrics").fetchone()[0])

        headers = {**JSON, "x-trackio-write-token": told["token"]}
        yield Target(process, port, "/api/bulk_log", headers, body, kept)


@contextlib.contextmanager
def mlflow(python: Path, folder: Path) -> Iterator[Target]:
    port, database = free_port(), folder / "mlflow.db"
    command = [str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{database}", "--default-artifact-root", str(folder / "files")]
    with started(command, {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}, folder) as process:
        deadline = time.monotonic() + 180
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                told = json.dumps({"experiment_id": "0", "start_time": 1})
                connection.request("POST", "/api/2.0/mlflow/runs/create", told, JSON)
                answer = connection.getresponse()
                if answer.status == 200:
                    run_id = json.loads(answer.read())["run"]["info"]["run_id"]
                    break
            assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.5)

        def body(steps: range) -> Any:
            metrics = [
                {"key": name, "value": value, "timestamp": 1_700_000_000_000 + step, "step": step}
                for step in steps
                for name, value in values(step).items()
            ]
            return {"run_id": run_id, "metrics": metrics}

        def kept() -> int:
            with contextlib.closing(sqlite3.connect(database)) as connection:
                return int(connection.execute("SELECT count(*) FROM metrics").fetchone()[0]) // len(NAMES)

        yield Target(process, port, "/api/2.0/mlflow/runs/log-batch", JSON, body, kept)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default=str(HERE.parent / ".peers"))
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--mlflow-events", type=int, default=2_000, help="it takes hundreds a second")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    servers: dict[str, Callable[[Path], Any]] = {"aquin-nb": ours}
    if BINARIES:
        servers["aquin-nb postgresql"] = ours_postgres
    for name, make in (("trackio", trackio), ("mlflow", mlflow)):
        python = Path(args.peers) / name / "bin" / "python"
        if python.exists():
            servers[name] = lambda folder, make=make, python=python: make(python, folder)
        else:
            print(f"{python} is not there: {name} is left out.", file=sys.stderr)
    seen: dict[str, list[dict[str, float]]] = defaultdict(list)
    for _ in range(args.repeats):
        for name, make in servers.items():
            with tempfile.TemporaryDirectory() as folder, make(Path(folder)) as target:
                seen[name].append(target.measure(args.mlflow_events if name == "mlflow" else args.events))
    rows: list[dict[str, Any]] = []
    best = statistics.median(one["per_second"] for one in seen["aquin-nb"])
    for name, runs in seen.items():
        row = {key: round(statistics.median(one[key] for one in runs), 1) for key in runs[0]}
        rows.append({"server": name, **row, "aquin_nb_times": round(best / row["per_second"], 1)})
    load = round(os.getloadavg()[0], 1)
    write("sync_ingest", {"events": args.events, "batch": BATCH, "repeats": args.repeats, "load": load}, rows)


if __name__ == "__main__":
    main()
