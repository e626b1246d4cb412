"""The configuration: read from three kinds of files, refused in words, and filled in to the last default."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aquin_nb.engine.sae import ARCHITECTURES, TrainConfig
from aquin_nb.engine.sae.changes import changes, differences, overlaid
from aquin_nb.engine.sae.config import IN_STEPS, SELECTED, seconds
from aquin_nb.engine.sae.idle import idle
from aquin_nb.errors import DictionaryError

FULL: dict[str, Any] = {
    "architecture": "matryoshka",
    "d_sae": 64,
    "k": 4,
    "groups": [8, 64],
    "lr": 0.002,
    "lr_warmup": 0.1,
    "k_hold": 20,
    "betas": [0.8, 0.99],
    "tokens": 10_000,
    "encoder_scale": "search",
    "unit_decoder": False,
    "checkpoint_every": "10min",
    "loggers": ["tensorboard"],
    "name": "übung",
}
TOML = """
architecture = "matryoshka"
d_sae = 64
k = 4
groups = [8, 64]
lr = 2e-3
lr_warmup = 0.1
k_hold = 20
betas = [0.8, 0.99]
tokens = 10_000
encoder_scale = "search"
unit_decoder = false
checkpoint_every = "10min"
loggers = ["tensorboard"]
name = "übung"
"""
YAML = """
architecture: matryoshka
d_sae: 64
k: 4
groups: [8, 64]
lr: 2e-3      # YAML 1.1 reads a string here
lr_warmup: 0.1
k_hold: 20
betas: [0.8, 0.99]
tokens: 10_000
encoder_scale: search
unit_decoder: false
checkpoint_every: 10min
loggers: [tensorboard]
name: übung
"""


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "text"),
        [("a.toml", TOML), ("a.yaml", YAML), ("a.yml", YAML), ("a.json", json.dumps(FULL))],
    )
    def test_the_same_settings_from_every_kind(self, name: str, text: str, tmp_path: Path) -> None:
        (tmp_path / name).write_text(text, encoding="utf-8")
        config = TrainConfig.read(tmp_path / name)
        assert config == TrainConfig(**FULL) == TrainConfig.read(FULL) == TrainConfig.read(config)
        assert TrainConfig.read(str(tmp_path / name)) == config

    def test_what_a_run_writes_beside_its_dictionary_is_read_again(self, tmp_path: Path) -> None:
        for architecture in ARCHITECTURES:
            config = TrainConfig(architecture=architecture, d_sae=64).resolved(5000)
            path = tmp_path / f"{architecture}.json"
            path.write_text(json.dumps(config.model_dump(mode="json")))
            assert TrainConfig.read(path) == config
            assert config.resolved(5000) == config, "nothing is left to fill in"

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("a.toml", "k = = 4", r"a\.toml is not valid TOML: "),
            ("a.json", '{"k": 4', r"a\.json is not valid JSON: "),
            ("a.yaml", "k: [4", r"a\.yaml is not valid YAML: "),
            ("a.json", "[4]", r"a\.json must hold a table of settings, not list"),
            ("a.yaml", "", r"a\.yaml must hold a table of settings, not NoneType"),
            ("a.yaml", "4: 5", r"a\.yaml: 4 is not the name of a setting"),
            ("a.ini", "k=4", r"a\.ini: a config file ends in \.toml, \.json, \.yaml or \.yml"),
            ("a.toml", "k = 0", r"a\.toml: k should be greater than or equal to 1, not 0\."),
            ("a.json", '{"lr": NaN}', r"a\.json: lr should be a finite number, not nan\."),
            ("a.json", '{"k": 8.5}', r"a\.json: k should be a valid integer, not 8\.5\."),
            ("a.json", '{"k": 8, "lr": 1, "k": 4}', r"a\.json is not valid JSON: 'k' is given twice"),
            ("a.yaml", "k: 8\nlr: 1\nk: 4", r"a\.yaml is not valid YAML: 'k' is given twice"),
            ("a.json", '{"config": {"k": 8}, "rows": 3}', r"a\.json: 'config' holds a table of settings; they belong"),
            ("a.toml", "dsae = 4", r"a\.toml: 'dsae' is not a setting of a training\. Did you mean d_sae"),
            ("a.toml", "[train]\nk = 4", r"a\.toml: 'train' holds a table of settings; they belong at the top level"),
            ("a.yml", "k: [4\nd: }", r"a\.yml is not valid YAML: .* line 2"),
        ],
    )
    def test_files_that_cannot_be_used_are_named(self, name: str, text: str, message: str, tmp_path: Path) -> None:
        (tmp_path / name).write_text(text)
        with pytest.raises(DictionaryError, match=message):
            TrainConfig.read(tmp_path / name)

    @pytest.mark.parametrize("name", ["a.toml", "b.TOML", "c.Toml"])
    def test_a_file_may_begin_with_a_mark_of_its_encoding_and_shout(self, name: str, tmp_path: Path) -> None:
        (tmp_path / name).write_text(TOML, encoding="utf-8-sig")
        assert TrainConfig.read(tmp_path / name) == TrainConfig(**FULL)

    def test_the_config_beside_a_dictionary_is_one_without_its_name_and_place(self, tmp_path: Path) -> None:
        config = TrainConfig(**FULL, output="runs/sae.pt").resolved(5000)
        written = {"config": config.model_dump(mode="json"), "versions": {"torch": "2"}, "data": {"rows": 5000}}
        (tmp_path / "sae.config.json").write_text(json.dumps(written))
        for source in (tmp_path / "sae.config.json", written):
            assert TrainConfig.read(source) == config.model_copy(update={"name": None, "output": None})

    def test_places_that_hold_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(DictionaryError, match=r"none\.toml cannot be read: No such file"):
            TrainConfig.read(tmp_path / "none.toml")
        (tmp_path / "folder.toml").mkdir()
        with pytest.raises(DictionaryError, match=r"folder\.toml cannot be read: Is a directory"):
            TrainConfig.read(tmp_path / "folder.toml")
        (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(DictionaryError, match=r"bytes\.toml cannot be read"):
            TrainConfig.read(tmp_path / "bytes.toml")
        with pytest.raises(DictionaryError, match="a TrainConfig, a dict or a file, not int"):
            TrainConfig.read(3)  # type: ignore[arg-type]


class TestRefusals:
    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"k": 0}, "k should be greater than or equal to 1, not 0"),
            ({"k": 97, "d_sae": 96}, r"k \(97\) is larger than d_sae \(96\)"),
            ({"k": 2.5}, r"k should be a valid integer, not 2\.5"),
            ({"k": "8"}, "k should be a valid integer, not '8'"),
            ({"k": True}, "k should be a number or a name, not True"),
            ({"d_sae": 10**30}, "d_sae should be less than"),
            ({"lr": 0.0}, r"lr should be greater than 0, not 0\.0"),
            ({"lr": math.inf}, "lr should be a finite number, not inf"),
            ({"lr": math.nan}, "lr should be a finite number, not nan"),
            ({"lr": True}, "lr should be a number or a name, not True"),
            ({"lr": "fast"}, "lr should be a valid number.* not 'fast'"),
            ({"steps": 0}, "steps should be greater than or equal to 1, not 0"),
            ({"steps": True}, "steps should be a number or a name, not True"),
            ({"tokens": 1e-6}, "tokens should be a valid integer, not 1e-06"),
            ({"k": np.True_}, "k should be a number or a name, not "),
            ({"betas": [0.9]}, r"betas should be two numbers, not \[0\.9\]"),
            ({"betas": [0.9, 0.9, 0.9]}, "betas should be two numbers, not "),
            ({"epochs": 0}, "epochs should be greater than 0, not 0"),
            ({"steps": 5, "epochs": 1}, "one of steps, tokens and epochs, not steps and epochs"),
            ({"steps": 5, "tokens": 9, "epochs": 1}, "not steps and tokens and epochs"),
            ({"architecture": "gated2"}, "architecture must be one of topk, batchtopk, relu, .*, not 'gated2'"),
            ({"groups": [4, 7], "d_sae": 8}, r"groups must rise and end with d_sae \(8\), not \[4, 7\]"),
            ({"groups": [5, 4, 8], "d_sae": 8}, "groups must rise"),
            ({"groups": [], "d_sae": 8}, "groups must rise"),
            ({"groups": 8}, "groups should be a list, not 8"),
            ({"groups": [1.5, 8]}, r"groups\.0 should be a valid integer, not 1\.5"),
            ({"initial_k": 2, "k": 4}, r"initial_k \(2\) is smaller than k \(4\)"),
            ({"initial_k": 9, "d_sae": 8, "k": 2}, r"initial_k \(9\) is larger than d_sae \(8\)"),
            ({"sparsity_loss": "l0", "architecture": "relu"}, "sparsity_loss l0 needs a learned threshold"),
            ({"sparsity_loss": "lp"}, "topk is sparse by k: sparsity_loss does not go with it"),
            ({"sparsity_loss": "huber", "architecture": "relu"}, "sparsity_loss should be 'lp', 'tanh', .*not 'huber'"),
            ({"sparsity_coefficient": -1}, "sparsity_coefficient should be greater than or equal to 0, not -1"),
            ({"seed": -1}, "seed should be greater than or equal to 0, not -1"),
            ({"held_out": 1.0}, r"held_out should be less than 1, not 1\.0"),
            ({"dtype": "float16"}, "dtype should be 'auto', 'float32' or 'bfloat16', not 'float16'"),
            ({"betas": (0.9, 1.0)}, r"betas\.1 should be less than 1, not 1\.0"),
            ({"ema": 1.0}, r"ema should be less than 1, not 1\.0"),
            ({"encoder_scale": "find"}, "encoder_scale should be .*not 'find'"),
            ({"checkpoint_every": 0}, "checkpoint_every should be greater than or equal to 1, not 0"),
            ({"checkpoint_every": "10 minutes"}, "checkpoint_every: a time is written .* not '10 minutes'"),
            ({"checkpoint_every": "-5min"}, "checkpoint_every: a time is written .* not '-5min'"),
            ({"checkpoint_every": "infh"}, "checkpoint_every: a time is written .* not 'infh'"),
            ({"name": 3}, "name should be a valid string, not 3"),
        ],
        ids=repr,
    )
    def test_a_bad_value_names_its_setting(self, values: dict[str, Any], message: str) -> None:
        with pytest.raises(DictionaryError, match=f"^{message}|{message}"):
            TrainConfig(**values)

    @pytest.mark.parametrize("name", IN_STEPS)
    @pytest.mark.parametrize("value", [-1, 1.5, -0.1, True, "10%", math.nan])
    def test_lengths_are_steps_or_shares(self, name: str, value: Any) -> None:
        with pytest.raises(
            DictionaryError, match=f"^{name} is a number of steps, or a share of the run from 0.0 to 1.0"
        ):
            TrainConfig(**{name: value})

    def test_every_length_is_known_as_one(self) -> None:
        assert set(IN_STEPS) == {name for name in TrainConfig.model_fields if _takes(name, 0.5) and _takes(name, 7)}

    @pytest.mark.parametrize(
        ("name", "near"),
        [
            ("lr_warm", "lr_warmup"),
            ("batchsize", "batch_size"),
            ("sparsity_coef", "sparsity_coefficient"),
            ("k_aux", "aux_k"),
            ("learning_rate", "lr"),
            ("l1_coefficient", "sparsity_coefficient"),
        ],
    )
    def test_an_unknown_key_names_the_nearest(self, name: str, near: str) -> None:
        with pytest.raises(DictionaryError, match=rf"^'{name}' is not a setting of a training\. .*\b{near}\b"):
            TrainConfig(**{name: 1})

    def test_numbers_of_other_libraries_and_whole_ones_are_numbers(self, tmp_path: Path) -> None:
        given = {
            "d_sae": 1e3,
            "k": np.int64(4),
            "groups": [np.int32(8), 1000.0],
            "lr": np.float32(0.5),
            "steps": torch.tensor(10),
            "lr_warmup": np.int64(3),
            "k_hold": np.float64(0.5),
            "checkpoint_every": 20.0,
        }
        wanted = {
            "d_sae": 1000,
            "k": 4,
            "groups": (8, 1000),
            "lr": 0.5,
            "steps": 10,
            "lr_warmup": 3,
            "k_hold": 0.5,
            "checkpoint_every": 20,
        }
        assert TrainConfig(**given).model_dump(include=set(wanted)) == wanted
        assert TrainConfig(output=tmp_path / "sae.pt").output == str(tmp_path / "sae.pt")

    def test_a_config_does_not_change(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            TrainConfig().lr = 1.0


def _takes(name: str, value: Any) -> bool:
    """Whether a setting takes a share, or as many steps, and no string or switch."""
    try:
        TrainConfig(**{name: value})
    except DictionaryError:
        return False
    try:
        TrainConfig(**{name: "0.5"})
    except DictionaryError:
        return True
    return False


class TestResolved:
    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_everything_is_filled_in(self, architecture: str) -> None:
        config = TrainConfig(architecture=architecture).resolved(100_000)
        open_ended = {"tokens", "epochs", "initial_k", "grad_clip", "ema", "block_rows", "name", "output"}
        by_k = {"sparsity_loss", "sparsity_coefficient"} if architecture in SELECTED else {"k"}
        others = set() if architecture == "matryoshka" else {"groups"}
        nothing = {name for name, value in config.model_dump().items() if value is None}
        assert nothing == open_ended | by_k | others
        for name in IN_STEPS:
            assert isinstance(getattr(config, name), int), name
        assert config.dtype in ("float32", "bfloat16")

    @pytest.mark.parametrize(
        ("budget", "steps"),
        [
            ({}, 3000),
            ({"steps": 7}, 7),
            ({"tokens": 10_000}, 10),
            ({"tokens": 10_001}, 10),
            ({"tokens": 10_241}, 11),
            ({"tokens": 1}, 1),
            ({"epochs": 1}, 97),
            ({"epochs": 2.5}, 242),
            ({"epochs": 0.001}, 1),
        ],
    )
    def test_budgets_in_steps(self, budget: dict[str, Any], steps: int) -> None:
        """100,000 rows make 97 full batches of 1,024 an epoch."""
        config = TrainConfig(**budget).resolved(100_000)
        assert (config.steps, config.tokens, config.epochs) == (steps, None, None)

    def test_a_batch_is_at_most_the_rows(self) -> None:
        config = TrainConfig(epochs=3).resolved(10)
        assert (config.batch_size, config.steps) == (10, 3)

    def test_shares_become_steps(self) -> None:
        shares = {"lr_warmup": 0.1, "lr_decay": 0.25, "sparsity_warmup": 0.5, "k_hold": 0.01, "k_warmup": 1.0}
        config = TrainConfig(steps=1000, **shares).resolved(10**6)
        assert [getattr(config, name) for name in shares] == [100, 250, 500, 10, 1000]
        whole = TrainConfig(steps=1000, lr_warmup=1, k_warmup=0).resolved(10**6)
        assert (whole.lr_warmup, whole.k_warmup) == (1, 0), "a whole number is steps, not a share"

    def test_defaults_that_depend_on_the_run(self) -> None:
        assert TrainConfig(d_sae=16).resolved(1000).k == 16
        assert TrainConfig(d_sae=100, architecture="matryoshka").resolved(1000).groups == (6, 12, 25, 50, 100)
        assert TrainConfig(d_sae=3, k=1, architecture="matryoshka").resolved(1000).groups == (1, 3)
        assert TrainConfig(dtype="auto").resolved(1000, dtype="bfloat16").dtype == "bfloat16"
        assert TrainConfig(dtype="float32").resolved(1000, dtype="bfloat16").dtype == "float32"
        assert TrainConfig(steps=50).resolved(1000).log_every == 1
        assert TrainConfig(steps=10**6).resolved(1000).log_every == 500

    def test_a_warm_up_ends_within_the_run(self) -> None:
        with pytest.raises(DictionaryError, match=r"lr_warmup \(100 steps\) is longer than the run \(20 steps\)"):
            TrainConfig(lr_warmup=100, steps=20).resolved(1000)
        assert TrainConfig(lr_warmup=20, steps=20).resolved(1000).lr_decay == 0

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"lr_decay": 30}, r"lr_decay \(30 steps\) is longer than the run \(20 steps\)"),
            (
                {"k": 4, "initial_k": 8, "k_hold": 15, "k_warmup": 10},
                r"k_hold and k_warmup \(25 steps\) are longer than",
            ),
            ({"architecture": "relu", "sparsity_warmup": 21}, r"sparsity_warmup \(21 steps\) is longer than the run"),
            (
                {"architecture": "relu", "p": 1e-3},
                r"p \(0\.001\) is out of range: powers from 0\.1 to 10 can be computed",
            ),
            ({"architecture": "jumprelu", "sparsity_loss": "lp", "p": 100}, r"p \(100\) is out of range"),
        ],
    )
    def test_what_could_not_be_reached_or_computed_is_refused(self, values: dict[str, Any], message: str) -> None:
        with pytest.raises(DictionaryError, match=message):
            TrainConfig(steps=20, **values).resolved(1000)
        TrainConfig(**values)

    def test_lengths_that_do_nothing_may_be_anything(self) -> None:
        TrainConfig(steps=20, sparsity_warmup=500, k_hold=400, lr_schedule="cosine", lr_decay=90, p=50).resolved(1000)

    def test_only_matryoshka_has_groups(self) -> None:
        for architecture in ARCHITECTURES:
            groups = TrainConfig(architecture=architecture, d_sae=32, groups=[8, 32]).resolved(1000).groups
            assert groups == ((8, 32) if architecture == "matryoshka" else None)

    def test_a_default_k_above_the_first_one_is_refused(self) -> None:
        with pytest.raises(DictionaryError, match=r"initial_k \(16\) is smaller than k \(32\)"):
            TrainConfig(initial_k=16).resolved(1000)

    @given(
        rows=st.integers(1, 10**7),
        batch=st.integers(1, 10**5),
        steps=st.integers(1, 10**6),
        architecture=st.sampled_from(ARCHITECTURES),
        schedule=st.sampled_from(["constant", "linear", "cosine", "wsd"]),
    )
    def test_every_run_has_schedules_that_hold(
        self, rows: int, batch: int, steps: int, architecture: str, schedule: str
    ) -> None:
        config = TrainConfig(architecture=architecture, batch_size=batch, steps=steps, lr_schedule=schedule)
        config = config.resolved(rows)
        for step in {0, steps // 2, steps - 1}:
            assert 0 < config.learning_rate(step) <= config.lr
            assert 0 < config.sparsity_share(step) <= 1
            assert architecture not in SELECTED or 1 <= config.active(step) <= config.d_sae

    def test_schedules_need_a_resolved_config(self) -> None:
        with pytest.raises(TypeError, match="resolved"):
            TrainConfig().learning_rate(0)


class TestDifferences:
    def test_what_changes_the_weights_is_named(self) -> None:
        old = TrainConfig(steps=100)
        new = TrainConfig(steps=200, lr=0.1, betas=(0.5, 0.9))
        assert differences(old, new) == ["lr: None -> 0.1", "betas: (0.9, 0.98) -> (0.5, 0.9)", "steps: 100 -> 200"]

    def test_where_and_how_often_to_write_is_free(self) -> None:
        free = {"checkpoint_every": 5, "keep_checkpoints": 9, "output": "x.pt", "name": "n", "device": "cpu"}
        assert differences(TrainConfig(), TrainConfig(**free)) == []


class TestChanges:
    """What a resumed run is asked for, against what it began with."""

    @pytest.mark.parametrize(
        "asked",
        [
            {"lr_warmup": 0.02},
            {"initial_k": 64, "k_warmup": 0.2, "k_hold": 0.01},
            {"batch_size": 100_000, "epochs": 3},
            {"steps": 40, "lr_decay": 0.5},
            {"tokens": 9_999, "batch_size": 77},
            {"architecture": "relu", "sparsity_warmup": 0.3, "groups": [9, 4096]},
            {"architecture": "matryoshka", "d_sae": 64, "groups": [8, 64]},
        ],
        ids=str,
    )
    def test_the_very_config_it_began_with_is_none(self, asked: dict[str, Any]) -> None:
        config = TrainConfig(**asked)
        began = config.resolved(5000, dtype="bfloat16")
        assert changes(began, config, 5000) == []
        assert changes(began, began, 5000) == []
        assert changes(began, TrainConfig(**asked, dtype="auto", output="x.pt", device="cpu"), 5000) == []

    def test_others_are_named(self) -> None:
        began = TrainConfig(k=8, steps=100).resolved(5000)
        assert changes(began, TrainConfig(k=9, lr=1), 5000) == ["k: 8 -> 9", "lr: 0.004 -> 1.0"]
        assert changes(began, TrainConfig(d_sae=4), 5000) == ["d_sae: 4096 -> 4"], "with which k = 8 does not go"
        assert changes(began, TrainConfig(lr_warmup=101), 5000) == ["lr_warmup: 10 -> 101"]

    def test_where_it_runs_and_what_it_writes_is_followed(self) -> None:
        began = TrainConfig(device="cuda", output="a.pt", name="a", block_rows=9, seed=3).resolved(5000)
        asked = TrainConfig(device="cpu", output="b.pt", name="b", block_rows=None, checkpoint_every=7, seed=3)
        mine = overlaid(began, asked)
        assert (mine.device, mine.block_rows, mine.checkpoint_every) == ("cpu", None, 7)
        assert (mine.output, mine.name, mine.seed, mine.keep_checkpoints) == ("a.pt", "a", 3, 2)


class TestIdle:
    """Settings that were given and do nothing."""

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"groups": [8, 4096], "bandwidth": 0.1, "p": 2}, ["groups, p and bandwidth do nothing for topk."]),
            ({"architecture": "relu", "k": 4}, ["k does nothing for relu."]),
            (
                {"architecture": "gated", "aux_k": 9, "initial_k": 7, "threshold_lr": 2},
                ["aux_k, threshold_lr and initial_k do nothing for gated."],
            ),
            ({"architecture": "jumprelu", "p": 2}, ["p does nothing for sparsity_loss tanh."]),
            ({"k_hold": 0.2}, ["k_hold does nothing for want of an initial_k."]),
            ({"lr_schedule": "constant", "lr_end": 0.1}, ["lr_end does nothing for lr_schedule constant."]),
            ({"architecture": "jumprelu", "bandwidth": 0.1, "threshold": 3, "sparsity_coefficient": 1}, []),
            ({"k": 32, "threshold": 2.0}, []),
        ],
        ids=str,
    )
    def test_they_are_named(self, given: dict[str, Any], said: list[str]) -> None:
        assert [sorted(words.split()) for words in idle(TrainConfig(**given))] == [sorted(w.split()) for w in said]

    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_a_config_that_a_run_wrote_has_none(self, architecture: str) -> None:
        written = TrainConfig(architecture=architecture, d_sae=64).resolved(5000).model_dump()
        assert idle(TrainConfig(**written)) == []


@pytest.mark.parametrize(
    ("text", "value"), [("90s", 90), ("10min", 600), ("2h", 7200), ("0.5h", 1800), ("1.5 min", 90)]
)
def test_times(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "s", "10", "ten min", "1d", "0s", "-1h", "nans", "infmin", "10 minutes"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match='a time is written "90s", "10min" or "2h", not'):
        seconds(text)
