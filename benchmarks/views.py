"""How quick are the views? Each view's time to be ready, their parts, the training monitor under load, saved notebooks.

    python benchmarks/views.py [--seconds 20] [--points 100000] [--without-monitor] [--without-plotly]

Ready is from the call that mounts a view, with the gallery's typical data, to its first frame. Parts and monitor are
measured as in views_parts.py and views_monitor.py. On a machine that is busy with something else times count for
little, and `cpu` and what is put beside plotly for more: the load is written down. Needs what the browser tests need.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from statistics import median
from typing import Any

import views_monitor
import views_parts
from lab import chromium
from report import write

GALLERY = views_parts.GALLERY
READY_MS = 200
KINDS = ("align", "capture", "diff", "inspect", "session", "standing", "sweep", "train", "trajectory")
READY = "() => Number(document.querySelector('.host').dataset.ready) || null"


def ready(runs: int = 5) -> list[dict[str, Any]]:
    """Milliseconds that a view takes of the page until its first frame, the median of so many loads."""
    rows = []
    with chromium() as page:
        for kind in KINDS:
            times = []
            for _ in range(runs):
                page.goto(f"{GALLERY.as_uri()}?only={kind}/typical&width=1200")
                page.locator(".host .panel").wait_for()
                times.append(page.wait_for_function(READY).json_value())
            rows.append({"view": kind, "what": "ready", "ms": round(median(times)), "limit": READY_MS})
    return rows


def monitor(seconds: float, points: int, plotly: bool) -> list[dict[str, Any]]:
    found = views_monitor.run(seconds, points, plotly, busy=False)
    rows = []
    for name in ("monitor", "plotly"):
        if name in found:
            told = found[name]
            row = {"view": name, "what": f"{points:,} points and 200 a second", "fps": told["fps"]}
            rows.append(row | {"main thread s": told["main_thread_seconds"], "heap MB": told["heap_mb_after"]})
    rows[0]["kernel cpu"] = round(found["monitor"]["kernel"]["share"], 3)
    rows[0]["last value"] = found["monitor"]["last"]
    if plotly:
        rows[0]["of plotly's main thread"] = found["main_thread_of_plotly"]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--without-monitor", action="store_true")
    parser.add_argument("--without-plotly", action="store_true")
    args = parser.parse_args()
    subprocess.run(["node", "build.mjs", "--gallery"], cwd=GALLERY.parents[1], check=True, stdout=subprocess.DEVNULL)
    load = os.getloadavg()[0]
    rows = [*ready(), *views_parts.measure(4)]
    if not args.without_monitor:
        rows += monitor(args.seconds, args.points, not args.without_plotly)
    write("views", vars(args) | {"load": round(load, 1), "cores": os.cpu_count()}, rows)


if __name__ == "__main__":
    main()
