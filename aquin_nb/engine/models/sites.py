"""Sites: the places in a model that can be read, what they are called, and what exactly is read there.

L is a layer from 0, [b, t, d_model] the shape unless the table says otherwise, and all values have the model's dtype.

| site | what is read |
|---|---|
| `blocks.L.hook_resid_pre` | the residual stream before block L: what the block is called with |
| `blocks.L.hook_attn_out` | what attention adds to the stream: after its output projection, and after the norm that some models (gemma 2 and 3, olmo2) put behind it |
| `blocks.L.hook_resid_mid` | the stream between attention and MLP. Pre-norm blocks: `resid_pre + attn_out`, the input of the second norm. Post-norm blocks (BERT): the output of the first norm. Parallel blocks (neox, GPT-J, phi) have none |
| `blocks.L.hook_mlp_out` | what the MLP adds to the stream, after the norm behind it where there is one |
| `blocks.L.hook_resid_post` | the stream after block L: what the block gives. Pre-norm: `resid_mid + mlp_out`. Post-norm: the output of the second norm. Hugging Face's `hidden_states[L + 1]`, but for the last layer, where Hugging Face reports the value after the final norm |
| `blocks.L.ln1.hook_normalized` | inside the first norm, before gain and bias: LayerNorm `(x - mean) · rsqrt(var + eps)`, RMSNorm `x · rsqrt(mean(x²) + eps)`. Computed in float32 from the norm's input in both backends |
| `blocks.L.ln1.hook_out` | the output of the first norm, gain and bias included: in a pre-norm block, what attention reads |
| `blocks.L.ln2.hook_normalized`, `blocks.L.ln2.hook_out` | the same of the second norm: in a pre-norm block, `ln2.hook_out` is what the MLP reads |
| `ln_final.hook_normalized`, `ln_final.hook_out` | the same of the norm behind the last block |
| `model.layers.3.mlp` | any Hugging Face module by its path: its output, the first tensor of a tuple, [b, t, width] of its own width |

The equations hold bit for bit: a name is given only where they do (`layout.py`), and a backend whose library reads
something else under a name does not offer it. A block that none of them explains (granite scales what it adds, OPT
flattens its batch, mamba has no attention) has `hook_resid_pre` and `hook_resid_post` alone, and its modules' paths.

Both backends give equal values, bit for bit, wherever TransformerLens runs Hugging Face's own arithmetic: llama,
mistral, qwen, gemma, gpt2, neox, GPT-J, phi, olmo and their like. Of a fused projection that it takes apart (gpt2's
`c_attn`, falcon's `query_key_value`) it has no output to read; falcon's attention agrees to rounding only.
"""  # noqa: E501  a row of a table is one line

from __future__ import annotations

import re
from dataclasses import dataclass

from ...errors import did_you_mean
from .survey import Survey

IN_A_BLOCK = (
    "hook_resid_pre",
    "hook_attn_out",
    "hook_resid_mid",
    "hook_mlp_out",
    "hook_resid_post",
    "ln1.hook_normalized",
    "ln1.hook_out",
    "ln2.hook_normalized",
    "ln2.hook_out",
)
AT_THE_END = ("ln_final.hook_normalized", "ln_final.hook_out")
_BLOCK = re.compile(r"blocks\.(0|[1-9]\d*)(?:\.(.+))?")


@dataclass(frozen=True)
class Site:
    """A place in a model; made by `Model.site`.

    `hook` is its name in the table of this module; `layer` the block it lies in, None outside the blocks; `width` the
    length of one vector there.
    """

    hook: str
    layer: int | None
    width: int


def names(n_layers: int) -> list[str]:
    """All names in the table but the modules' paths.

    >>> names(2)[:2], len(names(2))
    (['blocks.0.hook_resid_pre', 'blocks.0.hook_attn_out'], 20)
    """
    return [f"blocks.{layer}.{name}" for layer in range(n_layers) for name in IN_A_BLOCK] + list(AT_THE_END)


def layer_of(name: str, blocks: list[str]) -> int | None:
    """The block that a name or a module's path lies in; `blocks` are the blocks' paths.

    >>> layer_of("blocks.3.hook_mlp_out", []), layer_of("h.1.mlp", ["h.0", "h.1"]), layer_of("norm", ["h.0"])
    (3, 1, None)
    """
    if match := _BLOCK.fullmatch(name):
        return int(match[1])
    return next((layer for layer, path in enumerate(blocks) if f"{name}.".startswith(f"{path}.")), None)


def unknown(name: str, model: str, survey: Survey, blocks: list[str]) -> str:
    """Why `name` is no site of a model, and what it has: an error's message."""
    match = _BLOCK.fullmatch(name)
    if match and int(match[1]) >= len(blocks):
        return f"{name}: {model} has layers 0 to {len(blocks) - 1}."
    if match:
        block = f"blocks.{match[1]}"
        has = [role for role in IN_A_BLOCK if f"{block}.{role}" in survey.taps]
        choices = (
            f"{block} has {', '.join(has) or 'none of the names'}; or name a module such as {blocks[int(match[1])]}."
        )
        if match[2] in IN_A_BLOCK:
            why = survey.lacking.get(name) or survey.lacking.get(block) or "this block has no such part"
            return f"{name} cannot be read in {model}: {why}. {choices}"
        return f"{model} has no site {name!r}. {did_you_mean(match[2] or '', has)} {choices}"
    if name in AT_THE_END:
        return f"{name} cannot be read in {model}: {survey.lacking.get(name, 'no norm follows its last block')}."
    if name in survey.lacking:
        return f"{name} cannot be read in {model}: {survey.lacking[name]}."
    near = did_you_mean(name, survey.taps)
    return f"{model} has no site {name!r}. {near} A site is a layer's number, a hook's name or a module's path."
