"""compare_captures on a real model: results or folders, named; and separability of one capture."""

from __future__ import annotations

from pathlib import Path

import pytest

import aquin_nb
from aquin_nb.engine.activations.capture import capture
from aquin_nb.engine.activations.probes import builtin_probes
from aquin_nb.engine.models import load_model
from aquin_nb.errors import AquinError, ProbeError, StoreError


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same 24 probes at the last token and as means, layers 1 and 4 of tiny."""
    folder = tmp_path_factory.mktemp("captures")
    tiny = load_model("tiny", device="cpu", dtype="float32", backend="huggingface")
    probes = builtin_probes("true or false", 24)
    for position in ("last", "mean"):
        capture(tiny, probes, layers=[1, 4], position=position, output=folder / position, name="facts")
    return [folder / "last", folder / "mean"]


def test_results_and_folders_compare_under_their_names(captures):
    found = aquin_nb.compare_captures([aquin_nb.open_capture(captures[0]), str(captures[1])])
    assert found.captures["capture"].tolist() == ["facts", "facts (2)"]
    assert found.captures["position"].tolist() == ["last", "mean"]
    assert found.frame[["layer", "capture"]].to_numpy().tolist() == [
        [1, "facts"], [1, "facts (2)"], [4, "facts"], [4, "facts (2)"],
    ]  # fmt: skip
    assert found.labels["label"].unique().tolist() == ["label"]
    compared = found.frame[found.frame["capture"] == "facts (2)"]
    assert compared["cosine_median"].between(0, 1).all()
    assert compared["cka"].between(0, 1).all()
    assert found.frame["accuracy_label"].between(0, 1).all()
    assert (found.frame["baseline_label"] == 0.5).all()


def test_a_capture_tells_how_separable_a_label_is(captures):
    found = aquin_nb.open_capture(captures[0]).separability("label")
    alone = aquin_nb.compare_captures([captures[0]], "label")
    assert found.frame.equals(alone.frame)
    assert list(found.frame.columns) == [
        "layer", "capture", "norm_q25", "norm_median", "norm_q75", "accuracy_label", "spread_label", "baseline_label",
    ]  # fmt: skip
    with pytest.raises(ProbeError, match=r"has the label 'lable'\. Did you mean label\?"):
        aquin_nb.open_capture(captures[0]).separability("lable")


def test_every_pair_of_layers_when_asked(captures):
    found = aquin_nb.compare_captures(captures, (), names=["last", "mean"], cka="all")
    assert found.cka is not None
    assert found.cka[["first_layer", "layer"]].to_numpy().tolist() == [[1, 1], [4, 1], [1, 4], [4, 4]]
    assert found.labels.empty


def test_what_is_no_list_of_captures_is_told(captures, tmp_path):
    for given, kind, message in (
        (captures[0], AquinError, "wants a list"),
        (aquin_nb.open_capture(captures[0]), AquinError, "wants a list"),
        ([], AquinError, "empty list"),
        ([3], AquinError, "int is no capture"),
        ([tmp_path], StoreError, "is not a capture"),
    ):
        with pytest.raises(kind, match=message):
            aquin_nb.compare_captures(given)
    for names in (["a"], ["a", "a"]):
        with pytest.raises(AquinError, match="name each of the 2 captures differently"):
            aquin_nb.compare_captures(captures, names=names)
