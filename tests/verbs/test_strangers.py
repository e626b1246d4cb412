"""What somebody who has never trained a dictionary hands over, and the sentence that comes back."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import aquin_nb
from aquin_nb.errors import Cancelled, DictionaryError, OutputError, StoreError
from aquin_nb.jobs import Job, JobQueue
from aquin_nb.progress import attend

SMALL = {"d_sae": 32, "k": 4, "steps": 5, "batch_size": 64}
X = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (X[:0], r"got float32 \[0, 8\]\. There is nothing to learn from"),
        (X[0], r"got float32 \[8\]\. One row is no data"),
        (X.reshape(20, 10, 8), r"got float32 \[20, 10, 8\]\. Its \.reshape\(-1, d_in\) is one"),
        (X.long(), r"got int64 \[200, 8\]\. Convert them to float32"),
        (X > 0, r"got bool \[200, 8\]"),
        (np.array([["a", "b"]]), r"got <U1 \[1, 2\]"),
        (np.array([[None, 1.0]]), r"got object \[1, 2\]"),
        (X.to_sparse(), r"Its \.to_dense\(\) is one"),
        (pd.DataFrame(X.numpy()), r"not DataFrame; its \.to_numpy\(\) is an array"),
        (X.tolist(), "A list of activations is a pair .* not 200 things"),
        ({"a": X}, "whole numbers of layers as keys, not 'a'"),
        (None, "must be a tensor, an array, or the folder of a store or capture, not NoneType"),
    ],
    ids=str,
)
def test_what_is_no_activations_is_told_what_would_be(given: Any, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        aquin_nb.sae_train(given, SMALL)


def test_a_logger_is_refused_before_the_place_is_taken(home: Path) -> None:
    with pytest.raises(DictionaryError, match="'mlflow' is no logger"):
        aquin_nb.sae_train(X, SMALL | {"loggers": ["mlflow"]})
    assert list(home.rglob("*.json")) == []


def test_devices_that_torch_cannot_use() -> None:
    for device in ("gpu", "meta"):
        with pytest.raises(DictionaryError, match=f"device: '?{device}"):
            aquin_nb.sae_train(X, SMALL | {"device": device})


def test_a_file_where_a_folder_must_be(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="what should be its folder is a file"):
        aquin_nb.sae_train(X, SMALL | {"output": str(tmp_path / "notes.txt" / "sae.pt")})


def test_a_k_that_does_nothing_is_said() -> None:
    result = aquin_nb.sae_train(X, SMALL | {"architecture": "relu"})
    assert any("k does nothing for relu" in note for note in result.card.notes)


def test_a_tensor_trained_in_a_session_keeps_the_layer_it_was_said_to_be_of() -> None:
    session = aquin_nb.Session("tiny")
    x = torch.randn(300, session.model.d_model)
    result = session.sae.train(2, activations=x, name="mine", **SMALL).wait(60)
    assert (result.card.layer, result.path.name) == (2, "sae_layer2.pt")
    assert session.load_sae(user="mine").cfg.layer == 2
    session.sae.train(activations=x, name="unplaced", **SMALL).wait(60)
    with pytest.raises(DictionaryError, match="does not say which layer"):
        session.load_sae(user="unplaced")
    assert session.load_sae(user="unplaced", layer=4).cfg.layer is None
    with pytest.raises(StoreError, match=r"takes the name of a training, not .* aquin_nb\.sae_resume\(\) takes a path"):
        session.sae.resume(str(result.path))


def test_a_second_interrupt_leaves_the_job_to_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    job: Job[int] = Job("train x", lambda control: 1, None, tmp_path / "sae.pt")
    interrupts = iter([KeyboardInterrupt, KeyboardInterrupt])

    def interrupted(job: Job[int], timeout: float | None = None) -> int:
        raise next(interrupts)

    monkeypatch.setattr(Job, "wait", interrupted)
    JobQueue("x").add(job)
    with pytest.raises(Cancelled, match=r"train x stops after its present step and writes what it has to .*sae\.pt"):
        attend(job)


def test_dictionaries_of_one_pass_say_that_a_cancel_stops_all() -> None:
    results = aquin_nb.sae_train(X, [SMALL | {"name": name} for name in ("one", "two")])
    assert [result.card.name for result in results] == ["one", "two"]
    assert "Trained in one pass with two: a cancel stops all of them." in results[0].card.notes
