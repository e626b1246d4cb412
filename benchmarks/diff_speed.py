"""What does a diff cost beside the two forward passes that it cannot do without?

    python benchmarks/diff_speed.py [--dtypes float32 bfloat16] [--repeats 3] [--probes 1000] [--widths 4608]

smollm2-135m against a copy with other weights, layer 10, probes cut from the packaged sample. CPU time of the process,
torch on one thread, pinned; in turns within one process. `wall` means something on an idle machine.

- bare: Hugging Face's forward passes of both models over the same batches of ids, with its own attention, ended at the
  same layer by a hook that raises.
- diff: `engine.analysis.diff.diff`, whole: tokenising, forward passes, dictionary, sums on disk, tests, top tokens.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from report import write

from aquin_nb.engine.activations.corpus import open_corpus
from aquin_nb.engine.analysis.diff import diff
from aquin_nb.engine.analysis.passages import Passages
from aquin_nb.engine.models import Model, load_model
from aquin_nb.engine.sae import SaeConfig, SparseAutoencoder

MODEL, LAYER, K = "smollm2-135m", 10, 32
BACKENDS = ("huggingface", "transformer-lens")
CHARACTERS = 120  # of a probe: some 25 tokens
MOVED = 0.02  # of a weight's spread: what a short fine-tune does


class Reached(Exception):
    """The layer is done."""


def probes(count: int) -> list[str]:
    """Different texts of about 25 tokens, cut from the packaged sample."""
    texts = (str(document) for _, document in open_corpus("packaged").rows() if document)
    cuts = (text[at : at + CHARACTERS] for text in texts for at in range(0, len(text) - CHARACTERS // 2, CHARACTERS))
    found = list(dict.fromkeys(cut.strip() for cut in cuts))[:count]
    if len(found) < count:
        raise SystemExit(f"The packaged sample has {len(found):,} such probes; ask for fewer.")
    return found


def pair(dtype: str, backend: str) -> tuple[Model, Model]:
    models = tuple(load_model(MODEL, device="cpu", dtype=dtype, backend=backend) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in models[1].backend.modules["model"].parameters():
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float32)
            weight.add_((MOVED * float(weight.float().std()) * noise).to(weight.dtype))
    return models[0], models[1]


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def bare(models: tuple[Model, Model], batches: list[torch.Tensor]) -> None:
    def stop(*_: object) -> None:
        raise Reached

    for model in models:
        whole = model.backend.model
        hook = whole.model.layers[LAYER].register_forward_hook(stop)
        with torch.inference_mode():
            for ids in batches:
                with suppress(Reached):
                    whole(ids, use_cache=False)
        hook.remove()


def measured(dtype: str, args: argparse.Namespace, texts: list[str]) -> list[dict[str, Any]]:
    models = {backend: pair(dtype, backend) for backend in args.backends}
    plain = models.get("huggingface") or pair(dtype, "huggingface")
    passages = Passages(plain[0], texts)
    batches = [batch.tokens.ids for batch in passages.batches()]
    width = plain[0].d_model
    saes = {n: SparseAutoencoder.random(SaeConfig("topk", width, n, width, k=K)) for n in args.widths}

    def compare(backend: str, n: int, some: list[str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            diff(*models[backend], some, saes[n], LAYER, Path(folder))

    bare(plain, batches[-1:])  # the first of all is slow
    for backend in args.backends:
        compare(backend, args.widths[0], texts[:8])
    cases = [(backend, n) for backend in args.backends for n in args.widths]
    turns: list[dict[Any, tuple[float, float]]] = []
    for _ in range(args.repeats):
        turn: dict[Any, tuple[float, float]] = {"bare": seconds(lambda: bare(plain, batches))}
        turn |= {case: seconds(lambda case=case: compare(*case, texts)) for case in cases}
        turns.append(turn)
        print({str(case): [round(value, 1) for value in took] for case, took in turn.items()}, file=sys.stderr)
    rows = []
    for case in cases:
        ratios, walls = ([turn[case][of] / turn["bare"][of] for turn in turns] for of in (0, 1))
        row = {"dtype": dtype, "backend": case[0], "d_sae": case[1], "x two bare passes": statistics.median(ratios)}
        row |= {"least": min(ratios), "most": max(ratios), "wall x": statistics.median(walls), "runs": len(turns)}
        row |= {"rows": int(passages.rows.sum())}
        rows.append({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtypes", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=["transformer-lens"])
    parser.add_argument("--widths", nargs="+", type=int, default=[4608])
    parser.add_argument("--probes", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cores", type=int, nargs="+", default=[(os.cpu_count() or 1) - 1])
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, args.cores)
    torch.set_num_threads(1)
    texts = probes(args.probes)
    rows = []
    for dtype in args.dtypes:
        rows += [row | {"load": round(os.getloadavg()[0], 1)} for row in measured(dtype, args, texts)]
        settings = {"model": MODEL, "layer": LAYER, "k": K, "probes": args.probes, "cores": len(args.cores)}
        write("diff_speed", settings, rows)


if __name__ == "__main__":
    main()
