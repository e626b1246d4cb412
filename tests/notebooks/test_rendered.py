"""A notebook that ran becomes a page: every output in its place, readable without scripts, of nobody's machine."""

import re
import tempfile
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from notebook_pages import filled, markdown
from render_notebooks import current, render

CELLS = [
    "import aquin_nb, pandas as pd, plotly.express as px\nsession = aquin_nb.Session('tiny')",
    "capture = session.capture_activations(['one <b>', 'two', 'three'], layers=[2], name='seen')\ncapture",
    "print('said <aloud> at', capture.path)",
    "pd.DataFrame({'figure': [0.25]})",
    "px.line(x=[1, 2], y=[3, 4], title='a </script> in a title')",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small notebook, and the folder of its executed form."""
    folder = tmp_path_factory.mktemp("notebooks")
    source, rendered = folder / "90_small.ipynb", folder / "rendered"
    made = new_notebook(cells=[new_markdown_cell("# Small"), *map(new_code_cell, CELLS)])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(made, source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AQUIN_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.delenv("AQUIN_MODEL", raising=False)
        render(source, rendered)
    return source, rendered


@pytest.fixture
def page(run: tuple[Path, Path]) -> str:
    """The page as the docs build puts it together, Markdown left as it is."""
    source, rendered = run
    notebook = current(source, rendered)
    assert notebook is not None
    return filled(markdown(notebook, source.name) + "</body>", notebook)


def test_every_output_is_below_its_code(page: str) -> None:
    parts = [page.index(cell.splitlines()[0]) for cell in CELLS] + [len(page)]
    between = [page[a:b] for a, b in pairwise(parts)]
    marks = ("", 'data-aquin="capture"', "<pre>said &lt;aloud&gt;", 'class="dataframe"', 'class="figure"')
    assert all(mark in part for mark, part in zip(marks, between, strict=True))
    assert "data-output" not in page


def test_a_view_is_read_without_scripts(page: str) -> None:
    static = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "one &lt;b&gt;" in static
    assert "This figure needs scripts." in static


def test_a_title_cannot_end_the_script_that_holds_it(page: str) -> None:
    figure = page[page.index('class="figure"') :]
    assert "a <\\/script> in a title" in figure


def test_it_says_what_it_ran_on_and_nothing_of_the_machine(run: tuple[Path, Path], page: str) -> None:
    assert re.search(r"Outputs are of aquin-nb \S+ on `tiny`, \d+ s on \d+ CPU cores", page)
    assert "at ~/.aquin/captures/" in page
    assert tempfile.gettempdir() not in (run[1] / run[0].name).read_text("utf-8")


def test_a_changed_notebook_is_shown_without_stale_outputs(run: tuple[Path, Path], tmp_path: Path) -> None:
    source, rendered = run
    changed = tmp_path / source.name
    changed.write_text(source.read_text("utf-8").replace("three", "four"), "utf-8")
    assert current(source, rendered) is not None
    assert current(changed, rendered) is None
    assert "Shown without outputs." in markdown(nbformat.read(changed, as_version=4), source.name)
