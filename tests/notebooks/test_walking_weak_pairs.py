"""The notebook about weak pairs: known changes are named, margins grow, and what was said of pairs is kept."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from notebook_runs import assert_alive_without_a_kernel, executed, of_cell, said, table


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from executed("05_walking_weak_pairs", tmp_path_factory)


def test_known_changes_are_named(notebook: Any) -> None:
    classes = [row[2] for row in table(notebook, "N, D = ")]
    assert classes == ["split", "merged", "merged", "rotated", "unmatched", "shared"]


def test_the_line_of_chance_is_where_the_fourth_solution_needs_it(notebook: Any) -> None:
    assert float(re.findall(r"0\.\d+", said(notebook, "told = "))[0]) > 0.18, "the cosine of 80 degrees is 0.174"


def test_the_report_is_proven_and_shows_features_beside_pairs(notebook: Any) -> None:
    (shown,) = of_cell(notebook, "alignment = ")
    assert "optimal, gap 0" in shown.data["text/plain"]
    for words in ("Weakest features of a", "Weakest pairs", "encoders agree", "What became of the features"):
        assert words in shown.data["text/html"], words


def test_seeds_are_more_alike_than_chance(notebook: Any) -> None:
    seeds, chance = map(float, re.findall(r"0\.\d+", said(notebook, "random = "))[:2])
    assert seeds > chance + 0.05


def test_margins_grow_with_the_cosine(notebook: Any) -> None:
    means = [float(row[-2]) for row in table(notebook, "pairs = ")[1:] if int(row[-3]) >= 10]
    assert len(means) >= 2
    assert means == sorted(means)


def test_partners_stand_side_by_side_with_what_they_fire_on(notebook: Any) -> None:
    (shown,) = of_cell(notebook, "frame = alignment.frame")
    assert re.search(r"feature \d+ of test-seed0, \d+ of test-seed1: \w+, cosine 0\.", shown.data["text/plain"])


def test_a_wider_dictionary_splits(notebook: Any) -> None:
    split = [row for row in table(notebook, "wide = ") if row[0] == "split"]
    assert int(split[0][2]) > int(split[0][1])
    assert re.match(r"feature \d+ is split into \d+ \d+", said(notebook, "split = "))


def test_translated_activations_explain_less_than_their_own(notebook: Any) -> None:
    lines = said(notebook, "a, b = ").splitlines()
    own, *moved = [float(re.findall(r"-?\d\.\d+", line)[-1]) for line in lines]
    assert len(moved) == 3
    assert own > max(moved)


def test_what_was_said_of_a_pair_is_read_back(notebook: Any) -> None:
    accepted, remark = table(notebook, "alignment.annotate")
    assert "accepted" in accepted
    assert "<NA>" in remark


def test_what_is_left_needs_no_kernel(notebook: Any) -> None:
    assert_alive_without_a_kernel(notebook)
