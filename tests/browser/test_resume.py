"""Stopped trainings in a real JupyterLab: the monitor goes on after Cancel, and after the kernel was killed."""

import re

import lab
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.browser

CELLS = [
    """\
import os, signal, time
from pathlib import Path
import aquin_nb
session = aquin_nb.Session("tiny")
config = {"d_sae": 256, "k": 8, "batch_size": 256, "steps": 4000, "checkpoint_every": 100, "log_every": 20}""",
    'job = session.sae.train(3, corpus="packaged", tokens=6000, config=config, name="stopped")\njob',
    'job = session.sae.resume("stopped")\njob',
    "print(job.wait().card.resumed_from)",
    """\
whole = session.sae.train(activations=job.result, config=config | {"steps": 100_000}, name="killed")
while len(list(whole.output.with_suffix(".checkpoints").glob("*.pt"))) < 2:
    time.sleep(0.05)
os.kill(os.getpid(), signal.SIGKILL)""",
    """\
from pathlib import Path
import os
import aquin_nb
aquin_nb.sae_resume(Path(os.environ["AQUIN_HOME"]) / "sae/user/tiny/killed/sae_layer3.pt")""",
]
SETUP, TRAIN, RESUME, WAIT, KILL, AFTER_KILL = range(len(CELLS))


@pytest.fixture(scope="module")
def server(jupyter: lab.Lab) -> lab.Lab:
    notebook = new_notebook(cells=[new_code_cell(source) for source in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, jupyter.root / "resume.ipynb")
    return jupyter


def steps_shown(notebook: lab.Notebook, index: int) -> tuple[int, int]:
    """First and last step of the curve that a monitor draws, from what it tells a screen reader."""
    chart = notebook.output(index).locator(".monitor canvas").first
    chart.wait_for(timeout=60_000)
    for _ in range(120):
        told = re.search(r"over steps, ([\d,]+) to ([\d,]+)", chart.get_attribute("aria-label") or "")
        if told is not None:
            first, last = (int(number.replace(",", "")) for number in told.groups())
            return first, last
        notebook.page.wait_for_timeout(250)
    raise AssertionError("the monitor shows no curve")


def step_after(notebook: lab.Notebook, index: int, text: str) -> int:
    """The step that a cell's output names after `text`."""
    notebook.see(index, text)
    shown = notebook.output(index).get_by_text(text).filter(visible=True).first.inner_text()
    found = re.search(rf"{text} ([\d,]+)", shown)
    assert found is not None, shown
    return int(found[1].replace(",", ""))


def test_a_stopped_training_goes_on_with_the_same_curve(server: lab.Lab) -> None:
    with lab.chromium() as page:
        notebook = lab.Notebook(page, server, "resume.ipynb")
        notebook.open()
        notebook.run(SETUP)
        notebook.run(TRAIN)
        first, _ = steps_shown(notebook, TRAIN)
        notebook.output(TRAIN).get_by_role("button", name="Cancel").click()
        stopped = step_after(notebook, TRAIN, "Cancelled at step")

        notebook.run(RESUME)
        resumed = step_after(notebook, RESUME, "resumed at step")
        again, last = steps_shown(notebook, RESUME)
        assert (again, resumed) == (first, stopped), (
            "the earlier points are there, and the mark is where it was stopped"
        )

        notebook.run(WAIT)
        notebook.see(WAIT, f"[{stopped}]")
        notebook.see(RESUME, re.compile("Usable|Weak|Smoke test only"))
        assert steps_shown(notebook, RESUME) == (first, 4000)
        assert last < 4000, "the curve was seen while it grew"
        assert step_after(notebook, RESUME, "resumed at step") == stopped

        notebook.start(KILL)
        page.get_by_role("button", name="Ok").click(timeout=60_000)
        died = page.get_by_text("appears to have died")  # Lab may say it twice, and what it says covers the page
        page.add_locator_handler(died, lambda: page.get_by_role("button", name="Ok").first.click())
        page.wait_for_function(lab.READY, timeout=60_000)
        notebook.start(AFTER_KILL)
        killed = step_after(notebook, AFTER_KILL, "resumed at step")
        assert killed % 100 == 0, "from the last checkpoint on"
        assert steps_shown(notebook, AFTER_KILL)[0] == first
        notebook.output(AFTER_KILL).get_by_role("button", name="Cancel").click()
        assert step_after(notebook, AFTER_KILL, "Cancelled at step") > killed
        assert page.foreign == []
