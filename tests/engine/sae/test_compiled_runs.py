"""Trainings on compiled kernels: the same gradients and weights as plain torch's, and the same bits after a stop."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from planted import assert_same, member, planted, settings, train
from reference_losses import loss
from test_gradients import N, batch, config, parameters

from aquin_nb.control import Control
from aquin_nb.engine.activations.stream import ShuffledStream
from aquin_nb.engine.sae import cpu
from aquin_nb.engine.sae.architectures import Now, build
from aquin_nb.engine.sae.checkpoints import Checkpoints
from aquin_nb.engine.sae.config import SELECTED
from aquin_nb.engine.sae.cpu import WORTH, compiled_kernels
from aquin_nb.engine.sae.trainer import Interrupted, TrainOutcome, fit

CPU = torch.device("cpu")
STEPS = 40
SHORT: dict[str, Any] = {"steps": STEPS, "batch_size": 64, "log_every": 8, "dead_after_tokens": 192}


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "WORTH", 0)


@pytest.mark.parametrize("transcoder", [False, True])
@pytest.mark.parametrize("dead", [0, 12])
@pytest.mark.parametrize("architecture", SELECTED)
def test_gradients_equal_autograd_in_float64(architecture: str, dead: int, transcoder: bool) -> None:
    """With AuxK where latents are dead, and with the skip connection of a transcoder."""
    cfg, now = config(architecture, skip=transcoder), Now(k=5, sparsity=0.3, pre_act=0.0)
    d_out = 7 if transcoder else 10
    data, mine = batch(cfg, d_out, torch.float32, transcoder), parameters(cfg, d_out, torch.float32)
    result = build(cfg, transcoder=transcoder, compiled=True).step(mine, data, torch.arange(dead), now)
    leaves = parameters(cfg, d_out).map(lambda tensor: tensor.clone().requires_grad_(True))
    exact = batch(cfg, d_out, transcoder=transcoder)
    total, reconstruction = loss(cfg, leaves, exact, torch.arange(dead), now, transcoder=transcoder)
    torch.testing.assert_close((result.residual + data.y).double(), reconstruction.detach(), rtol=1e-5, atol=1e-5)
    assert int(result.fired.sum()) <= 5 * N
    for (name, tensor), expected in zip(
        mine.named().items(), torch.autograd.grad(total, leaves.all(), allow_unused=True), strict=True
    ):
        assert tensor.grad is not None, name
        wanted = torch.zeros_like(tensor).double() if expected is None else expected
        torch.testing.assert_close(tensor.grad.double(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"grad_clip": 0.5}, {"optimizer": "adamw", "weight_decay": 0.1}, {"ema": 0.9}])
@pytest.mark.parametrize("architecture", SELECTED)
def test_a_training_ends_as_on_plain_torch(
    architecture: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps so small that a difference in rounding does not grow; what is logged is equal too."""
    x = planted(1500)
    more = SHORT | {"architecture": architecture, "steps": 12, "lr": 1e-4, "log_every": 4} | changes
    plain = train(x, **more)
    monkeypatch.setattr(cpu, "WORTH", 0)
    mine = train(x, **more)
    theirs = plain.dictionary.tensors()
    for name, tensor in mine.dictionary.tensors().items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-4)
    for one, other in zip(mine.history, plain.history, strict=True):
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-3)
        assert one.recon_mse == pytest.approx(other.recon_mse, rel=1e-3)


def stopped(x: torch.Tensor, folder: Path, **changes: Any) -> dict[str, Any]:
    """The checkpoint of a training that was cancelled half-way."""
    resolved = settings(**SHORT | changes)
    stream = ShuffledStream(x, resolved.batch_size)
    kept = Checkpoints(folder, None, 1)
    control = Control(on_tick=lambda tick: control.cancel() if tick.done == STEPS // 2 else None)
    with pytest.raises(Interrupted):
        fit(stream, [member(resolved, stream, checkpoints=kept)], control=control)
    return kept.latest()[0]


def whole(x: torch.Tensor, resume: dict[str, Any] | None = None, **changes: Any) -> TrainOutcome:
    resolved = settings(**SHORT | changes)
    stream = ShuffledStream(x, resolved.batch_size)
    return fit(stream, [member(resolved, stream, resume=resume)])[0]


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", SELECTED)
def test_a_stopped_training_goes_on_to_the_same_bits(architecture: str, dtype: str, tmp_path: Path) -> None:
    x = planted(1500)
    found = stopped(x, tmp_path, architecture=architecture, dtype=dtype)
    assert found["compiled"]
    expected = whole(x, architecture=architecture, dtype=dtype)
    assert_same(whole(x, found, architecture=architecture, dtype=dtype), expected)
    assert expected.notes == whole(x, architecture=architecture, dtype=dtype).notes


def test_a_stopped_training_keeps_to_its_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain ones too, those of versions that did not say so included."""
    x = planted(1500)
    found, plain = stopped(x, tmp_path), whole(x)
    assert found.pop("compiled") is False
    monkeypatch.setattr(cpu, "WORTH", 0)
    assert_same(whole(x, found), plain)


def test_the_work_alone_decides() -> None:
    per_step = 64 * 100 * 50

    def at(steps: int, **changes: Any) -> tuple[bool, str | None]:
        resolved = settings(d_sae=50, batch_size=64, steps=steps, **changes).resolved(10**6)
        return compiled_kernels(resolved, 100, CPU)

    assert at(-(-WORTH // per_step)) == (True, None)
    assert at(WORTH // per_step - 1) == (False, None)
    assert at(10**9, architecture="relu") == (False, None)
    assert compiled_kernels(settings(steps=10**9).resolved(100), 100, torch.device("cuda")) == (False, None)


@pytest.mark.usefixtures("compiled")
def test_without_a_compiler_plain_torch_serves_and_the_run_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = planted(1500)
    begun = stopped(x, tmp_path)
    monkeypatch.setitem(sys.modules, "aquin_nb.engine.sae.compiled_adam", None)
    said = "Plain torch's kernels, which are a quarter slower than compiled ones: numba is not installed."
    assert [note for note in whole(x).notes if "kernels" in note] == [said]
    changed = " Sums round differently from here on, so the weights will not be equal to the bit."
    assert [note for note in whole(x, begun).notes if "kernels" in note] == [said + changed]


@pytest.mark.usefixtures("compiled")
def test_a_compiler_that_fails_does_not_stop_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(dtype: torch.dtype) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(cpu, "_compile", fail)
    assert any("numba failed (No space left on device)" in note for note in train(planted(1500), **SHORT).notes)
