"""Activations that are already there, for a training: a store, a capture or a tensor, and whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ..cards import CorpusRef, ModelRef
from ..collection import Activations
from ..control import Control
from ..engine.activations.captured import CaptureData
from ..engine.activations.manifest import CAPTURE, read_manifest
from ..engine.activations.store import Store
from ..engine.activations.stream import ShuffledStream, Stream
from ..engine.sae import TrainConfig
from ..errors import DictionaryError, StoreError
from ..records import IN_MEMORY, manifest_model
from ..results import Capture, SaeTrain

if TYPE_CHECKING:
    from ..engine.models import ModelInfo


@runtime_checkable
class Streamed(Protocol):
    """A source that makes its rows while they are read, and so gives its own stream."""

    def stream(self, batch_size: int, *, seed: int, held_out: float, control: Control) -> Stream:
        """Batches of its rows; `control` hears of progress before the first one, and cancels."""
        ...


Source = Store | Tensor | Streamed


def stream_of(sources: Sequence[Source], settings: TrainConfig, control: Control) -> Stream:
    """The stream over these sources, side by side; or that of the only one, which gives its own."""
    size, seed, held_out = settings.batch_size, settings.seed, settings.held_out
    there = [source for source in sources if not isinstance(source, Streamed)]
    if len(sources) == 1 and isinstance(source := sources[0], Streamed):
        return source.stream(size, seed=seed, held_out=held_out, control=control)
    return ShuffledStream(there[0] if len(there) == 1 else there, size, seed=seed, held_out=held_out)


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
    """All rows of an activation store.

    Raises:
        StoreError: of several sites none was chosen; says how.
    """
    try:
        site = store.site
    except StoreError:
        names = ", ".join(site.hook for site in store.sites)
        raise StoreError(
            f"{store.address} holds {len(store.sites)} sites: {names}. Say which to train on, as a layer or a hook:"
            " session.sae.train(LAYER, activations=PLACE), aquin_nb.sae_train({LAYER: PLACE})."
        ) from None
    ref = CorpusRef(name=store.corpus["name"], tokens=store.rows, why=store.corpus["why"])
    notes = [store.exclusions, *store.notes]
    return Rows(store, store.rows, site.d_in, site.layer, site.hook, ref, manifest_model(store.model), notes)


def open_rows(given: Any, layer: int | str | None = None) -> Rows:
    """Rows of a float tensor or array [n, d_in], of a store or capture folder, or of the result that wrote one.

    A pair (inputs, targets) of them is for a transcoder.

    Args:
        layer: which layer of a capture, or which layer or hook of a store; needed where there are several.

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
        ref = CorpusRef(name=IN_MEMORY, tokens=given.shape[0], why="asked for")
        return Rows(given, given.shape[0], given.shape[1], None, "", ref, None, [])
    if isinstance(given, Activations):
        given = given.store
    if isinstance(given, Store):
        return from_store(given if layer is None else given.at(layer))
    if not isinstance(given, str | Path | Capture | SaeTrain):
        near = "; its .to_numpy() is an array" if hasattr(given, "to_numpy") else ""
        raise StoreError(
            "activations must be a tensor, an array, or the folder of a store or capture, not"
            f" {type(given).__name__}{near}."
        )
    if isinstance(given, SaeTrain) and layer is None:
        layer = given.card.hook or given.card.layer  # a sweep's store holds other sites too
    place = _place(given)
    if "://" in str(place):
        return from_store(Store(place, layer))
    return _read(Path(place).expanduser(), layer)


def _rows_and_columns(given: Tensor | np.ndarray[Any, Any]) -> Tensor:
    """The same numbers as a tensor.

    Raises:
        StoreError: not a dense float matrix with rows; says how to make it one.
    """
    floats = given.is_floating_point() if isinstance(given, Tensor) else given.dtype.kind == "f"
    dense = not isinstance(given, Tensor) or given.layout == torch.strided
    empty = isinstance(given, Tensor) and given.is_meta
    if given.ndim == 2 and floats and dense and not empty and 0 not in given.shape:
        if isinstance(given, Tensor):
            return given.resolve_neg()
        # torch takes no other byte order, no negative strides and nothing longer than 64 bits.
        native = given.dtype.newbyteorder("=") if given.dtype.itemsize <= 8 else np.dtype(np.float64)
        return torch.from_numpy(np.ascontiguousarray(given, dtype=native))
    if empty:
        help = "A meta tensor has a shape and no values."
    elif 0 in given.shape:
        help = "There is nothing to learn from."
    elif not dense:
        help = "Its .to_dense() is one."
    elif given.ndim != 2:
        help = "Its .reshape(-1, d_in) is one." if given.ndim > 2 else "One row is no data: give many."
    else:
        help = "Convert them to float32 first."
    kind = str(given.dtype).removeprefix("torch.")
    raise StoreError(f"Activations are a float tensor [rows, d_in]; got {kind} {list(given.shape)}. {help}")


def require_model(rows: Rows, model: ModelInfo, width: int | None = None) -> Rows:
    """`rows`, when they are of `model`; `width` is that of the site they should be of, by default d_model.

    Raises:
        StoreError: from another model. DictionaryError: vectors of another width.
    """
    if rows.d_in != (width or model.d_model):
        what = f"d_model {model.d_model}" if width is None else f"{width} at {rows.hook}"
        raise DictionaryError(
            f"The activations are vectors of width {rows.d_in}; {model.name} has {what}."
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
    if described["kind"] == "live":
        raise StoreError(
            "The run kept no activations: it goes on in a session, which makes them again:"
            f' aquin_nb.Session("{described["model"]}").sae.resume(name).'
        )
    if any(part["kind"] != "store" for part in parts):
        raise StoreError(
            "The run was trained on a tensor in memory; give the same one again:"
            " aquin_nb.sae_resume(output, activations)."
        )
    try:
        return [Store(part["path"], part.get("site")) for part in parts]
    except StoreError as error:
        raise StoreError(
            f"{error} The run was trained on it; if it has moved, say where to:"
            f" aquin_nb.sae_resume(output, {'FOLDER' if len(parts) == 1 else '(FOLDER, FOLDER)'})."
        ) from None


def _place(given: str | Path | Capture | SaeTrain) -> str | Path:
    if isinstance(given, Capture):
        return given.path
    if isinstance(given, SaeTrain):
        places = [a.path for a in given.card.artifacts if a.role == "activations"]
        if not places:
            raise StoreError(f"{given.card.name} was trained on activations of its own; give their folder.")
        return places[0]
    return given


def _read(folder: Path, layer: int | str | None) -> Rows:
    manifest: dict[str, Any] = read_manifest(folder)
    if manifest["kind"] != CAPTURE:
        return from_store(Store(folder, layer))
    capture = CaptureData(folder, manifest)
    layers = list(capture.layers)
    if layer is None and len(layers) != 1:
        raise StoreError(f"{folder} holds layers {layers}; name the one to train on as layer.")
    hooks = {str(manifest["layers"][str(known)]["hook"]): known for known in layers}
    at = layers[0] if layer is None else hooks.get(layer, layer) if isinstance(layer, str) else layer
    if at not in layers:
        raise StoreError(f"{folder} holds layers {layers}, not {layer!r}.")
    x = capture.layers[at]
    ref = CorpusRef(name=f"capture {capture.name}", tokens=x.shape[0], why="asked for")
    hook = next(hook for hook, known in hooks.items() if known == at)
    notes = [*capture.notes, f"One vector a probe, {capture.position}."]
    return Rows(x, x.shape[0], x.shape[1], at, hook, ref, manifest_model(manifest["model"]), notes)
