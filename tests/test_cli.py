"""The terminal speaks the same words, prints one line for an error, and tells the shell how it ended."""

import io
import json
from pathlib import Path

import pytest

from aquin_nb import open_activations, open_capture
from aquin_nb.cli import main


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert "smollm2-135m" in capsys.readouterr().out


def test_capture_train_and_align(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert main(["capture-activations", "--model", "tiny", "--count", "3", "--layers", "2,3", "--name", "c"]) == 0
    assert "3 probes × 2 layers of tiny" in capsys.readouterr().out
    for seed in ("0", "1"):
        options = ["--activations", str(home / "captures" / "c"), "--layer", "3", "--steps", "5", "--d-sae", "32"]
        assert main(["sae", "train", "--model", "tiny", *options, "--seed", seed, "--name", f"s{seed}"]) == 0
        assert "smoke test only" in capsys.readouterr().out
    files = [str(home / "sae" / "user" / "tiny" / f"s{seed}" / "sae_layer3.pt") for seed in ("0", "1")]
    assert main(["sae", "align", *files, "--name", "a"]) == 0
    assert "32 pairs of s0 and s1" in capsys.readouterr().out
    assert json.loads((home / "align" / "a" / "card.json").read_text())["kind"] == "saeAlign"


def test_a_capture_stores_features_under_a_dictionary(home: Path) -> None:
    assert main(["capture-activations", "--model", "tiny", "--count", "3", "--layers", "2,3", "--name", "c"]) == 0
    options = ["--activations", str(home / "captures" / "c"), "--layer", "3", "--steps", "5", "--d-sae", "32"]
    assert main(["sae", "train", "--model", "tiny", *options, "--name", "s"]) == 0
    dictionary = str(home / "sae" / "user" / "tiny" / "s" / "sae_layer3.pt")
    words = [
        "capture-activations",
        "--model",
        "tiny",
        "--count",
        "3",
        "--layers",
        "2",
        "--encode-sae",
        "--sae",
        dictionary,
        "--name",
        "e",
    ]
    assert main(words) == 0
    capture = open_capture(home / "captures" / "e")
    assert capture.features is not None
    assert capture.features.shape == (3, 32)
    assert capture.feature_frame is not None
    assert set(capture.feature_frame["probe"]) <= {0, 1, 2}
    assert capture.manifest["sae"]["layer"] == 3


COLLECT = [
    "collect-activations",
    "--model",
    "tiny",
    "--corpus",
    "packaged",
    "--layers",
    "2,blocks.3.hook_mlp_out",
    "--tokens",
    "2000",
]


def test_activations_are_collected_looked_at_and_removed(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert main([*COLLECT, "--name", "kept", "--dtype", "float32"]) == 0
    said = capsys.readouterr()
    assert "2,000 tokens at blocks.2.hook_resid_post, blocks.3.hook_mlp_out of tiny" in said.out
    assert said.err.startswith("About 2.1 MB on disk;")
    folder = home / "activations" / "tiny" / "kept"
    assert main(["activations", "list"]) == 0
    assert "2,000 rows" in capsys.readouterr().out
    assert main(["activations", "stat", str(folder)]) == 0
    assert "blocks.3.hook_mlp_out [128]" in capsys.readouterr().out
    assert main(["activations", "verify", str(folder)]) == 0
    assert "is sound: 2,000 rows" in capsys.readouterr().out
    assert main(["activations", "trim", str(folder), "500"]) == 0
    assert main([*COLLECT, "--name", "kept", "--dtype", "float32", "--resume"]) == 0
    assert open_activations(folder).store.rows == 2000
    (folder / "mine.txt").write_text("not yours")
    assert main(["activations", "remove", str(folder), "--yes"]) == 0
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "names",
    [("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")],
    ids=["torchrun", "slurm"],
)
def test_processes_share_a_collection(
    names: tuple[str, str, str], capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    for rank, said in enumerate(("Part 0 of 2 is complete", "2,000 tokens")):
        for name, value in zip(names, (str(rank), "2", str(rank)), strict=True):
            monkeypatch.setenv(name, value)
        assert main([*COLLECT, "--name", "shared"]) == 0
        assert said in capsys.readouterr().out
    store = open_activations(home / "activations" / "tiny" / "shared").store
    assert store.complete
    assert {chunk.file[:10] for chunk in store.chunks} == {"chunks/r00", "chunks/r01"}
    assert store.verify() == 2000


def test_nothing_is_removed_that_is_not_ours_or_without_a_yes(
    capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["capture-activations", "--model", "tiny", "--count", "3", "--layers", "2", "--name", "c"]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    folder = home / "captures" / "c"
    for words, problem in (
        ([str(folder)], "add --yes"),
        ([str(home), "--yes"], "has no manifest.json"),
        ([str(home / "nowhere"), "--yes"], "is not there"),
    ):
        assert main(["activations", "remove", *words]) == 1
        assert problem in capsys.readouterr().err
    assert main(["activations", "verify", str(folder)]) == 0
    assert main(["activations", "remove", str(folder), "--yes"]) == 0
    assert not folder.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*COLLECT, "--layers", "3,9"], "layer"),
        ([*COLLECT, "--layers", "3,,4"], "site"),
        ([*COLLECT, "--tokens", "0"], "tokens must be a whole number"),
        ([*COLLECT, "--context-size", "0"], "context_size=0"),
        ([*COLLECT, "--batch-size", "0"], "batch_size=0"),
        ([*COLLECT, "--dtype", "int8"], "int8"),
        ([*COLLECT, "--seed", "-1"], "seed"),
        ([*COLLECT, "--resume"], "say which by --name or --output"),
        ([*COLLECT, "--output", "nowhere://x"], "nowhere"),
        (["activations", "stat", "nothing"], "nothing is not there"),
        (["activations", "merge", "nothing"], "nothing is not there"),
        (["capture-activations", "--model", "tiny", "--encode-sae"], "add --sae PATH"),
        (["capture-activations", "--sae", "x.pt"], "do nothing without --encode-sae"),
        (
            ["capture-activations", "--model", "tiny", "--encode-sae", "--sae", "nothing.pt"],
            "no dictionary at nothing.pt",
        ),
        (["capture-activations", "--model", "tinny"], "tiny"),
        (["capture-activations", "--layers", "three"], "--layers wants"),
        (["sae", "train", "--model", "tiny", "--lr", "inf"], "lr should be a finite number, not inf"),
        (["sae", "align", "nothing.pt", "nothing.pt"], "no dictionary at nothing.pt"),
        (["fetch", "gpt5"], "gpt5"),
    ],
)
def test_an_error_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 1
    *progress, said = capsys.readouterr().err.splitlines()
    assert message in said
    assert not [line for line in progress if line.startswith("aquin-nb:")]
