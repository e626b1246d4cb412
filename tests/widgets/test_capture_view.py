"""The capture browser's Python half: a bounded digest, quick answers, filters, projections that do not flip."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from view_samples import HOSTILE

import aquin_nb
from aquin_nb.cards import ActivationCaptureCard, LayerNorms
from aquin_nb.errors import AquinError, ProbeError
from aquin_nb.results import open_capture
from aquin_nb.widgets.pack import embed
from aquin_nb.widgets.text import script_json
from aquin_nb.widgets.views import capture_numbers
from aquin_nb.widgets.views.capture import CaptureView
from aquin_nb.widgets.views.capture_codes import coded, coded_cosine, coded_places
from aquin_nb.widgets.views.capture_numbers import CaptureNumbers, spaced
from aquin_nb.widgets.views.fields import Finder, fields
from aquin_nb.widgets.views.projection import components, like


def view(n: int, layers: int, d: int = 16, text: str = "probe", bad: int | None = None) -> CaptureView:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, n)
    base = rng.standard_normal((n, d)).astype(np.float32) + 4 * classes[:, None] * np.linspace(
        0, 1, d, dtype=np.float32
    )
    data = {at: (1 + at) * base + rng.standard_normal((n, d)).astype(np.float32) for at in range(layers)}
    if bad is not None:
        data[0][bad] = np.nan
    frame = pd.DataFrame(
        {"text": [f"{text} {i}" for i in range(n)], "label": [["a", HOSTILE, None][k] for k in classes],
         "score": rng.random(n), "id": [f"doc-{i}" for i in range(n)]}
    )  # fmt: skip
    norms = [LayerNorms(layer=at, median=1, max=2) for at in range(layers)]
    card = ActivationCaptureCard(name="c", n_probes=n, layers=list(range(layers)), norms=norms)
    numbers = CaptureNumbers(n, list(range(layers)), d, lambda layer, rows: data[layer][rows])
    return CaptureView(card, frame, [("folder", "/x")], numbers)


def page_bytes(data: dict) -> int:
    return len(script_json(embed(data)).encode())


@pytest.mark.parametrize(("n", "layers"), [(1000, 30), (2000, 12), (300, 80), (5000, 6)])
def test_the_digest_keeps_its_bound_also_with_texts_that_must_be_escaped(n, layers):
    found = view(n, layers, text=HOSTILE * 3).data()
    assert page_bytes(found) <= 120_000
    assert found["placed"]
    assert found["norm"].shape == (layers, len(found["texts"]))


def test_a_thousand_probes_at_thirty_layers_are_all_in_the_digest():
    found = view(1000, 30).data()
    assert found["ids"] is None
    assert len(found["texts"]) == 1000
    assert page_bytes(found) <= 120_000


def test_one_probe_and_no_probe_are_pictures_too():
    one = view(1, 3).data()
    assert one["placed"]["0"].tolist() == [[0, 0]]
    assert np.isnan(one["spans"]["0"][4])
    none = view(0, 3).data()
    assert none["rows"] == 0
    assert none["texts"] == []
    assert "norm" not in none


def test_rows_with_nan_are_flagged_and_harm_no_other():
    found = view(20, 2, bad=7)
    data = found.data()
    assert data["bad"].tolist() == [7]
    assert data["bad_total"] == 1
    assert data["norm"][0, 7] == 0
    assert (data["norm"][1] > 0).all()
    assert (np.delete(data["norm"][0], 7) > 0).all()
    assert data["placed"]["0"][7].tolist() == [65_535, 65_535]
    answer = found.projection({"layer": 0})
    assert np.flatnonzero(np.isnan(answer["x"])).tolist() == [7]
    assert np.isnan(found.heat({"metric": "cosine"})["values"][0, 7])


def test_norms_and_cosines_read_back_as_they_were():
    values = np.array([[1.0, 1.5, np.nan, 3.0], [1.0, 10.0, 1000.0, np.nan]])
    codes, low, high = coded(values)
    share = (codes.astype(float) - 1) / 254
    even = low[0] + (high[0] - low[0]) * share[0]
    steep = low[1] * (high[1] / low[1]) ** share[1]
    known = np.where(codes == 0, np.nan, np.stack([even, steep]))
    np.testing.assert_allclose(known, values, rtol=0.015)
    assert coded_cosine(np.array([-1.0, 0.0, 1.0, np.nan])).tolist() == [1, 128, 255, 0]
    places, span = coded_places(np.array([[0.0, 5.0], [10.0, 5.0], [np.nan, 1.0]]))
    assert places.tolist() == [[0, 0], [65_534, 0], [65_535, 65_535]]
    assert span == (0.0, 10.0, 5.0, 5.0)


def test_components_agree_with_a_full_decomposition_few_or_many_rows():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((900, 500)).astype(np.float32) * np.r_[9.0, 5.0, np.ones(498)].astype(np.float32)
    found, variances = components(x), np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2
    np.testing.assert_allclose(found.explained, variances[:2] / variances.sum(), rtol=0.02)
    exact = components(x[:50])
    few = np.linalg.svd(x[:50] - x[:50].mean(axis=0), compute_uv=False) ** 2
    np.testing.assert_allclose(exact.explained, few[:2] / few.sum(), rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(exact.axes, axis=1), 1, rtol=1e-5)


def test_the_picture_does_not_flip_from_layer_to_layer():
    found = view(200, 9)
    turned = [found.numbers.projected(layer).xy for layer in range(9)]
    for before, after in itertools.pairwise(turned):
        assert np.corrcoef(before[:, 0], after[:, 0])[0, 1] > 0
    axes = components(np.array([[0, 0], [2, 0], [0, 1]], np.float32))
    placed = axes.place(np.array([[0, 0], [2, 0], [0, 1]], np.float32))
    np.testing.assert_allclose(
        like(axes, placed, -placed).place(np.array([[2, 0]], np.float32)), -placed[1:2], rtol=1e-5
    )


def test_keys_are_told_apart():
    frame = pd.DataFrame(
        {"text": ["x"] * 12, "label": ["b", "a", None] * 4, "rating": [1, 2, 3] * 4, "score": np.arange(12) / 7,
         "flag": [True, False] * 6, "id": [f"d{i}" for i in range(12)], "list": [[1], [2]] * 6}
    )  # fmt: skip
    found = {field.name: field for field in fields(frame)}
    kinds = {name: field.kind for name, field in found.items()}
    assert kinds == {
        "label": "category", "rating": "category", "score": "number", "flag": "category", "id": "text",
        "list": "category",
    }  # fmt: skip
    assert found["rating"].levels == ["1", "2", "3"]
    assert found["label"].codes[2] == -1


def test_a_filter_wants_every_word_and_one_of_the_values():
    found = view(30, 1)
    finder = Finder(found.frame, found.fields)
    labels = found.frame["label"]
    assert finder.find({"text": "PROBE 1 doc"}).tolist() == [i for i in range(30) if "1" in str(i)]
    assert (
        finder.find({"among": {"label": ["a", None]}}).tolist()
        == np.flatnonzero((labels == "a") | labels.isna()).tolist()
    )
    assert finder.find({"text": "zzz"}).tolist() == []
    with pytest.raises(ProbeError, match="'score' is no category"):
        finder.find({"among": {"score": [1]}})
    with pytest.raises(ProbeError, match="A filter is"):
        finder.find({"among": ["label"]})


def test_pages_are_sorted_and_filtered_in_the_kernel():
    found = view(500, 2)
    page = found.rows({"start": 0, "count": 3, "sort": {"column": "score", "descending": True}})
    best = found.frame["score"].sort_values(ascending=False).index[:3].tolist()
    assert page["total"] == 500
    assert page["columns"]["probe"].tolist() == best
    wanted = {"sort": {"column": "score", "descending": True}, "find": {"column": "probe", "value": best[2]}}
    assert found.rows(wanted) == {"position": 2}
    last = found.rows({"start": 498, "count": 9, "sort": {"column": "label", "descending": False}})
    assert last["rows"] == 2
    assert last["columns"]["label"] == [None, None]
    with pytest.raises(ProbeError, match="no 'nope' to sort by"):
        found.rows({"sort": {"column": "nope"}})
    with pytest.raises(AquinError, match="start is a whole number"):
        found.rows({"start": "x"})


def test_answers_refuse_what_is_not_there():
    found = view(20, 2)
    with pytest.raises(AquinError, match="layer=9 is not one of 0, 1"):
        found.projection({"layer": 9})
    with pytest.raises(ProbeError, match="no category or number 'id'"):
        found.projection({"layer": 1, "field": "id"})
    with pytest.raises(AquinError, match="metric='mean'"):
        found.heat({"metric": "mean"})
    assert found.probe({"row": 99})["text"] == "probe 19"


def test_many_probes_are_looked_at_in_parts(monkeypatch):
    whole = view(900, 2).numbers.looked()
    monkeypatch.setattr(capture_numbers, "CHUNK_BYTES", 64 * 100)
    parts = view(900, 2).numbers.looked()
    np.testing.assert_allclose(parts.norm, whole.norm, rtol=1e-6)
    np.testing.assert_allclose(parts.cosine, whole.cosine, atol=1e-5)
    monkeypatch.setattr(capture_numbers, "LOOKED_BYTES", 64 * 2 * 300)
    some = view(900, 2)
    assert len(some.numbers.looked().rows) == 300
    assert some.heat({"metric": "norm", "filter": {"text": "probe 8"}})["total"] == 252
    assert spaced(3, 10).tolist() == [0, 1, 2]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory):
    session = aquin_nb.Session("tiny")
    folder = tmp_path_factory.mktemp("captures")
    probes = [{"text": f"The number {i} is", "label": "even" if i % 2 == 0 else "odd"} for i in range(12)]
    session.capture_activations([*probes, HOSTILE], output=folder / "a", name="a")
    other = [{**probe, "label": "changed"} if i == 2 else probe for i, probe in enumerate(probes[1:])]
    session.capture_activations([*other, "only here"], output=folder / "b", name="b", position="mean")
    return folder


def test_a_capture_is_browsed_and_selected(kept):
    capture = open_capture(kept / "a")
    html = capture.html()
    assert 'data-aquin="capture"' in html
    assert HOSTILE not in html
    capture.select([2, 12])
    assert capture.selected["text"].tolist() == ["The number 2 is", HOSTILE]
    capture.select([3], of="layers")
    assert capture.selected["layer"].tolist() == [3]
    facts = dict(capture._view()[1]["facts"])
    assert facts["folder"] == str(kept / "a")
    assert facts["weights"].startswith("sha256 ")


def test_a_capture_whose_files_were_moved_says_which(kept, tmp_path):
    capture = open_capture(kept / "a")
    moved = kept / "a" / capture.manifest["layers"]["1"]["file"]
    moved.rename(tmp_path / "shard")
    try:
        data = open_capture(kept / "a")._view()[1]
        assert moved.name in data["why"]
        assert "norm" not in data
        assert len(data["texts"]) == 13
    finally:
        (tmp_path / "shard").rename(moved)


def test_captures_side_by_side_match_probes_and_link_them(kept):
    found = aquin_nb.compare_captures([kept / "a", kept / "b"], ())
    kind, data = found._view()
    assert kind == "captures"
    assert page_bytes(data) <= 120_000
    (pair,) = data["pairs"]
    assert pair["second"].tolist() == [-1, *range(11), -1]
    assert pair["distance"][:, 0].tolist() == [0] * 6
    assert (pair["distance"][:, 1:12] > 0).all()
    flags = data["flags"]["columns"]
    assert set(flags["flag"]) == {"missing", "extra", "metadata differs"}
    answer = found._answers()["projection"]({"capture": 1, "layer": 3})
    assert np.flatnonzero(np.isnan(answer["x2"])).tolist() == [0, 12]
    with pytest.raises(AquinError, match="capture=2"):
        found._answers()["projection"]({"capture": 2, "layer": 3})
    found.select([0, 1])
    assert found.selected["row in b"].tolist() == [-1, 0]
    found.select([3], of="layers")
    assert found.selected["capture"].tolist() == ["a", "b"]
    assert json.loads(script_json(embed(data)))["captures"][1]["position"] == "mean"


def test_one_capture_by_layer_has_tables_only(kept):
    assert aquin_nb.compare_captures([kept / "a"], ())._view() is None
