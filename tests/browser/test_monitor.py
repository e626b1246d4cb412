"""A training in a real JupyterLab: zoom, axes and earlier runs while it runs; resumed from the view of its end."""

import os
import re

import lab
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.browser

CELLS = [
    """\
import aquin_nb
session = aquin_nb.Session("tiny")
config = {"d_sae": 256, "k": 8, "batch_size": 256, "steps": 60, "log_every": 1, "checkpoint_every": 50}""",
    'first = session.sae.train(3, corpus="packaged", tokens=4000, config=config, name="first").wait()\nfirst',
    """\
job = session.sae.train(3, corpus="packaged", tokens=4000, config=config | {"steps": 200_000}, name="second")
job""",
    "session",
    """\
sweep = session.sae.sweep([1, 2], corpus="packaged", tokens=2000, config=config, name="both")
sweep""",
    "sweep.wait()",
    "sweep.wait().select([2]); sweep.wait().selected",
]
SETUP, FIRST, SECOND, SESSION, SWEEP, SWEPT, SELECT = range(len(CELLS))


@pytest.fixture(scope="module")
def server(jupyter: lab.Lab) -> lab.Lab:
    notebook = new_notebook(cells=[new_code_cell(source) for source in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, jupyter.root / "monitor.ipynb")
    return jupyter


def curve(notebook: lab.Notebook, index: int) -> str:
    """What the first chart tells a screen reader."""
    chart = notebook.output(index).locator(".monitor .charts canvas").first
    chart.wait_for(timeout=60_000)
    return chart.get_attribute("aria-label") or ""


def steps(notebook: lab.Notebook, index: int) -> tuple[int, int]:
    told = re.search(r"over steps, ([\d,]+) to ([\d,]+)", curve(notebook, index))
    assert told is not None, curve(notebook, index)
    first, last = (int(number.replace(",", "")) for number in told.groups())
    return first, last


def test_a_training_is_looked_at_cancelled_resumed_and_cancelled_again(server: lab.Lab) -> None:
    with lab.chromium() as page:
        notebook = lab.Notebook(page, server, "monitor.ipynb")
        notebook.open()
        notebook.run(SETUP)
        notebook.run(FIRST)
        notebook.run(SECOND)
        notebook.see(SECOND, "points", within=".monitor")
        output = notebook.output(SECOND)
        page.wait_for_timeout(1500)

        # Earlier trainings of the same place are offered, and drawn.
        output.get_by_role("button", name="Compare").click()
        output.get_by_role("checkbox", name=re.compile("first")).check()
        output.get_by_role("button", name="Take first away").wait_for()

        # A zoom by hand shows a part, at every point of it, and a double click shows all again.
        box = output.locator(".charts canvas").first.bounding_box()
        assert box is not None
        y = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + 60, y)
        page.mouse.down()
        page.mouse.move(box["x"] + 90, y, steps=4)
        page.mouse.up()
        output.get_by_role("button", name="Show all").wait_for()
        page.mouse.move(box["x"] + 90, box["y"] - 40)
        notebook.see(SECOND, "steps zoomed", within=".monitor")
        zoomed = steps(notebook, SECOND)
        page.wait_for_timeout(500)
        assert steps(notebook, SECOND) == zoomed, "a zoom stands still while the run goes on"
        output.get_by_label("x", exact=True).select_option("seconds")
        output.get_by_role("button", name="Show all").click()
        output.get_by_role("button", name="Cancel").click()
        notebook.see(SECOND, "Cancelled at step")
        stopped = steps(notebook, SECOND)[1]

        # The view that stays asks the kernel to go on, follows, and cancels.
        resume = notebook.output(SECOND).get_by_role("button", name="Resume")
        resume.click()
        notebook.see(SECOND, "resumed at step")
        page.wait_for_timeout(2500)
        assert steps(notebook, SECOND)[1] > stopped

        # The session knows of the job, and cancels it.
        notebook.run(SESSION)
        notebook.see(SESSION, "1 running", within=".session")
        notebook.output(SESSION).get_by_role("button", name="Cancel train second").click()
        notebook.see(SESSION, "idle", within=".session")
        notebook.see(SECOND, "cancelled", within=".monitor")

        notebook.run(SWEEP)
        notebook.run(SWEPT)
        notebook.see(SWEPT, "How not to read this", within=".sweep")
        notebook.output(SWEPT).get_by_role("button", name="Select layer 1").click()
        notebook.run(SELECT)
        notebook.see(SELECT, "blocks.2.hook_resid_post")
        notebook.see(SWEPT, "Strength", within=".sweep")
        if os.environ.get("SHOTS"):
            for index in (FIRST, SECOND, SESSION, SWEPT):
                notebook.output(index).screenshot(path=f"{os.environ['SHOTS']}/lab-{index}.png")
        assert page.foreign == []
