"""A small live training on the bundled model; `test_live_training.py` runs it here and in a process that it kills.

python live_runs.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from planted import member

from aquin_nb.engine.activations.corpus import open_corpus
from aquin_nb.engine.activations.forwards import Forwards
from aquin_nb.engine.activations.live import LiveStream
from aquin_nb.engine.models import Model, load_model
from aquin_nb.engine.sae import TrainConfig
from aquin_nb.engine.sae.checkpoints import Checkpoints
from aquin_nb.engine.sae.trainer import TrainOutcome, fit

BATCH, ROWS, STEPS = 64, 2500, 70  # over the end of an epoch, which has 39 batches


def bundled() -> Model:
    return load_model("tiny", device="cpu", dtype="float32", backend="huggingface")


def stream(model: Model) -> LiveStream:
    """Its buffer holds half of an epoch."""
    forwards = Forwards(model, open_corpus("packaged"), [3], context_size=64, batch_size=4)
    return LiveStream(forwards, BATCH, rows=ROWS, buffer_rows=1200)


def train(model: Model, folder: Path | None = None, resume: dict[str, Any] | None = None) -> TrainOutcome:
    """Train, with a checkpoint in `folder` every 5 steps."""
    rows = stream(model)
    settings = {"d_sae": 192, "k": 8, "batch_size": BATCH, "steps": STEPS, "lr": 3e-3, "dead_after_tokens": 1000}
    config = TrainConfig(**settings, architecture="batchtopk", dtype="float32", checkpoint_every=5)
    kept = None if folder is None else Checkpoints(folder, 5, 2)
    return fit(rows, [member(config, rows, checkpoints=kept, resume=resume)])[0]


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(bundled(), Path(sys.argv[1]))
