"""The notebook about alignments runs top to bottom on the bundled model, and what it says of them holds."""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from run_notebook import execute, with_parameters

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "03_align.ipynb"
SMALL = {
    "MODEL": "tiny", "LAYER": 3, "TOKENS": 6000, "D_SAE": 256, "K": 8, "STEPS": 300, "BATCH": 256, "LR": 1e-2,
    "SAMPLE": 3000, "RUN": "test",
}  # fmt: skip


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nbformat.NotebookNode]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AQUIN_HOME", str(tmp_path_factory.mktemp("home")))
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        yield execute(with_parameters(notebook, SMALL), tmp_path_factory.mktemp("run"))


def of_cell(notebook: nbformat.NotebookNode, start: str) -> list[nbformat.NotebookNode]:
    """The outputs of the one cell that starts with `start`, but for the emptied progress of what took a second."""
    (cell,) = [c for c in notebook.cells if c.cell_type == "code" and c.source.startswith(start)]
    return [output for output in cell.outputs if output.get("data", {}).get("text/html") != ""]


def said(notebook: nbformat.NotebookNode, start: str) -> str:
    return "".join(o.get("text", "") for o in of_cell(notebook, start))


def test_the_report_is_proven_and_shows_features_beside_pairs(executed: nbformat.NotebookNode) -> None:
    (shown,) = of_cell(executed, "alignment = ")
    assert "optimal, gap 0" in shown.data["text/plain"]
    for words in ("Weakest features of a", "Weakest pairs", "encoders agree", "What became of the features"):
        assert words in shown.data["text/html"], words


def test_seeds_are_more_alike_than_chance(executed: nbformat.NotebookNode) -> None:
    seeds, chance = map(float, re.findall(r"0\.\d+", said(executed, "random = "))[:2])
    assert seeds > chance + 0.05


def test_margins_grow_with_the_cosine(executed: nbformat.NotebookNode) -> None:
    (shown,) = of_cell(executed, "pairs = ")
    means = [float(line.split()[-2]) for line in shown.data["text/plain"].splitlines()[2:]]
    assert len(means) >= 3
    assert means == sorted(means)


def test_partners_stand_side_by_side_with_what_they_fire_on(executed: nbformat.NotebookNode) -> None:
    (shown,) = of_cell(executed, "frame = alignment.frame")
    assert re.search(r"feature \d+ of test-seed0, \d+ of test-seed1: \w+, cosine 0\.", shown.data["text/plain"])


def test_translated_activations_explain_less_than_their_own(executed: nbformat.NotebookNode) -> None:
    lines = said(executed, "a, b = ").splitlines()
    own, *moved = [float(re.findall(r"-?\d\.\d+", line)[-1]) for line in lines]
    assert len(moved) == 3
    assert own > max(moved)
