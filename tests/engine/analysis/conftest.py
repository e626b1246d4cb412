"""Captures with vectors of our own, written as `capture` writes them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from aquin_nb.engine.activations.captured import CaptureData, read_capture
from aquin_nb.engine.activations.probes import Probe
from aquin_nb.files import sha256

sys.path.insert(0, str(Path(__file__).parent))  # relations, shared by the tests of alignments

MakeCapture = Callable[..., CaptureData]


@pytest.fixture
def make_capture(tmp_path: Path) -> MakeCapture:
    """`make_capture(name, {layer: [n, d]}, probes, model="m", n_layers=8)`, opened."""

    def make(
        name: str, layers: Mapping[int, np.ndarray], probes: Sequence[Probe], *, model: str = "m", n_layers: int = 8
    ) -> CaptureData:
        folder = tmp_path / name
        (folder / "layers").mkdir(parents=True)
        records = {}
        for layer, values in layers.items():
            x, file = torch.tensor(values, dtype=torch.float32), f"layers/layer_{layer}.pt"
            torch.save({"layer": layer, "activations": x}, folder / file)
            records[str(layer)] = {
                "hook": f"blocks.{layer}.hook_resid_post", "file": file, "sha256": sha256(folder / file),
                "shape": list(x.shape), "dtype": "float32", "norms": {"median": 1.0, "max": 1.0},
            }  # fmt: skip
        width = next(iter(layers.values())).shape[1] if layers else 4
        info = {"name": model, "source": "bundled", "mode": "llm", "n_layers": n_layers, "d_model": width,
                "dtype": "float32", "device": "cpu", "backend": "huggingface", "fingerprint": "0"}  # fmt: skip
        manifest = {
            "schema_version": 1, "kind": "activationCapture", "complete": True, "name": name, "topic": None,
            "model": info, "position": "last", "dtype": "float32", "d_model": width, "n_probes": len(probes),
            "metadata_keys": [], "layers": records, "sae": None, "notes": [],
            "probes": [{"text": p.text, "metadata": p.metadata, "n_tokens": 3} for p in probes],
        }  # fmt: skip
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return read_capture(folder)

    return make
