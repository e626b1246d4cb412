"""Fused attention: both backends take it or neither, where it computes the same, and bit for bit equal."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from aquin_nb.engine.models import Model, load_model
from aquin_nb.engine.models.backends import HuggingFaceBackend, TransformerLensBackend

from .layouts import GPT, IDS, LAYOUTS, SMALL, small

CAPPED = {**SMALL, "num_key_value_heads": 1, "head_dim": 8, "attn_logit_softcapping": 0.01}


def both(hf: Any, plain: Model) -> tuple[HuggingFaceBackend, TransformerLensBackend]:
    wrapped = copy.deepcopy(hf)
    return HuggingFaceBackend(hf, 2, causal=True), TransformerLensBackend(wrapped, plain.tokenizer, 2)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_backends_attend_alike(layout: str, plain: Model) -> None:
    """And find the same sites, all of them by their paths too."""
    kind, config, expected = LAYOUTS[layout]
    a, b = both(small(kind, config), plain)
    eager = a.logits(IDS, None)
    assert (a.fuse_attention(), b.fuse_attention()) == (True, True)
    common = a.survey.taps.keys() & b.survey.taps.keys()
    assert {f"blocks.1.{name}" for name in expected} < common
    apart = a.survey.taps.keys() ^ b.survey.taps.keys()
    assert not [name for name in apart if name.startswith(a.blocks[1])], "every module of a block, by its path"
    x, y = (backend.activations(IDS, None, sorted(common)) for backend in (a, b))
    assert [name for name in x if not torch.equal(x[name], y[name])] == []
    assert torch.equal(a.logits(IDS, None), b.logits(IDS, None))
    torch.testing.assert_close(a.logits(IDS, None), eager)


def test_a_model_that_the_kernels_would_compute_wrongly_keeps_its_own_way(plain: Model) -> None:
    a, b = both(small("gemma2", CAPPED), plain)
    before = a.logits(IDS, None)
    assert (a.fuse_attention(), b.fuse_attention()) == (False, False)
    assert torch.equal(a.logits(IDS, None), before)
    assert torch.equal(b.logits(IDS, None), before)


@pytest.mark.parametrize("config", [("gpt2", GPT), ("olmo2", SMALL)], ids=["one product", "three"])
def test_a_hook_inside_attention_is_still_called(config: Any, plain: Model) -> None:
    a, b = both(small(*config), plain)
    a.fuse_attention()
    b.fuse_attention()
    _, cache = b.bridge.run_with_cache(IDS, names_filter=["blocks.1.attn.hook_pattern"])
    pattern = cache["blocks.1.attn.hook_pattern"]
    assert pattern.shape == (len(IDS), 2, IDS.shape[1], IDS.shape[1])
    torch.testing.assert_close(pattern.sum(-1), torch.ones(pattern.shape[:3]))
    assert torch.equal(a.logits(IDS, None), b.logits(IDS, None)), "nothing of the hook is left"


def test_what_is_loaded_attends_through_the_kernels(plain: Model, lens: Model) -> None:
    for model in (plain, lens, load_model("tiny", device="cpu", dtype="bfloat16")):
        assert model.backend.model.config._attn_implementation == "sdpa"
