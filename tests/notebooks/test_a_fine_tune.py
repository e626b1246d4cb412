"""The notebook about a fine-tune: what changed is told from chance, and the seed's share from the fine-tune's."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from notebook_runs import assert_alive_without_a_kernel, executed, of_cell, said, table


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from executed("04_a_fine_tune_moved_the_basis", tmp_path_factory)


def test_every_checkpoint_learnt_more_than_the_one_before(notebook: Any) -> None:
    lines = said(notebook, "checkpoints = ").splitlines()
    before, *_ = {float(re.findall(r"([\d.]+) before", line)[0]) for line in lines}
    after = [float(re.findall(r"([\d.]+) after", line)[0]) for line in lines]
    assert len(after) == 3
    assert [before, *after] == sorted([before, *after], reverse=True)


def test_chance_and_five_probes_change_nothing(notebook: Any) -> None:
    changed = int(re.findall(r"(\d+) of \d+ living", said(notebook, "frame = diff.frame"))[0])
    assert changed > 50
    lines = said(notebook, "import torch").splitlines()
    assert lines[0].startswith("against itself: 0 changed, largest |delta| 0")
    assert lines[1].startswith("five probes:    0 changed")
    assert "too few" in lines[2]


def test_what_it_was_trained_on_moves_most(notebook: Any) -> None:
    assert table(notebook, "cohorts = ")[1][0] == "python"
    drivers = of_cell(notebook, "top = ")[-1].data
    assert "Feature" in drivers["text/plain"]
    assert "<table" in drivers["text/html"]


def test_the_trajectory_moves_away_from_the_base(notebook: Any) -> None:
    rows = table(notebook, "trajectory.steps")
    distance = [float(row[4]) for row in rows]
    assert len(distance) == 3
    assert distance == sorted(distance)


def test_most_of_the_distance_is_the_seeds(notebook: Any) -> None:
    seed, both = [float(found) for found in re.findall(r"0\.\d+", said(notebook, "by_seed"))]
    assert 0.5 * both < seed


def test_diff_and_alignment_share_what_is_selected(notebook: Any) -> None:
    (row,) = table(notebook, "unlink = ")
    feature = re.findall(r"Feature (\d+)", of_cell(notebook, "top = ")[-1].data["text/plain"])[0]
    assert row[:2] == [feature, feature]


def test_what_is_left_needs_no_kernel(notebook: Any) -> None:
    assert_alive_without_a_kernel(notebook)
