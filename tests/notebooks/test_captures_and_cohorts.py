"""The notebook about captures and cohorts: lots cannot be told, instructions can, and folds that cut pairs mislead."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from notebook_runs import assert_alive_without_a_kernel, executed, of_cell, said, table


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from executed("03_captures_and_cohorts", tmp_path_factory)


def test_what_is_selected_is_there_in_python(notebook: Any) -> None:
    rows = table(notebook, "sentiment.select")[1:]
    assert [row[-1] for row in rows] == ["positive", "negative"]


def test_labels_by_lot_are_learnt_by_heart_and_not_told(notebook: Any) -> None:
    assert int(re.findall(r"(\d+)% right", said(notebook, "from sklearn.linear_model"))[0]) > 95
    accuracy = [[float(word) for word in row] for row in table(notebook, "compared = ")[1:]]
    assert len(accuracy) == 6
    assert max(stance for _, stance, _, _ in accuracy) > 0.9
    assert max(lot for _, _, _, lot in accuracy) < 0.75


def test_folds_that_cut_pairs_apart_are_worse_than_guessing(notebook: Any) -> None:
    apart, together = [float(word) for word in re.findall(r"\d\.\d+", said(notebook, "means = "))]
    assert apart < 0.45 < together + 0.1
    assert together > apart + 0.05


def test_captures_stand_side_by_side(notebook: Any) -> None:
    (shown,) = of_cell(notebook, "mean = ")
    assert "last token" in shown.data["text/plain"]
    assert 'data-aquin="captures"' in shown.data["text/html"]


def test_many_directions_tell_more_than_one_feature(notebook: Any) -> None:
    of_all, of_one = [int(found) for found in re.findall(r"(\d+)%", said(notebook, "readable = "))]
    assert of_all > of_one


def test_what_is_left_needs_no_kernel(notebook: Any) -> None:
    assert_alive_without_a_kernel(notebook)
