"""Small models with random weights, one of every layout of blocks that sites are found in."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from aquin_nb.engine.models.sites import IN_A_BLOCK

STREAM = {"hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post"}
FIRST, SECOND = {"ln1.hook_normalized", "ln1.hook_out"}, {"ln2.hook_normalized", "ln2.hook_out"}
WHOLE = set(IN_A_BLOCK)

SMALL: dict[str, Any] = {
    "vocab_size": 90,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}
GPT: dict[str, Any] = {"vocab_size": 90, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
LAYOUTS: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "gpt2": ("gpt2", GPT, WHOLE),
    "gemma3": ("gemma3_text", {**SMALL, "num_key_value_heads": 1, "head_dim": 8}, WHOLE),
    "neox": ("gpt_neox", SMALL, WHOLE - {"hook_resid_mid"}),
    "neox, one after the other": ("gpt_neox", {**SMALL, "use_parallel_residual": False}, WHOLE),
    "phi": ("phi", SMALL, STREAM | FIRST),  # one norm, and one dropout that runs for both branches
    "norms behind": ("olmo2", SMALL, STREAM | {"hook_resid_mid"}),
    "scaled": ("granite", {**SMALL, "residual_multiplier": 0.3}, {"hook_resid_pre", "hook_resid_post"}),
    "mixture": ("mixtral", {**SMALL, "num_key_value_heads": 1, "num_local_experts": 3}, WHOLE),
}
IDS = torch.arange(3, 3 + 4 * 7).view(4, 7)


def small(kind: str, config: dict[str, Any], encoder: bool = False) -> Any:
    """A small model with random weights, its gains and biases included."""
    torch.manual_seed(0)
    described = AutoConfig.for_model(kind, **config)
    if encoder:
        hf = AutoModel.from_config(described).eval()
    else:
        hf = AutoModelForCausalLM.from_config(described, attn_implementation="eager").eval()
    for weight in hf.parameters():
        if weight.ndim == 1:
            weight.data += 0.3 * torch.randn_like(weight)
    hf.config.architectures = [type(hf).__name__]
    return hf
