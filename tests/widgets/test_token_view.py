"""What the token view carries: every text, the strongest features of each token, and the rest on demand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import aquin_nb
from aquin_nb import errors
from aquin_nb.engine.sae import SaeConfig
from aquin_nb.inspection import Inspection
from aquin_nb.widgets.pack import embed
from aquin_nb.widgets.views.codes import from_codes
from aquin_nb.widgets.views.tokens import PAIRS, tokens_answers, tokens_data

HOSTILE = "</script><img src=x onerror=alert(1)>\u202e"


@pytest.fixture(scope="module")
def session() -> aquin_nb.Session:
    made = aquin_nb.Session("tiny", dtype="float32")
    made.bind(aquin_nb.SparseAutoencoder.random(SaeConfig("topk", d_in=128, d_sae=256, d_out=128, k=8)), layer=3)
    return made


def long_text(n: int, top: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    position = np.arange(1, n + 1)
    frame = pd.DataFrame(
        {
            "position": np.repeat(position, top),
            "token": " the",
            "rank": np.tile(np.arange(1, top + 1), n),
            "feature": rng.integers(0, 70_000, n * top),
            "activation": -np.sort(-rng.gamma(1, 2, (n, top)), axis=1).ravel(),
        }
    )
    return frame, pd.DataFrame({"position": position, "token": " the"})


def test_a_token_has_its_features_in_order(session: aquin_nb.Session) -> None:
    found = session.inspect("In the beginning God created the heavens.", top=4)
    data = found._view()[1]
    starts, activation = data["starts"], from_codes(data["activation"])
    assert data["texts"][0]["tokens"] == found.tokens["token"].tolist()
    assert data["kept"] == data["most"] == 4
    for at, position in enumerate(found.tokens["position"]):
        want = found.frame[found.frame["position"] == position]
        part = slice(starts[at], starts[at + 1])
        assert data["feature"][part].tolist() == want["feature"].tolist()
        np.testing.assert_allclose(activation[part], want["activation"], rtol=2e-4)


def test_several_texts_are_one_inspection(session: aquin_nb.Session) -> None:
    texts = ["Abraham begat Isaac.", "def f(x):\n\treturn x"]
    found = session.inspect(texts, top=3)
    assert found.frame.columns[0] == "text"
    assert found.tokens["text"].unique().tolist() == [0, 1]
    alone = session.inspect(texts[1], top=3)
    second = found.frame[found.frame["text"] == 1].drop(columns="text").reset_index(drop=True)
    pd.testing.assert_frame_equal(second, alone.frame)
    data = found._view()[1]
    assert [len(text["tokens"]) for text in data["texts"]] == found.tokens.groupby("text").size().tolist()
    assert len(data["starts"]) == len(found.tokens) + 1
    assert data["starts"][-1] == len(found.frame)
    assert "text 2" in found.html(live=False)
    assert "text 2" not in alone.html(live=False)


@pytest.mark.parametrize("texts", [[], ["a b c", ""], ["a b c", 3], 7, None])
def test_what_is_no_text_is_refused(session: aquin_nb.Session, texts: object) -> None:
    with pytest.raises(errors.ProbeError, match="inspect\\(\\) wants a text"):
        session.inspect(texts)  # type: ignore[arg-type]


def test_of_a_long_text_the_page_holds_the_strongest_and_the_kernel_all() -> None:
    one = long_text(4096, 10)
    data = tokens_data("t", [one])
    assert 0 < data["kept"] < data["most"] == 10
    assert len(data["feature"]) == 4096 * data["kept"] <= PAIRS
    assert len(json.dumps(embed(data))) < 160_000
    whole = tokens_answers("t", [one])["all"]({})
    assert whole["kept"] == 10
    assert whole["feature"].tolist() == one[0]["feature"].tolist()
    assert whole["feature"].dtype == np.int32  # features above 65,535


def test_a_snapshot_of_a_long_text_is_small() -> None:
    one = Inspection("x", *long_text(4096, 10), "t")
    assert len(one.html(live=False)) < 150_000


def test_a_text_on_which_nothing_fires() -> None:
    frame, tokens = long_text(3, 2)
    data = tokens_data("t", [(frame.iloc[:0], tokens)])
    assert data["starts"].tolist() == [0, 0, 0, 0]
    assert data["most"] == 0
    assert tokens_data("t", [])["starts"].tolist() == [0]


def test_hostile_tokens_and_infinite_values_are_data() -> None:
    tokens = pd.DataFrame({"position": [1, 2], "token": [HOSTILE, "\n"]})
    frame = pd.DataFrame(
        {"position": [1, 2], "token": [HOSTILE, "\n"], "rank": 1, "feature": 3, "activation": [np.inf, np.nan]}
    )
    found = Inspection("x", frame, tokens, HOSTILE)
    values = from_codes(found._view()[1]["activation"])
    assert values[0] == np.inf
    assert np.isnan(values[1])
    assert "<img" not in found.html()
    assert "</script><img" not in found.html()


def test_selected_features_are_rows_of_the_frame(session: aquin_nb.Session) -> None:
    found = session.inspect("In the beginning", top=3)
    feature = int(found.frame["feature"].iloc[0])
    found.select([feature])
    assert set(found.selected["feature"]) == {feature}
    assert found.selected["position"].tolist() == found.frame[found.frame["feature"] == feature]["position"].tolist()
