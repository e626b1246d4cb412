"""The notebook about embedding models runs without a download, says what it stands on, and its story holds there."""

from collections.abc import Iterator
from typing import Any

import pytest
from notebook_runs import assert_alive_without_a_kernel, executed, of_cell, said, table


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from executed("06_embedding_models", tmp_path_factory)


def test_it_says_that_it_runs_on_a_stand_in(notebook: Any) -> None:
    told = said(notebook, "import shutil")
    assert "running on a stand-in" in told
    assert "aquin-nb fetch minilm" in told
    assert "stand-in" in said(notebook, 'print(f"advice'), "and once more at the end"
    assert "embedding" in of_cell(notebook, "import shutil")[-1].data["text/plain"]


def test_fewer_texts_are_learnt_by_heart(notebook: Any) -> None:
    # pandas breaks the table after the fifth column; the first part has both errors
    rows = [row for row in table(notebook, "def fvu") if row[:1] and row[0].isdigit()][:4]
    gaps = [float(row[5]) / float(row[4]) for row in rows]
    assert len(gaps) == 4
    assert all(few > many for few, many in zip(gaps[:2], gaps[2:], strict=True))
    assert gaps[:2] == sorted(gaps[:2])


def test_features_gather_texts_of_a_kind(notebook: Any) -> None:
    assert int(table(notebook, "chosen = ")[1][-1]) >= 12
    assert len(said(notebook, 'assert on["one-sided"]').splitlines()) == 5


def test_the_fine_tune_is_diffed_by_kind(notebook: Any) -> None:
    (shown,) = of_cell(notebook, "diff = ")
    assert "kind incident" in shown.data["text/plain"]
    assert "over 72 texts" in shown.data["text/plain"]
    assert len(of_cell(notebook, "tuned = ")) == 1


def test_what_is_left_needs_no_kernel(notebook: Any) -> None:
    assert_alive_without_a_kernel(notebook)
