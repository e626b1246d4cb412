"""`open` says of whatever a command wrote what it is, makes a page of it, and refuses the rest in one sentence."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from aquin_nb import Session
from aquin_nb.cli import main
from aquin_nb.cli.output import hanging
from aquin_nb.cli.tables import first, shown
from aquin_nb.engine.models import catalogue


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each kind, on `tiny`."""
    home = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AQUIN_HOME", str(home))
        session = Session("tiny")
        texts = [f"Text {one} about the weather in town {one}." for one in range(6)]
        capture = session.capture_activations([{"text": text} for text in texts], layers=[2, 3], name="c")
        store = session.collect_activations("packaged", layers=[2, 3], tokens=300, name="k").wait()
        sweep = session.sae.sweep([2, 3], activations=store.path, steps=3, d_sae=16, k=4, name="w").wait()
        trained = session.sae.train(3, activations=capture.path, steps=3, d_sae=16, k=4, name="s").wait()
        session.load_sae(path=trained.path)
        weights = load_file(catalogue.entry("tiny").bundled_folder / "model.safetensors")
        tuned = []
        for step, scale in enumerate((1.01, 1.1)):
            tuned.append(home / f"step{step}.safetensors")
            save_file({name: one * (scale if "mlp" in name else 1) for name, one in weights.items()}, tuned[-1])
        diff = session.sae.diff(tuned[1], texts, name="d")
        trajectory = session.sae.trajectory(tuned, texts, name="t")
        assert main(["session", "start", "--id", "monday"]) == 0
    return {
        "capture": capture.path, "store": Path(store.path), "sweep": sweep.path, "training": trained.path,
        "diff": diff.path, "trajectory": trajectory.path, "session": home / "session.json",
    }  # fmt: skip


SAYS = {
    "capture": ("Capture c: 6 probes", "probes: 6 of 6 rows"),
    "store": ("300 tokens at blocks.2.hook_resid_post", "blocks.2.hook_resid_post"),
    "sweep": ("SaeSweep w", "layers: 2 of 2 rows"),
    "training": ("SaeTrain s: smoke test only", "history: 3 of 3 rows"),
    "diff": ("SaeDiff d", "largest |delta| first"),
    "trajectory": ("SaeTrajectory t", "features: "),
    "session": ("Session monday (id monday", "model       none"),
}


@pytest.mark.parametrize("kind", list(SAYS))
def test_each_kind_says_what_it_is(kind: str, made: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["open", str(made[kind])]) == 0
    said = capsys.readouterr()
    for words in SAYS[kind]:
        assert words in said.out
    assert max(map(len, said.out.splitlines()[2:])) < 300
    assert main(["open", str(made[kind]), "--output-json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"] == str(made[kind])
    assert (told["card"] is None) == (kind == "session")


@pytest.mark.parametrize("kind", [kind for kind in SAYS if kind != "session"])
def test_each_kind_with_a_view_makes_a_page(
    kind: str, made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "deep" / "page.html"
    page.parent.mkdir()
    assert main(["open", str(made[kind]), "--html", str(page)]) == 0
    assert str(page) in capsys.readouterr().out
    text = page.read_text("utf-8")
    assert text.startswith("<!")
    assert re.search(r"<(script|link|img)[^>]*(src|href)=\"https?:", text) is None


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("nothing", "is not there"),
        ("empty", "holds nothing that aquin-nb wrote"),
        ("notes.txt", "was not written by aquin-nb"),
        ("damaged", "card.json"),
        ("several", "holds several dictionaries: open one of sae_layer1.pt, sae_layer2.pt"),
        ("session.json", "has no view"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(
    place: str, said: str, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "card.json").write_bytes(b"\xff{")
    (tmp_path / "several").mkdir()
    for layer in (1, 2):
        (tmp_path / "several" / f"sae_layer{layer}.card.json").write_text("{}")
    (tmp_path / "session.json").write_text("{}")
    assert main(["open", str(tmp_path / place), "--html", str(tmp_path / "x.html")]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "x.html").exists()


class Told:
    """What `shown` needs of a result."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frames = {"rows": frame}

    def summary(self) -> str:
        return "One line.\n  Another one that is rather longer than the terminal is wide."


def test_it_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    frame: Any = pd.DataFrame(
        {"text": ["words " * 20, "日本語" * 20], "label": ["positive", "negative"], "x": [1.5, 2.0]}
    )
    lines = shown(Told(frame)).replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()  # type: ignore[arg-type]
    assert max(map(len, lines)) <= 40
    assert lines[1:3] == ["  Another one that is rather longer than", "    the terminal is wide."]
    assert sum("positive" in line or "negative" in line for line in lines) == 2, "short columns are not cut"
    assert hanging("a/very/long/path/" * 5) == "a/very/long/path/" * 5, "a path can be copied"


def test_the_rows_to_look_at_come_first() -> None:
    delta = pd.DataFrame({"feature": range(40), "delta": np.linspace(-1, 0.5, 40)})
    assert first(delta)[0]["feature"].iloc[0] == 0
    pairs = pd.DataFrame({"partner": range(40), "cosine": np.linspace(0, 1, 40)})
    assert first(pairs)[0]["cosine"].iloc[0] == 1
    curve = pd.DataFrame({"step": range(100), "fvu": 0.5})
    assert first(curve)[0]["step"].iloc[[0, -1]].tolist() == [0, 99]
