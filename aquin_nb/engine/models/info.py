"""What a loaded model says of itself: plain values that go into cards, manifests and dictionaries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckpointInfo:
    """The fine-tuned weights that were put into the model."""

    path: str
    step: int  # training step the file names; 0 for a published fine-tune
    fingerprint: str  # SHA-256 of the file (of a folder: over its weight files)


@dataclass(frozen=True)
class ModelInfo:
    """Identity and shape of a loaded model.

    `fingerprint` covers the weights as stored on disk (names, dtypes, shapes and bytes), whatever dtype they are cast
    to and whichever backend reads them. With a checkpoint it covers the base and the checkpoint's tensors: the same
    fine-tune of the same base always has the same one, but "minilm" with the checkpoint "minilm-sre" differs from
    "minilm-sre" loaded as a model of its own.
    """

    name: str  # slug, hub id, folder name or file stem
    source: str  # bundled | fetched | hub | directory | gguf
    mode: str  # llm | embedding
    n_layers: int
    d_model: int
    dtype: str  # "float32"
    device: str  # "cpu", "cuda:0"
    backend: str  # transformer-lens | huggingface
    fingerprint: str
    tokenizer_fingerprint: str
    default_layer: int
    default_d_sae: int
    checkpoint: CheckpointInfo | None = None
