"""Activations that are already there, for a training: a store, a capture or a tensor, and whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..cards import CorpusRef, ModelRef
from ..engine.activations.captured import CaptureData
from ..engine.activations.manifest import CAPTURE, read_manifest
from ..engine.activations.store import Store
from ..errors import DictionaryError, StoreError
from ..records import manifest_model
from ..results import Capture, SaeTrain

if TYPE_CHECKING:
    from ..engine.models import ModelInfo

Source = Store | Tensor


@dataclass(frozen=True)
class Rows:
    """Rows of activations, the model they came from and what a reader must know of them.

    `target` holds what a transcoder predicts from them, row by row.
    """

    source: Source
    total: int
    d_in: int
    layer: int | None
    hook: str
    corpus: CorpusRef
    model: ModelRef | None
    notes: list[str]
    target: Rows | None = None

    @property
    def d_out(self) -> int:
        return self.target.d_in if self.target is not None else self.d_in

    @property
    def sources(self) -> list[Source]:
        return [self.source, *([self.target.source] if self.target is not None else [])]


def distinct(sources: Sequence[Source]) -> list[Source]:
    """Each source once, in the order in which they come."""
    return list({id(source): source for source in sources}.values())


def from_store(store: Store) -> Rows:
    """All rows of an activation store."""
    ref = CorpusRef(name=store.corpus["name"], tokens=store.rows, why=store.corpus["why"])
    notes = [store.exclusions, *store.notes]
    return Rows(store, store.rows, store.d_in, store.layer, store.hook, ref, manifest_model(store.model), notes)


def open_rows(given: Any, layer: int | None = None) -> Rows:
    """Rows of a float tensor or array [n, d_in], of a store or capture folder, or of the result that wrote one.

    A pair (inputs, targets) of them is for a transcoder.

    Raises:
        StoreError: none of these, damaged, without that layer; a pair of different lengths or models.
    """
    if isinstance(given, tuple | list):
        if len(given) != 2:
            raise StoreError(
                f"A {type(given).__name__} of activations is a pair (inputs, targets) for a transcoder, not"
                f" {len(given)} things; rows go into one tensor [rows, d_in]."
            )
        inputs, targets = (open_rows(part) for part in given)
        if inputs.total != targets.total:
            raise StoreError(f"Inputs have {inputs.total:,} rows and targets {targets.total:,}; they go row by row.")
        names = {rows.model.name for rows in (inputs, targets) if rows.model is not None}
        if len(names) > 1:
            raise StoreError(f"Inputs and targets come from different models: {' and '.join(sorted(names))}.")
        return replace(inputs, target=targets)
    if isinstance(given, np.ndarray | Tensor):
        given = _rows_and_columns(given)
        ref = CorpusRef(name="a tensor in memory", tokens=given.shape[0], why="asked for")
        return Rows(given, given.shape[0], given.shape[1], None, "", ref, None, [])
    if isinstance(given, Store):
        return from_store(given)
    if not isinstance(given, str | Path | Capture | SaeTrain):
        near = "; its .to_numpy() is an array" if hasattr(given, "to_numpy") else ""
        raise StoreError(
            "activations must be a tensor, an array, or the folder of a store or capture, not"
            f" {type(given).__name__}{near}."
        )
    return _read(_folder(given), layer)


def _rows_and_columns(given: Tensor | np.ndarray[Any, Any]) -> Tensor:
    """The same numbers as a tensor.

    Raises:
        StoreError: not a dense float matrix with rows; says how to make it one.
    """
    floats = given.is_floating_point() if isinstance(given, Tensor) else given.dtype.kind == "f"
    dense = not isinstance(given, Tensor) or given.layout == torch.strided
    if given.ndim == 2 and floats and dense and 0 not in given.shape:
        if isinstance(given, Tensor):
            return given
        # torch takes no other byte order and no negative strides.
        return torch.from_numpy(np.ascontiguousarray(given, dtype=given.dtype.newbyteorder("=")))
    if 0 in given.shape:
        help = "There is nothing to learn from."
    elif not dense:
        help = "Its .to_dense() is one."
    elif given.ndim != 2:
        help = "Its .reshape(-1, d_in) is one." if given.ndim > 2 else "One row is no data: give many."
    else:
        help = "Convert them to float32 first."
    kind = str(given.dtype).removeprefix("torch.")
    raise StoreError(f"Activations are a float tensor [rows, d_in]; got {kind} {list(given.shape)}. {help}")


def require_model(rows: Rows, model: ModelInfo) -> Rows:
    """`rows`, when they are of `model`.

    Raises:
        StoreError: from another model. DictionaryError: vectors of another width.
    """
    if rows.d_in != model.d_model:
        raise DictionaryError(
            f"The activations are vectors of width {rows.d_in}; {model.name} has d_model {model.d_model}."
            " Open a session on the model they came from."
        )
    if rows.model is not None and rows.model.name != model.name:
        raise StoreError(
            f"The activations were collected from {rows.model.name}, and this session holds {model.name}:"
            f' open Session("{rows.model.name}").'
        )
    return rows


def reopen(described: dict[str, Any]) -> list[Store]:
    """The stores that a stream described, for a resumed run.

    Raises:
        StoreError: rows that were a tensor in memory, or a store that is gone.
    """
    parts: Sequence[dict[str, Any]] = described["parts"] if described["kind"] == "several" else [described]
    if any(part["kind"] != "store" for part in parts):
        raise StoreError(
            "The run was trained on a tensor in memory; give the same one again:"
            " aquin_nb.sae_resume(output, activations)."
        )
    return [Store(part["path"]) for part in parts]


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
