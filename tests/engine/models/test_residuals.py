"""The residual stream: both backends give one truth, and nothing is computed beyond the last layer asked."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor

from aquin_nb.engine.models import Model, load_model
from aquin_nb.engine.models.backends import find_blocks
from aquin_nb.errors import ModelError, OutOfMemory


def real(model: Model, texts: list[str], layers: list[int]) -> dict[int, Tensor]:
    tokens = model.tokenize(texts)
    return {layer: value[tokens.mask] for layer, value in model.residuals(tokens, layers).items()}


def test_backends_agree_at_every_layer(plain: Model, lens: Model, texts: list[str]) -> None:
    layers = list(range(plain.n_layers))
    a, b = real(plain, texts, layers), real(lens, texts, layers)
    worst = max(float((a[layer] - b[layer]).abs().max()) for layer in layers)
    print(f"tiny, {len(layers)} layers: max |TransformerLens - Hugging Face| = {worst:g}")
    assert worst < 1e-5
    assert min(float(a[layer].abs().max()) for layer in layers) > 0.1


def test_block_output_is_the_next_hidden_state(plain: Model, texts: list[str]) -> None:
    hf: Any = plain.backend.model  # type: ignore[attr-defined]
    tokens = plain.tokenize(texts)
    with torch.no_grad():
        states = hf(tokens.ids, attention_mask=tokens.mask, output_hidden_states=True).hidden_states
    got = plain.residuals(tokens, range(plain.n_layers))
    last = plain.n_layers - 1
    for layer in range(last):
        assert (got[layer] - states[layer + 1])[tokens.mask].abs().max() < 1e-5
    assert (hf.model.norm(got[last]) - states[last + 1])[tokens.mask].abs().max() < 1e-4
    assert (got[last] - states[last + 1])[tokens.mask].abs().max() > 0.1  # the norm is not in ours


def test_several_layers_in_one_pass_equal_one_at_a_time(lens: Model, texts: list[str]) -> None:
    together = real(lens, texts, [4, 1, 3])
    assert sorted(together) == [1, 3, 4]
    for layer, value in together.items():
        assert torch.equal(value, real(lens, texts, [layer])[layer])


@pytest.mark.parametrize("name", ["plain", "lens"])
def test_nothing_runs_after_the_last_layer_asked(
    name: str, texts: list[str], request: pytest.FixtureRequest, plain: Model
) -> None:
    model = request.getfixturevalue(name)
    hf = model.backend.model if name == "plain" else model.backend.bridge.original_model
    model.site(0)  # sites are found by one whole pass, before the first reading
    ran: list[str] = []
    blocks = find_blocks(hf, model.n_layers)
    handles = [
        block.register_forward_hook(lambda *_, index=index: ran.append(f"block {index}"))
        for index, block in enumerate(blocks)
    ]
    handles.append(hf.lm_head.register_forward_hook(lambda *_: ran.append("logits")))
    try:
        model.residuals(model.tokenize(texts), [1, 2])
        assert ran[:2] == ["block 0", "block 1"]
        assert set(ran) <= {"block 0", "block 1", "block 2"}
        ran.clear()
        model.residuals(model.tokenize(texts), [model.n_layers - 1])
        assert "logits" not in ran
    finally:
        for handle in handles:
            handle.remove()
    # The interruption leaves nothing behind: the next full pass is the usual one.
    assert torch.equal(real(model, texts, [5])[5], real(plain, texts, [5])[5])


def test_padding_does_not_reach_real_tokens(plain: Model, texts: list[str]) -> None:
    batched = plain.tokenize(texts)
    alone = plain.tokenize(texts[2:])
    together = plain.residuals(batched, [5])[5][2][batched.mask[2]]
    assert (together - plain.residuals(alone, [5])[5][0]).abs().max() < 1e-4


def test_no_gradient_and_the_models_dtype(plain: Model, texts: list[str]) -> None:
    value = plain.residuals(plain.tokenize(texts), [0])[0]
    assert not value.requires_grad
    assert (value.dtype, value.device) == (plain.dtype, plain.device)


def test_bfloat16_backends_agree_too(texts: list[str]) -> None:
    a = load_model("tiny", device="cpu", dtype="bfloat16", backend="huggingface")
    b = load_model("tiny", device="cpu", dtype="bfloat16")
    assert torch.equal(real(a, texts, [3])[3], real(b, texts, [3])[3])
    assert a.info.fingerprint == b.info.fingerprint


def test_pooled_is_the_mean_over_analysed_tokens(plain: Model, texts: list[str]) -> None:
    tokens = plain.tokenize([*texts, ""])
    got = plain.pooled(tokens, [3])[3]
    assert got.dtype == torch.float32
    value = plain.residuals(tokens, [3])[3]
    for row in range(3):
        assert torch.allclose(got[row], value[row][tokens.analysed[row]].mean(0), atol=1e-5)
    assert (got[3] == 0).all()


def test_wrong_layers_say_the_range(plain: Model, texts: list[str]) -> None:
    tokens = plain.tokenize(texts)
    for layer, kind in (
        (6, ""),
        (-1, ""),
        (1.5, "a float"),
        (3.0, "a float"),
        (True, "a bool"),
        ("3", "a str"),
        (None, "None"),
    ):
        with pytest.raises(ModelError, match=f"{kind}.*layers 0 to 5"):
            plain.residuals(tokens, [layer])  # type: ignore[list-item]
    with pytest.raises(ModelError, match="empty"):
        plain.residuals(tokens, [])
    assert plain.hook(3) == "blocks.3.hook_resid_post"


def test_rows_beyond_the_context_are_refused(plain: Model) -> None:
    with pytest.raises(ModelError, match="context"):
        plain.residuals(plain.batch([[5] * (plain.context + 1)]), [0])


@pytest.mark.parametrize("fits", [1, 3])
def test_a_batch_that_does_not_fit_is_run_in_halves(
    plain: Model, texts: list[str], monkeypatch: pytest.MonkeyPatch, fits: int
) -> None:
    tokens = plain.tokenize(texts * 3)
    expected = plain.residuals(tokens, [1, 4])
    real, ran = plain.backend.activations, []

    def small(ids: Tensor, mask: Tensor | None, sites: list[str]) -> dict[str, Tensor]:
        if len(ids) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        ran.append(len(ids))
        return real(ids, mask, sites)

    monkeypatch.setattr(plain.backend, "activations", small)
    got = plain.residuals(tokens, [1, 4])
    assert sum(ran) == 9
    assert max(ran) <= fits
    for layer, value in expected.items():
        assert (got[layer] - value)[tokens.mask].abs().max() < 1e-4


def test_a_row_that_does_not_fit_says_what_to_change(plain: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> dict[str, Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(plain.backend, "activations", full)
    expected = r"One row of 2 tokens .*cpu \(tiny, float32\); use shorter texts, a smaller model or dtype='bfloat16'\."
    with pytest.raises(OutOfMemory, match=expected):
        plain.residuals(plain.tokenize(["a"] * 8), [0])


def test_other_errors_of_a_batch_go_through(plain: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> dict[str, Tensor]:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(plain.backend, "activations", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        plain.residuals(plain.tokenize(["a"] * 8), [0])


def test_threads_share_a_model(lens: Model, texts: list[str]) -> None:
    expected = real(lens, texts, [2])[2]
    results: list[Tensor] = []
    threads = [threading.Thread(target=lambda: results.append(real(lens, texts, [2])[2])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(torch.equal(result, expected) for result in results)
