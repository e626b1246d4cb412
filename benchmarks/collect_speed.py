"""How fast are activations collected, and read again, beside a bare forward pass, our trainer and two peers?

    benchmarks/peers/setup.sh .peers sae_lens llamascopium      # once
    python benchmarks/collect_speed.py [--cases bare-float32 ...] [--repeats 5] [--tokens 65536] [--peers .peers]

smollm2-135m, layer 10, rows of 128 tokens. All is CPU time of the process, with all its threads (tokenizer and writer
among them), torch on one thread, pinned; `wall` stands beside it and means something on an idle machine only.

- bare: `collect` to disk against Hugging Face's forward pass on the same ids, ended at the same layer by a hook that
  raises, in turns within one process. It is given fused attention (sdpa: its default, and ours) and plain (eager).
- reader: shuffled batches of 4,096 from a store four times as large as the reader's buffer, against a step of the
  trainer (TopK, d_sae 8 d, k 32), in turns within one process; the memory is that of a process which only reads.
- write, read: peers' collections and readers, each in a process of its own, in turns with ours.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from collect_bench import (
    BACKENDS,
    BATCH,
    CONTEXT,
    D_IN,
    HERE,
    LAYER,
    MODEL,
    OURS,
    READERS,
    WRITERS,
    Bench,
    Trainer,
    in_turns,
)
from collect_common import Clock
from report import write
from torch import Tensor
from transformers import AutoModelForCausalLM

from aquin_nb.control import Control
from aquin_nb.engine.activations.collect import collect
from aquin_nb.engine.activations.contexts import contexts
from aquin_nb.engine.activations.corpus import open_corpus
from aquin_nb.engine.activations.store import Store
from aquin_nb.engine.activations.stream import ShuffledStream
from aquin_nb.engine.models import Model, fetch, load_model
from aquin_nb.engine.sae import SaeConfig, TrainConfig
from aquin_nb.engine.sae.trainer import Member, fit

K, EXPANSION = 32, 8
UNTIMED_STEPS = 3
ATTENTION = ("sdpa", "eager")
DTYPES = ("float32", "bfloat16")
CASES = [*(f"{kind}-{dtype}" for kind in ("bare", "write", "read") for dtype in DTYPES), "reader"]
SAME = 0.05  # of the norm of the mean vector: bfloat16 passes that round differently are 0.01 to 0.02 apart


class Reached(Exception):
    """The layer is done."""


class BareForward:
    """Hugging Face's own forward pass over rows of ids, up to the layer."""

    def __init__(self, dtype: str) -> None:
        self._model = AutoModelForCausalLM.from_pretrained(fetch(MODEL), dtype=getattr(torch, dtype)).eval()
        self._model.model.layers[LAYER].register_forward_hook(self._stop)

    def __call__(self, attention: str, batches: Iterable[Tensor]) -> Clock:
        self._model.set_attn_implementation(attention)
        with Clock() as clock, torch.inference_mode():
            for ids in batches:
                with suppress(Reached):
                    self._model(ids, use_cache=False)
        return clock

    @staticmethod
    def _stop(*_: object) -> None:
        raise Reached


def bare(bench: Bench, dtype: str) -> Iterator[dict[str, Any]]:
    """How much of the bare forward pass's speed is left when its activations are stored."""
    rows = bench.args.forward_rows
    batches = bench.ids.split(rows)
    models = {backend: load_model(MODEL, device="cpu", dtype=dtype, backend=backend) for backend in BACKENDS}
    found = contexts(models[BACKENDS[0]], open_corpus(bench.texts), CONTEXT, batch_size=rows)
    for own, ids in zip(found, batches, strict=True):
        if not torch.equal(own.tokens.ids, ids):
            raise SystemExit("collect would read other ids than the bare forward pass.")

    def stored(model: Model, tokens: int) -> Clock:
        output, options = bench.work / "bare", {"context_size": CONTEXT, "batch_size": rows}
        with Clock() as clock:
            collect(model, open_corpus(bench.texts), LAYER, tokens=tokens, output=output, **options)
        shutil.rmtree(output)
        return clock

    forward = BareForward(dtype)
    for attention in ATTENTION:  # the first of all is slow
        forward(attention, batches[:1])
    for model in models.values():
        stored(model, (CONTEXT - 2) * rows)
    works: dict[str, Callable[[], Clock]] = {a: lambda a=a: forward(a, batches) for a in ATTENTION}
    works |= {backend: lambda m=model: stored(m, bench.analysed) for backend, model in models.items()}
    turns = list(in_turns(works, bench.args.repeats))
    for backend in BACKENDS:
        ratios = {a: [turn[a].cpu / turn[backend].cpu for turn in turns] for a in ATTENTION}
        wall = [turn["sdpa"].wall / turn[backend].wall for turn in turns]
        more = [turn[backend].cpu / turn[BACKENDS[0]].cpu - 1 for turn in turns]
        yield {
            "trainer": f"aquin_nb, {backend}",
            "x bare": round(statistics.median(ratios["sdpa"]), 3),
            **summary(ratios["sdpa"], 3),
            "x bare, eager": round(statistics.median(ratios["eager"]), 3),
            "wall x bare": round(statistics.median(wall), 3),
            "more time than huggingface": f"{statistics.median(more):+.1%}",
        }


def reader(bench: Bench) -> Iterator[dict[str, Any]]:
    """How many batches are read in the time of a step."""
    order = bench.order("read", Trainer("aquin_nb", "memory"), "bfloat16")
    if not Path(order.store).exists():
        bench.collected(OURS[0], "bfloat16")
    store = Store(Path(order.store))
    stream = ShuffledStream(store, BATCH, held_out=0, buffer_rows=order.buffer_rows)
    x = next(stream.epoch(0)).repeat(4, 1)
    epochs = iter(range(bench.args.repeats))

    def read() -> float:
        with Clock() as clock:
            batches = sum(1 for _ in stream.epoch(next(epochs)))
        return clock.cpu / batches

    works: dict[str, Callable[[], float]] = {"read": read}
    works |= {dtype: lambda d=dtype: step(x, d, bench.args.steps) for dtype in DTYPES}
    turns = list(in_turns(works, bench.args.repeats))
    mib = D_IN * store.dtype.itemsize / 2**20
    sizes = {"store MiB": round(store.rows * mib), "buffer MiB": round(order.buffer_rows * mib)}
    sizes |= grown([bench.run(OURS[0], order)])
    for dtype in DTYPES:
        ratios = [turn[dtype] / turn["read"] for turn in turns]
        said = {"trainer": f"aquin_nb, {dtype}", "step / batch": round(statistics.median(ratios), 1)}
        yield said | summary(ratios, 1) | sizes


def step(x: Tensor, dtype: str, count: int) -> float:
    """CPU seconds of a step of the trainer, from one request for a batch to the next."""
    stream = ShuffledStream(x, BATCH, held_out=0)
    cfg = SaeConfig("topk", D_IN, EXPANSION * D_IN, D_IN, k=K)
    config = TrainConfig(
        architecture="topk",
        d_sae=cfg.d_sae,
        k=K,
        batch_size=BATCH,
        dtype=dtype,
        steps=UNTIMED_STEPS + count,
    )
    clocks = [Clock().__enter__()]

    def stamp(_: object) -> None:
        clocks[-1].__exit__()
        clocks.append(Clock().__enter__())

    fit(stream, [Member(cfg, config.resolved(stream.rows, dtype=dtype))], control=Control(on_tick=stamp))
    return statistics.median(clock.cpu for clock in clocks[UNTIMED_STEPS:-1])


def writers(bench: Bench, dtype: str) -> Iterator[dict[str, Any]]:
    """Collections of the same ids, each with a model of its own."""
    present = bench.present(WRITERS)
    works = {t: lambda t=t: bench.collected(t, dtype) for t in present}
    turns = list(in_turns(works, bench.args.repeats))
    mean = torch.tensor(turns[0][OURS[0]]["mean"])
    for trainer in present:
        result = turns[0][trainer]
        apart = float((torch.tensor(result["mean"]) - mean).norm() / mean.norm())
        if result["rows"] != bench.analysed or apart > SAME:
            raise SystemExit(f"{trainer} stored other activations: {result['rows']:,} rows, means {apart:.3f} apart.")
        yield against(trainer, OURS, turns) | {"store MiB": round(result["mib"])}


def readers(bench: Bench, dtype: str) -> Iterator[dict[str, Any]]:
    """Batches of what each has written, in float32."""
    present = bench.present(READERS)
    for trainer in present:
        if not bench.store(trainer, dtype).exists():
            bench.collected(bench.writer(trainer), dtype)
    works = {t: lambda t=t: bench.run(t, bench.order("read", t, dtype)) for t in present}
    turns = list(in_turns(works, bench.args.repeats))
    for trainer in present:
        yield against(trainer, READERS[:1], turns) | grown([turn[trainer] for turn in turns])


def against(trainer: Trainer, ours: list[Trainer], turns: list[dict[Trainer, dict[str, Any]]]) -> dict[str, Any]:
    """A trainer's time beside each of ours, for as many rows."""

    def ratios(own: Trainer, clock: str) -> list[float]:
        seconds = [[turn[t][clock] / turn[t]["rows"] for t in (trainer, own)] for turn in turns]
        return [theirs / mine for theirs, mine in seconds]

    said: dict[str, Any] = {"trainer": str(trainer)}
    for own in ours:
        said[f"x ours, {own.way}"] = round(statistics.median(ratios(own, "cpu")), 2)
    wall = statistics.median(ratios(ours[0], "wall"))
    return said | summary(ratios(ours[0], "cpu"), 2) | {"wall x ours": round(wall, 2)}


def summary(values: list[float], digits: int) -> dict[str, Any]:
    return {"least": round(min(values), digits), "most": round(max(values), digits), "runs": len(values)}


def grown(results: list[dict[str, Any]]) -> dict[str, Any]:
    """MiB by which reading made a process larger: all that is resident, and without mapped files."""

    def median(of: Callable[[dict[str, Any]], float]) -> int:
        return round(statistics.median(of(result) for result in results))

    said = {"peak RSS MiB": median(lambda r: r["after"]["peak"] - r["before"]["resident"])}
    if results[0]["own"]:
        said["own MiB"] = median(lambda r: r["own"] - r["before"]["own"])
    return said


def kept(case: str) -> list[dict[str, Any]]:
    """What is known of the other cases."""
    path = HERE / "results" / "collect_speed.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    return [row for row in rows if row["case"] != case]


def measured(bench: Bench, case: str) -> list[dict[str, Any]]:
    kind, _, dtype = case.partition("-")
    found = reader(bench) if kind == "reader" else {"bare": bare, "write": writers, "read": readers}[kind](bench, dtype)
    rows = [{"case": case} | row for row in found]
    load = round(os.getloadavg()[0], 1)
    return [row | {"tokens": bench.args.tokens, "load": load} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=65_536, help="of all rows; the packaged sample holds 216,000")
    parser.add_argument("--forward-rows", type=int, default=16, help="rows of 128 tokens in a forward pass")
    parser.add_argument("--epochs", type=int, default=4, help="that a reader reads in a turn")
    parser.add_argument("--steps", type=int, default=8, help="of the trainer in a turn")
    parser.add_argument("--peers", type=Path, default=Path(os.environ.get("AQUIN_PEERS", HERE.parent / ".peers")))
    parser.add_argument("--cores", type=int, nargs="+", default=[(os.cpu_count() or 1) - 1])
    parser.add_argument("--work", type=Path, help="a folder to keep texts and stores in")
    args = parser.parse_args()
    if args.tokens % (args.forward_rows * CONTEXT):
        parser.error(f"--tokens must be a multiple of {args.forward_rows} rows of {CONTEXT}")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, args.cores)
    torch.set_num_threads(1)

    with tempfile.TemporaryDirectory() as folder:
        work = args.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        bench = Bench(args, work.absolute())
        for case in args.cases:
            rows = sorted(measured(bench, case) + kept(case), key=lambda row: CASES.index(row["case"]))
            settings = {"model": MODEL, "layer": LAYER, "context": CONTEXT, "batch_size": BATCH, "k": K}
            settings |= {"d_sae": EXPANSION * D_IN, "forward_rows": args.forward_rows, "cores": len(args.cores)}
            write("collect_speed", settings, rows)


if __name__ == "__main__":
    main()
