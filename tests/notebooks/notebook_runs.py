"""A notebook as it is committed, run in a home of its own, and what its cells left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from run_notebook import execute, with_parameters

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"


def executed(name: str, tmp: pytest.TempPathFactory, values: dict[str, Any] | None = None) -> Iterator[Any]:
    """Run `notebooks/<name>.ipynb` with the bundled model and the settings that it has for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AQUIN_HOME", str(tmp.mktemp("home")))
        for variable in ("AQUIN_MODEL", "AQUIN_EMBEDDING_MODEL", "AQUIN_EMBEDDING_TUNED"):
            patch.delenv(variable, raising=False)
        notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        yield execute(with_parameters(notebook, {"RUN": "test"} | (values or {})), tmp.mktemp("run"))


def of_cell(notebook: nbformat.NotebookNode, start: str) -> list[nbformat.NotebookNode]:
    """The outputs of the one cell that starts with `start`, but for the emptied progress of what took a second."""
    (cell,) = [c for c in notebook.cells if c.cell_type == "code" and c.source.startswith(start)]
    return [output for output in cell.outputs if output.get("data", {}).get("text/html") != ""]


def said(notebook: nbformat.NotebookNode, start: str) -> str:
    """What the cell printed."""
    return "".join(output.get("text", "") for output in of_cell(notebook, start))


def table(notebook: nbformat.NotebookNode, start: str) -> list[list[str]]:
    """The words of each line of the table that ends the cell, its head left out."""
    shown = of_cell(notebook, start)[-1].data["text/plain"]
    return [line.split() for line in shown.splitlines()[1:]]


def assert_alive_without_a_kernel(notebook: nbformat.NotebookNode) -> None:
    """No output needs a kernel, a widget manager or more than two megabytes."""
    outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
    assert outputs
    assert [o for o in outputs if any("widget-view" in kind for kind in o.get("data", {}))] == []
    assert [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"] == []
    assert "widgets" not in notebook.metadata
    assert len(nbformat.writes(notebook)) < 2_500_000
