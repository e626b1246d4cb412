"""Fine-tuning: a real checkpoint that fits its base, moves only what was asked, and learns."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import torch

from aquin_nb.control import Control
from aquin_nb.engine.models import Model, catalogue, finetune, load_model, read_checkpoint
from aquin_nb.errors import Cancelled, CorpusError, ModelError, OutputError

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def sample() -> Path:
    return catalogue.entry("tiny").bundled_folder / "sample.jsonl"


@pytest.fixture(scope="module")
def bible(sample: Path) -> list[str]:
    rows = [json.loads(line) for line in sample.read_text(encoding="utf-8").splitlines()]
    return [row["text"] for row in rows if row["source"] == "bible"][:60]


def test_it_learns_and_its_checkpoint_loads(tmp_path: Path, bible: list[str], plain: Model) -> None:
    result = finetune(
        "tiny", bible, tmp_path / "c.pt", steps=16, batch_size=8, context_size=64, learning_rate=4e-4, device="cpu"
    )
    assert (result.step, len(result.train_loss), result.layers) == (16, 16, ())
    assert result.loss_after < result.loss_before
    tuned = load_model("tiny", device="cpu", dtype="float32", checkpoint=result.path)
    assert tuned.info.checkpoint is not None
    assert tuned.info.checkpoint.step == 16
    assert tuned.info.fingerprint != plain.info.fingerprint


def test_named_layers_alone_move(tmp_path: Path, bible: list[str]) -> None:
    result = finetune("tiny", bible, tmp_path / "c.pt", steps=2, layers=[2, 3], context_size=32, device="cpu")
    assert result.layers == (2, 3)
    _, state = read_checkpoint(result.path)
    own = load_model("tiny", device="cpu", dtype="float32", backend="huggingface").backend.model.state_dict()  # type: ignore[attr-defined]
    moved = {name.split(".")[2] for name in own if not torch.equal(own[name], state[name].float())}
    assert moved == {"2", "3"}


def test_what_cannot_be_done_is_said(tmp_path: Path, bible: list[str]) -> None:
    out = tmp_path / "c.pt"
    with pytest.raises(CorpusError, match="windows"):
        finetune("tiny", ["too short"], out, steps=1)
    with pytest.raises(ModelError, match="layers 0 to 5"):
        finetune("tiny", bible, out, steps=1, layers=[6])
    with pytest.raises(ModelError, match="at least 1"):
        finetune("tiny", bible, out, steps=0)
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        finetune("tiny", bible, out, steps=1, control=control)
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        finetune("tiny", bible, out, steps=1)
    assert out.read_text() == "mine"


def test_the_tool(tmp_path: Path, sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(ROOT / "tools" / "finetune_checkpoint.py"))["main"]
    out = tmp_path / "c.pt"
    arguments = ["tiny", "--texts", str(sample), "--where", "source=austen", "--steps", "1", "--layers", "4-5"]
    assert main([*arguments, "--context-size", "32", "--device", "cpu", "--out", str(out)]) == 0
    assert "held-out loss" in capsys.readouterr().out
    assert read_checkpoint(out)[0] == 1
    assert main([*arguments, "--out", str(out)]) == 1
    assert "exists already" in capsys.readouterr().err
