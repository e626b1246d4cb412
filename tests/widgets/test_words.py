"""How a training reads as text: only what was measured, in the architecture's own words."""

from __future__ import annotations

import pytest
from view_samples import DENSITY, every_kind, train_card

from aquin_nb.cards import TrainSettings
from aquin_nb.widgets import words

REQUIRED = {"d_in": 8, "d_sae": 64, "lr": 1e-3, "batch_size": 4, "steps": 9, "dead_after_tokens": 5, "seed": 0}


def test_the_report_has_every_fact_of_the_end():
    (card, _), *_ = every_kind()
    held, spliced, point, rates, state, advice = words.report(card)
    assert held.startswith("Held out (5,000 rows): FVU 0.200")
    assert spliced.endswith("CE recovered 98 % · CE 3.41 → 3.47 nats · KL 0.0310 nats")
    assert point == "At step 500: explained variance 0.790"
    assert rates == f"Firing rate: 1e-6 {words.sparkline(DENSITY)} 1, median {words.median_rate(DENSITY)}"
    assert state.startswith("┆ resumed at step 200 · last checkpoint at step 400: ")
    assert advice == f"Advice: {card.advice[0]}"


def test_a_card_with_nothing_measured_reports_nothing():
    assert words.report(train_card()) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"architecture": "batchtopk", "k": 32}, ["BatchTopK 8 → 64", "k 32"]),
        ({"architecture": "matryoshka", "k": 4, "groups": [16, 48]}, ["Matryoshka 8 → 64", "k 4", "2 groups"]),
        ({"architecture": "gated", "sparsity_coefficient": 0.01}, ["Gated 8 → 64", "sparsity coefficient 0.0100"]),
        ({"architecture": "jumprelu", "d_out": 16}, ["JumpReLU 8 → 64 → 16"]),
    ],
)
def test_what_keeps_a_dictionary_sparse_is_said_in_its_architectures_words(given, said):
    assert words.settings(TrainSettings.model_validate(REQUIRED | given)) == said


def test_firing_rates():
    counts = [900] + [0] * 19 + [10] + [0] * 19
    assert (words.rate_at(40, 0), words.rate_at(40, 40)) == (1e-6, 1.0)
    assert words.ceiling(counts) == 12.5
    assert words.median_rate(counts) == "≈ 0"
    assert words.median_rate([0, *counts[1:]]) == "0.0012"
    assert words.median_rate([0] * 40) == "–"
    assert [words.bin_text(counts, at) for at in (0, 20)] == ["900 latents at < 1.4e-6", "10 latents at 0.001–0.0014"]
    assert words.sparkline([0, 1, 40, 80]) == " ▁▄█"
