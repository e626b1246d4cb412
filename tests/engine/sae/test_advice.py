"""Warnings come while a run goes wrong, and only then."""

from __future__ import annotations

import math
from typing import Any

import pytest
from planted import TRUE, planted, train

from aquin_nb.engine.sae.advice import advise
from aquin_nb.engine.sae.history import Point


def history(*errors: float, **changes: Any) -> list[Point]:
    """Points 10 steps apart with these reconstruction errors; a list gives a quantity of each."""
    points = []
    for number, error in enumerate(errors):
        values: dict[str, Any] = {
            "step": 10 * (number + 1),
            "tokens": 1000 * (number + 1),
            "recon_mse": error,
            "fvu": error / 100,
            "explained_variance": 1 - error / 100,
            "cosine": 0.9,
            "l0": 32.0,
            "dead": 0,
            "lr": 1e-3,
            "grad_norm": 1.0,
            "tokens_per_second": 1e4,
        }
        for name, value in changes.items():
            values[name] = value[number] if isinstance(value, list) else value
        points.append(Point(**values))
    return points


FALLING = [90 * 0.9**number for number in range(20)]
RISING = [90.0, 50.0, 20.0, 20.0, 25.0, 32.0, 33.0, 34.0, 35.0, 36.0, 37.0, 38.0]


def test_a_healthy_run_hears_nothing() -> None:
    assert advise(history(*FALLING), 1000, 0.1) == []
    assert advise([], 1000, 0.0) == []
    assert advise(history(5.0), 1000, 0.0) == [], "one point tells nothing"


@pytest.mark.parametrize(("dead", "said"), [(100, None), (101, "10% of the latents are dead"), (900, "90% of")])
def test_dead_latents(dead: int, said: str | None) -> None:
    words = advise(history(*FALLING, dead=dead), 1000, 0.1)
    assert [word.startswith(str(said)) for word in words] == ([True] if said else [])


def test_weights_that_stand_still() -> None:
    (said,) = advise(history(*FALLING, lr=1e-7), 1000, 2e-6)
    assert said == "The weights are not moving (2.0e-06 of their norm since the last point). Raise lr, now 1e-07."
    rates = [1e-3 * (1 - number / 20) for number in range(20)]
    assert advise(history(*FALLING, lr=rates), 1000, 2e-6) == [], "they come to rest at the end of every schedule"


def test_an_error_that_rises_again() -> None:
    (said,) = advise(history(*RISING), 1000, 0.1)
    assert said.startswith("The loss is unstable: recon MSE is 1.7 times its best so far. Lower lr")
    assert advise(history(*RISING[:10]), 1000, 0.1) == [], "a few points are no trend"


def test_one_bad_point_is_no_trend() -> None:
    errors = list(FALLING)
    errors[-1] *= 50
    assert advise(history(*errors), 1000, 0.1) == []


def test_before_the_penalty_has_its_strength_the_error_may_rise() -> None:
    assert advise(history(*RISING), 1000, 0.1, settled=60) == []


def test_codes_that_grow_sparser_may_cost_error() -> None:
    sparser = [100.0 - 5 * number for number in range(12)]
    assert advise(history(*RISING, l0=sparser), 1000, 0.1) == []
    assert len(advise(history(*RISING, l0=[32.0] * 11 + [31.0]), 1000, 0.1)) == 1
    worse_than_the_mean = advise(history(*RISING, l0=sparser, fvu=1.2), 1000, 0.1)
    assert len(worse_than_the_mean) == 1, "codes that explain nothing are no bargain"


def test_rows_that_do_not_vary_have_no_fvu() -> None:
    assert len(advise(history(*RISING, fvu=math.nan), 1000, 0.1)) == 1


@pytest.mark.parametrize("coefficient", [0.5, 1.0, 2.0])
def test_a_penalised_run_that_goes_well_hears_nothing(coefficient: float) -> None:
    outcome = train(
        planted(), architecture="relu", sparsity_coefficient=coefficient, threshold=0.1, d_sae=TRUE, steps=600
    )
    assert outcome.advice == []


def test_a_rate_that_is_far_too_high_is_told_while_it_runs() -> None:
    outcome = train(planted(), steps=300, lr=1.0, lr_schedule="constant", lr_warmup=100)
    assert any("unstable" in said or "dead" in said for said in outcome.advice)


def test_a_rate_that_is_far_too_low_is_told_while_it_runs() -> None:
    outcome = train(planted(), steps=100, lr=1e-9, lr_schedule="constant")
    assert any("The weights are not moving" in said for said in outcome.advice)
