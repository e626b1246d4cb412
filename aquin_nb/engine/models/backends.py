"""Two ways to read a model's sites and to replace what is there: TransformerLens and plain Hugging Face."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ...errors import ModelError
from . import attention
from .sites import names
from .survey import Survey, survey
from .taps import Change, Tap, read, replacing
from .untyped import HFModel, HFTokenizer, Untyped

Replace: TypeAlias = tuple[str, Change]
"""A site's name, and what its tensor [b, t, width] becomes: the same shape, dtype and device."""

ROWS, TOKENS = 3, 24  # that two ways of attending are compared on

_WRAPPED = "_original_component"  # where TransformerLens keeps the module that it has put itself in place of


def find_blocks(model: nn.Module, n_layers: int) -> nn.ModuleList:
    """The list of transformer blocks: the shallowest ModuleList of `n_layers` members.

    `model.layers`, `transformer.h`, `gpt_neox.layers`, `encoder.layer` and their like differ in name only.

    Raises:
        ModelError: there is none.
    """
    lists = [
        (name.count("."), name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == n_layers
    ]
    if not lists:
        raise ModelError(
            f"{type(model).__name__} has no list of {n_layers} blocks to hook; this architecture is not supported."
        )
    return min(lists, key=lambda item: item[:2])[2]


def _stand_in(model: nn.Module, path: str) -> nn.Module | None:
    """What the bridge has put in the place of the module that was at `path`: the module itself, or a wrapper of it."""
    here: nn.Module | None = model
    for name in path.split("."):
        while here is not None and (inner := here._modules.get(_WRAPPED)) is not None:
            here = inner
        here = None if here is None else here._modules.get(name)
    return here


def _norm_once(part: Untyped) -> None:
    """Let the bridge's norm run Hugging Face's own, once.

    By default gpt2's and others' are computed anew, equal to rounding only; and beside Hugging Face's own the bridge
    computes what its inner hook points would show, hooked or not, which doubles the cost of every norm (4 % of a pass).
    """
    part.use_native_layernorm_autograd = True
    watched = getattr(part, "_hf_autograd_forward_with_hooks", None)
    if watched is None:  # it is private, and a version without it loses no more than speed
        return

    def forward(x: Tensor) -> Tensor:
        if part.hook_scale.has_hooks() or part.hook_normalized.has_hooks():
            hooked: Tensor = watched(x)
            return hooked
        out: Tensor = part.original_component(x)
        return out.to(x.dtype)

    part._hf_autograd_forward_with_hooks = forward


class Backend(ABC):
    """What a Model needs of a library. Hooks live as long as one forward pass, however it ends."""

    name: str

    def __init__(self, model: HFModel, n_layers: int, modules: Mapping[str, nn.Module]) -> None:
        self.model = model
        self.modules = modules
        """Every module of the model by its Hugging Face path."""
        paths = {id(module): path for path, module in modules.items()}
        self.blocks = [paths[id(block)] for block in find_blocks(model, n_layers)]
        """The paths of the blocks."""
        self._vocabulary = int(model.config.get_text_config().vocab_size)
        self._device: torch.device = model.device

    def fuse_attention(self) -> bool:
        """Attend through torch's fused kernels from now on, if that gives the same to rounding; whether it does.

        Before the first reading. It runs the model twice over a few ids.
        """
        ids = (
            torch.arange(ROWS * TOKENS, device=self._device).mul_(7919).remainder_(self._vocabulary).view(ROWS, TOKENS)
        )
        last = Tap(self.modules[self.blocks[-1]], "output")
        return attention.fuse(self.model, lambda: read({"last": last}, lambda: self._run(ids, None))["last"])

    @cached_property
    def survey(self) -> Survey:
        """Every site, found by one pass of six tokens through the whole model when it is first asked for."""
        return survey(self.modules, self.blocks, self._points(), self._look, self._vocabulary, self._device)

    def activations(self, ids: Tensor, mask: Tensor | None, sites: Sequence[str]) -> dict[str, Tensor]:
        """What is at `sites`, {name: [b, t, width]}, for `ids` [b, t] int64 on the model's device.

        `mask` [b, t] is given to bidirectional models only: in a causal one, padding on the right cannot reach a real
        token, and without a mask both backends run the same arithmetic.
        """
        return read({name: self.survey.taps[name] for name in sites}, lambda: self._run(ids, mask))

    def logits(self, ids: Tensor, replace: Replace | None) -> Tensor:
        """Logits [b, t, vocabulary] of a language model for `ids` [b, t], with the tensor at one site replaced."""
        if replace is None:
            with torch.no_grad():
                return self._logits(ids)
        name, change = replace
        return replacing(self.survey.taps[name], change, lambda: self._logits(ids))

    def _points(self) -> Mapping[str, nn.Module]:
        """The library's own hook points at our named sites and at the inputs of norms."""
        return {}

    def _look(self, ids: Tensor) -> None:
        self._run(ids, None)

    @abstractmethod
    def _run(self, ids: Tensor, mask: Tensor | None) -> None:
        """One forward pass, for its hooks."""

    @abstractmethod
    def _logits(self, ids: Tensor) -> Tensor: ...


class HuggingFaceBackend(Backend):
    """A transformers model as it is."""

    name = "huggingface"

    def __init__(self, model: HFModel, n_layers: int, causal: bool) -> None:
        super().__init__(model, n_layers, {path: module for path, module in model.named_modules() if path})
        self._extra = {"use_cache": False} if causal else {}

    def _run(self, ids: Tensor, mask: Tensor | None) -> None:
        self.model(input_ids=ids, attention_mask=mask, **self._extra)

    def _logits(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=ids, **self._extra).logits
        return logits


class TransformerLensBackend(Backend):
    """TransformerBridge around a transformers model that we loaded ourselves; the model is wrapped in place.

    Sites are read at the bridge's own hook points, resolved once: `run_with_hooks` would gather all of their names anew
    in every call. A module's path leads to the part of the bridge that stands in the module's place.
    """

    name = "transformer-lens"

    def __init__(self, model: HFModel, tokenizer: HFTokenizer, n_layers: int) -> None:
        from transformer_lens.model_bridge import TransformerBridge
        from transformer_lens.model_bridge.generalized_components import NormalizationBridge

        paths = [path for path, _ in model.named_modules() if path]
        label = f"local/{type(model).__name__}"  # a known hub name would be looked up; the model is already here
        try:
            self.bridge = TransformerBridge.boot_transformers(
                label,
                hf_model=model,
                tokenizer=copy.deepcopy(tokenizer),  # it gets a BOS and a padding token where it has none
                device=str(model.device),
                dtype=model.dtype,
            )
        except (ValueError, KeyError, AttributeError, RuntimeError) as error:
            raise ModelError(
                f"TransformerLens cannot wrap {type(model).__name__}: {error}. Load it with backend='huggingface'."
            ) from error
        for part in model.modules():
            if isinstance(part, NormalizationBridge):
                _norm_once(part)
        found = {path: _stand_in(model, path) for path in paths}
        super().__init__(model, n_layers, {path: module for path, module in found.items() if module is not None})

    def fuse_attention(self) -> bool:
        from transformer_lens.model_bridge.generalized_components import AttentionBridge

        parts = [part for part in self.model.modules() if isinstance(part, AttentionBridge)]
        for part in parts:
            attention.delegate(part)
        fused = super().fuse_attention()
        if not fused:
            for part in parts:
                attention.undo(part)
        return fused

    def _points(self) -> Mapping[str, nn.Module]:
        points = self.bridge.hook_dict
        asked = [name.replace("hook_normalized", "hook_in") for name in names(len(self.blocks))]
        return {name: points[name] for name in asked if name in points}

    def _run(self, ids: Tensor, mask: Tensor | None) -> None:
        self.bridge(ids, return_type=None, attention_mask=mask, use_cache=False)

    def _logits(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.bridge(ids, return_type="logits", use_cache=False)
        return logits
