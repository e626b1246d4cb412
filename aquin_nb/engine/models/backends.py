"""Two ways to read and to replace the residual stream: TransformerLens and plain Hugging Face, equal bit for bit.

A reading stops the forward pass at the last layer asked by raising in its hook: no later block runs and no logits are
built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from ...errors import ModelError
from .untyped import HFModel, HFTokenizer, Untyped

Replace: TypeAlias = tuple[int, Callable[[Tensor], Tensor]]
"""A layer, and what its block's output [b, t, d_model] becomes: the same shape, dtype and device."""


class _Enough(Exception):
    """A signal, raised in the hook of the last layer asked; never leaves this module."""


class Backend(Protocol):
    """What a Model needs of a library."""

    name: str

    def residuals(self, ids: Tensor, mask: Tensor | None, layers: Sequence[int]) -> dict[int, Tensor]:
        """Block outputs {layer: [b, t, d_model]} of `ids` [b, t] int64 on the model's device.

        `mask` [b, t] is given to bidirectional models only: in a causal one, padding on the right cannot reach a real
        token, and without a mask both backends run the same arithmetic.
        """
        ...

    def logits(self, ids: Tensor, replace: Replace | None) -> Tensor:
        """Logits [b, t, vocabulary] of a language model for `ids` [b, t], with one block's output replaced if asked."""
        ...


def find_blocks(model: torch.nn.Module, n_layers: int) -> torch.nn.ModuleList:
    """The list of transformer blocks: the shallowest ModuleList of `n_layers` members.

    `model.layers`, `transformer.h`, `gpt_neox.layers`, `encoder.layer` and their like differ in name only.

    Raises:
        ModelError: there is none.
    """
    lists = [
        (name.count("."), name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == n_layers
    ]
    if not lists:
        raise ModelError(
            f"{type(model).__name__} has no list of {n_layers} blocks to hook; this architecture is not supported."
        )
    return min(lists, key=lambda item: item[:2])[2]


class HuggingFaceBackend:
    """Forward hooks on the blocks of a transformers model."""

    name = "huggingface"

    def __init__(self, model: HFModel, n_layers: int, causal: bool) -> None:
        self.model = model
        self.blocks = find_blocks(model, n_layers)
        self._extra = {"use_cache": False} if causal else {}

    def residuals(self, ids: Tensor, mask: Tensor | None, layers: Sequence[int]) -> dict[int, Tensor]:
        out: dict[int, Tensor] = {}
        last = max(layers)

        def hook(layer: int) -> Callable[[torch.nn.Module, Untyped, Untyped], None]:
            def keep(module: torch.nn.Module, inputs: Untyped, output: Untyped) -> None:
                out[layer] = (output[0] if isinstance(output, tuple) else output).detach()
                if layer == last:
                    raise _Enough

            return keep

        handles = [self.blocks[layer].register_forward_hook(hook(layer)) for layer in layers]
        try:
            with torch.no_grad():
                self.model(input_ids=ids, attention_mask=mask, **self._extra)
        except _Enough:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return out

    def logits(self, ids: Tensor, replace: Replace | None) -> Tensor:
        handles = []
        if replace is not None:
            layer, change = replace

            def swap(module: torch.nn.Module, inputs: Untyped, output: Untyped) -> Untyped:
                return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

            handles.append(self.blocks[layer].register_forward_hook(swap))
        try:
            with torch.no_grad():
                logits: Tensor = self.model(input_ids=ids, **self._extra).logits
        finally:
            for handle in handles:
                handle.remove()
        return logits


class TransformerLensBackend:
    """TransformerBridge around a transformers model that we loaded ourselves; the model is wrapped in place."""

    name = "transformer-lens"

    def __init__(self, model: HFModel, tokenizer: HFTokenizer) -> None:
        from transformer_lens.model_bridge import TransformerBridge

        label = f"local/{type(model).__name__}"  # a known hub name would be looked up; the model is already here
        try:
            self.bridge = TransformerBridge.boot_transformers(
                label, hf_model=model, tokenizer=tokenizer, device=str(model.device), dtype=model.dtype
            )
        except (ValueError, KeyError, AttributeError, NotImplementedError) as error:
            raise ModelError(
                f"TransformerLens cannot wrap {type(model).__name__}: {error}. Load it with backend='huggingface'."
            ) from error

    def residuals(self, ids: Tensor, mask: Tensor | None, layers: Sequence[int]) -> dict[int, Tensor]:
        out: dict[int, Tensor] = {}
        last = max(layers)

        def hook(layer: int) -> Callable[[Tensor, Untyped], None]:
            def keep(value: Tensor, hook: Untyped) -> None:
                out[layer] = value.detach()
                if layer == last:
                    raise _Enough

            return keep

        points = [(f"blocks.{layer}.hook_resid_post", hook(layer)) for layer in layers]
        try:
            with torch.no_grad():
                self.bridge.run_with_hooks(
                    ids, return_type=None, fwd_hooks=points, attention_mask=mask, use_cache=False
                )
        except _Enough:
            pass
        return out

    def logits(self, ids: Tensor, replace: Replace | None) -> Tensor:
        points = []
        if replace is not None:
            layer, change = replace

            def swap(value: Tensor, hook: Untyped) -> Tensor:
                return change(value)

            points.append((f"blocks.{layer}.hook_resid_post", swap))
        with torch.no_grad():
            logits: Tensor = self.bridge.run_with_hooks(ids, return_type="logits", fwd_hooks=points, use_cache=False)
        return logits
