"""How good are the dictionaries that ours and five peers make of the same rows with equal tokens, k and width?

    benchmarks/peers/setup.sh                                   # once; one environment a peer
    aquin-nb fetch smollm2-135m && aquin-nb fetch minilm        # once
    python benchmarks/train_quality.py --work FOLDER [--data smollm2-135m minilm planted] [--peers .peers]

Ours is trained with nothing set but width, k and the budget. A peer is tried with its own defaults and at 1e-3, then at
twice and half the better rate as long as that helps, on a quarter of the steps; three seeds follow at its best. Every
dictionary is judged by the same code on the same held-out rows (whole documents). FOLDER keeps activations and finished
runs, so that a stopped benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import write
from synthetic import planted
from torch import Tensor
from torch.nn.functional import normalize
from train_speed import HERE, environment

import aquin_nb
from aquin_nb.engine.activations.collect import collect
from aquin_nb.engine.activations.corpus import open_corpus
from aquin_nb.engine.activations.store import Store
from aquin_nb.engine.activations.stream import ShuffledStream
from aquin_nb.engine.analysis.fidelity import fidelity, held_out_rows
from aquin_nb.engine.models import Model

SEEDS = (0, 1, 2)
HELD_OUT = 0.1
CE_TOKENS = 4096
ATOMS = 512

DEFAULT_LR = {
    "sae_lens": lambda d_sae: 3e-4,
    "dictionary_learning": lambda d_sae: 2e-4 / (d_sae / 2**14) ** 0.5,
    "sparsify": lambda d_sae: 2e-4 / (d_sae / 2**14) ** 0.5,
    "sparsify, signum": lambda d_sae: 5e-3 / (d_sae / 2**14) ** 0.5,
    "llamascopium": lambda d_sae: 4e-4,
    "mi_crow": lambda d_sae: 1e-3,
}
"""What each peer takes when nothing is set; only to know in which direction to look further."""

OPTIONS = {"sparsify, signum": {"optimizer": "signum"}}


@dataclass(frozen=True)
class Data:
    """One source of rows and the budget that all get."""

    d_sae: int
    k: int
    batch_size: int
    steps: int
    layer: int | None = None
    rows: int = 100_000
    context_size: int = 128


DATA = {
    "smollm2-135m": Data(d_sae=4608, k=32, batch_size=512, steps=1000, layer=10),
    "minilm": Data(d_sae=4096, k=16, batch_size=256, steps=800, rows=20_000, context_size=12),
    "planted": Data(d_sae=1024, k=8, batch_size=1024, steps=2000),
}


@dataclass
class Judged:
    """A dictionary in the common form: pre = x W_enc + b_enc, f its k largest where positive, x̂ = f W_dec + b_dec."""

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    k: int

    def encode(self, x: Tensor) -> Tensor:
        """[n, d_in] -> dense [n, d_sae]."""
        values, indices = (x.float() @ self.W_enc + self.b_enc).topk(self.k, dim=1, sorted=False)
        return torch.zeros(x.shape[0], self.W_enc.shape[1]).scatter_(1, indices, values.relu_())

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.encode(x) @ self.W_dec + self.b_dec

    def figures(self, train: Tensor, held: Tensor) -> dict[str, float]:
        """FVU and L0 of held-out rows; the share of latents that fire for no row at all, trained on or held out."""
        error = active = 0.0
        fired = torch.zeros(self.W_enc.shape[1], dtype=torch.bool)
        for x in held.split(2048):
            f = self.encode(x)
            error += float((x - f @ self.W_dec - self.b_dec).square().sum())
            active += float((f > 0).sum())
            fired |= (f > 0).any(0)
        for x in train.split(2048):
            fired |= (self.encode(x) > 0).any(0)
        total = float((held - held.mean(0)).square().sum())
        return {"fvu": error / total, "l0": active / len(held), "dead": 1 - float(fired.float().mean())}


def recovered(dictionary: Judged, atoms: Tensor) -> float:
    """Share of planted directions to which some decoder row has a cosine of at least 0.9."""
    return float(((atoms @ normalize(dictionary.W_dec, dim=1).T).amax(1) >= 0.9).float().mean())


@cache
def model(name: str) -> Model:
    return aquin_nb.Session(name, device="cpu").model


def store(name: str, work: Path) -> Store:
    folder, data = work / name / "store", DATA[name]
    if not (folder / "manifest.json").exists():
        layer = model(name).info.default_layer if data.layer is None else data.layer
        collect(
            model(name), open_corpus("packaged"), layer, tokens=data.rows, output=folder, context_size=data.context_size
        )
    return Store(folder)


def prepare(name: str, work: Path) -> None:
    """Write train.npy and held.npy (and atoms.npy), unless they are there."""
    folder = work / name
    if (folder / "held.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if name == "planted":
        x, atoms = planted(110_000, 128, atoms=ATOMS, active=DATA[name].k, dense=0.0, noise=0.02, zipf=0.0)
        np.save(folder / "atoms.npy", atoms.numpy())
        train, held = x[:100_000], x[100_000:]
    else:
        stream = ShuffledStream(store(name, work), 64, held_out=HELD_OUT)
        train, held = torch.cat(list(stream.epoch(0))), stream.held_out(16_384)
    np.save(folder / "train.npy", train.float().numpy())
    np.save(folder / "held.npy", held.float().numpy())


def cross_entropy(name: str, work: Path) -> Callable[[Judged], float] | None:
    """How much of the model's loss survives when the layer is replaced by its reconstruction; language models only."""
    if name == "planted" or model(name).mode == "embedding":
        return None
    kept = store(name, work)
    rows = held_out_rows(model(name), kept, ShuffledStream(kept, 64, held_out=HELD_OUT), max_tokens=CE_TOKENS)
    return lambda d: fidelity(model(name), d, kept.layer, rows, max_tokens=None).ce_recovered


@cache
def our_sources() -> str:
    """A digest of the trainer: what an older one made is not taken for this one's."""
    files = sorted((HERE.parent / "aquin_nb" / "engine" / "sae").glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def run(
    name: str, trainer: str, lr: float | None, seed: int, work: Path, peers: Path, steps: int | None = None
) -> Path:
    """Train once, or find it trained; the dictionary's file."""
    data, folder = DATA[name], work / name
    spec: dict[str, Any] = {
        "architecture": "topk",
        "d_sae": data.d_sae,
        "k": data.k,
        "batch_size": data.batch_size,
        "steps": steps or data.steps,
        "lr": lr,
        "seed": seed,
        "activations": str(folder / "train.npy"),
        "options": OPTIONS.get(trainer, {}),
    }
    made_by = [trainer, spec, our_sources() if trainer == "aquin_nb" else None]
    key = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()[:16]
    out = folder / f"{key}.pt"
    if not out.exists():
        peer = trainer.split(",")[0]
        python = sys.executable if peer == "aquin_nb" else str(peers / peer / "bin" / "python")
        # Keeping freed memory spares peers the page faults of their large temporaries; it changes no figure.
        keep = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "200000000000"}
        partial_file = out.with_suffix(".part")
        command = [python, str(HERE / "peers" / f"run_{peer}.py"), json.dumps(spec | {"out": str(partial_file)})]
        done = subprocess.run(command, capture_output=True, text=True, env=environment() | keep)
        if done.returncode:
            raise SystemExit(f"{trainer} failed:\n{done.stderr[-3000:]}")
        partial_file.rename(out)
    return out


def judge(name: str, file: Path, work: Path, ce: Callable[[Judged], float] | None = None) -> dict[str, float]:
    """Figures of one dictionary, kept beside it."""
    notes = file.with_suffix(".json")
    figures: dict[str, float] = json.loads(notes.read_text()) if notes.exists() else {}
    saved = torch.load(file, weights_only=True)
    saved.pop("threshold")
    dictionary = Judged(**saved)
    if not figures:
        rows = [torch.from_numpy(np.load(work / name / f"{part}.npy")) for part in ("train", "held")]
        figures = dictionary.figures(*rows)
        if name == "planted":
            figures["recovered"] = recovered(dictionary, torch.from_numpy(np.load(work / name / "atoms.npy")))
    if ce is not None and "ce_recovered" not in figures:
        figures["ce_recovered"] = ce(dictionary)
    notes.write_text(json.dumps(figures))
    return figures


def best_rate(own: float, fvu: Callable[[float | None], float]) -> tuple[float | None, dict[str, float]]:
    """The learning rate with the lowest FVU, None for the peer's own defaults; and what was tried."""
    tried = {own: fvu(None)}

    def attempt(lr: float) -> bool:
        if any(0.75 < lr / known < 1.34 for known in tried):
            return False
        tried[lr] = fvu(lr)
        return True

    def best() -> float:
        return min(tried, key=lambda lr: tried[lr])

    attempt(1e-3)
    for factor in (2.0, 0.5):
        while attempt(best() * factor):
            pass
    return None if best() == own else best(), {f"{lr:.2g}": round(value, 4) for lr, value in tried.items()}


def compare(
    name: str, trainer: str, train: Callable[..., Path], work: Path, ce: Callable[[Judged], float] | None
) -> dict[str, Any]:
    """Find a peer's best rate with the first seed and a quarter of the steps, then train and judge with all of them."""
    lr, said = None, {}
    if trainer != "aquin_nb":
        own = DEFAULT_LR[trainer](DATA[name].d_sae)
        steps = DATA[name].steps // 4
        lr, tried = best_rate(own, lambda rate: judge(name, train(rate, 0, steps=steps), work)["fvu"])
        said = {"own rate": f"{own:.2g}", "rates tried": tried}
    return row(name, trainer, [judge(name, train(lr, seed), work, ce) for seed in SEEDS], **said)


def row(name: str, trainer: str, figures: list[dict[str, float]], **said: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"data": name, "trainer": trainer}
    columns = {"fvu": "held-out FVU", "dead": "dead share", "l0": "L0", "ce_recovered": "CE recovered"}
    for key, title in (columns | {"recovered": "atoms recovered"}).items():
        found = [f[key] for f in figures if key in f]
        if found:
            values |= {title: round(statistics.mean(found), 4), f"{title} a seed": [round(f, 4) for f in found]}
    return values | said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--trainers", nargs="+", choices=["aquin_nb", *DEFAULT_LR], default=["aquin_nb", *DEFAULT_LR])
    parser.add_argument("--peers", type=Path, default=Path(os.environ.get("AQUIN_PEERS", HERE.parent / ".peers")))
    args = parser.parse_args()
    work = args.work.resolve()

    rows = []
    for name in args.data:
        prepare(name, work)
        ce = cross_entropy(name, work)
        for trainer in args.trainers:
            peer = trainer.split(",")[0]
            if peer != "aquin_nb" and not (args.peers / peer / ".ready").exists():
                continue
            train = partial(run, name, trainer, work=work, peers=args.peers)
            rows.append(compare(name, trainer, train, work, ce))
            print(rows[-1], flush=True)
    kept = HERE / "results" / "train_quality.json"
    old = json.loads(kept.read_text())["rows"] if kept.exists() else []
    new = {(r["data"], r["trainer"]) for r in rows}
    rows += [r for r in old if (r["data"], r["trainer"]) not in new]
    order = ["aquin_nb", *DEFAULT_LR]
    rows.sort(key=lambda r: (list(DATA).index(r["data"]), order.index(r["trainer"])))
    write("train_quality", {"seeds": SEEDS, "held_out": HELD_OUT} | {n: vars(d) for n, d in DATA.items()}, rows)


if __name__ == "__main__":
    main()
