"""What does telling an event cost the run that tells it, beside trackio and wandb (offline)?

    python -m venv .peers/loggers && .peers/loggers/bin/pip install trackio==0.43.0 wandb==0.31.0      # once
    python benchmarks/sync_log.py [--peers .peers/loggers] [--events 20000] [--repeats 3]

Events of five numbers, one process a run, tools in turns. `aquin_nb` is on disk when a call returns, `aquin_nb+sync`
also delivers to an orchestrator on this machine meanwhile; the peers' calls return before anything is written, which
their CPU time counts all the same. `pwrite` hands bare bytes to the system, which is the least that keeping can cost
here. Once as fast as it goes, and once at 500 events a second, as a training has time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from report import write

HERE = Path(__file__).parent
PACES = {"flood": 0, "500/s": 500}
SECONDS = 6
"""Of a run at a pace."""


def measured(python: str, tool: str, count: int, rate: float, env: dict[str, str]) -> dict[str, Any] | None:
    command = [python, str(HERE / "peers" / "log_events.py"), tool, str(count), str(rate)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, env={**os.environ, **env})
    for line in run.stdout.splitlines():
        if line.startswith("RESULT "):
            found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
            return found
    print(f"{tool} gave no result: {run.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
    return None


def _row(rows: list[dict[str, Any]], pace: str, tool: str) -> dict[str, Any]:
    return next(row for row in rows if (row["pace"], row["tool"]) == (pace, tool))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default=str(HERE.parent / ".peers" / "loggers"))
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    peer = str(Path(args.peers) / "bin" / "python")
    tools = {"pwrite": sys.executable, "aquin_nb": sys.executable, "aquin_nb+sync": sys.executable}
    if Path(peer).exists():
        tools |= {"trackio": peer, "wandb": peer}
    else:
        print(f"{peer} is not there: peers are left out.", file=sys.stderr)
    seen: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "aquin_nb.cli", "orchestrator", "serve", "--json", "--port", "0"]
        server = subprocess.Popen([*command, "--db", f"{folder}/board.db"], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            running = json.loads(server.stdout.readline())
            env = {"AQUIN_BENCH_URL": running["url"], "AQUIN_BENCH_TOKEN": running["token"]}
            for _ in range(args.repeats):
                for pace, rate in PACES.items():
                    for tool, python in tools.items():
                        count = args.events if not rate else rate * SECONDS
                        if (found := measured(python, tool, count, rate, env)) is not None:
                            seen[pace, tool].append(found)
        finally:
            server.terminate()
            server.wait(20)
    rows = []
    for (pace, tool), runs in seen.items():
        row: dict[str, Any] = {"pace": pace, "tool": tool}
        for name in ("p50_us", "p99_us", "max_us", "cpu_us", "per_second"):
            row[name] = round(statistics.median(run[name] for run in runs), 1)
        rows.append(row)
    for row in rows:
        ours, floor = (_row(rows, row["pace"], tool) for tool in ("aquin_nb", "pwrite"))
        row["cpu_times_ours"] = round(row["cpu_us"] / ours["cpu_us"], 2)
        row["p50_times_pwrite"] = round(row["p50_us"] / floor["p50_us"], 1)
    write("sync_log", {"events": args.events, "repeats": args.repeats, "seconds_at_a_pace": SECONDS}, rows)


if __name__ == "__main__":
    main()
