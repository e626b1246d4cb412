"""Reading and replacing tensors inside a forward pass, with hooks that never outlive it.

A reading stops the pass at the last tap that is reached, by raising in its hook: nothing later runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ...errors import ModelError
from .untyped import Untyped

Change: TypeAlias = Callable[[Tensor], Tensor]


class _Enough(Exception):
    """A signal, raised in the hook of the last tap; never leaves this module."""


@dataclass(frozen=True)
class Tap:
    """One tensor of a forward pass: what a module is given, or what it gives (of a tuple, its first)."""

    module: nn.Module
    at: str  # input | output
    via: Change | None = None  # what is read is computed from that tensor by this
    replaceable: bool = False  # putting another tensor in its place changes everything that comes after it


def first_tensor(value: Untyped) -> Tensor | None:
    """A tensor, or the tensor that a tuple begins with."""
    if isinstance(value, (tuple, list)) and value:
        value = value[0]
    return value if isinstance(value, Tensor) else None


def given(args: tuple[Untyped, ...], kwargs: Mapping[str, Untyped]) -> Tensor | None:
    """The hidden states that a module is called with: its first argument, or the one that goes by this name."""
    return first_tensor(args[0] if args else kwargs.get("hidden_states"))


def read(taps: Mapping[str, Tap], run: Callable[[], object]) -> dict[str, Tensor]:
    """The tensors at `taps`, by the same keys, in one call of `run`, which is ended when the last of them is there.

    A tensor that was read is the reader's own: what the model writes in place afterwards does not reach it.

    Raises:
        ModelError: `run` ended before every tap was reached.
    """
    found: dict[str, Tensor] = {}
    over = False

    def hook(key: str, tap: Tap) -> Callable[..., None]:
        def keep(module: nn.Module, args: Untyped, kwargs: Untyped, output: Untyped = None) -> None:
            # `over`: an interrupt between registering a hook and noting its handle would leave it there for good.
            if over or key in found:
                return
            value = given(args, kwargs) if tap.at == "input" else first_tensor(output)
            if value is None:
                return
            last = len(found) == len(taps) - 1
            if tap.via is not None:
                found[key] = tap.via(value)
            else:
                found[key] = value if last else value.clone()
            if last:
                raise _Enough

        return keep

    handles = []
    try:
        for key, tap in taps.items():
            register = tap.module.register_forward_pre_hook if tap.at == "input" else tap.module.register_forward_hook
            handles.append(register(hook(key, tap), with_kwargs=True))
        with torch.no_grad(), suppress(_Enough):
            run()
    finally:
        over = True
        for handle in handles:
            handle.remove()
    lacking = [key for key in taps if key not in found]
    if lacking:
        raise ModelError(f"The model was run and did not reach {', '.join(lacking)}.")
    return found


def replacing(tap: Tap, change: Change, run: Callable[[], Tensor]) -> Tensor:
    """What `run` gives when the tensor at `tap` is replaced by `change` of it wherever the model goes on with it."""
    over = False

    def before(module: nn.Module, args: Untyped, kwargs: Untyped) -> Untyped:
        if over:
            return None
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    def after(module: nn.Module, args: Untyped, output: Untyped) -> Untyped:
        if over:
            return None
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    handles = []
    try:
        if tap.at == "input":
            handles.append(tap.module.register_forward_pre_hook(before, with_kwargs=True))
        else:
            handles.append(tap.module.register_forward_hook(after))
        with torch.no_grad():
            return run()
    finally:
        over = True
        for handle in handles:
            handle.remove()
