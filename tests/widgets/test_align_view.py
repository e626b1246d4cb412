"""The explorer of an alignment: what its page carries, what the kernel answers, and what people say of pairs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import normalize
from view_samples import HOSTILE

import aquin_nb
from aquin_nb import errors
from aquin_nb.engine.sae import SaeConfig, SparseAutoencoder
from aquin_nb.widgets.pack import embed, pack
from aquin_nb.widgets.views import align_map
from aquin_nb.widgets.views.align import CLASS_ORDER, align_data

N, D = 700, 24


def dictionary(seed: int, n: int = N, name: str = "", dead: int = 0) -> SparseAutoencoder:
    """Half of the features are the same for every seed; the last `dead` have no direction."""
    common = torch.randn(n // 2, D, generator=torch.Generator().manual_seed(0))
    own = torch.randn(n - n // 2, D, generator=torch.Generator().manual_seed(seed + 1))
    W = normalize(torch.cat([common, own]), dim=1)[torch.randperm(n, generator=torch.Generator().manual_seed(seed))]
    if dead:
        W[-dead:] = 0
    cfg = SaeConfig("topk", d_in=D, d_sae=n, d_out=D, k=4, name=name or f"seed {seed}")
    return SparseAutoencoder(cfg, W.T.contiguous(), W, torch.zeros(n), torch.zeros(D))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> aquin_nb.SaeAlign:
    folder = tmp_path_factory.mktemp("align")
    saved = [dictionary(seed, dead=3 * seed).save(folder / f"{seed}.pt") for seed in (0, 1)]
    return aquin_nb.sae_align(*saved, output=folder / "out", name="pair")


@pytest.fixture
def aligned(made: aquin_nb.SaeAlign, tmp_path: Path) -> aquin_nb.SaeAlign:
    """A copy in a folder of its own, since annotations are written beside it."""
    shutil.copytree(made.path, tmp_path / "copy", ignore=shutil.ignore_patterns("annotations.json"))
    return aquin_nb.open_alignment(tmp_path / "copy")


def tiny(name: str, a: torch.Tensor, b: torch.Tensor, tmp_path: Path) -> aquin_nb.SaeAlign:
    both = []
    for which, W in (("a", a), ("b", b)):
        n, d = W.shape
        cfg = SaeConfig("topk", d_in=d, d_sae=n, d_out=d, k=1, name=f"{name} {which}")
        both.append(SparseAutoencoder(cfg, W.T.contiguous(), W, torch.zeros(n), torch.zeros(d)))
    return aquin_nb.sae_align(*both, output=tmp_path / "tiny", name=name)


def exact(result: aquin_nb.SaeAlign) -> np.ndarray:
    a, b = (normalize(sae.W_dec.detach().double(), dim=1).numpy() for sae in result.dictionaries)
    return a @ b.T


def tiles(result: aquin_nb.SaeAlign, *at: tuple[int, int], order: str = "matching", block: int = 1) -> dict:
    given = {"order": order, "block": block, "tiles": [list(one) for one in at or [(0, 0)]]}
    return result._served.answers["tiles"](given)


def cosines(codes: np.ndarray) -> np.ndarray:
    """What codes of a byte or two stand for; NaN for a gap."""
    half = np.iinfo(codes.dtype).max // 2
    return np.where(codes == 0, np.nan, (codes.astype(np.float64) - 1) / half - 1)


def test_the_digest_is_bounded_and_holds_the_weakest_and_every_class(aligned):
    kind, data = aligned._view()
    assert kind == "align"
    size = len(json.dumps(embed(data)))
    assert size < 120_000
    table = data["a"]["table"]["columns"]
    living = aligned.frame[aligned.frame["class"] != "dead"]
    weakest = living.sort_values("nearest_cosine", kind="stable")["feature"].head(50)
    assert set(weakest) <= set(table["feature"].tolist())
    assert {CLASS_ORDER[code] for code in table["class"]} == set(aligned.frame["class"])
    partners = [b for b in table["partner"].tolist() if b >= 0]
    assert set(partners) <= set(data["b"]["table"]["columns"]["feature"].tolist())
    assert np.all(np.diff(table["feature"]) > 0)  # the page looks features up by bisection


def test_thresholds_are_counted_as_the_engine_classifies(made, tmp_path):
    data = made._view()[1]
    for tau in (0.5, 0.7, 0.9):
        again = aquin_nb.sae_align(*made.dictionaries, output=tmp_path / f"{tau}", thresholds={"tau": tau})
        for side in "ab":
            counts = data["counts"][side]
            first = round((tau + 1) * len(counts) / 2)
            assert counts[first:].sum() == getattr(again.card, f"classes_{side}").get("shared", 0)
    assert data["counts"]["pairs"].sum() == made.card.n_pairs


def test_a_small_alignment_is_carried_whole(tmp_path):
    W = normalize(torch.randn(20, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    data = tiny("small", W, W.flip(0), tmp_path)._view()[1]
    assert data["a"]["table"]["rows"] == data["b"]["table"]["rows"] == 20
    assert data["points"]["rows"] == 0
    assert data["map"]["listed"]["a"].tolist() == [19 - b for b in data["map"]["listed"]["b"]]


def test_one_pair_and_features_without_a_direction(tmp_path):
    one = tiny("one", torch.ones(1, 4), torch.ones(1, 4), tmp_path / "one")
    data = one._view()[1]
    assert data["map"]["shape"] == [1, 1]
    assert cosines(tiles(one)["tiles"][0]).item() == 1.0
    broken = torch.eye(4)
    broken[1], broken[2] = 0, float("nan")
    some = tiny("some", broken, torch.eye(4), tmp_path / "some")
    assert some._view()[1]["map"]["shape"] == [2, 4]
    packed, _ = pack(some._answers()["table"]({"side": "a", "start": 0}))
    assert json.dumps(packed, allow_nan=False)
    pair = some._answers()["pair"]({"a": 1})
    assert len(pair["a"]["near"]["columns"]["feature"]) == 0


@pytest.mark.parametrize("order", ["matching", "class", "index", "clusters"])
def test_tiles_are_the_cosines_of_the_features_that_the_order_names(aligned, order):
    ids = aligned._served.answers["order"]({"order": order})
    assert sorted(ids["a"].tolist()) == list(range(N))
    assert len(ids["b"]) == N - 3  # those without a direction are not on the map
    got = tiles(aligned, (1, 2), order=order)["tiles"][0]
    wanted = exact(aligned)[np.ix_(ids["a"][256:512], ids["b"][512:768])]
    np.testing.assert_allclose(cosines(got), wanted, atol=2e-5)


@pytest.mark.parametrize("block", [1, 2, 16])
def test_tiles_asked_for_together_are_those_asked_for_one_by_one(aligned, monkeypatch, block):
    some = [(row, col) for row, col in ((1, 2), (0, 0), (2, 0), (2, 2), (0, 2)) if max(row, col) * 256 * block < N - 3]
    together = tiles(aligned, *some, block=block)["tiles"]
    for one, found in zip(some, together, strict=True):
        np.testing.assert_array_equal(tiles(aligned, one, block=block)["tiles"][0], found)
    monkeypatch.setattr(align_map, "EXACT_MAP", 0)  # as of a map that is too large to be kept
    for one, found in zip(some, tiles(aligned, *some, block=block)["tiles"], strict=True):
        np.testing.assert_array_equal(tiles(aligned, one, block=block)["tiles"][0], found)


def test_partners_meet_on_the_diagonal(aligned):
    ids = aligned._served.answers["order"]({"order": "matching"})
    pairs = aligned.frames["pairs"].sort_values("cosine", ascending=False, kind="stable")
    assert ids["a"][: len(pairs)].tolist() == pairs["a"].tolist()
    assert ids["b"][: len(pairs)].tolist() == pairs["b"].tolist()


@pytest.mark.parametrize("block", [2, 4, 16])
def test_coarse_tiles_hold_the_largest_cosine_of_each_block(aligned, block):
    ids = aligned._served.answers["order"]({"order": "class"})
    whole = exact(aligned)[np.ix_(ids["a"], ids["b"])]
    codes = tiles(aligned, order="class", block=block)["tiles"][0]
    shape = [-(-n // block) for n in whole.shape]
    assert list(codes.shape) == [min(256, n) for n in shape]
    for i, j in ((0, 0), (codes.shape[0] - 1, codes.shape[1] - 1), (3, 7)):
        part = whole[i * block : (i + 1) * block, j * block : (j + 1) * block]
        assert cosines(codes)[i, j] == pytest.approx(part.max(), abs=0.005)


def test_where_a_map_is_too_large_its_blocks_still_show_the_nearest(aligned, monkeypatch):
    monkeypatch.setattr(align_map, "EXACT_MAP", 0)
    monkeypatch.setattr(align_map, "EXACT_TILE", 0)
    got = aligned._atlas.tiles("matching", 8, [(0, 0)])[0]
    ids = aligned._served.answers["order"]({"order": "matching"})
    whole = exact(aligned)[np.ix_(ids["a"], ids["b"])]
    best = whole.argmax(axis=1)
    for place, col in enumerate(best.tolist()):
        assert got[place // 8, col // 8] >= whole[place, col] - 1e-5
    largest = np.maximum.reduceat(np.maximum.reduceat(whole, np.arange(0, N, 8), 0), np.arange(0, N - 3, 8), 1)
    assert (got <= largest + 1e-5).all()


def test_a_pair_comes_with_its_neighbours_and_the_parts_of_a_split(tmp_path):
    eye = torch.eye(16)
    split = normalize(eye[0] + eye[1], dim=0)
    a = torch.cat([split[None], eye[2:10]])
    b = eye[[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]]
    result = tiny("split", a, b, tmp_path)
    pair = result._answers()["pair"]({"a": 0, "b": 1})
    assert sorted(pair["a"]["members"].tolist()) == [0, 1]
    assert sorted(pair["b"]["siblings"].tolist()) == [0, 1]
    assert pair["cosine"] == pytest.approx(0.5**0.5)
    near = result.neighbourhood(3)
    assert pair["a"]["near"]["rows"] == 8
    answer = result._answers()["pair"]({"a": 3})["a"]
    assert answer["near"]["columns"]["feature"].tolist() == near["feature"].tolist()


def test_by_firings_only_what_is_listed_is_on_the_map(tmp_path):
    x = torch.randn(400, D, generator=torch.Generator().manual_seed(3))
    both = dictionary(0, 60), dictionary(1, 60)
    result = aquin_nb.sae_align(*both, on="firings", activations=x, output=tmp_path / "firings")
    got = tiles(result)
    shown = cosines(got["tiles"][0])
    assert "By firings" in got["why"]
    ids = result._served.answers["order"]({"order": "matching"})
    known = ~np.isnan(shown)
    assert 0 < known.mean() < 1
    cosine = result.frame.set_index("feature")["cosine"]
    for place, feature in enumerate(ids["a"][:5]):
        assert shown[place, place] == pytest.approx(cosine[feature], abs=2e-5)
    assert "clusters" not in result._view()[1]["map"]


def test_a_map_without_its_dictionaries_says_so_and_shows_neighbours(made, tmp_path):
    a, b = dictionary(0, 60).save(tmp_path / "a.pt"), dictionary(1, 60).save(tmp_path / "b.pt")
    aquin_nb.sae_align(a, b, output=tmp_path / "out")
    a.unlink()
    again = aquin_nb.open_alignment(tmp_path / "out")
    got = tiles(again)
    assert str(a) in got["why"]
    shown = np.nanmax(cosines(got["tiles"][0]))
    assert shown == pytest.approx(again.frame["nearest_cosine"].max(), abs=2e-5)


@pytest.mark.parametrize(
    ("what", "params"),
    [
        ("table", {"side": "c", "start": 0}), ("table", {"side": "a", "start": N}), ("table", {"side": "a"}),
        ("order", {"order": HOSTILE}), ("order", {}), ("overview", {"order": 3}),
        ("tiles", {"order": "index", "block": 1, "tiles": [[-1, 0]]}),
        ("tiles", {"order": "index", "block": 1, "tiles": [[0, 3]]}),
        ("tiles", {"order": "index", "block": 3, "tiles": [[0, 0]]}),
        ("tiles", {"order": "index", "block": 1, "tiles": [[0, 0]] * 65}),
        ("tiles", {"order": "index", "block": 1, "tiles": [[0, 0, 0]]}),
        ("tiles", {"order": "index", "block": 1, "tiles": HOSTILE}),
        ("tiles", {"order": HOSTILE, "block": 1, "tiles": []}),
        ("pair", {"a": True}), ("pair", {"a": "1"}), ("pair", {"b": N}),
        ("annotate", {"a": 1, "b": 2, "verdict": HOSTILE}), ("annotate", {"a": N}), ("annotate", {}),
        ("annotate", {"a": 1, "note": 7}), ("texts", {"a": 1}),
    ],
)  # fmt: skip
def test_what_a_page_sends_is_checked(aligned, what, params):
    with pytest.raises(errors.AquinError):
        aligned._served.answers[what](params)


def test_what_is_said_of_a_pair_is_kept_beside_the_alignment(aligned):
    a, b = (int(aligned.frames["pairs"][side].iloc[0]) for side in "ab")
    answer = aligned._served.answers["annotate"]({"a": a, "b": b, "verdict": "flagged", "note": HOSTILE})
    assert answer["entries"][0]["note"] == HOSTILE.strip()
    aligned.annotate(5, None, note="alone")
    again = aquin_nb.open_alignment(aligned.path).annotations
    assert again["a"].tolist() == [a, 5]
    assert again["b"].tolist() == [b, pd.NA]
    assert again["verdict"].tolist() == ["flagged", ""]
    assert again["cosine"].iloc[0] == aligned.frames["pairs"]["cosine"].iloc[0]
    assert again["class"].iloc[0] == aligned.frame["class"].iloc[a]
    aligned.annotate(a, b)
    assert len(aligned.annotations) == 1
    assert aligned._view()[1]["annotations"][0]["note"] == "alone"


def test_many_annotations_do_not_outgrow_the_page(aligned):
    for a in range(12):
        aligned.annotate(a, None, note=f"{a} " + "x" * 1500)
    data = aligned._view()[1]
    assert len(json.dumps(embed(data))) < 120_000
    assert [entry["a"] for entry in data["annotations"]] == [7, 8, 9, 10, 11]
    assert len(aligned._served.answers["annotations"]({})["entries"]) == 12


def test_a_damaged_file_of_annotations_is_named_and_the_view_still_shows(aligned):
    (aligned.path / "annotations.json").write_text('{"format": "something"')
    assert "annotations.json" in aligned._view()[1]["trouble"]
    with pytest.raises(errors.StoreError, match=r"annotations\.json cannot be read.*Move it away"):
        aligned.annotate(1, 2, "accepted")
    assert (aligned.path / "annotations.json").read_text() == '{"format": "something"'


def test_nothing_is_written_beside_an_alignment_that_is_gone(aligned):
    shutil.rmtree(aligned.path)
    with pytest.raises(errors.StoreError, match="is gone"):
        aligned.annotate(1, 2, "accepted")
    assert not aligned.path.exists()


def test_what_is_selected_are_rows_of_its_own_side(aligned):
    aligned.select([3, 1])
    assert aligned.selected["feature"].tolist() == [3, 1]
    aligned.select([2], of="features_b")
    pd.testing.assert_frame_equal(aligned.selected, aligned.frames["features_b"].iloc[[2]])
    aligned.select([N])
    with pytest.raises(errors.SelectionError, match=f"features 0 to {N - 1}"):
        _ = aligned.selected


def test_texts_are_looked_through_for_both_features(tmp_path):
    session = aquin_nb.Session("tiny")
    try:
        d = session.model.d_model
        both = []
        for seed in (0, 1):
            W = normalize(torch.randn(32, d, generator=torch.Generator().manual_seed(seed)), dim=1)
            cfg = SaeConfig("topk", d_in=d, d_sae=32, d_out=d, k=8, layer=3, name=f"{seed}")
            both.append(SparseAutoencoder(cfg, W.T.contiguous(), W, torch.zeros(32), torch.zeros(d)))
        result = session.sae.align(*both, output=tmp_path / "out")
        assert not result._view()[1]["reading"]
        with pytest.raises(errors.StoreError, match="explore"):
            result._served.answers["texts"]({"a": 1})
        texts = ["Once upon a time there was a cat.", "The dog ran away.", HOSTILE]
        assert result.explore(texts=texts, model=session.model) is result
        assert result._view()[1]["reading"]
        a, b = (int(result.frames["pairs"][side].iloc[0]) for side in "ab")
        found = result._served.answers["texts"]({"a": a, "b": b})
        shown = result.top_texts((a, b), texts=texts, model=session.model, top=4).frame
        for side in "ab":
            wanted = shown[shown["side"] == side]
            assert found[side]["columns"]["token"] == wanted["token"].tolist()
            np.testing.assert_allclose(found[side]["columns"]["activation"], wanted["activation"], rtol=1e-6)
        with pytest.raises(errors.DictionaryError, match="either activations"):
            result.explore()
        with pytest.raises(errors.DictionaryError, match="model="):
            result.explore(texts=texts)
    finally:
        session.close()


def test_hostile_names_and_unknown_classes_stay_data(aligned):
    card = aligned.card.model_copy(update={"name": HOSTILE, "dead_by": HOSTILE})
    frames = aligned.frames
    frames["features_a"] = frames["features_a"].assign(**{"class": HOSTILE})
    data = align_data(card, frames, aligned.neighbours, aligned._arrays, aligned._atlas, [])
    assert set(data["a"]["table"]["columns"]["class"]) == {len(CLASS_ORDER)}
    result = aquin_nb.SaeAlign(aligned.path, card, aligned.frames, aligned._arrays)
    html = result.html()
    assert "<img src=x" not in html
    assert "</script><script>alert(2)" not in html


def test_a_frozen_alignment_holds_no_script(aligned):
    assert "<script" not in aligned.freeze().html
