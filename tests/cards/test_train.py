"""The training card: what version 0.1 wrote still opens, and what is not JSON is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from aquin_nb.cards import SaeTrainCard, TrainMetrics, TrainSettings
from aquin_nb.errors import StoreError
from aquin_nb.records import HISTORY_DTYPES, history_frame, read_history
from aquin_nb.results import open_training

OLD = Path(__file__).parent / "written_by_0_1" / "old.pt"  # a dictionary's card and history; the weights are not needed
REQUIRED = {"d_in": 8, "d_sae": 64, "lr": 1e-3, "batch_size": 4, "steps": 9, "dead_after_tokens": 5, "seed": 0}


def test_a_training_of_version_0_1_opens_with_its_numbers():
    old = open_training(OLD)
    config = old.card.config
    assert (config.architecture, config.k, config.d_out, config.dtype) == ("topk", 32, 128, "bfloat16")
    assert (config.lr_schedule, config.full) == ("linear", {"warmup_steps": 12, "decay_steps": 108})
    assert (old.card.layer, old.card.advice, old.card.resumed_from, old.card.checkpoint) == (3, [], [], None)
    assert old.card.held_out.fvu == pytest.approx(0.394, abs=1e-3)
    assert list(old.history.columns) == list(HISTORY_DTYPES)
    assert old.history["fvu"].notna().all()
    assert old.history[["explained_variance", "cosine", "grad_norm", "tokens_per_second"]].isna().all(axis=None)


def test_a_training_of_version_0_1_is_shown(tmp_path):
    old = open_training(OLD)
    page = old.save(tmp_path / "old.html").read_text(encoding="utf-8")
    assert "TopK 128 → 128" in page
    assert "warmup steps" in page
    assert len(old.figure().data) == 4
    assert "0.394" in repr(old)


def test_the_l1_of_version_0_1_is_the_sparsity_coefficient():
    old = REQUIRED | {"architecture": "relu", "l1": 5.0, "matmul_dtype": "float32", "warmup_steps": 1, "decay_steps": 2}
    settings = TrainSettings.model_validate(old)
    assert (settings.sparsity_coefficient, settings.k) == (5.0, None)


def test_settings_written_now_are_read_back_unchanged():
    full = {"lr": 1e-3, "decay": [1, None, {"shape": "cosine"}]}
    settings = TrainSettings(
        architecture="matryoshka", d_out=16, k=4, groups=[16, 48], lr_schedule="cosine", full=full, **REQUIRED
    )
    card = SaeTrainCard(name="x", config=settings)
    assert SaeTrainCard.model_validate_json(card.model_dump_json()) == card
    assert card.config.lr_schedule == "cosine"


def test_settings_may_be_changed_one_by_one():
    settings = TrainSettings(architecture="topk", k=4, **REQUIRED)
    settings.k = 8
    assert (settings.k, settings.d_out) == (8, 8)


def test_a_misspelt_setting_is_refused():
    with pytest.raises(ValidationError, match="sparsity_coeficient"):
        TrainSettings(architecture="relu", sparsity_coeficient=1.0, **REQUIRED)


@pytest.mark.parametrize("full", [{"a": math.nan}, {"a": {"b": [math.inf]}}])
def test_what_no_json_file_can_hold_is_refused(full):
    with pytest.raises(ValidationError, match="not a JSON number"):
        TrainSettings(architecture="topk", full=full, **REQUIRED)


def test_an_empty_history_has_its_columns(tmp_path):
    path = tmp_path / "empty.csv"
    history_frame([]).to_csv(path, index=False)
    assert read_history(path).dtypes.astype(str).to_dict() == HISTORY_DTYPES


def test_a_history_survives_its_csv(tmp_path):
    frame = history_frame([(1, 4, 0.1, 0.2, 0.8, 0.9, 4.0, 3, 1e-3, math.nan, 1e5)])
    frame.to_csv(tmp_path / "h.csv", index=False)
    again = read_history(tmp_path / "h.csv")
    assert again.dtypes.equals(frame.dtypes)
    assert np.array_equal(again, frame, equal_nan=True)


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "", "step,tokens,dead\n1,x,0\n"])
def test_a_damaged_history_is_named(tmp_path, text):
    path = tmp_path / "h.csv"
    path.write_text(text)
    with pytest.raises(StoreError, match=r"h\.csv cannot be read"):
        read_history(path)


def test_metrics_refuse_what_is_not_finite():
    with pytest.raises(ValidationError):
        TrainMetrics(kl=math.nan)
