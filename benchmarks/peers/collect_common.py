"""What the adapters of collect_speed.py share: the order they are given, the clock, memory, and what they print.

Adapters run in the peers' own environments, so this file imports nothing but torch.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Order:
    """One collection, or one reading of what was collected.

    `texts` is a file of JSON lines {"text", "tokens"}: `tokens` are `context_size` ids, BOS and EOS included, of which
    the text between is what every tokenizer here gives for `text`. So a row of tokens is a text, for everyone.
    """

    what: str
    way: str
    model: str
    texts: str
    store: str
    layer: int
    d_in: int
    context_size: int
    forward_rows: int
    dtype: str
    stored: str
    batch_size: int = 4096
    buffer_rows: int = 0
    epochs: int = 1

    @property
    def hook(self) -> str:
        return f"blocks.{self.layer}.hook_resid_post"

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in Path(self.texts).read_text().splitlines()]


class Clock:
    """CPU time of the process, all its threads, and wall time."""

    def __enter__(self) -> Clock:
        self._start = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        cpu, wall = self._start
        self.cpu, self.wall = time.process_time() - cpu, time.perf_counter() - wall


def memory() -> dict[str, float]:
    """MiB of this process: resident now, its peak so far, and what of now is its own and no mapped file. Linux."""
    kept = {"VmRSS": "resident", "VmHWM": "peak", "RssAnon": "own"}
    path = Path("/proc/self/status")
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return {kept[line[0].rstrip(":")]: int(line[1]) / 1024 for line in lines if line and line[0].rstrip(":") in kept}


def main(
    write: Callable[[Order], Callable[[], object]],
    stored: Callable[[Order], Tensor],
    read: Callable[[Order], Iterator[Tensor]],
) -> None:
    """Carry out the order in argv[1] (JSON) and print what was measured as the last line.

    Args:
        write: loads the model and returns the collection itself, which alone is timed.
        stored: rows [n, d_in] of the tokens that everyone keeps (no BOS, no EOS) of what was written.
        read: batches [b, d_in] of `epochs` passes; opening is part of what is timed.
    """
    order = Order(**json.loads(sys.argv[1]))
    torch.manual_seed(0)
    result: dict[str, Any]
    if order.what == "write":
        collection = write(order)
        with Clock() as clock:
            collection()
        rows = stored(order).float()
        size = sum(path.stat().st_size for path in Path(order.store).rglob("*") if path.is_file())
        result = {"rows": len(rows), "mean": rows.mean(0).tolist(), "mib": size / 2**20}
    else:
        before, rows_read, own = memory(), 0, 0.0
        dtypes, looking = set(), order.way == "memory"
        with Clock() as clock:
            for batch in read(order):
                rows_read += len(batch)
                if looking:
                    own = max(own, memory().get("own", 0.0))
                dtypes.add(str(batch.dtype).removeprefix("torch."))
        result = {"rows": rows_read, "before": before, "after": memory(), "own": own, "dtype": ", ".join(dtypes)}
    print(json.dumps(result | {"cpu": clock.cpu, "wall": clock.wall}))
