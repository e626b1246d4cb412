"""Does the trainer make a usable dictionary, and does the verdict see through six probes?

    python benchmarks/verdicts.py [--model smollm2-135m --layer 10 --tokens 100000 --d-sae 4608 --k 32 --steps 3000]

Compares, on the same held-out rows, with an untrained dictionary of the same shape and with the first k principal
components (the best dense code of that many numbers).
"""

from __future__ import annotations

import argparse

import torch
from report import write

import aquin_nb
from aquin_nb.engine.activations.store import Store
from aquin_nb.engine.activations.stream import ShuffledStream
from aquin_nb.engine.sae import SparseAutoencoder, evaluate
from aquin_nb.progress import terminal


def pca_fvu(train: torch.Tensor, held: torch.Tensor, k: int) -> float:
    """FVU of held-out rows under the k leading principal components of the training rows."""
    mean = train.mean(0)
    _, _, components = torch.linalg.svd((train - mean)[:20_000], full_matrices=False)
    x = held - mean
    error = x - (x @ components[:k].T) @ components[:k]
    return float(error.square().sum() / (held - held.mean(0)).square().sum())


def untrained_fvu(sae: SparseAutoencoder, train: torch.Tensor, held: torch.Tensor) -> float:
    """The same architecture with random decoder rows, the mean as bias and no training."""
    random = SparseAutoencoder.random(sae.cfg, seed=1)
    random.b_dec = train.mean(0)
    return evaluate(random, held).fvu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--layer", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--d-sae", type=int, default=4608)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3000)
    args = parser.parse_args()

    session = aquin_nb.Session(args.model)
    shape = {"d_sae": args.d_sae, "k": args.k}
    trained = terminal(session.sae.train(args.layer, tokens=args.tokens, steps=args.steps, **shape))
    capture = session.capture_activations(count=6)
    probes = terminal(session.sae.train(args.layer, activations=capture.path, quick=True, **shape))

    store = next(a.path for a in trained.card.artifacts if a.role == "activations")
    stream = ShuffledStream(Store(store), 1024)
    held = stream.held_out(16_384)
    train = torch.cat([batch for batch, _ in zip(stream.epoch(0), range(20), strict=False)])
    rows = []
    for name, result in (("corpus", trained), ("six probes", probes)):
        last, held_out = result.card.latest, result.card.held_out
        rows.append(
            {
                "run": name,
                "rows": result.card.corpus.tokens,
                "verdict": result.verdict,
                "train FVU": last.fvu,
                "held-out FVU": held_out.fvu if held_out else None,
                "L0": last.l0,
                "dead": last.dead,
                "dead share": last.dead_share,
                "why": " ".join(result.reasons),
            }
        )
    rows.append({"run": "untrained, same shape", "held-out FVU": untrained_fvu(trained.dictionary, train, held)})
    rows.append({"run": f"PCA, {args.k} components", "held-out FVU": pca_fvu(train, held, args.k)})
    write("verdicts", vars(args), rows)


if __name__ == "__main__":
    main()
