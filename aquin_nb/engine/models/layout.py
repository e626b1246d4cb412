"""What the parts of a transformer block do, found by what they add and not by what they are called.

A block is run once on six tokens. With x what goes in, y what comes out and every tensor that a module was given or
gave in between, one of three equations holds bit for bit, and says which tensor plays which role:

    pre-norm    mid = x + attn_out            y = mid + mlp_out               (llama, gpt2, gemma; olmo2)
    post-norm   mid = ln1(x + attn_out)       y = ln2(mid + mlp_out)          (BERT)
    parallel    y = x + attn_out + mlp_out, in any order; there is no mid     (neox, GPT-J, phi)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .norms import is_norm, normaliser
from .taps import Tap


@dataclass(frozen=True)
class Call:
    """One call of a module inside a block: the tensors [b, t, d_model] among what it was given and what it gave."""

    path: str  # inside the block
    kind: str  # the module's class, in lower case
    module: nn.Module
    given: Tensor | None
    made: Tensor | None


@dataclass(frozen=True)
class Role:
    """Where a role is read, and its value on the six tokens: of a norm's inside, the value of the norm's input."""

    tap: Tap
    value: Tensor


def same(a: Tensor | None, b: Tensor | None) -> bool:
    """Equal bit for bit, shape and dtype included."""
    return a is not None and b is not None and a.dtype == b.dtype and torch.equal(a, b)


def roles(x: Tensor, y: Tensor, calls: Sequence[Call]) -> tuple[dict[str, Role], str]:
    """The roles of one block by the second half of their sites' names, and in a few words why others are lacking.

    `calls` are in the order in which they ended.
    """
    found, why = _sequential(x, y, calls), ""
    if not found:
        found, why = _parallel(x, y, calls), "its attention and its MLP work side by side on the block's input"
    if not found:
        why = "what its attention and its MLP add to the residual stream could not be told apart"
    return found, why


def norm_roles(name: str, call: Call) -> dict[str, Role]:
    """The output of a norm, and where the formula is known also the value before its gain."""
    assert call.given is not None
    assert call.made is not None
    out = {f"{name}.hook_out": Role(Tap(call.module, "output", replaceable=True), call.made)}
    inside = normaliser(call.module, call.given, call.made)
    if inside is not None:
        out[f"{name}.hook_normalized"] = Role(Tap(call.module, "input", via=inside), call.given)
    return out


def _sequential(x: Tensor, y: Tensor, calls: Sequence[Call]) -> dict[str, Role]:
    for index, reader in enumerate(calls):
        if reader.given is None or same(reader.given, x):
            continue
        attention = _adds(x, calls[:index], reader.given)
        if attention is None or not any(_is_attention(call) for call in calls[:index]):
            continue
        rest = calls[index:]
        mlp = _adds(reader.given, rest, y)
        if mlp is not None:
            norms = {"ln1": _reader(x, calls), "ln2": _reader(reader.given, rest)}
            mid = Role(Tap(reader.module, "input"), reader.given)
            return _named(attention, mlp, mid, norms)
        if is_norm(reader.module) and reader.made is not None:
            for last in rest:
                if is_norm(last.module) and same(last.made, y) and last.given is not None:
                    mlp = _adds(reader.made, rest, last.given)
                    if mlp is not None:
                        mid = Role(Tap(reader.module, "output", replaceable=True), reader.made)
                        return _named(attention, mlp, mid, {"ln1": reader, "ln2": last})
    return {}


def _parallel(x: Tensor, y: Tensor, calls: Sequence[Call]) -> dict[str, Role]:
    whole = next((call for call in _outermost(calls) if _is_attention(call)), None)
    if whole is None:
        return {}
    within = [call for call in calls if f"{call.path}.".startswith(f"{whole.path}.")]
    others = [call for call in calls if call not in within]
    for a in _outermost(within):
        for m in _outermost(others):
            if a.made is None or m.made is None or not (a.made.any() and m.made.any()):
                continue
            sums = (a.made + m.made + x, x + a.made + m.made, x + m.made + a.made)
            if any(same(total, y) for total in sums):
                norms = [call for call in calls if is_norm(call.module) and same(call.given, x)]
                return _named(a, m, None, dict(zip(("ln1", "ln2"), norms, strict=False)))
    return {}


def _named(attention: Call, mlp: Call, mid: Role | None, norms: Mapping[str, Call | None]) -> dict[str, Role]:
    out = {}
    if mid is not None:
        out["hook_resid_mid"] = mid
    for name, call in (("hook_attn_out", attention), ("hook_mlp_out", mlp)):
        assert call.made is not None
        out[name] = Role(Tap(call.module, "output", replaceable=True), call.made)
    for name, norm in norms.items():
        if norm is not None:
            out |= norm_roles(name, norm)
    return out


def _adds(before: Tensor, calls: Sequence[Call], after: Tensor) -> Call | None:
    """The outermost module whose output is what lies between `before` and `after`."""
    for call in _outermost(calls):
        if call.made is not None and call.made.any() and same(before + call.made, after):
            return call
    return None


def _reader(value: Tensor, calls: Iterable[Call]) -> Call | None:
    """The first norm that reads `value`."""
    return next((c for c in calls if is_norm(c.module) and same(c.given, value) and c.made is not None), None)


def _outermost(calls: Iterable[Call]) -> list[Call]:
    """Containers before their parts, earlier ones before later ones."""
    return sorted(calls, key=_depth)


def _depth(call: Call) -> int:
    return call.path.count(".")


def _is_attention(call: Call) -> bool:
    return "attention" in call.kind or "attn" in call.kind
