"""The notebook about layers: the layer rebuilt best is the one whose dictionary tells least of what was asked."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from notebook_runs import assert_alive_without_a_kernel, executed, of_cell, said, table


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from executed("07_choosing_a_layer", tmp_path_factory)


def test_all_layers_are_in_the_sweep_and_its_view(notebook: Any) -> None:
    assert [row[0] for row in table(notebook, "table = ")[1:]] == list("012345")
    (shown,) = of_cell(notebook, "sweep = ")
    assert 'data-aquin="sweep"' in shown.data["text/html"]
    assert "not the best one to inspect" in shown.data["text/plain"]


def test_the_deeper_the_less_a_token_explains(notebook: Any) -> None:
    explained = [float(row[-1]) for row in table(notebook, "chunks = ")[1:]]
    assert len(explained) == 6
    assert explained[0] > explained[-1]


def test_the_lowest_error_is_not_the_best_dictionary(notebook: Any) -> None:
    told = said(notebook, "best = ")
    easiest, best = (int(layer) for layer in re.findall(r"layer (\d)", told))
    at_best, at_easiest = (int(share) for share in re.findall(r"(\d+)%", told))
    assert easiest != best
    assert at_best > at_easiest + 15


def test_dictionaries_are_held_against_the_lines_of_usable(notebook: Any) -> None:
    (shown,) = of_cell(notebook, "sweep.standing")
    assert 'data-aquin="standing"' in shown.data["text/html"]
    assert "6 placed" in shown.data["text/plain"]


def test_what_is_left_needs_no_kernel(notebook: Any) -> None:
    assert_alive_without_a_kernel(notebook)
