"""The notebook of the whole loop runs top to bottom on the bundled model, and tells its story without a kernel."""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from run_notebook import execute, page, with_parameters, without

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "01_the_whole_loop.ipynb"
SMALL = {
    "MODEL": "tiny", "LAYER": 3, "TOKENS": 8000, "D_SAE": 512, "STEPS": 120, "FINETUNE_STEPS": 6,
    "FINETUNE_LAYERS": [2, 3], "RETRAIN_STEPS": 100, "RUN": "test",
}  # fmt: skip


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nbformat.NotebookNode]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AQUIN_HOME", str(tmp_path_factory.mktemp("home")))
        notebook = without(nbformat.read(NOTEBOOK, as_version=4), ["embedding"])
        yield execute(with_parameters(notebook, SMALL), tmp_path_factory.mktemp("run"))


def outputs(notebook: nbformat.NotebookNode, start: str) -> list[str]:
    """The HTML of every output whose text form starts with `start`."""
    data = [o.data for cell in notebook.cells for o in cell.get("outputs", []) if "data" in o]
    return [d["text/html"] for d in data if d.get("text/plain", "").startswith(start)]


def test_every_step_left_its_picture(executed: nbformat.NotebookNode) -> None:
    assert len(outputs(executed, "Capture ")) == 1
    assert len(outputs(executed, "SaeDiff ")) == 1
    assert len(outputs(executed, "SaeAlign ")) == 1
    jobs = outputs(executed, "<Job train")
    assert len(jobs) == 2, "both monitors were replaced by what stays"
    for html in jobs:
        static = html.split("<script")[0]
        assert "FVU" in static
        assert re.search(r"usable|weak|smoke test only", static, re.I)
        assert "data:image/png" in static


def test_what_is_selected_in_one_result_is_selected_in_the_other(executed: nbformat.NotebookNode) -> None:
    def shown(start: str) -> str:
        (cell,) = [c for c in executed.cells if c.cell_type == "code" and c.source.startswith(start)]
        return str(cell.outputs[-1].data["text/plain"])

    (feature,) = re.findall(r"^Feature (\d+)", shown("top = "))
    assert shown("aquin_nb.link").splitlines()[1].split()[:2] == [feature, feature]


def test_runs_are_kept_for_a_board_that_is_not_there(executed: nbformat.NotebookNode) -> None:
    (cell,) = [c for c in executed.cells if c.cell_type == "code" and c.source.startswith("session.connect")]
    assert "kept for `aquin-nb sync`" in cell.outputs[-1].data["text/html"]


def test_no_widget_is_left_that_would_need_a_kernel(executed: nbformat.NotebookNode) -> None:
    views = [o for c in executed.cells for o in c.get("outputs", []) if "widget-view" in str(o.get("data", {}).keys())]
    assert views == []
    assert "widgets" not in executed.metadata


def test_the_page_stands_alone(executed: nbformat.NotebookNode) -> None:
    html = page(executed)
    assert html.count('data-aquin="') >= 5
    assert "plotly-graph-div" in html
    assert 'src="http' not in html
    assert len(nbformat.writes(executed)) < 2_000_000
