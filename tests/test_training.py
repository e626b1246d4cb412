"""`aquin_nb.sae_train` and `sae_resume` on activations that are there: what they write, and what they refuse."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from planted import D, planted, stored

import aquin_nb
from aquin_nb import errors
from aquin_nb.control import Control
from aquin_nb.engine.sae import trainer as trainers
from aquin_nb.engine.sae.history import COLUMNS
from aquin_nb.results import open_training

CONFIG: dict[str, Any] = {"d_sae": 64, "k": 4, "steps": 5, "batch_size": 64, "dtype": "float32"}


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return planted(800)


class TestResult:
    def test_what_is_written(self, x: torch.Tensor, tmp_path: Path) -> None:
        output = tmp_path / "runs" / "mine.pt"
        result = aquin_nb.sae_train(x, CONFIG | {"output": str(output), "steps": 40, "name": "mine"})
        assert result.path == output
        assert sorted(path.name for path in output.parent.iterdir()) == [
            "mine.card.json",
            "mine.config.json",
            "mine.history.csv",
            "mine.pt",
        ]
        sae = aquin_nb.load_dictionary(output)
        assert (sae.cfg.name, sae.cfg.step, sae.cfg.complete, sae.cfg.d_in) == ("mine", 40, True, D)
        assert sae.encode(x[:3]).shape == (3, 64)
        history = pd.read_csv(output.with_suffix(".history.csv"))
        assert list(history.columns) == list(COLUMNS)
        assert history["step"].iloc[-1] == 40
        card = result.card
        assert card.status == "completed"
        assert card.held_out is not None
        assert card.held_out.fvu is not None
        assert result.verdict == "smoke test only", "800 rows are no corpus"
        again = open_training(output)
        assert again.card == card
        pd.testing.assert_frame_equal(again.history, result.history)

    def test_the_config_beside_it_has_every_default_the_versions_and_the_data(
        self, x: torch.Tensor, tmp_path: Path
    ) -> None:
        first = aquin_nb.sae_train(x, CONFIG | {"output": str(tmp_path / "a.pt")})
        beside = json.loads(first.path.with_suffix(".config.json").read_text())
        assert set(beside["versions"]) == {"aquin-nb", "torch"}
        assert beside["data"]["source"] == {"kind": "tensor", "shape": [800, D], "dtype": "float32"}
        assert len(beside["data"]["fingerprint"]) == 64
        settings = beside["config"] | {"output": str(tmp_path / "b.pt")}
        second = aquin_nb.sae_train(x, settings)
        for name, tensor in first.dictionary.tensors().items():
            assert torch.equal(tensor, second.dictionary.tensors()[name]), "that file trains the same dictionary"

    def test_settings_come_from_a_file_a_dict_or_the_class(self, x: torch.Tensor, tmp_path: Path) -> None:
        lines = [f"{name} = {json.dumps(value)}" for name, value in CONFIG.items()]
        (tmp_path / "c.toml").write_text("\n".join(lines))
        given: list[Any] = [CONFIG, aquin_nb.TrainConfig(**CONFIG), tmp_path / "c.toml", str(tmp_path / "c.toml")]
        results = [aquin_nb.sae_train(x, config).dictionary.W_enc for config in given]
        assert all(torch.equal(results[0], other) for other in results[1:])

    def test_without_a_place_it_goes_home(self, x: torch.Tensor, home: Path) -> None:
        assert aquin_nb.sae_train(x, CONFIG | {"name": "mine"}).path.is_relative_to(home / "sae" / "user")

    def test_a_store_tells_what_its_rows_are(self, x: torch.Tensor, tmp_path: Path) -> None:
        result = aquin_nb.sae_train(stored(tmp_path / "store", x).path, CONFIG)
        assert result.card.corpus is not None
        assert (result.card.layer, result.card.corpus.name, result.card.corpus.tokens) == (3, "planted", 800)
        assert result.dictionary.cfg.hook == "blocks.3.hook_resid_post"

    def test_a_pair_makes_a_transcoder(self, x: torch.Tensor) -> None:
        result = aquin_nb.sae_train((x, x[:, :5]), CONFIG | {"skip": True})
        cfg = result.dictionary.cfg
        assert (cfg.transcoder, cfg.d_in, cfg.d_out) == (True, D, 5)
        assert result.dictionary.W_skip is not None

    def test_several_settings_and_several_layers_give_lists(self, x: torch.Tensor) -> None:
        swept = aquin_nb.sae_train(x, [CONFIG | {"k": k} for k in (2, 6)])
        assert [result.dictionary.cfg.k for result in swept] == [2, 6]
        layers = aquin_nb.sae_train({np.int64(1): x, 2: x.flip(1)}, CONFIG)
        assert [result.card.layer for result in layers] == [1, 2]
        assert len({result.path for result in [*swept, *layers]}) == 4

    @pytest.mark.parametrize(
        "change",
        [
            torch.Tensor.double,
            torch.Tensor.half,
            torch.Tensor.bfloat16,
            torch.Tensor.requires_grad_,
            lambda x: x.numpy(),
            lambda x: x.double().numpy(),
            lambda x: x.numpy()[::-1],
            lambda x: x.numpy().astype(">f4"),
            lambda x: x.T.contiguous().T,
            lambda x: x.numpy().astype(np.longdouble),
            torch._neg_view,
        ],
        ids=[
            "float64",
            "float16",
            "bfloat16",
            "requires grad",
            "numpy",
            "numpy64",
            "reversed",
            "big-endian",
            "columns",
            "long double",
            "negated view",
        ],
    )
    def test_every_real_matrix_will_do(self, x: torch.Tensor, change: Callable[[torch.Tensor], Any]) -> None:
        assert aquin_nb.sae_train(change(x.clone()), CONFIG).card.status == "completed"

    @pytest.mark.parametrize("rows", [1, 2, 30])
    def test_a_few_rows_are_a_smoke_test(self, x: torch.Tensor, rows: int) -> None:
        result = aquin_nb.sae_train(x[:rows], CONFIG)
        assert result.verdict == "smoke test only"
        assert any("a batch holds them all" in note for note in result.card.notes)


def bad_row(x: torch.Tensor, row: int, value: float) -> torch.Tensor:
    out = x.clone()
    out[row, 3] = value
    return out


class TestRows:
    """Bad activations are refused with the place and what to do; nothing is left where the dictionary would go."""

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda x: bad_row(x, 17, np.nan), r"Row 17 .*holds NaN \(1 rows of 800 do\)"),
            (lambda x: bad_row(x, 9, np.inf), r"Row 9 .*holds infinity"),
            (lambda x: (x, bad_row(x, 4, np.nan)), r"Row 4 .*activations\[1\] holds NaN"),
            (lambda x: {1: x, 2: bad_row(x, 4, np.nan)}, r"Row 4 .*activations\[1\] holds NaN"),
            (lambda x: bad_row(x, 9, -np.inf).numpy(), r"Row 9 .*holds infinity"),
            (lambda x: x.to(torch.complex64), r"float tensor \[rows, d_in\].* complex64"),
            (lambda x: x[:, :0], r"float32 \[800, 0\]"),
            (lambda x: x.to("meta"), "A meta tensor has a shape and no values"),
            (lambda x: {np.float64(1): x}, "whole numbers of layers as keys"),
            (lambda x: 5, "not int"),
            (lambda x: (x, x, x), r"pair.*transcoder|transcoder.*two"),
            (lambda x: (x, x[:400]), "800 rows and targets 400"),
            (lambda x: {1: x, 2: x[:400]}, "800 and activations.1. 400"),
            (lambda x: {}, "dict of activations is empty"),
        ],
    )
    def test_they_are_refused(
        self, x: torch.Tensor, home: Path, change: Callable[[torch.Tensor], Any], message: str
    ) -> None:
        with pytest.raises(errors.StoreError, match=message):
            aquin_nb.sae_train(change(x), CONFIG)
        assert not list(home.rglob("*.pt"))

    @pytest.mark.parametrize(("value", "message"), [(0.0, "all zero"), (1e30, "too large"), (1e-30, "too small")])
    def test_rows_without_a_size_are_refused(self, x: torch.Tensor, value: float, message: str) -> None:
        with pytest.raises(errors.DictionaryError, match=message):
            aquin_nb.sae_train(x * value, CONFIG)

    def test_copies_of_one_row_are_told(self) -> None:
        result = aquin_nb.sae_train(torch.ones(300, 8), CONFIG)
        assert any("do not vary" in reason for reason in result.reasons)

    def test_places_that_hold_no_activations(self, x: torch.Tensor, tmp_path: Path) -> None:
        (tmp_path / "text.txt").write_text("hello")
        (tmp_path / "folder").mkdir()
        torch.save(x, tmp_path / "x.pt")
        for name, message in [
            ("nowhere", "nowhere is not there"),
            ("text.txt", r"text\.txt is a file; give the folder"),
            ("x.pt", r"x\.pt is a file; give the folder"),
            ("folder", r"folder is not a capture or an activation store"),
        ]:
            with pytest.raises(errors.StoreError, match=message):
                aquin_nb.sae_train(tmp_path / name, CONFIG)

    def test_a_failed_run_leaves_a_card_and_its_place_free(self, x: torch.Tensor, tmp_path: Path) -> None:
        output = tmp_path / "run.pt"
        with pytest.raises(errors.StoreError):
            aquin_nb.sae_train(bad_row(x, 1, np.nan), CONFIG | {"output": str(output)})
        card = json.loads(output.with_suffix(".card.json").read_text())
        assert card["status"] == "failed"
        assert "Row 1 " in str(card["error"])
        assert aquin_nb.sae_train(x, CONFIG | {"output": str(output)}).card.status == "completed"


class TestSettings:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"batchsize": 3}, r"'batchsize' is not a setting of a training\. Did you mean batch_size"),
            ({"k": 65}, r"k \(65\) is larger than d_sae \(64\)"),
            ({"skip": True}, "skip is for a transcoder"),
            ({"device": "banana"}, "'banana' is no device"),
            ({"lr": 1e30, "steps": 100}, r"at step \d+\. Try a lower lr \(now 1e\+30\)"),
            ({"lr": 1e38, "steps": 1}, r"NaN or infinite by step 1\. Try a lower lr"),
            ({"lr_decay": 6}, r"lr_decay \(6 steps\) is longer than the run \(5 steps\)"),
            ({"device": "mps"}, "device: mps cannot train: .* cpu and cuda"),
        ],
    )
    def test_they_are_refused(self, x: torch.Tensor, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(errors.DictionaryError, match=message):
            aquin_nb.sae_train(x, CONFIG | changes)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
    def test_a_gpu_that_is_not_there(self, x: torch.Tensor) -> None:
        with pytest.raises(errors.DictionaryError, match="cuda was asked for, but this machine has no CUDA GPU"):
            aquin_nb.sae_train(x, CONFIG | {"device": "cuda"})

    def test_what_is_no_config(self, x: torch.Tensor, tmp_path: Path) -> None:
        config: Any = 5
        with pytest.raises(errors.DictionaryError, match="a TrainConfig, a dict or a file, not int"):
            aquin_nb.sae_train(x, config)
        with pytest.raises(errors.DictionaryError, match=r"none\.toml cannot be read"):
            aquin_nb.sae_train(x, tmp_path / "none.toml")
        with pytest.raises(errors.DictionaryError, match="list of configs is empty"):
            aquin_nb.sae_train(x, [])

    @pytest.mark.parametrize("name", ["batch_size", "seed", "held_out"])
    def test_one_pass_has_one_order(self, x: torch.Tensor, name: str) -> None:
        other = {"batch_size": 32, "seed": 1, "held_out": 0.3}[name]
        with pytest.raises(errors.DictionaryError, match=f"trained in one pass share {name}"):
            aquin_nb.sae_train(x, [CONFIG, CONFIG | {name: other}])

    def test_the_config_that_was_written_beside_a_dictionary_trains_another(
        self, x: torch.Tensor, tmp_path: Path
    ) -> None:
        first = aquin_nb.sae_train(x, CONFIG | {"output": tmp_path / "a.pt", "name": "a"})
        second = aquin_nb.sae_train(x, tmp_path / "a.config.json")
        assert torch.equal(first.dictionary.W_dec, second.dictionary.W_dec)
        assert first.path != second.path
        assert second.card.notes == first.card.notes, "nothing in it is called useless"

    def test_settings_that_do_nothing_are_said(self, x: torch.Tensor) -> None:
        result = aquin_nb.sae_train(x, CONFIG | {"groups": [8, 64], "bandwidth": 0.1})
        assert "groups and bandwidth do nothing for topk." in result.card.notes
        assert result.dictionary.cfg.groups is None

    def test_a_width_that_cannot_fit_is_refused_at_once(self, x: torch.Tensor) -> None:
        with pytest.raises(errors.OutOfMemory, match=r"d_sae=1,000,000,000,000 needs about .* At most d_sae=\d"):
            aquin_nb.sae_train(x, CONFIG | {"d_sae": 10**12})


class Disk:
    """A disk on which dictionaries of these names cannot be written, and checkpoints where it is told so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str, checkpoints: bool) -> None:
        save = torch.save

        def full(value: Any, path: Path) -> None:
            place = str(path)
            refused = not checkpoints if ".checkpoints" in place else any(f".{name}.pt." in place for name in names)
            if refused:
                raise OSError(errno.ENOSPC, "No space left on device")
            save(value, path)

        monkeypatch.setattr(torch, "save", full)


class TestUnsaved:
    """Dictionaries that cannot be written after all the work."""

    def test_one_stays_in_memory_and_the_training_in_a_checkpoint(
        self, x: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            Disk(patch, "a", checkpoints=True)
            with pytest.raises(errors.NoSpace) as caught:
                aquin_nb.sae_train(x, CONFIG | {"output": tmp_path / "a.pt"})
        said = str(caught.value)
        assert "All of the training is in " in said
        assert "step_000000005.pt; aquin_nb.sae_resume(" in said
        assert "error.unsaved.save(PATH) writes it elsewhere, where error is sys.last_value after a cell" in said
        caught.value.unsaved.save(tmp_path / "elsewhere.pt")
        result = aquin_nb.sae_resume(tmp_path / "a.pt", x)
        assert torch.equal(result.dictionary.W_enc, aquin_nb.load_dictionary(tmp_path / "elsewhere.pt").W_enc)

    def test_each_of_several_and_no_other_is_lost(
        self, x: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configs = [CONFIG | {"output": tmp_path / f"{name}.pt", "name": name} for name in "abc"]
        with monkeypatch.context() as patch:
            Disk(patch, "a", "c", checkpoints=False)
            with pytest.raises(errors.NoSpace, match="The dictionaries are still in memory: each one in") as caught:
                aquin_nb.sae_train(x, configs)
        assert [sae.cfg.name for sae in caught.value.unsaved] == ["a", "c"]
        assert aquin_nb.load_dictionary(tmp_path / "b.pt").cfg.complete
        cards = [json.loads((tmp_path / f"{name}.card.json").read_text())["status"] for name in "abc"]
        assert cards == ["failed", "completed", "failed"]


class TestSweeps:
    def test_one_that_diverges_leaves_the_others_complete(self, x: torch.Tensor, tmp_path: Path) -> None:
        configs = [CONFIG | {"steps": 60, "lr": lr, "output": tmp_path / f"{lr:g}.pt"} for lr in (1e-3, 1e30)]
        with pytest.raises(errors.DictionaryError) as caught:
            aquin_nb.sae_train(x, configs)
        said = str(caught.value)
        assert said.startswith("1 of 2 dictionaries diverged. ")
        assert said.endswith(f"The others are complete: {tmp_path / '0.001.pt'}.")
        assert aquin_nb.load_dictionary(tmp_path / "0.001.pt").cfg.complete
        assert not (tmp_path / "1e+30.pt").exists()
        cards = [json.loads((tmp_path / f"{name}.card.json").read_text()) for name in ("0.001", "1e+30")]
        assert [card["status"] for card in cards] == ["completed", "failed"]
        assert "Try a lower lr" in str(cards[1]["error"])

    def test_a_cancel_leaves_what_was_complete_complete(
        self, x: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tick = trainers._tick

        def cancelling(control: Control, mesh: Any, step: int, last: int) -> None:
            if step == 30:
                control.cancel()
            tick(control, mesh, step, last)

        monkeypatch.setattr(trainers, "_tick", cancelling)
        configs = [CONFIG | {"steps": steps, "output": tmp_path / f"{steps}.pt"} for steps in (20, 90)]
        with pytest.raises(errors.Cancelled, match=r"so far is in .*90\.pt; .* Complete: .*20\.pt\."):
            aquin_nb.sae_train(x, configs)
        cards = [json.loads((tmp_path / f"{name}.card.json").read_text())["status"] for name in (20, 90)]
        assert cards == ["completed", "cancelled"]
        assert not (tmp_path / "20.checkpoints").exists()
        assert aquin_nb.load_dictionary(tmp_path / "20.pt").cfg.complete


class TestPlaces:
    def test_two_processes_do_not_write_to_one(self, x: torch.Tensor, tmp_path: Path) -> None:
        """The other one is in the midst of it; when it dies, the place is free."""
        program = (
            "import sys, time, torch, aquin_nb.engine.sae.locks as locks; from pathlib import Path\n"
            "lock = locks.Lock(Path(sys.argv[1])); lock.take(); print('held', flush=True); time.sleep(600)"
        )
        output = tmp_path / "run.pt"
        other = subprocess.Popen([sys.executable, "-c", program, str(output)], stdout=subprocess.PIPE, text=True)
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            with pytest.raises(errors.OutputError, match=r"run\.pt is being written by a training that has not ended"):
                aquin_nb.sae_train(x, CONFIG | {"output": output})
            with pytest.raises(errors.OutputError, match=r"run\.pt is being written by a training that has not ended"):
                aquin_nb.sae_resume(output)
        finally:
            other.kill()
            other.communicate()
        assert aquin_nb.sae_train(x, CONFIG | {"output": output}).card.status == "completed"
        assert not list(tmp_path.glob(".*"))

    def test_a_refusal_lets_the_place_go(self, x: torch.Tensor, tmp_path: Path) -> None:
        with pytest.raises(errors.StoreError):
            aquin_nb.sae_resume(tmp_path / "run.pt", x)
        assert aquin_nb.sae_train(x, CONFIG | {"output": tmp_path / "run.pt"}).card.status == "completed"

    def test_one_place_in_two_words_is_one(
        self, x: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(errors.DictionaryError, match="Two dictionaries would go to"):
            aquin_nb.sae_train(x, [CONFIG | {"output": "same.pt"}, CONFIG | {"output": tmp_path / "same.pt"}])

    def test_a_place_that_is_taken(self, x: torch.Tensor, tmp_path: Path) -> None:
        (tmp_path / "taken.pt").write_bytes(b"precious")
        (tmp_path / "file").write_text("x")
        for output, message in [
            ("taken.pt", r"taken\.pt exists already; nothing was written\. Choose another name= or output="),
            ("a.bin", r"a\.bin: output= of a training is a file ending in \.pt"),
            ("file/a.pt", "cannot be written"),
        ]:
            with pytest.raises(errors.OutputError, match=message):
                aquin_nb.sae_train(x, CONFIG | {"output": str(tmp_path / output)})
        assert (tmp_path / "taken.pt").read_bytes() == b"precious"

    def test_two_of_one_name(self, x: torch.Tensor) -> None:
        with pytest.raises(errors.DictionaryError, match="give each config its own name or output"):
            aquin_nb.sae_train(x, [CONFIG | {"name": "same"}, CONFIG | {"name": "same", "k": 2}])

    def test_a_name_stays_in_its_folder(self, x: torch.Tensor, home: Path) -> None:
        result = aquin_nb.sae_train(x, CONFIG | {"name": "../../../evil"})
        assert result.path.resolve().is_relative_to(home / "sae" / "user")

    @pytest.mark.parametrize("output", ["", ".", None, 5, "/", "nowhere/run.pt"])
    def test_nothing_to_resume(self, output: Any) -> None:
        with pytest.raises((errors.StoreError, errors.OutputError)):
            aquin_nb.sae_resume(output)

    def test_a_complete_run_is_told_as_such(self, x: torch.Tensor, tmp_path: Path) -> None:
        result = aquin_nb.sae_train(x, CONFIG | {"output": str(tmp_path / "run.pt")})
        with pytest.raises(errors.StoreError, match=r"run\.pt is complete: there is nothing to resume"):
            aquin_nb.sae_resume(result.path, x)
