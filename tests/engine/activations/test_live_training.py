"""A training cannot tell a live stream from a store, and one that was killed goes on to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import live_runs
import pytest
import torch
from planted import assert_same, member

from aquin_nb.engine.activations.collect import collect
from aquin_nb.engine.activations.corpus import open_corpus
from aquin_nb.engine.activations.forwards import Forwards
from aquin_nb.engine.activations.live import LiveStream
from aquin_nb.engine.activations.stream import ShuffledStream, Stream
from aquin_nb.engine.models import Model
from aquin_nb.engine.sae import TrainConfig
from aquin_nb.engine.sae.checkpoints import Checkpoints
from aquin_nb.engine.sae.dictionary import SparseAutoencoder
from aquin_nb.engine.sae.metrics import evaluate
from aquin_nb.engine.sae.trainer import fit

ROWS, LAYER, CONTEXT = 47 * 256, 3, 64  # whole batches: nothing is left over
HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def learned(stream: Stream) -> SparseAutoencoder:
    config = TrainConfig(d_sae=256, k=8, batch_size=256, steps=ROWS // 256, lr=3e-3, dtype="float32")
    return fit(stream, [member(config, stream)])[0].dictionary


def test_a_dictionary_from_either_is_as_good(tiny: Model, tmp_path: Path) -> None:
    """The same documents, stored and live, in batches that are mixed in another order."""
    corpus = open_corpus("packaged")
    live = LiveStream(
        Forwards(tiny, corpus, [LAYER], context_size=CONTEXT, batch_size=8), 256, rows=ROWS, buffer_rows=4000
    )
    texts = [text for number, text in enumerate(corpus.documents()) if not live.is_held_out(number)]
    folder = tmp_path / "store"
    store = collect(tiny, open_corpus(texts), LAYER, tokens=ROWS, output=folder, context_size=CONTEXT, dtype="float32")
    kept = ShuffledStream(store, 256, held_out=0, buffer_rows=4000)
    assert (kept.rows, kept.batches_per_epoch) == (live.rows, live.batches_per_epoch)
    sums = [torch.stack([batch.double().sum(0) for batch in stream.epoch(0)]).sum(0) for stream in (live, kept)]
    assert torch.allclose(*sums, rtol=1e-4, atol=1e-2), "the same rows"
    held = live.held_out()
    fvu = [evaluate(learned(stream), held).fvu for stream in (live, kept)]
    assert fvu[0] == pytest.approx(fvu[1], rel=0.05)
    assert fvu[0] < 0.8


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    root = HERE.parents[2]
    paths = [str(root), str(root / "tests/engine/sae"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, str(HERE / "live_runs.py"), str(folder)], env=environment)
    try:
        until = time.monotonic() + 240
        while not [path for path in folder.glob("step_*.pt") if int(path.stem[5:]) >= 45] and child.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == -signal.SIGKILL, "it was at work"
    found, _ = Checkpoints(folder, None).latest()
    assert found["step"] >= 45, "in the second epoch"
    model = live_runs.bundled()
    assert_same(live_runs.train(model, resume=found), live_runs.train(model))
