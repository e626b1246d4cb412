"""`sae_align`, its result on disk and in the cell, and `compare_dictionaries`, with a real model where texts matter."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import normalize

import aquin_nb
from aquin_nb import errors
from aquin_nb.cli import main
from aquin_nb.engine.sae import SaeConfig, SparseAutoencoder

TEXTS = ["In the beginning God created the heaven and the earth.", "And God said, Let there be light: and there was."]


def dictionary(seed: int, n: int = 60, d: int = 16, **told: object) -> SparseAutoencoder:
    """Half of the features are the same for every seed."""
    common = torch.randn(n // 2, d, generator=torch.Generator().manual_seed(0))
    own = torch.randn(n - n // 2, d, generator=torch.Generator().manual_seed(seed + 1))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    W = normalize(torch.cat([common, own]), dim=1)[order]
    cfg = SaeConfig("topk", d_in=d, d_sae=n, d_out=d, k=4, **told)  # type: ignore[arg-type]
    return SparseAutoencoder(cfg, W.T.contiguous(), W, torch.zeros(n), torch.zeros(d))


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Path]:
    return tuple(dictionary(seed, name=f"seed {seed}").save(tmp_path / f"{seed}.pt") for seed in (0, 1))  # type: ignore[return-value]


@pytest.fixture
def aligned(saved: tuple[Path, Path], tmp_path: Path) -> aquin_nb.SaeAlign:
    x = torch.randn(500, 16, generator=torch.Generator().manual_seed(3))
    return aquin_nb.sae_align(*saved, on="both", activations=x, output=tmp_path / "out", name="pair")


def test_what_was_written_reads_back_equal(aligned: aquin_nb.SaeAlign) -> None:
    again = aquin_nb.open_alignment(aligned.path)
    for name, frame in aligned.frames.items():
        pd.testing.assert_frame_equal(again.frames[name], frame, check_dtype=False)
    assert again.card == aligned.card
    assert again.summary() == aligned.summary()
    assert np.array_equal(again.neighbours["a"][0], aligned.neighbours["a"][0])
    assert aquin_nb.open_alignment(aligned.path / "card.json").card == aligned.card


def test_an_alignment_is_read_without_torch(aligned: aquin_nb.SaeAlign) -> None:
    code = (
        "import sys, aquin_nb\n"
        f"found = aquin_nb.open_alignment({str(aligned.path)!r})\n"
        "found.html(), found.figure(), found.sankey_figure(), found.heatmap_figure('clusters')\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_map_holds_partners_both_ways(aligned: aquin_nb.SaeAlign) -> None:
    told = json.loads((aligned.path / "map.json").read_text())
    assert told["format"] == "aquin-nb/feature-map"
    assert len(told["a_to_b"]) == len(told["class_a"]) == len(told["cosine_a"]) == 60
    for a, b in enumerate(told["a_to_b"]):
        assert b is None or told["b_to_a"][b] == a
    assert told["a"]["fingerprint"] == aligned.card.a.fingerprint


def test_features_and_activations_are_translated(aligned: aquin_nb.SaeAlign) -> None:
    pairs = aligned.frames["pairs"]
    a, b = int(pairs["a"][0]), int(pairs["b"][0])
    assert aligned.translate(a) == b
    assert aligned.translate(b, back=True) == a
    assert aligned.translate([[a]]).tolist() == [[b]]
    cosine = pairs["cosine"]
    assert (aligned.translate(pairs["a"].to_numpy(), least=0.99) >= 0).sum() == (cosine >= 0.99).sum() == 30
    f = np.random.default_rng(0).random((3, 60)).astype(np.float32)
    moved = aligned.translate(f)
    assert np.array_equal(moved[:, pairs["b"]], f[:, pairs["a"]])
    assert np.array_equal(aligned.translate(torch.from_numpy(f)).numpy(), moved)
    assert np.array_equal(aligned.translate(moved, back=True), f)
    with pytest.raises(errors.DictionaryError, match="features 0 to 59, not 60"):
        aligned.translate(60)
    with pytest.raises(errors.DictionaryError, match="60 features, but the activations are of 7"):
        aligned.translate(f[:, :7])
    with pytest.raises(errors.DictionaryError, match="whole numbers"):
        aligned.translate("17")


def test_a_neighbourhood_tells_what_its_features_are(aligned: aquin_nb.SaeAlign) -> None:
    feature = aligned.card.weakest_b[0].feature
    near = aligned.neighbourhood(feature, "b")
    assert near["feature"].tolist()[:5] == [n.feature for n in aligned.card.weakest_b[0].neighbours]
    assert near["cosine"].is_monotonic_decreasing
    of_a = aligned.frames["features_a"].loc[near["feature"]]
    assert near["class"].tolist() == of_a["class"].tolist()
    assert near["partner"].tolist() == of_a["partner"].tolist()
    with pytest.raises(errors.DictionaryError, match="features 0 to 59: 60"):
        aligned.neighbourhood(60)
    with pytest.raises(errors.DictionaryError, match="side must be"):
        aligned.neighbourhood(0, "left")


def test_the_card_says_what_the_tables_hold(aligned: aquin_nb.SaeAlign) -> None:
    card, frames = aligned.card, aligned.frames
    assert card.classes_a == {k: int(n) for k, n in frames["features_a"]["class"].value_counts().items()}
    assert card.sample == "500 rows of a tensor in memory"
    assert card.verdict == "optimal"
    assert card.agreement == 1.0
    assert card.quantiles["50"] == pytest.approx(card.median_cosine)
    first = card.weakest_a[0]
    row = frames["features_a"].loc[first.feature]
    living = frames["features_a"].query("`class` != 'dead'")
    assert row["nearest_cosine"] == living["nearest_cosine"].min()
    assert first.neighbours[0].feature == row["nearest"]
    assert first.label == row["class"]
    assert [pair.cosine for pair in card.weakest] == sorted(frames["pairs"]["cosine"])[:50]
    for said in ("60 pairs of seed 0 and seed 1", "optimal, gap 0", "MMCS", "encoders and decoders agree", "a: 30"):
        assert said in aligned.summary(), said


def test_the_face_explains_classes_margins_and_weak_features(aligned: aquin_nb.SaeAlign) -> None:
    html = aligned.html(live=False)
    for said in (
        "What became of the features",
        "Weakest features of a",
        "Weakest pairs",
        "no finding about its partner",
    ):
        assert said in html, said
    assert "each the other&#x27;s nearest, cosine at least 0.7" in html


def test_the_figures_hold_the_tables(aligned: aquin_nb.SaeAlign) -> None:
    histogram = aligned.figure()
    assert sum(histogram.data[0].y) == len(aligned.frames["pairs"])
    assert histogram.layout.shapes[0].x0 == aligned.card.null_line
    sankey = aligned.sankey_figure().data[0]
    assert sum(sankey.link.value) == 60
    assert aligned.heatmap_figure().data[0].z.shape == (60, 60)
    assert aligned.heatmap_figure("clusters").data[0].z.shape == (7, 7)
    with pytest.raises(errors.DictionaryError, match="matching or clusters"):
        aligned.heatmap_figure("size")


def test_thresholds_may_be_some_of_them(saved: tuple[Path, Path]) -> None:
    assert aquin_nb.sae_align(*saved, thresholds={"tau": 0.9}).card.thresholds.tau == 0.9
    with pytest.raises(errors.DictionaryError, match="thresholds has no 'cosine'; there are tau"):
        aquin_nb.sae_align(*saved, thresholds={"cosine": 0.9})


def test_wrong_files_and_samples_are_refused(saved: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.pt"
    torch.save({"W_dec": torch.zeros(2, 2)}, other)
    with pytest.raises(errors.DictionaryError, match="not a dictionary written by aquin-nb"):
        aquin_nb.sae_align(saved[0], other)
    with pytest.raises(errors.DictionaryError, match="has d_in 16, but the sample of activations has width 8"):
        aquin_nb.sae_align(*saved, activations=torch.randn(50, 8))
    with pytest.raises(errors.DictionaryError, match="not both"):
        aquin_nb.sae_align(*saved, activations=torch.randn(50, 16), texts=["a"])
    with pytest.raises(errors.DictionaryError, match="texts need model="):
        aquin_nb.sae_align(*saved, texts=["a"])
    with pytest.raises(errors.DictionaryError, match="rows must be"):
        aquin_nb.sae_align(*saved, activations=torch.randn(50, 16), rows=0)


def test_a_damaged_alignment_names_its_file(aligned: aquin_nb.SaeAlign, tmp_path: Path) -> None:
    (aligned.path / "arrays.npz").write_bytes(b"PK")
    with pytest.raises(errors.StoreError, match=r"arrays\.npz cannot be read"):
        aquin_nb.open_alignment(aligned.path)
    (aligned.path / "pairs.csv").unlink()
    with pytest.raises(errors.StoreError, match=r"pairs\.csv cannot be read"):
        aquin_nb.open_alignment(aligned.path)
    with pytest.raises(errors.StoreError, match=r"has no card\.json"):
        aquin_nb.open_alignment(tmp_path)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> aquin_nb.Session:
    return aquin_nb.Session("tiny")


def of_tiny(seed: int) -> SparseAutoencoder:
    told = {"name": f"<b>{seed}</b>", "layer": 3, "hook": "blocks.3.hook_resid_post", "model": "tiny"}
    return dictionary(seed, 200, 128, **told)


def test_texts_tell_dead_features_and_partners(session: aquin_nb.Session) -> None:
    a, b = of_tiny(0), of_tiny(1)
    by_firing = session.sae.align(a, b, on="firings", texts=TEXTS * 20)
    assert by_firing.card.sample.endswith("rows of 40 texts")
    assert by_firing.card.classes_a["dead"] > 0
    assert by_firing.frame["firing_rate"].max() <= 1
    with pytest.raises(errors.DictionaryError, match="no directions"):
        by_firing.heatmap_figure("clusters")


def test_top_texts_of_partners_stand_side_by_side(session: aquin_nb.Session) -> None:
    a, b = of_tiny(0), of_tiny(1)
    aligned = session.sae.align(a, b, texts=TEXTS)
    busy = aligned.frame["firing_rate"].idxmax()
    found = aligned.top_texts(int(busy), texts=TEXTS, model=session.model, top=2, window=3)
    assert set(found.frame["side"]) <= {"a", "b"}
    of_a = found.frame[found.frame["side"] == "a"]
    assert of_a["activation"].is_monotonic_decreasing
    assert of_a["document"].is_unique
    best = of_a.iloc[0]
    assert best["before"] + best["token"] + best["after"] in TEXTS[best["document"]]
    tokens = session.model.tokenize([TEXTS[best["document"]]])
    x = session.model.residuals(tokens, [3])[3][0][tokens.analysed[0]]
    assert best["activation"] == pytest.approx(float(a.encode(x)[:, busy].max()), rel=1e-4)
    assert "<b>0</b>" not in found.html()
    assert f"&lt;b&gt;0&lt;/b&gt;: feature {busy}" in found.html()
    assert f"feature {busy} of <b>0</b>" in repr(found)
    assert f"{aligned.frame['class'][busy]}, cosine" in found.html()


def test_top_texts_of_a_store_are_read_from_its_tokens(session: aquin_nb.Session) -> None:
    kept = session.collect_activations(corpus=TEXTS * 30, layers=[2, 3], tokens=400, name="kept").wait()
    aligned = session.sae.align(of_tiny(0), of_tiny(1), activations=kept)
    busy = int(aligned.frame["firing_rate"].idxmax())
    found = aligned.top_texts([busy, (busy, 3)], kept, model=session.model, top=3, window=2)
    best = found.frame.iloc[0]
    assert any(best["before"] + best["token"] + best["after"] in text for text in TEXTS)
    assert found.pairs[1] == (busy, 3)
    with pytest.raises(errors.StoreError, match="give model="):
        aligned.top_texts(busy, kept)
    with pytest.raises(errors.DictionaryError, match="features 0 to 199, not 200"):
        aligned.top_texts((200, 1), kept, model=session.model)
    with pytest.raises(errors.DictionaryError, match="Give either"):
        aligned.top_texts(busy)
    with pytest.raises(errors.DictionaryError, match="never saved"):
        aquin_nb.open_alignment(aligned.path).top_texts(busy, kept, model=session.model)


def test_rows_of_another_place_are_noted(session: aquin_nb.Session) -> None:
    kept = session.collect_activations(corpus=TEXTS * 30, layers=[2], tokens=300, name="elsewhere").wait()
    aligned = session.sae.align(of_tiny(0), of_tiny(1), activations=kept)
    said = (
        "The dictionary <b>0</b> was trained on blocks.3.hook_resid_post and encodes rows of blocks.2.hook_resid_post."
    )
    assert said in aligned.card.notes


def test_each_dictionary_reads_its_own_site_of_a_store(session: aquin_nb.Session) -> None:
    kept = session.collect_activations(corpus=TEXTS * 30, layers=[2, 3], tokens=400, name="two-sites").wait()
    other = of_tiny(1).renamed(layer=2, hook="blocks.2.hook_resid_post")
    aligned = session.sae.align(of_tiny(0), other, on="firings", activations=kept)
    f = other.encode(torch.cat([kept.store.at(2).read(i).x for i in range(len(kept.store.chunks))]).float())
    rates = aligned.frames["features_b"]["firing_rate"]
    assert np.allclose(rates, (f > 0).double().mean(0).numpy())
    assert any("different layers (3 and 2)" in note for note in aligned.card.notes)


def test_the_terminal_aligns_by_firings(
    saved: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cli"
    words = ["sae", "align", *map(str, saved), "--max-features", "40", "--time-limit", "60", "--output", str(out)]
    assert main(words) == 0
    assert "40 pairs of seed 0 and seed 1" in capsys.readouterr().out
    assert main(["sae", "align", *map(str, saved), "--on", "firings"]) == 1
    assert "give the rows to do it on" in capsys.readouterr().err
    assert aquin_nb.open_alignment(out).card.n_a == 40


def test_several_dictionaries_have_a_matrix_a_face_and_a_figure(saved: tuple[Path, Path], tmp_path: Path) -> None:
    found = aquin_nb.compare_dictionaries([*saved, dictionary(2)])
    assert list(found.matrix) == ["seed 0", "seed 1", "dictionary"]
    assert len(found.stable) == 30
    assert found.stable_share == 0.5
    named = aquin_nb.compare_dictionaries({"<i>x</i>": saved[0], "y": saved[1]}, least=0.95)
    assert "<i>x" not in named.html(live=False)
    assert "30 features in all of 2" in named.figure().layout.title.text
    assert "30 features in all of them" in repr(named)
    assert json.loads(named.save(tmp_path / "n.json").read_text())["sizes"] == {"<i>x</i>": 60, "y": 60}
    assert named.save(tmp_path / "n.html").stat().st_size > 1000
