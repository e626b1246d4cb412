"""The verdict's sentences: a figure over its limit never reads as the limit."""

from __future__ import annotations

import pytest

from aquin_nb.engine.sae import judge


@pytest.mark.parametrize(
    ("fvu", "said"),
    [(0.404, "40.4% of the variance"), (0.40004, "40.004% of the variance"), (0.71, "71% of the variance")],
)
def test_a_figure_just_above_its_limit_has_the_digits_to_show_it(fvu: float, said: str) -> None:
    verdict = judge(10_000, 256, 0, [1.0, 0.5], fvu, None)
    assert verdict.word == "weak"
    assert verdict.reasons[0].startswith(said)


def test_dead_latents_just_above_their_limit_are_told_apart_from_it() -> None:
    verdict = judge(10_000, 1000, 201, [1.0, 0.5], 0.2, None)
    assert verdict.reasons == ["20.1% of the latents are dead (limit 20%)."]
