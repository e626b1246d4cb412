"""`make screenshots`: every main view, light and dark, of real results of `tiny` in a real JupyterLab and on a board.

    python tools/screenshots.py [--output docs/images]

Runs cells in a kernel of its own, which tells a board of its own; needs Chromium. Nothing is kept but the pictures:
`<view>-light.webp` and `<view>-dark.webp`, at most 150 kB each.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path
from textwrap import dedent
from typing import Any

import nbformat
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("browser", "orchestrator")]

from lab import CHROMIUM, Lab, Notebook, chromium  # noqa: E402
from serving import Served, served  # noqa: E402

MOST = 150_000  # bytes of a picture
WIDTH, HEIGHT, SCALE = 1290, 1400, 1.5
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}

# Each cell's name, which is its picture's, and what it runs.
CELLS = {
    "start": """
        import json
        from importlib.resources import files
        import aquin_nb
        from aquin_nb.engine.models import finetune
        session = aquin_nb.Session("tiny", name="a first look")
        session.connect(ADDRESS, device="this machine")
        texts = {}
        sample = files("aquin_nb") / "engine/models/tiny/sample.jsonl"
        for row in map(json.loads, sample.read_text("utf-8").splitlines()):
            texts.setdefault(row["source"], []).append(row["text"])
        kept = session.collect_activations("packaged", layers=3, tokens=60_000, name="sample").wait()
    """,
    "training": """
        settings = dict(activations=kept, d_sae=1024, k=16)
        job = session.sae.train(3, **settings, steps=STEPS, name="layer3")
        job
    """,
    "session": "session",
    "monitor": """
        trained = job.wait()
        trained
    """,
    "capture": """
        capture = session.capture_activations(topic="sentiment", count=24, name="sentiment")
        capture
    """,
    "tokens": """
        session.load_sae(user="layer3")
        text = "In the beginning God created the heavens and the earth. Mr. Darcy was happy to see her at the ball,"
        text += " though he had not expected to dance. The committee reported on the price of steel. The king went out."
        session.inspect(text)
    """,
    "diff": """
        finetune("tiny", texts["bible"], "bible.pt", steps=30, layers=[1, 2, 3])
        prompts = [{"text": text[:300], "source": name} for name, some in texts.items() for text in some[:40]]
        diff = session.sae.diff("bible.pt", prompts, by="source", name="tuned-on-the-bible")
        diff
    """,
    "align": """
        again = session.sae.train(3, **settings, steps=STEPS // 2, seed=1, name="layer3-seed1").wait()
        some = [text for texts_of in texts.values() for text in texts_of[:60]]
        alignment = session.sae.align(again, texts=some, name="two-seeds")
        alignment
    """,
    "end": "assert session.telling.outbox.flush(60)",
}


# Where this run's files happen to lie is said as the place where everybody's do.
UNPLACED = """(home) => {
  const walk = (node) => {
    const text = node.nodeType === Node.TEXT_NODE && node.data;
    if (text && text.includes(home)) node.data = text.replaceAll(home, '~/.aquin');
    if (node.shadowRoot) walk(node.shadowRoot);
    node.childNodes.forEach(walk);
  };
  walk(document.body);
}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--steps", type=int, default=1500, help="of the training that is shown")
    args = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("make screenshots needs Chromium (Debian: apt install chromium).")
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "notebooks").mkdir()
        with served(str(work / "board.db")) as board:
            environment = {"AQUIN_HOME": str(work / "home"), "AQUIN_NB_TOKEN": board.token, "OMP_NUM_THREADS": "1"}
            names = _notebook(work / "notebooks" / "first.ipynb", board.url, args.steps)
            running = Lab(work / "notebooks", work / "lab", environment)
            try:
                with chromium(width=WIDTH, height=HEIGHT, scale=SCALE) as page:
                    _cells(Notebook(page, running, "first.ipynb"), names, args.output)
            finally:
                running.close()
            for look in THEMES:
                with chromium(dark=look == "dark", width=WIDTH, height=HEIGHT, scale=SCALE) as page:
                    _board(page, board, look, args.output)
    return 0


def _notebook(path: Path, address: str, steps: int) -> dict[str, int]:
    """Write the notebook; the index of each cell by name."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    for source in CELLS.values():
        text = dedent(source).strip().replace("ADDRESS", repr(address)).replace("STEPS", str(steps))
        notebook.cells.append(nbformat.v4.new_code_cell(text))
    nbformat.write(notebook, path)
    return {name: index for index, name in enumerate(CELLS)}


def _cells(notebook: Notebook, names: dict[str, int], output: Path) -> None:
    page = notebook.page
    notebook.open()
    notebook.command("application:toggle-left-area")
    for name, index in names.items():
        notebook.run(index, timeout=600)
        failed = notebook.output(index).locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']")
        if failed.filter(has_text="Error").count():
            raise RuntimeError(f"{name}: {failed.first.inner_text()}")
        print(f"   ran {name}", flush=True)
        if name == "session":  # while the training runs
            _both(notebook, {"session": index, "training": index - 1}, output)
    told = {name: index for name, index in names.items() if name not in ("start", "training", "session", "end")}
    _align(notebook, names["align"])
    _both(notebook, told, output)
    assert page.foreign == []  # type: ignore[attr-defined]


def _align(notebook: Notebook, index: int) -> None:
    """Walk to a pair, so that both sides are seen."""
    view = notebook.output(index).locator("[data-aquin=align]")
    view.get_by_role("tab", name="Features").focus()
    for _ in range(3):
        notebook.page.keyboard.press("j")
    view.get_by_role("tab", name="Features").blur()
    notebook.page.wait_for_timeout(3_000)


def _both(notebook: Notebook, wanted: dict[str, int], output: Path) -> None:
    page, home = notebook.page, str(notebook.lab.home.parent / "home")
    for look, theme in THEMES.items():
        notebook.command("apputils:change-theme", theme=theme)
        page.wait_for_timeout(1_500)
        for name, index in wanted.items():
            area = notebook.output(index)
            if name != "training":  # which is a widget
                area.locator("[data-aquin-state=live]").first.wait_for(timeout=60_000)
            shown = area.locator("[data-aquin], .jp-OutputArea-output").filter(visible=True).last
            page.evaluate(UNPLACED, home)
            _shoot(shown, output / f"{name}-{look}.webp")
    notebook.command("apputils:change-theme", theme=THEMES["light"])


def _board(page: Any, board: Served, look: str, output: Path) -> None:
    code = board.json("POST", "/v1/launch-codes", {}).body["code"]
    page.goto(f"{board.url}/#code={code}")
    page.locator(".link[data-state=live]").wait_for()
    page.locator("article").nth(5).wait_for()
    page.wait_for_timeout(1_000)
    _shoot(page, output / f"board-{look}.webp")
    page.get_by_label("Filter").fill("kind:saeTrain")
    for key in ("Escape", "x", "j", "x", "c"):  # the first card has the focus once the filter is left
        page.keyboard.press(key)
        page.wait_for_timeout(200)
    page.wait_for_timeout(1_500)
    _shoot(page, output / f"compare-{look}.webp")


def _shoot(place: Any, path: Path) -> None:
    """A picture of an element or page, as WebP no larger than it may be."""
    if hasattr(place, "scroll_into_view_if_needed"):
        place.page.wait_for_timeout(800)  # what is drawn when it is seen
    image = Image.open(io.BytesIO(place.screenshot())).convert("RGB")
    image = image.crop((0, 0, image.width, min(image.height, int(1500 * SCALE))))
    for quality in (90, 80, 70, 60, 45):
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=quality, method=6)
        if buffer.tell() <= MOST:
            break
    path.write_bytes(buffer.getvalue())
    print(f"   {path.name}  {image.width} × {image.height}  {len(buffer.getvalue()) / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    sys.exit(main())
