"""How quick are the parts of the views? Table, heatmap and scatter plot in headless Chromium, on the gallery's page.

    python benchmarks/views_parts.py [--seconds 4]

Times are the page's own clock, frames are those that requestAnimationFrame saw. Tiles are answered in the page after
20 ms, so that what is measured is the view and not a kernel. `cpu` is the main thread per frame (DevTools, thread
time), which tells more than frames on a machine that is busy with something else; the load is written beside it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from report import write

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "browser"))
from lab import chromium  # noqa: E402

GALLERY = HERE.parent / "widgets" / ".gallery" / "index.html"
GRID = "document.querySelector('.host').shadowRoot.querySelector('.grid')"
CANVAS = "document.querySelector('.host').shadowRoot.querySelector('canvas')"
SORT = """async () => { const { table } = document.querySelector('.host'), times = [];
  for (let i = 0; i < 9; i++) { const start = performance.now();
    await table.sortBy({ column: 'cosine', descending: i % 2 === 0 });
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    times.push(performance.now() - start); }
  return times; }"""
JUMP = """async () => { const { plot } = document.querySelector('.host'), times = [];
  for (const at of [700, 4000, 9000, 12345, 15555, 19000, 22222, 27000, 31000])
    times.push(await aquinGallery.until(() => plot.goto(at, 32000 - at), () => plot.sharp));
  return times; }"""
SELECT = """async () => { const { plot } = document.querySelector('.host'), times = [];
  for (let i = 0; i < 9; i++) { const start = performance.now(); plot.select([i]);
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done))); times.push(performance.now() - start); }
  return times; }"""
PAN = "(part) => document.querySelector('.host').plot.goto(100 + part * 3e4, 100 + part * 3e4)"
ZOOM = f"""(part) => {{ const canvas = {CANVAS}; canvas.focus();
  canvas.dispatchEvent(new WheelEvent('wheel', {{ deltaY: part < 0.5 ? -40 : 40, cancelable: true }})); }}"""
HOVER = f"""(part) => {{ const canvas = {CANVAS}, box = canvas.getBoundingClientRect();
  const place = {{ clientX: box.left + 60 + 1000 * part, clientY: box.top + 160 }};
  canvas.dispatchEvent(new PointerEvent('pointermove', place)); }}"""
TIMES = {
    "table/huge": ("sort 131k rows, painted", SORT),
    "heatmap/huge": ("jump to sharp", JUMP),
    "scatter/huge": ("select among 131k points", SELECT),
}
PACES = {
    "table/huge": {
        "scroll 131k rows in one go": f"(part) => {{ {GRID}.scrollTop = part * 3.6e6; }}",
        "scroll by 8,000 px": f"(part) => {{ {GRID}.scrollTop = part * 8000; }}",
    },
    "heatmap/huge": {"pan 32,768²": PAN, "zoom 32,768²": ZOOM},
    "scatter/huge": {"pointer over 131k points": HOVER},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4)
    args = parser.parse_args()
    subprocess.run(["node", "build.mjs", "--gallery"], cwd=GALLERY.parents[1], check=True, stdout=subprocess.DEVNULL)
    write(
        "views_parts",
        {"seconds": args.seconds, "load": os.getloadavg()[0], "cores": os.cpu_count()},
        measure(args.seconds),
    )


def measure(seconds: float) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with chromium() as page:
        page.set_viewport_size({"width": 1240, "height": 900})
        tools = page.context.new_cdp_session(page)
        tools.send("Performance.setTimeDomain", {"timeDomain": "threadTicks"})
        tools.send("Performance.enable")

        def busy() -> float:
            metrics = tools.send("Performance.getMetrics")["metrics"]
            return 1000 * float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))

        for sample, paces in PACES.items():
            page.goto(f"{GALLERY.as_uri()}?only={sample}&width=1200")
            page.locator(".host .panel").wait_for()
            page.wait_for_timeout(1000)
            paint = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"
            rows.append({"view": sample, "what": "first paint", "ms": round(page.evaluate(paint))})
            name, script = TIMES[sample]
            times = page.evaluate(script)
            worst = round(max(times), 1)
            rows.append({"view": sample, "what": name, "ms": round(median(times), 1), "worst ms": worst})
            for name, step in paces.items():
                before = busy()
                frames = page.evaluate(f"() => aquinGallery.pace({seconds}, {step})")["frames"]
                cpu = round((busy() - before) / frames, 2)
                rows.append({"view": sample, "what": name, "fps": round(frames / seconds, 1), "cpu ms/frame": cpu})
    return rows


if __name__ == "__main__":
    main()
