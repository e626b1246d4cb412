"""Log events of five numbers with one tool and print what a call costs: `python log_events.py TOOL COUNT PER_SECOND`.

TOOL: aquin_nb (to disk), aquin_nb+sync (to disk, and delivered to AQUIN_BENCH_URL meanwhile), trackio, wandb (offline),
pwrite (2,072 bytes handed to the system, what a commit of SQLite with our pages writes: no call that keeps is faster).
PER_SECOND: 0 for as fast as it goes. CPU is of the process and of what it started, until the tool says it has finished.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any


def opened(tool: str, folder: str) -> tuple[Callable[[int], Any], Callable[[], Any]]:
    """What logs the event of a step, and what ends it."""
    if tool.startswith("aquin_nb"):
        from aquin_nb.sync import Outbox

        url = os.environ.get("AQUIN_BENCH_URL") if tool.endswith("sync") else None
        outbox = Outbox(folder, url, os.environ.get("AQUIN_BENCH_TOKEN"))
        card = "01890000-0000-7000-8000-0000000000aa"

        def end() -> None:
            if url is not None and not outbox.flush(120):
                raise SystemExit(f"not delivered: {outbox.status()}")
            outbox.close()

        return lambda step: outbox.log("card.progress", card, {"point": _point(step)}), end
    if tool == "pwrite":
        file = os.open(os.path.join(folder, "bare"), os.O_RDWR | os.O_CREAT)  # noqa: PTH118
        frame = bytes(2072)
        return lambda step: os.pwrite(file, frame, 2072 * step), lambda: os.close(file)
    if tool == "trackio":
        os.environ["TRACKIO_DIR"] = folder
        import trackio

        trackio.init(project="bench", name="run", embed=False)
        return lambda step: trackio.log(_point(step), step=step), trackio.finish
    import wandb

    run = wandb.init(project="bench", mode="offline", dir=folder, settings=wandb.Settings(silent=True, console="off"))
    return lambda step: run.log(_point(step), step=step), run.finish


def _point(step: int) -> dict[str, float]:
    return {"step": step, "recon": 0.123 * step, "l0": 31.5, "dead": 3, "lr": 1e-3}


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    tool, count, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    with tempfile.TemporaryDirectory() as folder:
        log, end = opened(tool, folder)
        log(0)
        costs = []
        cpu, began = _cpu(), time.perf_counter()
        for step in range(1, count + 1):
            if rate:
                time.sleep(max(0.0, began + step / rate - time.perf_counter()))
            before = time.perf_counter_ns()
            log(step)
            costs.append((time.perf_counter_ns() - before) / 1000)
        wall = time.perf_counter() - began
        end()
        cpu = _cpu() - cpu
    costs.sort()
    found = {
        "tool": tool, "p50_us": costs[count // 2], "p99_us": costs[count * 99 // 100], "max_us": costs[-1],
        "cpu_us": cpu / count * 1e6, "per_second": count / wall,
    }  # fmt: skip
    print("RESULT " + json.dumps(found))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
