"""A running training's card and points: what is logged, what a resume brings along, what never existed."""

from __future__ import annotations

import math

import pytest

from aquin_nb.cards import SaeTrainCard, TrainSettings
from aquin_nb.jobs import Job
from aquin_nb.live import LiveTraining
from aquin_nb.records import HISTORY_DTYPES, history_frame

SETTINGS = TrainSettings(
    architecture="topk", d_in=8, d_out=8, d_sae=64, k=4, lr=1e-3, batch_size=4, steps=100, dead_after_tokens=10, seed=0
)


def point(step, **changes):
    named = dict.fromkeys(HISTORY_DTYPES, 0.5) | {"step": step, "tokens": 4 * step, "dead": 16} | changes
    return tuple(named.values())


@pytest.fixture
def live():
    job = Job("train x", lambda control: None, {"train": 1.0}, None)
    return LiveTraining(job, SaeTrainCard(name="x", config=SETTINGS))


def test_a_point_is_the_latest_state_of_the_card(live):
    live.point(point(10, cosine=0.9), [1] * 40)
    latest = live.card.latest
    assert (latest.step, latest.tokens, latest.cosine, latest.dead_share) == (10, 40, 0.9, 0.25)
    assert (latest.density, live.card.history_points) == ([1] * 40, 1)


def test_what_was_not_measured_is_absent_and_needs_no_histogram(live):
    live.point(point(10, fvu=math.nan, grad_norm=math.nan))
    assert (live.card.latest.fvu, live.card.latest.grad_norm, live.card.latest.density) == (None, None, None)


def test_a_resumed_run_continues_its_curve_from_the_checkpoint(live):
    live.resume([point(step) for step in (10, 20, 30)], 20)
    assert (live.card.resumed_from, live.card.latest.step) == ([20], 20)
    live.point(point(30, fvu=0.1))
    assert history_frame(live.points)["step"].tolist() == [10, 20, 30]
    assert live.points[-1][3] == 0.1


def test_steps_logged_again_replace_the_old_ones(live):
    for step in (10, 20, 30, 20):
        live.point(point(step))
    assert history_frame(live.points)["step"].tolist() == [10, 20]
    assert live.card.history_points == 2


def test_a_run_resumed_before_its_first_point_starts_empty(live):
    live.resume([], 5)
    assert (live.card.resumed_from, live.points) == ([5], [])
