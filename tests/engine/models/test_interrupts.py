"""A forward pass that fails or is interrupted leaves no hook in the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aquin_nb.engine.models import Model
from aquin_nb.engine.models.backends import HuggingFaceBackend

SITES = ["blocks.1.hook_attn_out", "blocks.3.ln2.hook_normalized", "model.layers.4.mlp"]


def hooks(model: Model) -> int:
    """How many hooks there are on all modules of the model and of the bridge around it."""
    root: Any = model.backend.model if model.info.backend == "huggingface" else model.backend.bridge  # type: ignore[attr-defined]
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in root.modules())


def readings(model: Model) -> dict[str, Callable[[], object]]:
    tokens = model.tokenize(["In the beginning", "x"])

    def double(x: Tensor) -> Tensor:
        return 2 * x

    return {
        "activations": lambda: model.activations(tokens, SITES),
        "residuals": lambda: model.residuals(tokens, [2]),
        "logits": lambda: model.logits(tokens, replace=("blocks.1.hook_mlp_out", double)),
        "logits before a block": lambda: model.logits(tokens, replace=("blocks.1.hook_resid_pre", double)),
    }


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["plain", "lens"])
def test_no_hook_is_left(name: str, error: type[BaseException], request: pytest.FixtureRequest) -> None:
    model: Model = request.getfixturevalue(name)
    works = readings(model)
    expected = {what: work() for what, work in works.items()}
    before = hooks(model)

    def fail(*_: object) -> None:
        raise error("in the middle")

    for what, work in works.items():
        handle = model.backend.modules["model.layers.1.mlp"].register_forward_hook(fail)
        try:
            with pytest.raises(error, match="in the middle"):
                work()
        finally:
            handle.remove()
        assert hooks(model) == before, what
    for what, work in works.items():
        torch.testing.assert_close(work(), expected[what], rtol=0, atol=0)
    assert hooks(model) == before


def test_a_survey_that_is_interrupted_is_made_again(plain: Model) -> None:
    hf: Any = plain.backend.model  # type: ignore[attr-defined]
    backend = HuggingFaceBackend(hf, plain.n_layers, causal=True)
    before = hooks(plain)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    handle = hf.model.layers[2].mlp.register_forward_hook(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            _ = backend.survey
    finally:
        handle.remove()
    assert hooks(plain) == before
    assert set(backend.survey.taps) == set(plain.backend.survey.taps)


def test_a_hook_that_an_interrupt_left_does_nothing(plain: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between registering a hook and noting its handle: nobody can remove it, so it must be harmless."""
    works = readings(plain)
    expected = {what: work() for what, work in works.items()}
    left = []

    def registered(real: Callable[..., Any]) -> Callable[..., Any]:
        def register(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            left.append(real(module, *args, **kwargs))
            raise KeyboardInterrupt

        return register

    try:
        for work in works.values():
            with monkeypatch.context() as patch:
                for method in ("register_forward_hook", "register_forward_pre_hook"):
                    patch.setattr(nn.Module, method, registered(getattr(nn.Module, method)))
                with pytest.raises(KeyboardInterrupt):
                    work()
        assert len(left) == len(works)
        for what, work in works.items():
            torch.testing.assert_close(work(), expected[what], rtol=0, atol=0)
    finally:
        for handle in left:
            handle.remove()
