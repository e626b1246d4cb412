"""Sites: every name reads what the table says, in both backends, bit for bit, in one pass that stops at the last."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from aquin_nb.engine.models import Model
from aquin_nb.engine.models.backends import Backend, HuggingFaceBackend, TransformerLensBackend
from aquin_nb.engine.models.sites import AT_THE_END, IN_A_BLOCK, Site, names
from aquin_nb.errors import ModelError

from .layouts import IDS, LAYOUTS, SMALL, WHOLE, small


def offered(backend: Backend, layer: int = 1) -> set[str]:
    return {name for name in IN_A_BLOCK if f"blocks.{layer}.{name}" in backend.survey.taps}


def test_every_site_is_equal_in_both_backends(plain: Model, lens: Model, texts: list[str]) -> None:
    """The named ones and all modules by their paths; every value, padding included."""
    sites = sorted(plain.backend.survey.taps)
    assert sites == sorted(lens.backend.survey.taps)
    assert set(names(plain.n_layers)) < set(sites)
    assert {"model.layers.3.mlp", "model.layers.3.self_attn.q_proj", "model.embed_tokens", "lm_head"} < set(sites)
    tokens = plain.tokenize(texts)
    a, b = plain.activations(tokens, sites), lens.activations(tokens, sites)
    assert [site for site in sites if not torch.equal(a[site], b[site])] == []
    for name in sites:
        site = plain.site(name)
        assert site == lens.site(name)
        assert a[name].shape == (*tokens.ids.shape, site.width)
        assert a[name].abs().max() > 0


@pytest.mark.parametrize("name", ["plain", "lens"])
def test_names_read_what_the_table_says(name: str, plain: Model, texts: list[str], request: Any) -> None:
    model: Model = request.getfixturevalue(name)
    hf: Any = plain.backend.model  # type: ignore[attr-defined]
    tokens = model.tokenize(texts)
    x = model.activations(tokens, names(model.n_layers))
    with torch.no_grad():
        for layer, block in enumerate(hf.model.layers):
            at = {name: x[f"blocks.{layer}.{name}"] for name in IN_A_BLOCK}
            assert torch.equal(at["hook_resid_pre"] + at["hook_attn_out"], at["hook_resid_mid"])
            assert torch.equal(at["hook_resid_mid"] + at["hook_mlp_out"], at["hook_resid_post"])
            assert torch.equal(block.input_layernorm(at["hook_resid_pre"]), at["ln1.hook_out"])
            assert torch.equal(block.post_attention_layernorm(at["hook_resid_mid"]), at["ln2.hook_out"])
            assert torch.equal(block.mlp(at["ln2.hook_out"]), at["hook_mlp_out"])
            for norm, gain in (("ln1", block.input_layernorm), ("ln2", block.post_attention_layernorm)):
                assert torch.equal(at[f"{norm}.hook_normalized"] * gain.weight, at[f"{norm}.hook_out"])
            if layer:
                assert torch.equal(at["hook_resid_pre"], x[f"blocks.{layer - 1}.hook_resid_post"])
        last = x[f"blocks.{model.n_layers - 1}.hook_resid_post"]
        assert torch.equal(hf.model.norm(last), x["ln_final.hook_out"])
        assert torch.equal(x["ln_final.hook_normalized"] * hf.model.norm.weight, x["ln_final.hook_out"])
        assert torch.equal(hf.lm_head(x["ln_final.hook_out"]), model.logits(tokens))


def test_names_read_what_transformerlens_reads_under_them(lens: Model, texts: list[str]) -> None:
    bridge: Any = lens.backend.bridge  # type: ignore[attr-defined]
    tokens = lens.tokenize(texts)
    sites = names(lens.n_layers)
    _, cache = bridge.run_with_cache(tokens.ids, names_filter=sites)
    got = lens.activations(tokens, sites)
    assert [site for site in sites if not torch.equal(got[site], cache[site])] == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_parts_of_a_block_are_found_by_what_they_do(layout: str, plain: Model) -> None:
    """And both backends find the same, with equal values."""
    kind, config, expected = LAYOUTS[layout]
    hf = small(kind, config)
    wrapped = copy.deepcopy(hf)
    a = HuggingFaceBackend(hf, 2, causal=True)
    b = TransformerLensBackend(wrapped, plain.tokenizer, 2)
    assert offered(a) == offered(b) == expected
    common = [name for name in a.survey.taps if name in b.survey.taps]
    assert any(name.startswith(f"{a.blocks[1]}.") for name in common)
    x, y = a.activations(IDS, None, common), b.activations(IDS, None, common)
    assert [name for name in common if not torch.equal(x[name], y[name])] == []
    at = {name: x[f"blocks.1.{name}"] for name in expected}
    if "hook_resid_mid" in expected:
        assert torch.equal(at["hook_resid_pre"] + at["hook_attn_out"], at["hook_resid_mid"])
        assert torch.equal(at["hook_resid_mid"] + at["hook_mlp_out"], at["hook_resid_post"])
    elif "hook_mlp_out" in expected:
        total = at["hook_resid_pre"] + at["hook_attn_out"] + at["hook_mlp_out"]
        torch.testing.assert_close(total, at["hook_resid_post"])


def test_blocks_that_norm_what_they_give() -> None:
    """BERT: the stream is what lies behind each norm, and what is added is added before it."""
    hf = small("bert", SMALL, encoder=True)
    backend = HuggingFaceBackend(hf, 2, causal=False)
    assert offered(backend) == WHOLE
    mask = torch.ones_like(IDS)
    mask[2, 4:] = 0
    x = backend.activations(IDS, mask, [f"blocks.1.{name}" for name in IN_A_BLOCK])
    at = {name: x[f"blocks.1.{name}"] for name in IN_A_BLOCK}
    block = hf.encoder.layer[1]
    with torch.no_grad():
        first, second = block.attention.output.LayerNorm, block.output.LayerNorm
        states = hf(IDS, attention_mask=mask, output_hidden_states=True).hidden_states
        assert torch.equal(at["hook_resid_pre"], states[1])
        assert torch.equal(first(at["hook_resid_pre"] + at["hook_attn_out"]), at["hook_resid_mid"])
        assert torch.equal(at["ln1.hook_out"], at["hook_resid_mid"])
        assert torch.equal(block.output.dense(block.intermediate(at["hook_resid_mid"])), at["hook_mlp_out"])
        assert torch.equal(second(at["hook_resid_mid"] + at["hook_mlp_out"]), at["hook_resid_post"])
        assert torch.equal(at["hook_resid_post"], states[2])
        torch.testing.assert_close(at["ln2.hook_normalized"] * second.weight + second.bias, at["ln2.hook_out"])


def test_what_the_model_overwrites_later_was_read_before() -> None:
    """Falcon adds attention's output onto the MLP's in place."""
    config = {**SMALL, "alibi": False, "new_decoder_architecture": True, "num_kv_heads": 1}
    hf = small("falcon", config)
    backend = HuggingFaceBackend(hf, 2, causal=True)
    x = backend.activations(IDS, None, ["blocks.0.ln2.hook_out", "blocks.0.hook_mlp_out", "blocks.1.hook_resid_post"])
    with torch.no_grad():
        assert torch.equal(hf.transformer.h[0].mlp(x["blocks.0.ln2.hook_out"]), x["blocks.0.hook_mlp_out"])


def test_another_place_under_a_name_is_not_offered(plain: Model) -> None:
    """TransformerLens's hook_attn_out of BERT lies behind the norm, so it is not what attention adds."""
    from transformers import BertForMaskedLM

    hf = small("bert", SMALL, encoder=True)
    masked = BertForMaskedLM(hf.config).eval()
    backend = TransformerLensBackend(masked, plain.tokenizer, 2)
    assert WHOLE - offered(backend) == {"hook_attn_out", "hook_resid_mid"}
    assert "another place" in backend.survey.lacking["blocks.1.hook_attn_out"]


@pytest.mark.parametrize("name", ["plain", "lens"])
def test_several_sites_in_one_pass_that_stops_at_the_last(name: str, texts: list[str], request: Any) -> None:
    model: Model = request.getfixturevalue(name)
    tokens = model.tokenize(texts)
    wanted = [model.site("blocks.3.hook_mlp_out"), model.site("model.layers.1.mlp.up_proj"), model.site(2)]
    together = model.activations(tokens, [*wanted, wanted[0]])
    assert list(together) == [site.hook for site in wanted]
    for site in wanted:
        assert torch.equal(together[site.hook], model.activations(tokens, [site])[site.hook])
    later = model.backend.modules["model.layers.4"]
    ran: list[object] = []
    handles = [later.register_forward_pre_hook(lambda *_: ran.append(1))]
    handles.append(model.backend.modules["model.layers.0"].register_forward_hook(lambda *_: ran.append(0)))
    try:
        model.activations(tokens, wanted)
    finally:
        for handle in handles:
            handle.remove()
    assert ran == [0]


def test_what_a_site_says_of_itself(plain: Model) -> None:
    assert plain.site(3) == Site("blocks.3.hook_resid_post", 3, 128) == plain.site("blocks.3.hook_resid_post")
    assert plain.site(plain.site(3)) == plain.site(3)
    assert plain.site("model.layers.4.mlp.gate_proj") == Site("model.layers.4.mlp.gate_proj", 4, 256)
    assert plain.site("model.layers.4").layer == 4
    assert plain.site("ln_final.hook_normalized") == Site("ln_final.hook_normalized", None, 128)
    assert plain.site("lm_head").width == 4096
    x = plain.activations(plain.tokenize([]), ["model.layers.4.mlp.gate_proj"])["model.layers.4.mlp.gate_proj"]
    assert (x.shape, x.dtype) == ((0, 1, 256), plain.dtype)


def test_half_precision_is_the_models_own(texts: list[str]) -> None:
    from aquin_nb.engine.models import load_model

    a = load_model("tiny", device="cpu", dtype="bfloat16", backend="huggingface")
    b = load_model("tiny", device="cpu", dtype="bfloat16")
    tokens = a.tokenize(texts)
    x, y = a.activations(tokens, names(6)), b.activations(tokens, names(6))
    assert {value.dtype for value in (*x.values(), *y.values())} == {torch.bfloat16}
    assert [site for site in x if not torch.equal(x[site], y[site])] == []


@pytest.mark.parametrize("name", ["plain", "lens"])
def test_an_unknown_site_is_told_what_there_is(name: str, request: Any) -> None:
    model: Model = request.getfixturevalue(name)
    for spec, told in (
        ("blocks.3.hook_resid_mdi", "Did you mean hook_resid_mid"),
        ("blocks.3.attn.hook_z", "blocks.3 has hook_resid_pre, hook_attn_out, .* such as model.layers.3"),
        ("blocks.3", "blocks.3 has hook_resid_pre"),
        ("blocks.6.hook_resid_post", "layers 0 to 5"),
        ("model.layers.3.mpl", "Did you mean model.layers.3.mlp"),
        ("model.layers.3.mlp.act", "Did you mean model.layers.3.mlp.act_fn"),
        ("model", "it gives BaseModelOutputWithPast, not one vector for each token"),
        ("model.rotary_emb", r"it gives \[1, 3, 32\]"),
        ("model.layers", "it does not run"),
        ("", "a layer's number, a hook's name or a module's path"),
        (6, "layers 0 to 5"),
        (None, "layers 0 to 5"),
        (True, "a bool"),
        (Site("blocks.3.hook_resid_post", 3, 64), "belongs to another model"),
    ):
        with pytest.raises(ModelError, match=told):
            model.site(spec)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="sites is empty"):
        model.activations(model.tokenize(["a"]), [])


def test_a_part_that_a_model_does_not_have_is_named() -> None:
    from aquin_nb.engine.models.sites import unknown

    neox = HuggingFaceBackend(small("gpt_neox", SMALL), 2, causal=True)
    message = unknown("blocks.1.hook_resid_mid", "pythia", neox.survey, neox.blocks)
    assert "side by side" in message
    assert "blocks.1 has hook_resid_pre, hook_attn_out, hook_mlp_out" in message
    bert = HuggingFaceBackend(small("bert", SMALL, encoder=True), 2, causal=False)
    assert "no norm follows its last block" in unknown("ln_final.hook_out", "bert", bert.survey, bert.blocks)


def test_a_module_that_runs_twice_has_no_one_value() -> None:
    hf = small("llama", SMALL)
    hf.model.layers[1].mlp = hf.model.layers[0].mlp
    backend = HuggingFaceBackend(hf, 2, causal=True)
    for name in ("model.layers.0.mlp", "blocks.0.hook_mlp_out"):
        assert name not in backend.survey.taps
        assert backend.survey.lacking[name] == "it runs 2 times in one pass"
    assert offered(backend) == {"hook_resid_pre", "hook_resid_post"}


def test_a_batch_in_halves_has_the_same_rows(plain: Model, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    sites = ["blocks.2.hook_attn_out", "model.layers.1.mlp.up_proj"]
    tokens = plain.tokenize(texts * 3)
    expected = plain.activations(tokens, sites)
    whole = plain.backend.activations

    def cramped(ids: Tensor, mask: Tensor | None, names: list[str]) -> dict[str, Tensor]:
        if len(ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return whole(ids, mask, names)

    monkeypatch.setattr(plain.backend, "activations", cramped)
    for name, value in plain.activations(tokens, sites).items():
        torch.testing.assert_close(value[tokens.mask], expected[name][tokens.mask], atol=1e-4, rtol=1e-4)


def test_the_end_and_the_blocks_are_all_names(plain: Model) -> None:
    assert len(names(plain.n_layers)) == plain.n_layers * len(IN_A_BLOCK) + len(AT_THE_END)
