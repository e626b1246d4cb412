"""Every notebook is committed clean, asks a question, has the reader predict, and folds its solutions."""

from pathlib import Path

import nbformat
import pytest
from notebook_runs import FOLDER

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_there_are_seven() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06", "07"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_of_a_run_is_committed(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert "widgets" not in notebook.metadata
    assert notebook.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_asks_before_it_shows(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    first, last = notebook.cells[0], notebook.cells[-1]
    assert "**Question.**" in first.source
    assert "**Predict before you run.**" in first.source
    assert "## Exercises" in last.source
    assert "<details><summary>Solutions</summary>" in last.source
    assert last.source.rstrip().endswith("</details>")
    exercises, solutions = last.source.split("<details>")
    assert [line[:2] for line in exercises.splitlines() if line[:1].isdigit()] == [
        line[:2] for line in solutions.splitlines() if line[:1].isdigit()
    ]
