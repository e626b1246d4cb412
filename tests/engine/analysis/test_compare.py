"""Captures side by side: each layer is told, what cannot be told is said, and nothing damaged is compared."""

from __future__ import annotations

import numpy as np
import pytest

from aquin_nb.control import Control
from aquin_nb.engine.activations.captured import read_capture
from aquin_nb.engine.activations.probes import Probe
from aquin_nb.engine.analysis import compare as module
from aquin_nb.engine.analysis.compare import compare
from aquin_nb.errors import AquinError, Cancelled, OutOfMemory, ProbeError, StoreError

N = 20


def probes(n: int = N, prefix: str = "text", **extra: object) -> list[Probe]:
    return [Probe(f"{prefix} {row:02d}", {"label": "xy"[row % 2], **extra}) for row in range(n)]


def vectors(d: int = 12, n: int = N, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, d))
    x[1::2, 0] += 6.0  # the label
    return x


def row(found, layer: int, capture: str) -> dict:
    (only,) = found.layers[(found.layers["layer"] == layer) & (found.layers["capture"] == capture)].to_dict("records")
    return only


def test_the_same_probes_in_another_order_are_the_same(make_capture):
    x, order = vectors(), np.random.default_rng(3).permutation(N)
    a = make_capture("a", {2: x, 5: 2 * x}, probes())
    b = make_capture("b", {2: 3 * x[order], 5: vectors(seed=9)[order]}, [probes()[i] for i in order])
    found = compare({"a": a, "b": b})
    same, other = row(found, 2, "b"), row(found, 5, "b")
    assert (same["cosine_q25"], same["cosine_q75"], same["cka"]) == pytest.approx((1, 1, 1), abs=1e-6)
    assert -1 < same["cosine_others"] < 0.9
    assert other["cosine_median"] < 0.9
    assert other["cka"] < 0.99
    assert same["norm_median"] == pytest.approx(3 * np.median(np.linalg.norm(x, axis=1)), rel=1e-6)
    assert same["norm_q25"] == pytest.approx(3 * np.quantile(np.linalg.norm(x, axis=1), 0.25), rel=1e-6)
    assert row(found, 2, "a")["accuracy_label"] == same["accuracy_label"] > 0.8
    assert np.isnan(row(found, 2, "a")["cka"])
    assert found.captures["matched_by"].fillna("").tolist() == ["", "text"]
    assert found.probes.empty
    assert found.notes == []
    assert len(found.methods) == 2


def test_other_widths_have_cka_and_no_cosine_and_the_reason_is_given(make_capture):
    a = make_capture("a", {0: vectors(12)}, probes())
    b = make_capture("b", {0: np.pad(vectors(12), ((0, 0), (0, 4)))}, probes(), model="wide")
    found = compare({"a": a, "b": b}, labels=[])
    assert row(found, 0, "b")["cka"] == pytest.approx(1, abs=1e-6)
    assert np.isnan(row(found, 0, "b")["cosine_median"])
    assert found.notes == [
        "No cosine between a and b: their vectors have 12 and 16 dimensions. CKA does not need equal widths."
    ]


def test_other_models_of_the_same_width_are_pointed_out(make_capture):
    a = make_capture("a", {0: vectors()}, probes())
    b = make_capture("b", {0: vectors()}, probes(), model="other", n_layers=4)
    said = compare({"a": a, "b": b}, labels=[]).notes
    assert "their axes need not correspond" in said[0]
    assert "8 layers and that of b 4" in said[1]


def test_probes_and_layers_that_one_lacks_are_told(make_capture):
    a = make_capture("a", {0: vectors(), 1: vectors()}, probes())
    b = make_capture("b", {1: vectors()[:15], 3: vectors()[:15]}, [*probes(14), Probe("new")])
    found = compare({"a": a, "b": b}, labels=[])
    assert found.layers[["layer", "capture"]].to_numpy().tolist() == [[0, "a"], [1, "a"], [1, "b"], [3, "b"]]
    assert row(found, 1, "b")["cka"] == pytest.approx(1, abs=1e-6)
    assert np.isnan(row(found, 3, "b")["cka"])
    assert found.probes["flag"].tolist() == ["missing"] * 6 + ["extra"]
    assert found.probes["first_probe"].tolist()[:6] == [14, 15, 16, 17, 18, 19]
    last = found.probes.iloc[6]
    assert (last["capture"], last["probe"], last["text"], last["detail"]) == ("b", 14, "new", "")
    assert found.probes["first_probe"].isna().tolist() == [False] * 6 + [True]
    assert found.notes == [
        "14 probes are in both a and b; 6 only in a, 1 only in b.",
        "Layers that are not in both: a lacks 3; b lacks 0.",
    ]


def test_different_probes_have_norms_and_separability_and_nothing_matched(make_capture):
    a = make_capture("a", {0: vectors()}, probes())
    b = make_capture("b", {0: vectors(n=16, seed=1)}, probes(16, "another"))
    found = compare({"a": a, "b": b}, labels=["label"])
    assert found.layers[["cosine_median", "cka"]].isna().all(axis=None)
    assert found.layers["accuracy_label"].notna().all()
    assert len(found.probes) == 36
    assert "a and b have no probe in common: no cosine and no CKA." in found.notes
    assert any("over other probes in each capture" in note for note in found.notes)


def test_rows_are_matched_by_position_where_every_text_differs(make_capture):
    a = make_capture("a", {0: vectors()}, probes())
    found = compare({"a": a, "b": make_capture("b", {0: vectors()}, probes(prefix="texte"))}, labels=[])
    assert found.captures["matched_by"][1] == "position"
    assert row(found, 0, "b")["cosine_median"] == pytest.approx(1, abs=1e-6)
    assert set(found.probes["flag"]) == {"text differs"}
    assert "matched by position" in found.notes[0]


def test_fewer_than_four_common_probes_have_no_cka(make_capture):
    a = make_capture("a", {0: vectors(n=3)}, probes(3))
    found = compare({"a": a, "b": make_capture("b", {0: vectors(n=3)}, probes(3))})
    assert np.isnan(row(found, 0, "b")["cka"])
    assert row(found, 0, "b")["cosine_median"] == pytest.approx(1)
    assert "CKA needs 4 probes in common; a and b have 3." in found.notes


def test_every_pair_of_layers_has_the_matched_ones_among_them(make_capture):
    a = make_capture("a", {0: vectors(), 1: vectors(seed=1)}, probes())
    b = make_capture("b", {0: vectors(seed=2), 1: vectors(seed=3), 4: vectors(seed=1)}, probes())
    found = compare({"a": a, "b": b}, labels=[], cka="all")
    table = found.cka.set_index(["first_layer", "layer"])["cka"]
    assert len(table) == 6
    for layer in (0, 1):
        assert table[layer, layer] == pytest.approx(row(found, layer, "b")["cka"])
    assert table[1, 4] == pytest.approx(1, abs=1e-6)


def test_too_many_pairs_of_layers_are_refused_with_the_size(make_capture, monkeypatch):
    monkeypatch.setattr(module, "KERNEL_BYTES", 1000)
    a, b = (make_capture(name, {0: vectors()}, probes()) for name in "ab")
    with pytest.raises(OutOfMemory, match=r"hold 3\.2 kB for 20 probes and 1 layers"):
        compare({"a": a, "b": b}, labels=[], cka="all")
    with pytest.raises(AquinError, match="neither 'matched' nor 'all'"):
        compare({"a": a, "b": b}, cka="some")


def test_labels_are_found_and_those_that_are_none_are_named(make_capture):
    given = [
        Probe(p.text, {**p.metadata, "id": i, "kind": "k", "half": None if i % 2 else i % 4})
        for i, p in enumerate(probes())
    ]
    found = compare({"a": make_capture("a", {0: vectors()}, given)})
    assert found.labels.to_dict("records") == [
        {"capture": "a", "label": "label", "probes": 20, "classes": "x 10, y 10", "baseline": 0.5, "missing": 0,
         "repeated": 0},
        {"capture": "a", "label": "half", "probes": 10, "classes": "0 5, 2 5", "baseline": 0.5, "missing": 10,
         "repeated": 0},
    ]  # fmt: skip
    assert found.notes[0] == "Label 'half' of a: 10 probes have none; left out."
    assert found.notes[1].startswith("Not taken for labels: id, kind (a label has 2 to 20 classes of 5 probes or more")
    assert list(found.layers.columns) == [
        "layer", "capture", "norm_q25", "norm_median", "norm_q75", "accuracy_label", "spread_label", "baseline_label",
        "accuracy_half", "spread_half", "baseline_half",
    ]  # fmt: skip
    assert found.cka is None


def test_a_label_that_was_asked_for_is_refused_where_nobody_has_it_and_noted_where_one_lacks_it(make_capture):
    a = make_capture("a", {0: vectors()}, probes())
    plain = make_capture("b", {0: vectors()}, [Probe(p.text) for p in probes()])
    with pytest.raises(ProbeError, match=r"No probe of a has the label 'truth'"):
        compare({"a": a, "b": plain}, labels=["truth"])
    found = compare({"a": a, "b": plain}, labels=["label"])
    assert any(note.startswith("No probe of b has the label 'label'.") for note in found.notes)
    assert found.layers["accuracy_label"].notna().tolist() == [True, False]


def test_empty_damaged_and_infinite_captures_are_refused_by_name(make_capture):
    good = make_capture("good", {0: vectors()}, probes())
    with pytest.raises(StoreError, match=r"empty \(e\) has no probes"):
        compare({"g": good, "e": make_capture("empty", {0: np.zeros((0, 4))}, [])})
    with pytest.raises(StoreError, match=r"bare \(e\) has no layers"):
        compare({"e": make_capture("bare", {}, probes())})
    broken = vectors()
    broken[7, 3] = np.nan
    with pytest.raises(StoreError, match="NaN or infinity at layer 0 for probe 8"):
        compare({"g": good, "b": make_capture("nan", {0: broken}, probes())})
    shard = good.path / "layers/layer_0.pt"
    data = bytearray(shard.read_bytes())
    data[-300] ^= 1
    shard.write_bytes(data)
    with pytest.raises(StoreError, match=r"layer_0\.pt is damaged"):
        compare({"g": read_capture(good.path)})


def test_progress_is_in_layers_and_a_comparison_can_be_stopped(make_capture):
    a, b = (make_capture(name, {0: vectors(), 1: vectors()}, probes()) for name in "ab")
    ticks = []
    compare({"a": a, "b": b}, labels=[], control=Control(ticks.append))
    assert [(tick.done, tick.total) for tick in ticks] == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    control = Control(lambda tick: control.cancel() if tick.done == 2 else None)
    with pytest.raises(Cancelled):
        compare({"a": a, "b": b}, labels=[], control=control)
