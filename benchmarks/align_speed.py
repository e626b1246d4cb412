"""How fast are two dictionaries matched, beside scipy on their similarity matrix and beside the bare matrix product?

    python benchmarks/align_speed.py [--sizes 4096 32768] [--repeats 3] [--peer] [--dictionaries A.pt B.pt]

Each case has a process of its own, on one pinned thread, and all is CPU time. Of several runs in turns the least
counts, for other work on the machine only adds. `x GEMM` divides by the product [n, d] x [d, n] in float32, tile by
tile and with nothing done to it. scipy gets its float64 cost matrix built in place, which saves it a copy, and the
building counts; it runs in turns with ours at 4,096 and, with --peer, once at 32,768, where it takes minutes and 9 GB.
`float32 only` is ours where bfloat16 products are not faster than float32 ones.

`peak` is that of the process while it matches, torch and both sets included; `own` is what the matching adds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from pairs import KINDS, two_seeds
from report import write
from scipy.optimize import linear_sum_assignment
from torch import Generator, Tensor
from torch.nn.functional import normalize

from aquin_nb.engine.analysis.assignment import Matching, match_directions
from aquin_nb.engine.analysis.matching import similarity, watch
from aquin_nb.engine.sae.formats import load_dictionary

HERE = Path(__file__).parent
TILE = 1024
HARD = ("unequal clusters", "hubs")
EARLIER = (0.6, 0.8)
"""Shares of the time that a hard case takes after which it is stopped, to see the gap that is proven by then."""

REAL = "real dictionaries"
SIZES: dict[int, tuple[int, tuple[str, ...]]] = {
    4096: (768, tuple(KINDS)),
    32768: (768, tuple(KINDS)),
    131072: (384, ("two seeds",)),
}


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def product(A: Tensor, B: Tensor) -> None:
    tile = torch.empty(TILE, len(B))
    for start in range(0, len(A), TILE):
        rows = A[start : start + TILE]
        torch.mm(rows, B.T, out=tile[: len(rows)])


def scipy_sum(A: Tensor, B: Tensor) -> float:
    cost = np.empty((len(A), len(B)))
    for start in range(0, len(A), TILE):
        np.negative((A[start : start + TILE] @ B.T).numpy(), out=cost[start : start + TILE])
    rows, cols = linear_sum_assignment(cost)
    return float((A[rows].double() * B[cols].double()).sum())


def peak(*, fresh: bool = False) -> float:
    """GB of resident memory at most, since the last `fresh` one (where the system can forget)."""
    if fresh:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 / 1e9 if found else float("nan")


def matched(A: Tensor, B: Tensor, *, low: torch.dtype | None = None, limit: float | None = None) -> Matching:
    usual = similarity.fast_dtype
    if low:
        similarity.fast_dtype = lambda *_: low  # type: ignore[assignment]
    try:
        return match_directions(A, B, time_limit=limit)
    finally:
        similarity.fast_dtype = usual


def sets(case: dict[str, Any]) -> tuple[Tensor, Tensor]:
    if case["kind"] == REAL:
        return tuple(normalize(load_dictionary(p).W_dec.detach().float(), dim=1) for p in case["paths"])
    return KINDS[case["kind"]](case["n"], case["d"], Generator().manual_seed(0))


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """One case, in this process."""
    torch.set_num_threads(1)
    watch.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[assignment]  # limits in CPU time
    matched(*two_seeds(2200, case["d"], Generator().manual_seed(1)))  # compiles, or reads what is compiled
    A, B = sets(case)
    peak(fresh=True)
    ours, single, theirs, gemm = [], [], [], []
    for turn in range(case["repeats"]):
        spent, found = cpu(lambda: matched(A, B))
        if turn == 0:
            most, own = peak(), found.peak_bytes / 1e9
        ours.append(spent)
        gemm.append(cpu(lambda: product(A, B))[0])
        if case["single"]:
            single.append(cpu(lambda: matched(A, B, low=torch.float32))[0])
        if case["peer"] and turn < case["peer"]:
            spent, best = cpu(lambda: scipy_sum(A, B))
            theirs.append(spent)
    whole, bare = min(ours), min(gemm)
    row = {
        "n x d": f"{len(A):,} x {A.shape[1]}",
        "kind": case["kind"],
        "x GEMM": round(whole / bare, 2),
        "peak GB": round(most, 2),
        "own GB": round(own, 2),
        "rounds": found.rounds,
        "gap": found.gap,
        "mean cosine": round(found.objective / len(found.rows), 4),
        "runs": len(ours),
    }
    if single:
        row["x GEMM, float32 only"] = round(min(single) / bare, 2)
    if theirs:
        row["scipy / ours"] = round(min(theirs) / whole, 1)
        row["scipy x GEMM"] = round(min(theirs) / bare, 1)
        row["difference"] = f"{abs(found.objective - best):.0e}"
        if single:
            row["scipy / ours, float32 only"] = round(min(theirs) / min(single), 1)
    if case["kind"] in HARD:
        for share in EARLIER:
            stopped = matched(A, B, limit=share * whole)
            row[f"gap after {share:.0%}"] = f"{100 * stopped.gap / stopped.bound:.2g} %"
    return row


def elsewhere(case: dict[str, Any], core: int) -> dict[str, Any]:
    pin = ["taskset", "-c", str(core)] if shutil.which("taskset") else []
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [*pin, sys.executable, __file__, "--case", json.dumps(case)]
    environment = os.environ | one | {"PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{case['kind']} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def cases(args: argparse.Namespace) -> list[dict[str, Any]]:
    found = []
    if args.dictionaries:
        real = {"kind": REAL, "paths": [str(p.resolve()) for p in args.dictionaries], "n": 0}
        width = load_dictionary(args.dictionaries[0]).W_dec.shape[1]
        found.append(real | {"d": width, "peer": args.repeats, "repeats": args.repeats, "single": True})
    for n in args.sizes:
        d, kinds = SIZES[n]
        for kind in kinds:
            if args.kinds and kind not in args.kinds:
                continue
            peer = args.repeats if n == 4096 else int(args.peer and n == 32768 and kind not in HARD)
            repeats = args.repeats if n == 4096 else 1
            found.append(
                {
                    "kind": kind,
                    "n": n,
                    "d": d,
                    "peer": peer,
                    "repeats": repeats,
                    "single": n < 131072 and kind not in HARD,
                }
            )
    return found


def kept() -> list[dict[str, Any]]:
    path = HERE / "results" / "align_speed.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="*", type=int, choices=SIZES, default=list(SIZES))
    parser.add_argument("--kinds", nargs="+", choices=KINDS)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each case of 4,096; larger ones run once")
    parser.add_argument("--peer", action="store_true", help="scipy at 32,768 too")
    parser.add_argument("--dictionaries", nargs=2, type=Path, metavar=("A", "B"), help="two real dictionaries")
    parser.add_argument("--core", type=int, default=(os.cpu_count() or 1) - 1)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(json.loads(args.case))))
        return
    order = [(f"{n:,} x {d}", kind) for n, (d, kinds) in SIZES.items() for kind in kinds]
    for case in cases(args):
        row = elsewhere(case, args.core)
        name = row["n x d"], row["kind"]
        rows = [r for r in kept() if (r["n x d"], r["kind"]) != name and (name[1] != REAL or r["kind"] != REAL)] + [row]
        rows.sort(key=lambda r: order.index(k) if (k := (r["n x d"], r["kind"])) in order else len(order))
        write("align_speed", {"seed": 0, "scipy": "linear_sum_assignment, cost built in place"}, rows)


if __name__ == "__main__":
    main()
