"""What a diff and a trajectory show: significance beside size, advice, and nothing that is not escaped."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from view_samples import HOSTILE, every_kind

from aquin_nb.cards import FeatureDelta, SaeDiffCard
from aquin_nb.widgets.diff import diff_lines
from aquin_nb.widgets.diff_figure import cohort_figure, diff_figure, trajectory_figure
from aquin_nb.widgets.drivers import drivers_html
from aquin_nb.widgets.html import result_html
from aquin_nb.widgets.trajectory import trajectory_lines

CARDS = {card.kind: (card, frames) for card, frames in every_kind()}


@pytest.fixture
def diff() -> tuple[SaeDiffCard, pd.DataFrame]:
    card, frames = CARDS["saeDiff"]
    return card.model_copy(deep=True), frames["features"]


def test_the_face_says_what_changed_means_and_what_to_do(diff):
    html = result_html(diff[0], {"features": diff[1]}, live=False)
    for said in ("1 of 3", "features changed: q ≤ 0.05 and |Δ| ≥ 0.150", "moved by 0.150 or more",
                 "Read the deltas, then train on the checkpoint and align", "untested", "changes most on",
                 "bold: changed within the cohort"):  # fmt: skip
        assert said in html, said
    assert "<img" not in html
    assert "may be chance" in html, "the bar of the feature that may be chance is pale"


def test_changed_features_come_before_larger_ones_that_may_be_chance(diff):
    html = result_html(diff[0], {"features": diff[1]}, live=False)
    places = [html.index(f'data-sort="{feature}">') for feature in (1, 3, 2)]
    assert places == sorted(places)


def test_too_few_probes_stand_above_the_numbers(diff):
    card = diff[0]
    card.notes = ["4 probes are too few to tell any change from chance: the smallest p there can be is 0.125."]
    html = result_html(card, live=False)
    assert html.index("Too few probes") < html.index("<table")
    assert html.count("4 probes are too few") == 1


def test_no_change_is_a_headline(diff):
    card = diff[0]
    card.same, card.notes = "weights", ["No change: the checkpoint's weights equal the base model's bit for bit."]
    html = result_html(card, live=False)
    assert html.count("weights equal the base model") == 1
    assert "No change" in "\n".join(diff_lines(card))


def test_a_card_of_version_0_1_still_shows():
    row = {
        "feature": 4,
        "mean_base": 0.1,
        "mean_checkpoint": 0.5,
        "delta": 0.4,
        "rate_base": 0.1,
        "rate_checkpoint": 0.2,
    }
    old = SaeDiffCard.model_validate({"name": "old", "n_features": 9, "n_changed": 1, "threshold": 0.2, "top": [row]})
    html = result_html(old, live=False)
    assert "|Δ| &gt; 0.200" in html
    assert "q ≤" not in html
    assert diff_lines(old)[0].startswith("SaeDiff old: 1 of 9 features changed (|Δ| > 0.200)")
    frame = pd.DataFrame([row | {"changed": True}])
    assert len(diff_figure(old, frame).data) == 2
    assert old.top == [FeatureDelta(**row)]


def test_the_terminal_tells_the_same(diff):
    lines = diff_lines(diff[0])
    assert "1 of 3 features changed (q ≤ 0.05 and |Δ| ≥ 0.150)" in lines[0]
    assert any(line.startswith("feature 1: 0.100 → 0.300, q 0.00200, on ") for line in lines)
    assert not any(line.startswith("feature 3:") for line in lines), "it did not change"
    assert any(line.startswith("Dictionary: align.") for line in lines)
    lines = trajectory_lines(CARDS["saeTrajectory"][0])
    assert lines[1] == "step 100: 100 changed, mean |Δ| 0.1, FVU 0.200 → 0.200 (keep)"


def test_points_are_coloured_by_significance(diff):
    figure = diff_figure(*diff)
    assert [trace.name for trace in figure.data[1:]] == ["unchanged (1)", "may be chance (1)", "up (1)"]
    chance = figure.data[2]
    assert chance.customdata[0][0] == 3
    assert chance.marker.color != figure.data[3].marker.color


def test_cohorts_are_marked_where_they_changed(diff):
    card, features = diff
    frame = pd.concat([features.assign(cohort="a"), features.assign(cohort=HOSTILE, changed=False)])
    figure = cohort_figure(card, frame, HOSTILE)
    heat, marks = figure.data
    assert np.asarray(heat.z).shape == (3, 2)
    assert list(marks.y) == ["feature 1"]
    assert list(marks.x) == ["a"]
    assert "<img" not in json.dumps(figure.to_plotly_json(), default=list)


def test_a_trajectory_shows_every_checkpoint():
    card, _ = CARDS["saeTrajectory"]
    html = result_html(card, live=False)
    assert "step 100" in html
    assert "step 200" in html
    assert "<img src=x" not in html
    figure = trajectory_figure(card)
    assert list(figure.data[0].y) == [0.1, -0.2]
    assert [trace.name for trace in figure.data if trace.name] == ["feature 7"]


def test_drivers_mark_the_token_in_its_context():
    tokens = pd.DataFrame({"probe": [0], "base": [0.0], "checkpoint": [2.0], "before": ["In the "], "token": [HOSTILE],
                           "after": [" was"]})  # fmt: skip
    probes = pd.DataFrame({"probe": [0], "base": [0.0], "checkpoint": [0.2], "delta": [0.2], "share": [1.0],
                           "tokens": [10], "text": [HOSTILE], "kind": [None]})  # fmt: skip
    html = drivers_html(HOSTILE, probes, tokens, live=False)
    assert "<img" not in html
    assert "In the <span" in html
    assert "100 %" in html
    assert "fires on no probe" in drivers_html("x", probes[:0], tokens[:0], live=False)
