"""A sweep's table and figure, and the figures of quantity: what they show, and that names stay text."""

from __future__ import annotations

import json
import subprocess
import sys

import pandas as pd
import pytest
from view_samples import HOSTILE, MODEL

from aquin_nb.cards import CorpusRef, SaeSweepCard, SweepMember
from aquin_nb.widgets.html import card_html, result_html
from aquin_nb.widgets.quantity import Strength, Volume, strength_figure, volume_figure
from aquin_nb.widgets.sweep_figure import sweep_figure

VERDICTS = ("usable", "weak", "smoke test only", None)


def sweep_card(members: int = 4, status: str = "completed") -> SaeSweepCard:
    card = SaeSweepCard(name=HOSTILE, model=MODEL, caution=HOSTILE)
    card.corpus = CorpusRef(name=HOSTILE, tokens=6000, why=HOSTILE)
    card.members = [
        SweepMember(
            layer=layer, hook=f"blocks.{layer}.hook_resid_post", name=HOSTILE, path=HOSTILE, d_sae=512, k=32,
            fvu=0.1 + layer / 10, recon_mse=10.0**layer, cosine=0.9, l0=32.0, dead_share=0.05, mean_norm=20.0 + layer,
            verdict=VERDICTS[layer % 4],
        )
        for layer in range(members)
    ]  # fmt: skip
    card.start()
    card.finish(status)
    return card


def frame_of(card: SaeSweepCard) -> pd.DataFrame:
    return pd.DataFrame([member.model_dump() for member in card.members], columns=list(SweepMember.model_fields))


def test_the_table_has_a_row_a_layer_and_the_caution_and_no_markup_of_others():
    html = card_html(sweep_card())
    assert html.count("<tr>") == 5
    assert "How not to read this" in html
    assert "<img" not in html
    assert "<script" not in html
    assert "smoke test only" in html


def test_hooks_are_named_where_layers_do_not_tell_them_apart():
    card = sweep_card()
    card.members[1] = card.members[1].model_copy(update={"layer": 0, "hook": HOSTILE})
    html = result_html(card, live=False)
    assert "blocks.0.hook_resid_post" in html
    assert "&lt;img" in html
    figure = sweep_figure(card, frame_of(card))
    assert next(iter(figure.data[0].x)) == "blocks.0.hook_resid_post"
    assert "<img" not in json.dumps(figure.to_plotly_json(), default=str)


@pytest.mark.parametrize("members", [0, 1])
def test_a_sweep_that_was_stopped_early_has_a_view_too(members: int):
    card = sweep_card(members, "cancelled")
    for at, member in enumerate(card.members):
        card.members[at] = member.model_copy(update={"fvu": None, "recon_mse": None, "dead_share": None})
    assert "cancelled" in card_html(card)
    assert sweep_figure(card, frame_of(card)).data


def test_the_figure_says_the_caution():
    figure = sweep_figure(sweep_card(), frame_of(sweep_card()))
    assert list(figure.data[0].x) == [0, 1, 2, 3]
    assert any("&lt;img" in note.text.replace("<br>", " ") for note in figure.layout.annotations)


def test_vectors_flow_from_how_they_were_collected_to_what_became_of_them():
    volumes = [
        Volume("corpus", HOSTILE, training=900, held_out=50, unused=50),
        Volume("probes", "six", training=6),
        Volume("corpus", "store", kept=200),
        Volume("tensors", "nothing"),
    ]
    figure = volume_figure(volumes)
    sankey = figure.data[0]
    assert list(sankey.node.label[:2]) == ["Corpus: 1,200", "Probes: 6"]
    into = dict.fromkeys(sankey.node.label, 0)
    for target, value in zip(sankey.link.target, sankey.link.value, strict=True):
        into[sankey.node.label[target]] += value
    assert into["Training: 906"] == 906
    assert into["Held-out checks: 50"] == 50
    assert into["Kept, not trained on: 200"] == 200
    assert not any("nothing" in label for label in sankey.node.label)
    text = json.dumps(figure.to_plotly_json(), default=str)
    assert "<img" not in text
    assert "Counted are vectors" in text


def test_strength_stands_over_scale_with_the_lines_of_usable():
    strengths = [
        Strength(HOSTILE, 100_000, 512, 0.8, True, 0.01, "usable"),
        Strength("six probes", 6, 512, 0.99, False, 0.9, "smoke test only"),
        Strength("far off", 3000, 512, -40.0, True, None, None),
    ]
    figure = strength_figure(strengths, rows=2000, explained_variance=0.6)
    traces = {trace.name: trace for trace in figure.data}
    assert list(traces) == ["Usable", "Smoke test only", "No verdict"]
    assert list(traces["Smoke test only"].marker.symbol) == ["circle-open"]
    assert traces["No verdict"].y[0] > figure.layout.yaxis.range[0]  # on the edge, not outside
    assert "−40" in traces["No verdict"].hovertext[0]
    assert {shape.x0 for shape in figure.layout.shapes} >= {2000}
    assert {shape.y0 for shape in figure.layout.shapes} >= {0.6}
    assert "<img" not in json.dumps(figure.to_plotly_json(), default=str)


def test_a_hundred_points_tell_their_names_when_pointed_at():
    many = [Strength(str(i), 5000, 512, 0.5, True, 0.0, "weak") for i in range(100)]
    (trace,) = strength_figure(many, rows=2000, explained_variance=0.6).data
    assert trace.mode == "markers"


def test_the_figures_need_neither_torch_nor_plotly_until_they_are_drawn():
    code = "import sys, aquin_nb.widgets.quantity, aquin_nb.quantity, aquin_nb.widgets.sweep_figure\n"
    code += "sys.exit('plotly' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
