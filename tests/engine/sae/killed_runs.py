"""Trainings that are killed at random instants and resumed until they end; `test_resume` reads what is left.

    python killed_runs.py FOLDER KILLS

Every training runs in a fork of this one process, which has imported everything and started no thread, so that a kill
costs milliseconds and may hit any instant: opening the data, a step, half of a checkpoint, writing the result.
For each case FOLDER/<case>/ gets the uninterrupted run, `whole.pt`, and the killed ones, `killed-<n>.pt`; `kills.json`
says what the kills of each case met.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from planted import codes, directions, stored

import aquin_nb

D, D_SAE, STEPS = 16, 64, 200
COMMON = {"d_sae": D_SAE, "k": 4, "batch_size": 64, "steps": STEPS, "lr": 3e-3, "dtype": "float32", "name": "run"}
CASES: dict[str, dict[str, Any]] = {
    "topk": {"dead_after_tokens": 128, "lr": 1e-2, "initial_k": 6, "k_hold": 50, "k_warmup": 0.3},
    "batchtopk": {"architecture": "batchtopk", "dead_after_tokens": 128, "error": "variance"},
    "jumprelu": {"architecture": "jumprelu", "pre_act_coefficient": 0.01, "dead_after_tokens": 640, "bandwidth": 0.5},
    "matryoshka": {"architecture": "matryoshka", "groups": [8, 24, 64], "optimizer": "adamw", "weight_decay": 0.01},
    "gated": {"architecture": "gated", "ema": 0.97, "grad_clip": 1.0, "lr_schedule": "wsd"},
}
FROM_STORE = ("topk", "jumprelu", "gated")
"""The other cases read a tensor, which a resume has to be given again."""

LAST_RESORT = 60.0


def activations(folder: Path, case: str) -> Any:
    """A store's folder, or the tensor in a file."""
    return folder / "store" if case in FROM_STORE else torch.load(folder / "x.pt", weights_only=True)


def attempt(folder: Path, case: str, output: Path) -> None:
    """Begin, or go on, as a person would."""
    if any(output.with_suffix(".checkpoints").glob("step_*.pt")):
        aquin_nb.sae_resume(output, None if case in FROM_STORE else activations(folder, case))
    elif not output.exists():
        config = COMMON | CASES[case] | {"checkpoint_every": 7, "output": str(output)}
        aquin_nb.sae_train(activations(folder, case), config)


def forked(folder: Path, case: str, output: Path) -> int:
    """The process id of an attempt under way; it ends with 0."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        attempt(folder, case, output)
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended(pid: int, seconds: float, until: Path | None = None) -> bool:
    """Wait so long, or for a file to appear; whether the process has ended, well, before.

    Raises:
        RuntimeError: it failed.
    """
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found and status:
            raise RuntimeError(f"a training failed with status {status}")
        if found:
            return True
        if until is not None and until.exists():
            return False
        time.sleep(0.001)
    return False


def run(folder: Path, case: str, kills: int, chance: random.Random) -> list[dict[str, Any]]:
    """Kill `kills` times, over as many trainings as that takes; the last checkpoint's step at each kill, and whether
    the dictionary had been written."""
    began = time.monotonic()
    assert ended(forked(folder, case, folder / case / "whole.pt"), LAST_RESORT), "it takes too long"
    whole = time.monotonic() - began
    seen: list[dict[str, Any]] = []
    number = 0
    while True:
        output = folder / case / f"killed-{number}.pt"
        pid = forked(folder, case, output)
        if len(seen) < kills:
            if chance.random() < 0.12 and not output.exists():  # some at the end, which would be met rarely
                done = ended(pid, LAST_RESORT, until=output) or ended(pid, chance.uniform(0, 0.01))
            else:
                done = ended(pid, chance.uniform(0, 0.3 * whole))
            if not done:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                kept = sorted(output.with_suffix(".checkpoints").glob("step_*.pt"))
                if kept or not output.exists():  # else everything was over, and only the process still there
                    step = int(kept[-1].stem.removeprefix("step_")) if kept else 0
                    seen.append({"step": step, "written": output.exists()})
                    continue
        elif not ended(pid, LAST_RESORT):
            raise RuntimeError(f"{case} does not end")
        if len(seen) >= kills:
            return seen
        number += 1


def main() -> None:
    folder, kills = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    x = codes(3000, 32) @ directions(32, D) + 0.2 * torch.randn(3000, D, generator=torch.Generator().manual_seed(1))
    torch.save(x, folder / "x.pt")
    stored(folder / "store", x, chunk_rows=700)
    # What is imported on first use is imported here, once; the threads have ended when it returns.
    aquin_nb.sae_train(x, COMMON | {"steps": 2, "output": str(folder / "warm.pt")})
    while threading.active_count() > 1:
        time.sleep(0.001)
    report = {}
    for seed, case in enumerate(CASES):
        (folder / case).mkdir()
        report[case] = run(folder, case, kills, random.Random(seed))
    (folder / "kills.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
