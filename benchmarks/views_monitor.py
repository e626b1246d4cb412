"""The training monitor in a real JupyterLab under load: frames, main thread, memory and kernel, beside plotly's widget.

    python benchmarks/views_monitor.py [--seconds 60] [--points 100000] [--without-plotly] [--busy]

200 points a second are pushed from a thread of the kernel; the same run is then drawn by a plotly FigureWidget, which
is given whole arrays ten times a second (at 200 it wedges the tab). The main thread's work is counted until the last
point is on the page, because plotly falls behind. `--busy` keeps torch at work meanwhile. Needs what the browser tests
need.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_notebook

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "browser"))
import lab  # the driver of the browser tests

START = """\
import json, threading, time
import numpy as np
from aquin_nb.cards import SaeTrainCard
from aquin_nb.widgets.monitor import TrainingMonitor
def points(start, stop):
    step = np.arange(start, stop, dtype=float)
    noise = np.exp(np.random.default_rng(start).normal(0, 0.05, len(step)))
    fvu = (0.2 + np.exp(-step / 5000)) * noise
    flat = 0 * step
    l0, rate = flat + 32, 5e4 * noise
    return np.stack([step, step * 512, 100 * fvu, fvu, 1 - fvu, flat, l0, step // 100, flat, flat, rate], 1)
stop_work = threading.Event()
def work():
    import torch
    a = torch.randn(1024, 1024)
    while not stop_work.is_set(): a @ a
if BUSY: threading.Thread(target=work, daemon=True).start()
def feed(push, per_second):
    for i in range(int(SECONDS * per_second)):
        push(i)
        time.sleep(max(0, began + (i + 1) / per_second - time.monotonic()))
"""
MONITOR = """\
card = SaeTrainCard(name="flood"); card.start()
monitor = TrainingMonitor(card)
monitor.push(points(0, POINTS))
monitor"""
FLOOD = """\
fresh = points(POINTS, POINTS + int(SECONDS * 200))
def flood():
    global began
    began = time.monotonic()
    feed(lambda i: monitor.push(fresh[i]), 200)
whole = time.process_time()
thread = threading.Thread(target=flood); thread.start()"""
AFTER = """\
thread.join(); seconds = time.monotonic() - began
print("KERNEL", json.dumps({"share": (time.process_time() - whole) / seconds, "points": len(monitor.history)}))"""
PLOTLY = """\
import plotly.graph_objects as go
from plotly.subplots import make_subplots
figure = go.FigureWidget(make_subplots(2, 2))
for r in (1, 2):
    for c in (1, 2): figure.add_scatter(row=r, col=c)
figure"""
PLOTLY_FLOOD = """\
kept = points(0, POINTS + int(SECONDS * 200))
def draw(i):
    part = kept[: POINTS + 20 * (i + 1)]
    with figure.batch_update():
        for trace, column in zip(figure.data, (2, 3, 6, 7)): trace.x, trace.y = part[:, 0], part[:, column]
def flood():
    global began
    began = time.monotonic()
    feed(draw, 10)
thread = threading.Thread(target=flood); thread.start()"""
PLOTTED = "document.querySelector('.js-plotly-plot')"
FRAMES = """() => { window.frames_ = 0; const count = () => { window.frames_++; requestAnimationFrame(count); };
  requestAnimationFrame(count); return true; }"""


def measured(page: Any, seconds: float, arrived: Callable[[], None]) -> dict[str, float]:
    """Frames a second over so many seconds; the main thread's CPU until everything has arrived; the heap."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    renderer = busiest_renderer()

    def heap() -> float:
        session.send("HeapProfiler.collectGarbage")
        metrics = session.send("Performance.getMetrics")["metrics"]
        return round(next(one["value"] for one in metrics if one["name"] == "JSHeapUsedSize") / 1e6, 1)

    heap_before, before, began = heap(), main_thread(renderer), time.monotonic()
    page.wait_for_timeout(seconds * 800)
    # Counting frames makes some: it is done in the last fifth only.
    page.evaluate(FRAMES)
    counting = time.monotonic()
    page.wait_for_timeout(seconds * 200)
    frames, counted = page.evaluate("() => window.frames_"), time.monotonic() - counting
    arrived()
    after, wall = main_thread(renderer), time.monotonic() - began
    return {
        "fps": round(frames / counted, 1),
        "main_thread_seconds": round(after - before, 2),
        "seconds_until_drawn": round(wall, 1),
        "heap_mb_before": heap_before,
        "heap_mb_after": heap(),
    }


def busiest_renderer() -> psutil.Process:
    """The process that draws the page: of this process's renderers the one that has worked most."""
    children = psutil.Process().children(recursive=True)
    renderers = [one for one in children if "--type=renderer" in one.cmdline()]
    return max(renderers, key=lambda one: sum(one.cpu_times()[:2]))


def main_thread(process: psutil.Process) -> float:
    """CPU seconds of its main thread as the kernel counted them; DevTools' task times also count what waited."""
    own = next(thread for thread in process.threads() if thread.id == process.pid)
    return own.user_time + own.system_time


def run(seconds: float, points: int, plotly: bool, busy: bool) -> dict[str, Any]:
    """Both widgets, one after the other, each in a notebook of its own."""
    head = f"SECONDS, POINTS, BUSY = {seconds}, {points}, {busy}\n{START}"
    notebooks = {"monitor": [head, MONITOR, FLOOD, AFTER]}
    if plotly:
        notebooks["plotly"] = [head, PLOTLY, PLOTLY_FLOOD]
    found: dict[str, Any] = {"seconds": seconds, "points_before": points, "busy": busy}
    with tempfile.TemporaryDirectory() as folder:
        root, home = Path(folder) / "notebooks", Path(folder) / "lab"
        root.mkdir(), home.mkdir()
        for name, cells in notebooks.items():
            notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
            notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
            nbformat.write(notebook, root / f"{name}.ipynb")
        server = lab.Lab(root, home, {"AQUIN_HOME": str(Path(folder) / "home")})
        try:
            for name in notebooks:
                with lab.chromium() as page:
                    found[name] = _one(lab.Notebook(page, server, f"{name}.ipynb"), name, seconds, points)
        finally:
            server.close()
    if plotly:
        spent = [found[name]["main_thread_seconds"] for name in ("monitor", "plotly")]
        found["main_thread_of_plotly"] = round(spent[0] / spent[1], 3)
    return found


def _one(notebook: lab.Notebook, name: str, seconds: float, points: int) -> dict[str, Any]:
    notebook.open()
    notebook.run(0)
    notebook.run(1)
    notebook.page.wait_for_timeout(3000)
    notebook.start(2)
    notebook.output(1)
    if name == "plotly":
        last = f"() => {PLOTTED}?.data?.[3]?.x?.length === {points + int(seconds * 200)}"
        return measured(notebook.page, seconds, lambda: notebook.page.wait_for_function(last, timeout=300_000))
    last = f"step {points + int(seconds * 200) - 1:,}"
    found: dict[str, Any] = measured(notebook.page, seconds, lambda: notebook.see(1, last, within=".monitor"))
    notebook.run(3)
    told = re.search(r"KERNEL (\{.*\})", notebook.output(3).inner_text())
    assert told is not None
    return found | {"kernel": json.loads(told[1]), "last": last}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--without-plotly", action="store_true")
    parser.add_argument("--busy", action="store_true")
    asked = parser.parse_args()
    print(json.dumps(run(asked.seconds, asked.points, not asked.without_plotly, asked.busy), indent=1))
