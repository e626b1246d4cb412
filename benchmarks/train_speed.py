"""How fast is a training step, beside five peers' own loops on the same in-memory activations?

    benchmarks/peers/setup.sh                                   # once; one environment a peer
    python benchmarks/train_speed.py [--cases topk-6144 ...] [--repeats 3] [--steps 12] [--peers .peers]

A step is everything from one request for a batch to the next: batch, forward, backward, optimiser, what the loop
records. It is measured as CPU time of the process, on one pinned thread, and reported as a multiple of the bare encoder
product [4096, 768] x [768, d_sae] in float32, timed in the same process before and after. Ours and a peer run in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from report import write
from synthetic import planted

SPARSE_AFTER = 44
"""Steps after which L0 is below 5 % of d_sae with these settings: the default penalty, a high rate and no warm-ups."""
SPARSE = {"lr": 3e-3, "lr_schedule": "constant", "lr_warmup": 0, "sparsity_warmup": 0}

HERE = Path(__file__).parent
ROWS, D_IN, BATCH, K = 200_704, 768, 4096, 32

METRICS = "metrics every step"

PEERS = {
    "topk": ("sparsify", "sae_lens", "dictionary_learning", "mi_crow", "llamascopium"),
    "batchtopk": ("sae_lens", "dictionary_learning", "llamascopium"),
    "relu": ("sae_lens", "dictionary_learning", "mi_crow", "llamascopium"),
    "jumprelu": ("sae_lens", "dictionary_learning", "llamascopium"),
}
CASES: dict[str, dict[str, Any]] = {
    "topk-6144": {"architecture": "topk", "d_sae": 6144, "dtypes": ("float32", "bfloat16")},
    "topk-16384": {"architecture": "topk", "d_sae": 16384, "dtypes": ("float32", "bfloat16")},
    "batchtopk-6144": {"architecture": "batchtopk", "d_sae": 6144, "dtypes": ("float32", "bfloat16")},
    "relu-6144": {"architecture": "relu", "d_sae": 6144, "dtypes": ("float32",)},
    "jumprelu-6144": {"architecture": "jumprelu", "d_sae": 6144, "dtypes": ("float32",)},
    # Peers multiply dense matrices whatever L0 is, so what makes ours sparse early changes nothing for them.
    "relu-6144-sparse": {"architecture": "relu", "d_sae": 6144, "dtypes": ("float32",), "sparse": True},
    "jumprelu-6144-sparse": {"architecture": "jumprelu", "d_sae": 6144, "dtypes": ("float32",), "sparse": True},
}


def environment() -> dict[str, str]:
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return os.environ | one | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(HERE.parent), "PYTHONWARNINGS": "ignore"}


def run(trainer: str, spec: dict[str, Any], peers: Path, core: int | None) -> dict[str, Any]:
    """What an adapter printed as its last line."""
    python = sys.executable if trainer == "aquin_nb" else str(peers / trainer / "bin" / "python")
    pin = ["taskset", "-c", str(core)] if core is not None and shutil.which("taskset") else []
    command = [*pin, python, str(HERE / "peers" / f"run_{trainer}.py"), json.dumps(spec)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    if done.returncode:
        raise SystemExit(f"{trainer} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str, args: argparse.Namespace, activations: Path) -> Iterator[dict[str, Any]]:
    """The rows of one case: each peer in turns with ours, `repeats` times."""
    case = CASES[name]
    spec = {
        "architecture": case["architecture"],
        "d_sae": case["d_sae"],
        "k": K,
        "batch_size": BATCH,
        "steps": args.steps,
        "activations": str(activations),
    }
    before, settings = (SPARSE_AFTER, SPARSE) if case.get("sparse") else (0, {})
    ours = {
        dtype: spec
        | {
            "options": {"dtype": dtype} | settings,
            "steps": before + args.steps,
            "untimed_steps": before or 3,
        }
        for dtype in case["dtypes"]
    }
    own: dict[str, list[dict[str, Any]]] = {dtype: [] for dtype in ours}
    theirs: dict[str, list[dict[str, Any]]] = {}
    ratios: dict[tuple[str, str], list[float]] = {}
    present = [p for p in PEERS[case["architecture"]] if (args.peers / p / ".ready").exists()]
    for _ in range(args.repeats):
        fresh: dict[str, dict[str, Any]] = {}
        for peer in present:
            if not (case.get("sparse") and fresh):
                fresh = {dtype: run("aquin_nb", s, args.peers, args.core) for dtype, s in ours.items()}
                for dtype, result in fresh.items():
                    own[dtype].append(result)
            other = run(peer, spec, args.peers, args.core)
            theirs.setdefault(peer, []).append(other)
            for dtype, result in fresh.items():
                ratios.setdefault((peer, dtype), []).append(x_gemm(other) / x_gemm(result))
    for dtype, results in own.items():
        said = {"L0 at the end": round(results[-1]["l0"])}
        yield row(name, f"aquin_nb, {dtype}", results) | said
    for peer, results in theirs.items():
        against = {f"x ours, {d}": round(statistics.median(ratios[peer, d]), 2) for d in ours}
        yield row(name, peer, results) | against


def logging_cost(args: argparse.Namespace, activations: Path) -> dict[str, Any]:
    """What a step with metrics costs more than one without: every other step of one process logs."""
    spec = {"architecture": "topk", "d_sae": 6144, "k": K, "batch_size": BATCH, "activations": str(activations)}
    spec |= {"steps": 44, "untimed_steps": 4, "options": {"dtype": "float32", "log_every": 2}}
    logged, silent = [], []
    for _ in range(args.repeats):
        steps = run("aquin_nb", spec, args.peers, args.core)["steps"]
        # The first timed step is the sixth of the training: even steps log.
        logged += steps[0::2]
        silent += steps[1::2]
    more = statistics.median(logged) / statistics.median(silent) - 1
    return {"case": METRICS, "trainer": "aquin_nb, float32", "runs": args.repeats, "more time": f"{more:+.1%}"}


def x_gemm(result: dict[str, Any]) -> float:
    return result["step"] / result["gemm"]


def row(case: str, trainer: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    multiples = [x_gemm(result) for result in results]
    return {
        "case": case,
        "trainer": trainer,
        "x GEMM": round(statistics.median(multiples), 2),
        "least": round(min(multiples), 2),
        "most": round(max(multiples), 2),
        "peak RSS GiB": round(statistics.median(result["peak_rss_gib"] for result in results), 2),
        "runs": len(results),
    }


def kept(case: str) -> list[dict[str, Any]]:
    """What is known of the other cases."""
    path = HERE / "results" / "train_speed.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    return [r for r in rows if r["case"] != case]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=[*CASES, METRICS], default=[*CASES, METRICS])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--peers", type=Path, default=Path(os.environ.get("AQUIN_PEERS", HERE.parent / ".peers")))
    parser.add_argument("--core", type=int, default=(os.cpu_count() or 1) - 1)
    parser.add_argument("--activations", type=Path, help="a .npy to keep the synthetic rows in")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        activations = args.activations or Path(folder) / "rows.npy"
        if not activations.exists():
            np.save(activations, planted(ROWS, D_IN)[0].numpy())
        for name in args.cases:
            found = [logging_cost(args, activations)] if name == METRICS else list(measure(name, args, activations))
            rows = sorted(found + kept(name), key=lambda r: [*CASES, METRICS].index(r["case"]))
            settings = {"rows": ROWS, "d_in": D_IN, "batch_size": BATCH, "k": K, "steps": args.steps}
            write("train_speed", settings, rows)


if __name__ == "__main__":
    main()
