"""Activations that are already there, for `sae.train(activations=...)`: a store or a capture, and whose they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cards import CorpusRef, ModelRef
from ..engine.activations.captured import CaptureData
from ..engine.activations.manifest import CAPTURE, read_manifest
from ..engine.activations.store import Store
from ..errors import DictionaryError, StoreError
from ..records import manifest_model
from ..results import Capture, SaeTrain

if TYPE_CHECKING:
    from torch import Tensor

    from ..engine.models import ModelInfo


@dataclass(frozen=True)
class Rows:
    """Rows of activations, the model they came from and what a reader must know of them."""

    source: Store | Tensor
    total: int
    d_in: int
    layer: int
    hook: str
    corpus: CorpusRef
    model: ModelRef
    notes: list[str]


def from_store(store: Store) -> Rows:
    """All rows of an activation store."""
    ref = CorpusRef(name=store.corpus["name"], tokens=store.rows, why=store.corpus["why"])
    notes = [store.exclusions, *store.notes]
    return Rows(store, store.rows, store.d_in, store.layer, store.hook, ref, manifest_model(store.model), notes)


def open_activations(given: str | Path | Capture | SaeTrain, layer: int | None, session_model: ModelInfo) -> Rows:
    """Rows of a store or capture folder (or of the result that wrote it), for a session on `session_model`.

    Raises:
        StoreError: neither, damaged, without that layer, or from another model.
        DictionaryError: vectors of another width.
    """
    folder = _folder(given)
    rows = _read(folder, layer)
    if rows.d_in != session_model.d_model:
        raise DictionaryError(
            f"{folder} holds vectors of width {rows.d_in}; {session_model.name} has d_model {session_model.d_model}."
            " Open a session on the model they came from."
        )
    if rows.model.name != session_model.name:
        raise StoreError(
            f"{folder} was collected from {rows.model.name}, and this session holds {session_model.name}:"
            f' open Session("{rows.model.name}").'
        )
    return rows


def _folder(given: str | Path | Capture | SaeTrain) -> Path:
    if isinstance(given, Capture):
        return given.path
    if isinstance(given, SaeTrain):
        places = [a.path for a in given.card.artifacts if a.role == "activations"]
        if not places:
            raise StoreError(f"{given.card.name} was trained on activations of its own; give their folder.")
        return Path(places[0])
    return Path(given).expanduser()


def _read(folder: Path, layer: int | None) -> Rows:
    manifest: dict[str, Any] = read_manifest(folder)
    if manifest["kind"] != CAPTURE:
        store = Store(folder)
        if layer is not None and layer != store.layer:
            raise StoreError(f"{folder} holds layer {store.layer}, not {layer!r}.")
        return from_store(store)
    capture = CaptureData(folder, manifest)
    layers = list(capture.layers)
    if layer is None and len(layers) != 1:
        raise StoreError(f"{folder} holds layers {layers}; name the one to train on as layer.")
    at = layers[0] if layer is None else layer
    x = capture.layers[at]
    ref = CorpusRef(name=f"capture {capture.name}", tokens=x.shape[0], why="asked for")
    hook = str(manifest["layers"][str(at)]["hook"])
    notes = [*capture.notes, f"One vector a probe, {capture.position}."]
    return Rows(x, x.shape[0], x.shape[1], at, hook, ref, manifest_model(manifest["model"]), notes)
