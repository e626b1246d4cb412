"""The whole-loop notebook in a real JupyterLab: the monitor moves, survives a reload, cancels; the story stays."""

import re
from pathlib import Path

import lab
import nbformat
import pytest
from run_notebook import with_parameters, without

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "MODEL": "tiny", "LAYER": 3, "TOKENS": 8000, "D_SAE": 512, "STEPS": 150, "FINETUNE_STEPS": 6,
    "FINETUNE_LAYERS": [2, 3], "RETRAIN_STEPS": 100, "RUN": "lab",
}  # fmt: skip

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(jupyter: lab.Lab) -> lab.Lab:
    source = without(nbformat.read(ROOT / "notebooks" / "01_the_whole_loop.ipynb", as_version=4), ["embedding"])
    for name, changes in {"loop": {}, "long": {"STEPS": 20_000, "RUN": "long"}}.items():
        nbformat.write(with_parameters(source, SMALL | changes), jupyter.root / f"{name}.ipynb")
    return jupyter


def cell(name: str, start: str, root: Path) -> int:
    """The number of the cell that starts with `start`."""
    cells = nbformat.read(root / f"{name}.ipynb", as_version=4).cells
    return next(i for i, c in enumerate(cells) if c.source.startswith(start))


def code_cells(name: str, root: Path) -> list[int]:
    cells = nbformat.read(root / f"{name}.ipynb", as_version=4).cells
    return [i for i, c in enumerate(cells) if c.cell_type == "code"]


def test_monitor_moves_survives_a_reload_and_cancels(server: lab.Lab) -> None:
    with lab.chromium() as page:
        notebook = lab.Notebook(page, server, "long.ipynb")
        notebook.open()
        train = cell("long", "job = session.sae.train", server.root)
        for index in [i for i in code_cells("long", server.root) if i <= train]:
            notebook.run(index)

        moving(notebook, train)

        notebook.save()
        notebook.open()
        moving(notebook, train)

        # Cancel must work while another cell blocks the main thread, as after Run All.
        notebook.start(cell("long", "trained = job.wait()", server.root))
        page.wait_for_timeout(1000)
        notebook.output(train).get_by_role("button", name="Cancel").click()
        notebook.see(train, "Cancelled at step", within="[data-aquin=train]")

        # The page was reloaded while the job ran; even so what stays must not need the kernel.
        notebook.save()
        notebook.shut_kernel_down()
        notebook.open(kernel=False)
        notebook.see(train, "Cancelled at step")
        assert page.foreign == []


def moving(notebook: lab.Notebook, index: int) -> None:
    """The curve is a picture: within half a minute it looks different, and the text beside it has moved on."""
    monitor = notebook.output(index).locator(".monitor")
    monitor.wait_for(timeout=60_000)
    canvas = monitor.locator("canvas").first
    before, said = None, ""
    for _ in range(60):
        notebook.output(index)  # a reloading Lab may scroll away, and nothing is drawn out of sight
        picture, text = canvas.screenshot(), monitor.inner_text()
        if before is not None and picture != before and text != said:
            return
        if before is None and "FVU" in text:
            before, said = picture, text
        notebook.page.wait_for_timeout(500)
    raise AssertionError("the monitor stood still for 30 seconds")


def test_the_story_is_told_without_a_kernel(server: lab.Lab) -> None:
    with lab.chromium() as page:
        notebook = lab.Notebook(page, server, "loop.ipynb")
        notebook.open()
        for index in code_cells("loop", server.root):
            notebook.run(index)
        notebook.save()
        notebook.shut_kernel_down()
        notebook.open(kernel=False)

        starts = [
            "capture = ",
            "job = session.sae.train(LAYER, tokens",
            "session.load_sae",
            "prompts = ",
            "retrained = ",
        ]
        expected = ["positive", "FVU", "token", re.compile(r"\d of [\d,]+ changed"), "mean cosine"]
        for start, text in zip(starts, expected, strict=True):
            index = cell("loop", start, server.root)
            notebook.output(index).locator("[data-aquin-state=live]").first.wait_for()
            notebook.see(index, text)
        everything = page.locator(".jp-Notebook").inner_text()
        assert "model not found" not in everything
        assert "Loading widget" not in everything
        assert page.foreign == []
