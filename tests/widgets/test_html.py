"""Static HTML: nothing from outside is markup, a notebook's sanitiser leaves it whole, it says what is left out."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from view_samples import DENSITY, HOSTILE, every_kind, history, train_card

from aquin_nb.cards import SaeTrainCard
from aquin_nb.errors import AquinError
from aquin_nb.widgets import card_html, frame_html, result_html, standalone_page, tokens_html

# What JupyterLab's sanitiser keeps of what we use; anything else would silently vanish for an untrusting reader.
TAGS = {"div", "span", "b", "table", "thead", "tbody", "tr", "th", "td", "img", "ul", "li", "details", "summary"}
PROPERTIES = {
    "align-items", "background-color", "border", "border-bottom", "border-collapse", "border-left", "border-radius",
    "box-sizing", "color", "cursor", "display", "flex", "flex-wrap", "font-family", "font-size", "font-weight",
    "height", "justify-content", "line-height", "margin", "margin-bottom", "margin-left", "margin-right", "margin-top",
    "max-height", "max-width", "min-width", "opacity", "overflow", "overflow-wrap", "overflow-x", "padding",
    "padding-bottom", "padding-left", "padding-right", "text-align", "vertical-align", "white-space", "width",
}  # fmt: skip


class Reader(HTMLParser):
    """Collects tags, attributes, text and scripts as a browser would see them."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.text, self.scripts = [], [], "", []
        self._in_script = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._in_script = False

    def handle_data(self, data):
        if self._in_script:
            self.scripts[-1] += data
        else:
            self.text += data


def statics():
    for card, frames in every_kind():
        yield result_html(card, frames, live=False)
        yield card_html(card)
    yield frame_html(pd.DataFrame({HOSTILE: [HOSTILE, "b"]}), title=HOSTILE, live=False)
    yield tokens_html([HOSTILE, "x"], [3], [[0.5], [0.0]], title=HOSTILE, live=False)


@pytest.mark.parametrize("html", list(statics()))
def test_static_html_is_what_the_sanitiser_leaves_and_hostile_text_is_text(html):
    read = Reader(html)
    assert set(read.tags) <= TAGS
    assert HOSTILE in read.text.replace("…", "")
    for tag, name, value in read.attributes:
        assert not name.startswith(("on", "aria", "role")), name
        if name == "style":
            assert "var(" not in value
            assert "url(" not in value
            used = {part.split(":")[0].strip() for part in value.split(";") if part.strip()}
            assert used <= PROPERTIES, used - PROPERTIES
        if name == "src":
            assert tag == "img"
            assert value.startswith("data:image/png;base64,")


@pytest.mark.parametrize(("card", "frames"), every_kind())
def test_live_html_has_only_our_scripts(card, frames):
    read = Reader(result_html(card, frames))
    assert [tag for tag in read.tags if tag not in TAGS] == ["script"] * (2 if isinstance(card, SaeTrainCard) else 1)
    assert "alert(" not in read.scripts[-1]
    assert HOSTILE in read.text


def test_the_embedded_data_is_the_card_and_its_points():
    card, frames = every_kind()[0]
    read = Reader(result_html(card, frames))
    data = json.loads(read.scripts[0])
    assert SaeTrainCard.model_validate(data["card"]).name == HOSTILE
    curve = np.frombuffer(base64.b64decode(data["curve"]["$array"]), dtype="<f8").reshape(12, -1)
    assert np.array_equal(curve[:11], frames["history"].to_numpy(np.float64).T)
    assert curve[11].tolist() == pytest.approx([0.1 * (i + 1) for i in range(50)])  # 5,120 tokens at 51,200 a second


def test_a_long_history_is_decimated_and_says_so():
    html = result_html(train_card(), {"history": history(50_000)})
    assert len(html) < 150_000
    assert re.search(r"[\d,]+ of 50,000 points shown, extremes kept", Reader(html).text)


def test_gaps_and_infinities_are_drawn_as_gaps():
    broken = history()
    broken.loc[10:20, "fvu"] = np.nan
    broken.loc[5, "recon_mse"] = np.inf
    broken["l0"] = np.nan
    text = Reader(result_html(train_card(), {"history": broken}, live=False)).text
    assert "no points" in text


def test_a_training_says_what_was_measured_at_the_end():
    (card, frames), *_ = every_kind()
    text = Reader(result_html(card, frames, live=False)).text
    for said in (
        "Held out (5,000 rows): FVU 0.200 · explained variance 0.800 · cosine 0.900 · recon MSE 21.0",
        "Spliced into the model (20,480 tokens): CE recovered 98 % · CE 3.41 → 3.47 nats · KL 0.0310 nats",
        "At step 500: explained variance 0.790",
        "┆ resumed at step 200 · last checkpoint at step 400: ",
        "Advice",
    ):
        assert said in text, said


def test_firing_rates_are_boxes_with_their_counts():
    (card, frames), *_ = every_kind()
    titles = [value for _, name, value in Reader(result_html(card, frames, live=False)).attributes if name == "title"]
    assert titles[0] == "300 latents at < 1.4e-6"
    assert len(titles) == len(DENSITY) == 40
    assert titles[-1] == "3 latents at 0.71–1"


def test_a_card_without_layer_and_hook_names_neither():
    card = train_card()
    card.layer, card.hook, card.model = None, "", None
    assert "layer" not in Reader(card_html(card)).text


@pytest.mark.parametrize("rows", [0, 1])
def test_hardly_any_points(rows):
    assert Reader(result_html(train_card(), {"history": history(rows)}, live=False)).tags.count("img") == 4 * rows


def test_a_table_says_how_many_rows_it_leaves_out():
    frame = pd.DataFrame({"feature": range(120), "x": np.linspace(0, 1, 120)})
    read = Reader(frame_html(frame, limit=30, live=False))
    assert "30 of 120 rows" in read.text
    assert read.tags.count("tr") == 31


def test_an_empty_frame_is_a_head_without_rows():
    assert Reader(frame_html(pd.DataFrame({"a": [], "b": []}), live=False)).tags.count("tr") == 1


def test_a_frame_of_another_name_or_shape_is_refused():
    with pytest.raises(AquinError, match="shows the frame 'history', not 'pairs'"):
        result_html(train_card(), {"pairs": history()})
    with pytest.raises(AquinError, match="lacks"):
        result_html(train_card(), {"history": history().drop(columns="fvu")})


def test_tokens_and_values_must_agree():
    with pytest.raises(ValueError, match=r"values must be \[2, 1\]"):
        tokens_html(["a", "b"], [1], [[1.0]])


def test_a_page_holds_everything_and_asks_the_network_for_nothing():
    page = standalone_page(HOSTILE, [result_html(card, frames) for card, frames in every_kind()])
    read = Reader(page)
    sources = [value for _, name, value in read.attributes if name in ("src", "href")]
    assert all(value.startswith("data:") for value in sources)
    assert "alert(2)" in read.text
    assert page.startswith("<!doctype html>")


def test_making_html_needs_no_widget_library():
    code = "import sys, aquin_nb.widgets.html, aquin_nb.widgets.tokens; sys.exit('ipywidgets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
