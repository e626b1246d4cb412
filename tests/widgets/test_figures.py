"""plotly figures: the same numbers as the card's frame, names as text."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from view_samples import DENSITY, every_kind, history, train_card

from aquin_nb.widgets import figures
from aquin_nb.widgets.align_figure import align_figure
from aquin_nb.widgets.diff_figure import diff_figure

CARDS = {card.kind: (card, frames) for card, frames in every_kind()}


@pytest.mark.parametrize(
    ("make", "kind"),
    [(figures.training_figure, "saeTrain"), (diff_figure, "saeDiff"), (align_figure, "saeAlign")],
)
def test_figures_build_and_escape(make, kind):
    card, frames = CARDS[kind]
    figure = make(card, next(iter(frames.values())))
    text = json.dumps(figure.to_plotly_json()["layout"]["title"], default=str)
    assert "<img" not in text
    assert "&lt;img" in text


def test_capture_figure_takes_the_card_alone():
    figure = figures.capture_figure(CARDS["activationCapture"][0])
    assert [trace.name for trace in figure.data] == ["median", "max"]


def test_training_figure_shows_dead_as_a_share():
    figure = figures.training_figure(train_card(), history())
    dead = next(trace for trace in figure.data if trace.name.startswith("Dead"))
    assert np.allclose(dead.y, 100 * history()["dead"] / 1024)
    assert figure.layout.yaxis.type == "log"


def test_training_figure_marks_resumes_and_says_the_end_and_the_advice():
    card, frames = CARDS["saeTrain"]
    figure = figures.training_figure(card, frames["history"])
    assert [trace.name for trace in figure.data] == [
        "Recon MSE", "FVU", "L0", "Dead latents, %", "explained variance", "cosine", "latents",
    ]  # fmt: skip
    assert [shape.x0 for shape in figure.layout.shapes] == [200] * 5
    assert sum(figure.data[-1].y) == sum(DENSITY)
    assert "CE recovered 98 %" in figure.layout.title.text
    assert any("Advice: &lt;img" in note.text.replace("<br>", " ") for note in figure.layout.annotations)


def test_training_figure_leaves_out_what_was_never_measured():
    old = history()
    old[["explained_variance", "cosine", "grad_norm", "tokens_per_second"]] = np.nan
    figure = figures.training_figure(train_card(), old)
    assert [trace.name for trace in figure.data] == ["Recon MSE", "FVU", "L0", "Dead latents, %"]


def test_importing_the_builders_does_not_import_plotly():
    import subprocess

    code = "import sys, aquin_nb.widgets.figures; sys.exit('plotly' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
