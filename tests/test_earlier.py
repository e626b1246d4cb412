"""Trainings beside one another: which are offered, what is drawn of them, and one that goes on from its view."""

from __future__ import annotations

import time

import numpy as np
import pytest

import aquin_nb
from aquin_nb.earlier import Earlier, training_answers
from aquin_nb.errors import Cancelled, StoreError
from aquin_nb.quantity import strength
from aquin_nb.widgets.protocol import WIRE
from aquin_nb.widgets.quantity import EXPLAINED_LINE, ROWS_LINE

CONFIG = {"d_sae": 64, "k": 4, "batch_size": 64, "steps": 20, "log_every": 1, "dtype": "float32"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AQUIN_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def session(home):
    opened = aquin_nb.Session("tiny")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def kept(session):
    texts = [f"The {i}th ship left the harbour at dawn." for i in range(200)]
    return session.collect_activations(texts, layers=[2, 3], tokens=1000, name="kept").wait()


@pytest.fixture(scope="module")
def trained(session, kept):
    names = ("one", "two")
    both = [session.sae.train(3, activations=kept, config=CONFIG, name=name).wait() for name in names]
    return [*both, session.sae.train(2, activations=kept, config=CONFIG, name="elsewhere").wait()]


def test_only_other_trainings_of_the_same_place_are_offered(trained):
    one, two, _ = trained
    (found,) = Earlier(one.card).found()
    assert (found["name"], found["d_sae"], found["status"]) == ("two", 64, "completed")
    assert found["id"] == two.card.id
    assert found["fvu"] == pytest.approx(two.card.held_out.fvu)


def test_what_is_drawn_of_one_is_its_history(trained):
    one, two, _ = trained
    answers = Earlier(one.card).answers()
    answers["earlier"]({})
    drawn = answers["training"]({"id": two.card.id})
    curve = np.reshape(drawn["curve"], (len(WIRE), -1))
    assert (drawn["name"], drawn["total"]) == ("two", 20)
    assert curve[WIRE.index("fvu")].tolist() == pytest.approx(two.history["fvu"].tolist())
    assert (np.diff(curve[-1]) > 0).all(), "time goes on"


@pytest.mark.parametrize("wanted", ["../../etc/passwd", "", None, 7])
def test_a_page_names_trainings_by_what_it_was_offered(trained, wanted):
    with pytest.raises(StoreError, match="not on the list"):
        Earlier(trained[0].card).answers()["training"]({"id": wanted})


def test_a_damaged_card_is_left_out(trained, home):
    broken = home / "sae" / "user" / "tiny" / "broken" / "sae_layer3.card.json"
    broken.parent.mkdir()
    broken.write_text("{")
    assert [one["name"] for one in Earlier(trained[0].card).found()] == ["two"]


def test_a_stopped_training_goes_on_from_its_view_and_is_cancelled_there(session, kept):
    job = session.sae.train(3, activations=kept, config=CONFIG | {"steps": 1_000_000}, name="stopped")
    while not job.face.points:
        time.sleep(0.005)
    job.cancel()
    with pytest.raises(Cancelled):
        job.wait()
    job.face._html()  # what the cell holds from then on
    result = job.face._result
    assert result.resumable
    answers = training_answers(result)
    answers["resume"]({})
    answers["resume"]({})  # a second click changes nothing
    going = [one for one in session.jobs.unfinished() if one.name == "train stopped"]
    assert len(going) == 1, "the session's queue knows of it"
    end = time.monotonic() + 20
    while answers["follow"]({})["total"] <= len(result.history) and time.monotonic() < end:
        time.sleep(0.02)
    seen = answers["follow"]({})
    assert seen["card"]["status"] == "running"
    assert seen["card"]["resumed_from"] == [result.card.latest.step]
    answers["cancel"]({})
    with pytest.raises(Cancelled):
        going[0].wait()
    assert answers["follow"]({})["card"]["status"] == "cancelled"


def test_a_training_that_is_complete_offers_no_resume(trained):
    assert not trained[0].resumable
    assert "resume" not in training_answers(trained[0])


def test_the_lines_of_the_quadrant_are_those_of_the_verdict():
    from aquin_nb.engine.sae.verdict import MAX_FVU_USABLE, PROBE_SCALE_ROWS

    assert (ROWS_LINE, EXPLAINED_LINE) == (PROBE_SCALE_ROWS, 1 - MAX_FVU_USABLE)


def test_standing_places_trainings_and_counts_activations(trained, kept):
    one, two, _ = trained
    found = one.standing(two, kept)
    assert found.strengths == [strength(one), strength(two)]
    assert [volume.name for volume in found.volumes] == ["one", "two", "kept"]
    assert "2 placed" in found.summary()
    kind, data = found._view()
    assert (kind, data["lines"]["rows"], len(data["volumes"])) == ("standing", 2000, 3)


def test_a_training_that_cannot_be_placed_is_named(trained, tmp_path):
    one, two, _ = trained
    config = two.path.with_suffix(".config.json")
    moved = config.rename(tmp_path / "away.json")
    try:
        found = one.standing(two)
    finally:
        moved.rename(config)
    assert [placed.name for placed in found.strengths] == ["one"]
    assert len(found.problems) == 1
    assert str(config) in found.problems[0]
