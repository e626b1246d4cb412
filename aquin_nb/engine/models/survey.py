"""Every place of a model that can be read, with its width: one pass of six tokens, watched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .layout import Call, Role, norm_roles, roles, same
from .norms import is_norm
from .taps import Tap, first_tensor, given
from .untyped import Untyped

ROWS, TOKENS = 2, 3  # unequal, so that a shape cannot be mistaken


@dataclass
class Survey:
    """What was found. `taps` and `widths` go by the site's name: a hook's, or a module's path."""

    taps: dict[str, Tap] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)  # by name, or by `blocks.<layer>`: why it cannot be read

    def add(self, name: str, tap: Tap, width: int) -> None:
        self.taps[name], self.widths[name] = tap, width


class _Watch:
    """The hooks of a survey. Tensors live until their block ends: no more than one block's are held."""

    def __init__(
        self, modules: Mapping[str, nn.Module], blocks: Mapping[str, int], points: Mapping[str, nn.Module]
    ) -> None:
        self.survey = Survey()
        self.modules, self.blocks, self.points = modules, blocks, points
        self.runs: Counter[int] = Counter()  # by the module's id
        self.inside: str | None = None  # the path of the block that is running
        self.x: Tensor | None = None
        self.calls: list[Call] = []
        self.seen: dict[int, Tensor] = {}  # at hook points, by their ids
        self.stream: Tensor | None = None  # the last block's output

    def over(self, run: Callable[[], object]) -> Survey:
        handles = []
        try:
            for path in self.blocks:
                handles.append(self.modules[path].register_forward_pre_hook(self._enter(path), with_kwargs=True))
            for path, module in self.modules.items():
                handles.append(module.register_forward_hook(self._leave(path), with_kwargs=True))
            for point in {id(point): point for point in self.points.values()}.values():  # one may have two names
                handles.append(point.register_forward_hook(self._pass))
            with torch.no_grad():
                run()
        finally:
            for handle in handles:
                handle.remove()
        self._count()
        return self.survey

    def _enter(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Untyped, kwargs: Untyped) -> None:
            x = given(args, kwargs)
            self.inside, self.x, self.stream = path, None if x is None else x.clone(), None
            self.calls.clear()
            self.seen.clear()

        return hook

    def _pass(self, point: nn.Module, args: Untyped, output: Untyped) -> None:
        self.runs[id(point)] += 1
        if isinstance(output, Tensor):
            self.seen[id(point)] = output.clone()

    def _leave(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Untyped, kwargs: Untyped, output: Untyped) -> None:
            self.runs[id(module)] += 1
            made = first_tensor(output)
            if made is not None and made.shape[:2] == (ROWS, TOKENS) and made.ndim == 3:
                self.survey.add(path, Tap(module, "output", replaceable=True), made.shape[2])
            else:
                shape = type(output).__name__ if made is None else list(made.shape)
                self.survey.lacking[path] = f"it gives {shape}, not one vector for each token"
            if path in self.blocks:
                self._block(self.blocks[path], module, made)
            elif self.inside is not None and path.startswith(f"{self.inside}."):
                own = path.removeprefix(f"{self.inside}.")
                kind = type(module).__name__.lower()
                self.calls.append(Call(own, kind, module, self._like_x(given(args, kwargs)), self._like_x(made)))
            elif made is not None and is_norm(module) and same(given(args, kwargs), self.stream):
                self._keep(norm_roles("ln_final", Call(path, "", module, self.stream, made)))
                self.stream = None

        return hook

    def _like_x(self, value: Tensor | None) -> Tensor | None:
        return value.clone() if value is not None and self.x is not None and value.shape == self.x.shape else None

    def _block(self, layer: int, module: nn.Module, y: Tensor | None) -> None:
        x, self.inside = self.x, None
        prefix = f"blocks.{layer}"
        if x is None or y is None or x.shape != y.shape or x.shape[:2] != (ROWS, TOKENS) or x.ndim != 3:
            self.survey.lacking[prefix] = "it does not pass on one vector for each token"
            return
        self.stream = y.clone()
        found, why = roles(x, y, self.calls)
        found["hook_resid_pre"] = Role(Tap(module, "input", replaceable=True), x)
        found["hook_resid_post"] = Role(Tap(module, "output", replaceable=True), y)
        if why:
            self.survey.lacking[prefix] = why
        self._keep({f"{prefix}.{name}": role for name, role in found.items()})
        self.calls.clear()

    def _keep(self, found: Mapping[str, Role]) -> None:
        """Note what was found; where the library has hook points of its own, only those that show the same values."""
        for name, role in found.items():
            tap = role.tap
            if self.points:
                point = name.replace("hook_normalized", "hook_in")
                if point not in self.points:
                    self.survey.lacking[name] = "TransformerLens has no hook there"
                    continue
                if not same(self.seen.get(id(self.points[point])), role.value):
                    self.survey.lacking[name] = "TransformerLens reads another place under that name"
                    continue
                tap = Tap(self.points[point], "output", tap.via, tap.replaceable)
            self.survey.add(name, tap, role.value.shape[2])

    def _count(self) -> None:
        """A module that does not run gives no value, and one that runs twice gives two: neither can be read."""
        for path, module in self.modules.items():
            if not self.runs[id(module)]:
                self.survey.lacking[path] = "it does not run"
        for name, tap in list(self.survey.taps.items()):
            times = self.runs[id(tap.module)]
            if times != 1:
                del self.survey.taps[name]
                self.survey.lacking[name] = f"it runs {times} times in one pass"


def survey(
    modules: Mapping[str, nn.Module],
    blocks: Sequence[str],
    points: Mapping[str, nn.Module],
    run: Callable[[Tensor], object],
    vocabulary: int,
    device: torch.device,
) -> Survey:
    """Watch one pass of six tokens.

    Args:
        modules: every module by its path.
        blocks: the paths of the blocks, in order.
        points: hook points of a library by name (`blocks.0.hook_attn_out`); empty where it has none.
        run: one forward pass of ids [b, t] int64.
        vocabulary: ids are below it.
        device: of the ids.
    """
    count = ROWS * TOKENS
    ids = (torch.arange(1, count + 1, device=device) * vocabulary // (count + 1)).view(ROWS, TOKENS)
    return _Watch(modules, {path: layer for layer, path in enumerate(blocks)}, points).over(lambda: run(ids))
