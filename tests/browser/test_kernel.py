"""Views and their kernel in a real JupyterLab: in step, answered while it is busy, told when it is gone."""

from __future__ import annotations

import lab
import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook
from torch.nn.functional import normalize

import aquin_nb
from aquin_nb.engine.sae import SaeConfig, SparseAutoencoder

N, D = 300, 16
GONE = "The kernel that made this was restarted or shut down."
SHOW, AGAIN, WIDGET, BUSY, SELECT, SAY = range(6)

pytestmark = pytest.mark.browser


def dictionary(seed: int) -> SparseAutoencoder:
    W = normalize(torch.randn(N, D, generator=torch.Generator().manual_seed(seed)), dim=1)
    cfg = SaeConfig("topk", d_in=D, d_sae=N, d_out=D, k=4, name=f"seed {seed}")
    return SparseAutoencoder(cfg, W.T.contiguous(), W, torch.zeros(N), torch.zeros(D))


@pytest.fixture(scope="module")
def alignment(tmp_path_factory: pytest.TempPathFactory) -> aquin_nb.SaeAlign:
    folder = tmp_path_factory.mktemp("align")
    saved = [dictionary(seed).save(folder / f"{seed}.pt") for seed in (0, 1)]
    return aquin_nb.sae_align(*saved, output=folder / "out", name="two seeds")


@pytest.fixture(scope="module")
def server(jupyter: lab.Lab, alignment: aquin_nb.SaeAlign) -> lab.Lab:
    cells = [
        f"import time, aquin_nb\nalignment = aquin_nb.open_alignment({str(alignment.path)!r})\nalignment",
        "alignment",
        "alignment.widget()",
        "time.sleep(30)",
        "alignment.select([7])",
        "one = alignment.frames['pairs'].iloc[0]\nalignment.annotate(int(one['a']), int(one['b']), 'flagged')",
    ]
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, jupyter.root / "kernel.ipynb")
    return jupyter


def running(notebook: lab.Notebook, index: int) -> bool:
    asked = "(index) => window.jupyterapp.shell.currentWidget.content.widgets[index].model.executionState === 'running'"
    return bool(notebook.page.evaluate(asked, index))


def flagged(notebook: lab.Notebook, index: int, many: int) -> None:
    """Wait until a view has heard of so many flagged pairs."""
    notebook.output(index).get_by_role("button", name=f"flagged {many}").wait_for(timeout=20_000)


def test_views_live_and_die_with_their_kernel(server: lab.Lab) -> None:
    with lab.chromium() as page:
        notebook = lab.Notebook(page, server, "kernel.ipynb")
        notebook.open()
        views = (SHOW, AGAIN, WIDGET)
        for index in views:
            notebook.run(index)

        notebook.run(SELECT)
        notebook.run(SAY)
        for index in views:
            notebook.see(index, "a 7 ")
            flagged(notebook, index, 1)

        # A cell blocks the kernel's main thread: what is asked is answered all the same, and every view hears of it.
        notebook.start(BUSY)
        page.wait_for_timeout(1000)
        view = notebook.output(SHOW).locator("[data-aquin=align]")
        view.get_by_role("tab", name="Features").focus()
        page.keyboard.press("j")
        page.keyboard.press("f")
        for index in views:
            flagged(notebook, index, 2)
        assert running(notebook, BUSY)
        notebook.command("notebook:interrupt-kernel")
        page.wait_for_function(lab.READY, timeout=60_000)

        notebook.save()
        notebook.open()  # a reloaded page finds the kernel that lives on
        flagged(notebook, SHOW, 2)
        assert GONE not in notebook.output(SHOW).inner_text()

        page.evaluate(
            "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart().then(() => true)"
        )
        for index in (SHOW, AGAIN):
            notebook.see(index, GONE, within=".status", timeout=10)
        page.wait_for_function(lab.READY, timeout=60_000)
        notebook.run(SHOW)
        notebook.run(WIDGET)
        flagged(notebook, SHOW, 2)
        assert GONE not in notebook.output(SHOW).inner_text()
        notebook.see(AGAIN, GONE, within=".status", timeout=5)

        notebook.shut_kernel_down()
        for index in views:
            notebook.see(index, GONE, within=".status", timeout=10)
        assert page.foreign == []  # type: ignore[attr-defined]
