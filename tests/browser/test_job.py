"""A collection in a real JupyterLab: its face moves, its button cancels while a cell runs, and its story stays."""

import os
from collections.abc import Iterator
from pathlib import Path

import lab
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.browser

CELLS = [
    "import aquin_nb\n"
    "session = aquin_nb.Session('tiny')\n"
    "texts = [f'The {i}th ship left the harbour at dawn, and gulls went with her.' for i in range(200_000)]",
    "job = session.collect_activations(texts, layers=[2, 3], tokens=2_000_000, name='long')\njob",
    "job.wait()",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Lab]:
    if lab.CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed; make test installs Debian's package as root")
        pytest.skip("chromium was not found; install it to run the browser tests")
    root: Path = tmp_path_factory.mktemp("notebooks")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in CELLS], metadata={"kernelspec": kernel})
    nbformat.write(notebook, root / "job.ipynb")
    running = lab.Lab(root, tmp_path_factory.mktemp("lab"), {"AQUIN_HOME": str(tmp_path_factory.mktemp("home"))})
    yield running
    running.close()


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
