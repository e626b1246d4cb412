"""The notebook about training runs top to bottom on the bundled model, and what it says of its runs holds."""

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from run_notebook import execute, with_parameters

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "02_training.ipynb"
SMALL = {"TOKENS": 4000, "D_SAE": 128, "K": 8, "STEPS": 120, "BATCH": 256, "RUN": "test"}
ARCHITECTURES = ("topk", "batchtopk", "matryoshka", "relu", "jumprelu", "gated")


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nbformat.NotebookNode]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AQUIN_HOME", str(tmp_path_factory.mktemp("home")))
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        yield execute(with_parameters(notebook, SMALL), tmp_path_factory.mktemp("run"))


def of_cell(notebook: nbformat.NotebookNode, start: str) -> list[nbformat.NotebookNode]:
    """The outputs of the one cell that starts with `start`."""
    (cell,) = [c for c in notebook.cells if c.cell_type == "code" and c.source.startswith(start)]
    return list(cell.outputs)


def said(notebook: nbformat.NotebookNode, start: str) -> str:
    return "".join(o.get("text", "") for o in of_cell(notebook, start))


def test_every_architecture_is_in_the_table(executed: nbformat.NotebookNode) -> None:
    (shown,) = of_cell(executed, "choices = ")
    lines = shown.data["text/plain"].splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(ARCHITECTURES)
    assert lines[0].split() == ["fvu", "l0", "dead", "ce_recovered"]


def test_a_sweep_leaves_one_picture_a_dictionary(executed: nbformat.NotebookNode) -> None:
    pictures = [o.data["text/html"] for o in of_cell(executed, "ks = ") if "data" in o]
    assert len(pictures) == 4
    assert all("FVU" in html and "data:image/png" in html for html in pictures)


def test_the_resumed_run_ends_with_the_same_bits(executed: nbformat.NotebookNode) -> None:
    assert "Cancelled at step" in said(executed, "while job.progress")
    (monitor,) = of_cell(executed, 'job = session.sae.resume(f"{RUN}-stopped")')
    assert "resumed at step" in monitor.data["text/html"]
    lines = said(executed, "resumed = job.wait()").splitlines()
    assert len(lines) == 5
    assert all(line.endswith("identical to the bit: True") for line in lines)


def test_a_batch_changes_nothing_in_a_converted_dictionary(executed: nbformat.NotebookNode) -> None:
    lines = said(executed, "from aquin_nb.engine.activations.store").splitlines()
    assert lines[0].endswith("True")
    assert lines[1].endswith("True")


def test_a_bad_run_says_that_it_is_bad(executed: nbformat.NotebookNode) -> None:
    assert said(executed, "bad = ").startswith("smoke test only\n")


def test_a_misspelt_setting_is_answered(executed: nbformat.NotebookNode) -> None:
    assert "learning_rate" in said(executed, "try:\n    aquin_nb.TrainConfig")


def test_no_widget_is_left_that_would_need_a_kernel(executed: nbformat.NotebookNode) -> None:
    views = [o for c in executed.cells for o in c.get("outputs", []) if "widget-view" in str(o.get("data", {}).keys())]
    assert views == []
    assert len(nbformat.writes(executed)) < 2_000_000
