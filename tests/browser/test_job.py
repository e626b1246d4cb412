"""A collection in a real JupyterLab: its face moves, its button cancels while a cell runs, and its story stays."""

import lab
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.browser

CELLS = [
    "import aquin_nb\n"
    "session = aquin_nb.Session('tiny')\n"
    "texts = [f'The {i}th ship left the harbour at dawn, and gulls went with her.' for i in range(200_000)]",
    "job = session.collect_activations(texts, layers=[2, 3], tokens=2_000_000, name='ships')\njob",
    "job.wait()",
]


@pytest.fixture(scope="module")
def server(jupyter: lab.Lab) -> lab.Lab:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in CELLS], metadata={"kernelspec": kernel})
    nbformat.write(notebook, jupyter.root / "job.ipynb")
    return jupyter


def test_a_collection_moves_is_cancelled_by_its_button_and_stays(server: lab.Lab) -> None:
    with lab.chromium() as page:
        notebook = lab.Notebook(page, server, "job.ipynb")
        notebook.open()
        notebook.run(0)
        notebook.run(1)
        notebook.see(1, "free there", within=".job")  # the estimate
        notebook.see(1, "tokens/s", within=".job")
        bar = notebook.output(1).get_by_role("progressbar")
        bar.wait_for()
        seen = notebook.output(1).locator(".progress").inner_text()
        page.wait_for_function(
            "([old]) => [...document.querySelectorAll('.jp-OutputArea *')].some((e) => e.shadowRoot &&"
            " e.shadowRoot.querySelector('.progress') && e.shadowRoot.querySelector('.progress').innerText !== old)",
            arg=[seen],
        )
        notebook.start(2)  # the kernel is busy with a cell from here on
        page.wait_for_timeout(500)
        notebook.output(1).get_by_role("button", name="Cancel").click()
        notebook.see(1, "kept in")
        assert notebook.output(1).locator(".job").count() == 0
        notebook.save()
        notebook.shut_kernel_down()
        notebook.open(kernel=False)
        notebook.see(1, "kept in")
        assert page.foreign == []
