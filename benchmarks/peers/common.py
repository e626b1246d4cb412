"""What every adapter shares: the order it is given, batches that keep time, the bare product, the dictionary it leaves.

Adapters run in the peers' own environments, so this file imports nothing but numpy and torch.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Spec:
    """One run. Without `lr` all is as the peer has it; with it, warm-ups take at most a tenth of the run."""

    architecture: str
    d_sae: int
    k: int
    batch_size: int
    steps: int
    activations: str
    lr: float | None = None
    seed: int = 0
    sparsity_coefficient: float | None = None
    out: str | None = None
    untimed_steps: int = 3
    options: dict[str, Any] = field(default_factory=dict)

    def warmup(self, default: int) -> int:
        """Warm-up steps: the peer's own, or its own but no more than a tenth of the run once a learning rate is set."""
        return default if self.lr is None else min(default, self.steps // 10)


class Batches:
    """Rows in a seeded random order, epoch after epoch. Each request is stamped with the process's CPU time.

    A step lasts from one stamp to the next. What an adapter wants to report beside the times goes into `said`.
    """

    def __init__(self, x: Tensor, batch_size: int, seed: int) -> None:
        self.x, self.batch_size = x, batch_size
        self.stamps: list[float] = []
        self.said: dict[str, Any] = {}
        self._indices = self._order(np.random.default_rng(seed), len(x))

    def _order(self, rng: np.random.Generator, rows: int) -> Iterator[Tensor]:
        rest = np.empty(0, np.int64)
        while True:
            while len(rest) < self.batch_size:
                rest = np.concatenate([rest, rng.permutation(rows)])
            yield torch.from_numpy(rest[: self.batch_size])
            rest = rest[self.batch_size :]

    def stamp(self) -> None:
        self.stamps.append(time.process_time())

    def indices(self) -> Tensor:
        """Row numbers [batch_size] of the next batch; the request is stamped."""
        self.stamp()
        return next(self._indices)

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Tensor:
        return self.x[self.indices()]

    def seconds(self, untimed: int) -> list[float]:
        """CPU seconds of each step after the first `untimed`."""
        return np.diff(self.stamps)[untimed:].tolist()


@dataclass
class Dictionary:
    """pre = x W_enc + b_enc; f = its k largest, those above the threshold, or its positive part; x̂ = f W_dec + b_dec.

    Everything else a peer has (a bias subtracted first, an input scale, decoder norms) is folded in by its adapter.
    """

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    k: int | None = None
    threshold: Tensor | None = None

    def save(self, path: str) -> None:
        values = {name: v.detach().clone() if isinstance(v, Tensor) else v for name, v in vars(self).items()}
        torch.save(values, path)


def gemm_seconds(x: Tensor, d_sae: int, repeats: int) -> list[float]:
    """CPU seconds of the bare encoder product [B, d_in] x [d_in, d_sae] in float32, after one that does not count."""
    weight = torch.randn(x.shape[1], d_sae, generator=torch.Generator().manual_seed(0))
    out = torch.empty(x.shape[0], d_sae)
    times = []
    for _ in range(repeats + 1):
        start = time.process_time()
        torch.mm(x, weight, out=out)
        times.append(time.process_time() - start)
    return times[1:]


def main(train: Callable[[Spec, Batches], Dictionary]) -> None:
    """Run `train` on the order in argv[1] (JSON) and print what was measured as the last line."""
    spec = Spec(**json.loads(sys.argv[1]))
    torch.manual_seed(spec.seed)
    x = torch.from_numpy(np.load(spec.activations))
    timed = spec.out is None
    gemm = gemm_seconds(x[: spec.batch_size], spec.d_sae, 5) if timed else []
    batches = Batches(x, spec.batch_size, spec.seed)
    dictionary = train(spec, batches)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    result: dict[str, Any] = {"peak_rss_gib": rss, "cpu_seconds": time.process_time()} | batches.said
    if timed:
        # A peer may have allowed less precise products for the whole process.
        torch.set_float32_matmul_precision("highest")
        gemm += gemm_seconds(x[: spec.batch_size], spec.d_sae, 5)
        steps = batches.seconds(spec.untimed_steps)
        result |= {"step": statistics.median(steps), "gemm": statistics.median(gemm), "steps": steps}
    else:
        dictionary.save(spec.out)
    print(json.dumps(result))


def scratch(spec: Spec) -> str:
    """A folder for what a peer insists on writing."""
    path = Path(spec.activations).parent / "peer_output"
    path.mkdir(exist_ok=True)
    return str(path)


def stub(*names: str) -> None:
    """Let these modules be imported with whatever names are asked of them: the peer never calls them here."""
    for name in names:
        module = ModuleType(name)
        module.__getattr__ = lambda attribute: MagicMock()  # type: ignore[method-assign]
        sys.modules[name] = module
