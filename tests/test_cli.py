"""The terminal speaks the same words, prints one line for an error, and tells the shell how it ended."""

import json
from pathlib import Path

import pytest

from aquin_nb import open_capture
from aquin_nb.cli import main


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert "smollm2-135m" in capsys.readouterr().out


def test_capture_train_and_align(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert main(["capture-activations", "--count", "3", "--layers", "2,3", "--name", "c"]) == 0
    assert "3 probes × 2 layers of tiny" in capsys.readouterr().out
    for seed in ("0", "1"):
        options = ["--activations", str(home / "captures" / "c"), "--layer", "3", "--steps", "5", "--d-sae", "32"]
        assert main(["sae", "train", *options, "--seed", seed, "--name", f"s{seed}"]) == 0
        assert "smoke test only" in capsys.readouterr().out
    files = [str(home / "sae" / "user" / "tiny" / f"s{seed}" / "sae_layer3.pt") for seed in ("0", "1")]
    assert main(["sae", "align", *files, "--name", "a"]) == 0
    assert "32 pairs of s0 and s1" in capsys.readouterr().out
    assert json.loads((home / "align" / "a" / "card.json").read_text())["kind"] == "saeAlign"


def test_a_capture_stores_features_under_a_dictionary(home: Path) -> None:
    assert main(["capture-activations", "--count", "3", "--layers", "2,3", "--name", "c"]) == 0
    options = ["--activations", str(home / "captures" / "c"), "--layer", "3", "--steps", "5", "--d-sae", "32"]
    assert main(["sae", "train", *options, "--name", "s"]) == 0
    dictionary = str(home / "sae" / "user" / "tiny" / "s" / "sae_layer3.pt")
    words = ["capture-activations", "--count", "3", "--layers", "2", "--encode-sae", "--sae", dictionary, "--name", "e"]
    assert main(words) == 0
    capture = open_capture(home / "captures" / "e")
    assert capture.features is not None
    assert capture.features.shape == (3, 32)
    assert capture.feature_frame is not None
    assert set(capture.feature_frame["probe"]) <= {0, 1, 2}
    assert capture.manifest["sae"]["layer"] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["capture-activations", "--encode-sae"], "add --sae PATH"),
        (["capture-activations", "--sae", "x.pt"], "do nothing without --encode-sae"),
        (["capture-activations", "--encode-sae", "--sae", "nothing.pt"], "no dictionary at nothing.pt"),
        (["capture-activations", "--model", "tinny"], "tiny"),
        (["capture-activations", "--layers", "three"], "--layers wants"),
        (["sae", "train", "--lr", "inf"], "lr should be a finite number, not inf"),
        (["sae", "align", "nothing.pt", "nothing.pt"], "no dictionary at nothing.pt"),
        (["fetch", "gpt5"], "gpt5"),
    ],
)
def test_an_error_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
