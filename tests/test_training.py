"""`aquin_nb.sae_train` and `sae_resume` on activations that are there: what they write, and what they refuse."""

from __future__ import annotations

import json
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
        layers = aquin_nb.sae_train({1: x, 2: x.flip(1)}, CONFIG)
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

    @pytest.mark.parametrize("value", [0.0, 1e30, 1e-30])
    def test_rows_without_a_size_are_refused(self, x: torch.Tensor, value: float) -> None:
        with pytest.raises(errors.DictionaryError, match="zero"):
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

    def test_a_width_that_cannot_fit_is_refused_at_once(self, x: torch.Tensor) -> None:
        with pytest.raises(errors.OutOfMemory, match=r"d_sae=1,000,000,000,000 needs about .* At most d_sae=\d"):
            aquin_nb.sae_train(x, CONFIG | {"d_sae": 10**12})


class TestPlaces:
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
