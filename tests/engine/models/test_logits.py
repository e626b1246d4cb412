"""Logits: both backends predict the same, and a replaced layer is replaced where it should be and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from aquin_nb.engine.models import Model
from aquin_nb.engine.models.backends import Replace
from aquin_nb.errors import ModelError, OutOfMemory


def double(x: Tensor) -> Tensor:
    return 2 * x


CHANGES: list[Callable[[Tensor], Tensor] | None] = [None, double, torch.zeros_like]


@pytest.mark.parametrize("fn", CHANGES)
@pytest.mark.parametrize("layer", [0, 3, 5])
def test_backends_agree(
    plain: Model, lens: Model, texts: list[str], layer: int, fn: Callable[[Tensor], Tensor] | None
) -> None:
    tokens = plain.tokenize(texts)
    replace = None if fn is None else (layer, fn)
    a, b = plain.logits(tokens, replace=replace), lens.logits(tokens, replace=replace)
    assert a.shape == (*tokens.ids.shape, 4096)
    assert (a - b)[tokens.mask].abs().max() < 1e-5
    assert (a.dtype, a.device) == (plain.dtype, plain.device)


def test_logits_are_those_of_the_library(plain: Model, texts: list[str]) -> None:
    hf: Any = plain.backend.model  # type: ignore[attr-defined]
    tokens = plain.tokenize(texts)
    with torch.no_grad():
        expected = hf(tokens.ids, attention_mask=tokens.mask).logits
    got = plain.logits(tokens)
    assert (got - expected)[tokens.mask].abs().max() < 1e-4
    assert not got.requires_grad


PLACES = [
    "blocks.2.hook_resid_pre",
    "blocks.2.ln1.hook_out",
    "blocks.2.hook_attn_out",
    "blocks.2.ln2.hook_out",
    "blocks.2.hook_mlp_out",
    "blocks.2.hook_resid_post",
    "model.layers.2.mlp.up_proj",
]


@pytest.mark.parametrize("place", PLACES)
def test_any_site_is_replaced_alike_in_both_backends(plain: Model, lens: Model, texts: list[str], place: str) -> None:
    tokens = plain.tokenize(texts)
    before = plain.logits(tokens)
    a, b = plain.logits(tokens, replace=(place, double)), lens.logits(tokens, replace=(place, double))
    assert torch.equal(a, b)
    assert (a - before)[tokens.analysed].abs().max() > 0.1
    assert torch.equal(plain.logits(tokens, replace=(plain.site(place), double)), a)
    assert torch.equal(plain.logits(tokens), before)


@pytest.mark.parametrize("name", ["plain", "lens"])
def test_what_goes_on_is_the_replacement(name: str, texts: list[str], request: pytest.FixtureRequest) -> None:
    """To put the stream as it is without the MLP in place of the block's output is to replace the MLP's by nothing."""
    model: Model = request.getfixturevalue(name)
    tokens = model.tokenize(texts)
    mid = model.activations(tokens, ["blocks.2.hook_resid_mid"])["blocks.2.hook_resid_mid"][tokens.analysed]
    without = model.logits(tokens, replace=("blocks.2.hook_mlp_out", torch.zeros_like))
    assert torch.equal(model.logits(tokens, replace=("blocks.2.hook_resid_post", lambda _: mid)), without)
    assert torch.equal(model.logits(tokens, replace=("blocks.3.hook_resid_pre", lambda _: mid)), without)


def test_a_place_that_only_one_branch_reads_is_not_replaced(plain: Model, lens: Model, texts: list[str]) -> None:
    tokens = plain.tokenize(texts)
    for place in ("blocks.2.hook_resid_mid", "blocks.2.ln1.hook_normalized", "ln_final.hook_normalized"):
        for model in (plain, lens):
            with pytest.raises(ModelError, match=f"{place} of tiny can be read, not replaced.* hook_mlp_out"):
                model.logits(tokens, replace=(place, double))
    with pytest.raises(ModelError, match="Did you mean hook_mlp_out"):
        plain.logits(tokens, replace=("blocks.2.hook_mlp_uot", double))


def test_a_replaced_layer_equals_a_manual_hook(plain: Model, texts: list[str]) -> None:
    hf: Any = plain.backend.model  # type: ignore[attr-defined]
    tokens = plain.tokenize(texts)

    def hook(module: Any, inputs: Any, output: Tensor) -> Tensor:
        return torch.where(tokens.analysed[..., None], 2 * output, output)

    handle = hf.model.layers[2].register_forward_hook(hook)
    with torch.no_grad():
        expected = hf(tokens.ids).logits
    handle.remove()
    assert torch.equal(plain.logits(tokens, replace=(2, double)), expected)


@pytest.mark.parametrize("name", ["plain", "lens"])
def test_the_function_sees_the_analysed_rows_and_leaves_nothing_behind(
    name: str, texts: list[str], request: pytest.FixtureRequest
) -> None:
    model: Model = request.getfixturevalue(name)
    tokens, seen = model.tokenize(texts), list[Tensor]()
    before = model.logits(tokens)

    def look(x: Tensor) -> Tensor:
        seen.append(x.clone())
        return x.zero_()  # what it was given is its own

    changed = model.logits(tokens, replace=(4, look))
    assert torch.equal(seen[0], model.residuals(tokens, [4])[4][tokens.analysed])
    assert torch.equal(changed[:, 0], before[:, 0])  # BOS is left alone, and nothing later reaches it
    assert (changed - before)[tokens.analysed].abs().max() > 1
    assert torch.equal(model.logits(tokens), before)

    def broken(x: Tensor) -> Tensor:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        model.logits(tokens, replace=(4, broken))
    assert torch.equal(model.logits(tokens), before)


def test_a_result_of_another_dtype_is_cast(plain: Model, texts: list[str]) -> None:
    tokens = plain.tokenize(texts)
    assert torch.equal(plain.logits(tokens, replace=(1, Tensor.double)), plain.logits(tokens))


@pytest.mark.parametrize("fits", [1, 3])
def test_a_batch_that_does_not_fit_is_run_in_halves(
    plain: Model, texts: list[str], monkeypatch: pytest.MonkeyPatch, fits: int
) -> None:
    """And each half replaces its own rows."""
    tokens = plain.tokenize(texts * 3)
    expected = plain.logits(tokens, replace=(2, double))
    real, ran = plain.backend.logits, []

    def small(ids: Tensor, replace: Replace | None) -> Tensor:
        if len(ids) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        ran.append(len(ids))
        return real(ids, replace)

    monkeypatch.setattr(plain.backend, "logits", small)
    got = plain.logits(tokens, replace=(2, double))
    assert sum(ran) == 9
    assert max(ran) <= fits
    assert (got - expected)[tokens.mask].abs().max() < 1e-4


def test_a_row_that_does_not_fit_says_what_to_change(plain: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(plain.backend, "logits", full)
    with pytest.raises(OutOfMemory, match=r"One row of 2 tokens .*smaller model"):
        plain.logits(plain.tokenize(["a"] * 8))


def test_wrong_input_says_so(plain: Model, texts: list[str]) -> None:
    tokens = plain.tokenize(texts)
    with pytest.raises(ModelError, match="layers 0 to 5"):
        plain.logits(tokens, replace=(6, double))
    with pytest.raises(ModelError, match=r"by \[\d+, 64\]; the shapes must be equal"):
        plain.logits(tokens, replace=(0, lambda x: x[:, :64]))
    with pytest.raises(ModelError, match="context"):
        plain.logits(plain.batch([[5] * (plain.context + 1)]))
    with pytest.raises(ModelError, match="no rows"):
        plain.logits(plain.tokenize([]))


def test_an_embedding_model_has_no_logits(plain: Model, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "mode", "embedding")
    with pytest.raises(ModelError, match="embedding model: it predicts no tokens"):
        plain.logits(plain.tokenize(texts))
