"""Between runs, cards and files: a run's models and dictionaries as cards name them, and cards and frames on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from .cards import (
    ActivationCaptureCard,
    ActivationStoreCard,
    Artifact,
    Card,
    CorpusRef,
    DictionaryRef,
    LayerNorms,
    ModelRef,
    ProbePreview,
    SiteStatistics,
)
from .errors import StoreError
from .files import sha256, whole_file, write_json

if TYPE_CHECKING:
    import pandas as pd

    from .engine.activations.captured import CaptureData
    from .engine.activations.store import Store
    from .engine.models import ModelInfo
    from .engine.sae import SparseAutoencoder

CardT = TypeVar("CardT", bound=Card)

PROBE_PREVIEW = 50
"""Probes a card carries; the manifest has all."""

IN_MEMORY = "a tensor in memory"
"""What a card calls the corpus of rows that were given as a tensor."""

HISTORY_DTYPES = {
    "step": "int64",
    "tokens": "int64",
    "recon_mse": "float64",
    "fvu": "float64",
    "explained_variance": "float64",
    "cosine": "float64",
    "l0": "float64",
    "dead": "int64",
    "lr": "float64",
    "grad_norm": "float64",
    "tokens_per_second": "float64",
}
"""Columns of a training's history; those that an older version did not write are NaN."""


def model_ref(info: ModelInfo) -> ModelRef:
    """The card's account of a loaded model."""
    fields = {name: getattr(info, name) for name in ModelRef.model_fields if name != "checkpoint"}
    checkpoint = info.checkpoint
    if checkpoint is not None:
        fields["checkpoint"] = {
            "path": checkpoint.path,
            "step": checkpoint.step,
            "fingerprint": checkpoint.fingerprint,
        }
    return ModelRef(**fields)


def manifest_model(record: dict[str, Any]) -> ModelRef:
    """The card's account of the model that a manifest names.

    Raises:
        StoreError: the manifest does not say all of it.
    """
    try:
        return ModelRef.model_validate({key: value for key, value in record.items() if key in ModelRef.model_fields})
    except ValidationError as error:
        names = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        raise StoreError(
            f"What the manifest says of its model is damaged: {names}. Collect or capture again, or give the rows as a"
            " tensor."
        ) from None


def dictionary_ref(sae: SparseAutoencoder) -> DictionaryRef:
    """The card's account of a dictionary; one that was never saved has an empty path and fingerprint."""
    return DictionaryRef(
        path=str(sae.path or ""),
        name=sae.cfg.name or (sae.path.stem if sae.path else "unsaved"),
        architecture=sae.cfg.architecture,
        d_in=sae.cfg.d_in,
        d_sae=sae.cfg.d_sae,
        layer=sae.cfg.layer,
        fingerprint=sha256(sae.path) if sae.path else "",
    )


def capture_card(data: CaptureData) -> ActivationCaptureCard:
    """A capture's card as its manifest tells it, not yet finished."""
    m = data.manifest
    norms = [LayerNorms(layer=int(layer), **record["norms"]) for layer, record in m["layers"].items()]
    sae = (m["sae"] or {}).get("dictionary")
    return ActivationCaptureCard(
        name=data.name,
        model=manifest_model(m["model"]),
        topic=data.topic,
        n_probes=m["n_probes"],
        layers=list(data.layers),
        position=m["position"],
        dtype=m["dtype"],
        metadata_keys=m["metadata_keys"],
        norms=norms,
        probes=[ProbePreview(row=i, text=p.text) for i, p in enumerate(data.probes[:PROBE_PREVIEW])],
        dictionary=DictionaryRef.model_validate(sae) if sae and "path" in sae else None,
        notes=list(data.notes),
    )


def store_card(store: Store, name: str) -> ActivationStoreCard:
    """An activation store's card as its manifest and chunks tell it, not yet finished.

    Raises:
        StoreError: a chunk is damaged.
    """
    told, m = store.stat(), store.manifest
    sites = []
    for site in told["sites"]:
        norms = {key: site["statistics"][key] for key in ("mean_norm", "median_norm", "max_norm", "outliers")}
        sites.append(SiteStatistics(hook=site["hook"], layer=site["layer"], d_in=site["d_in"], **norms))
    return ActivationStoreCard(
        name=name,
        model=manifest_model(store.model),
        corpus=CorpusRef(
            name=store.corpus["name"], documents=told["documents"], tokens=store.rows, why=store.corpus["why"]
        ),
        sites=sites,
        unit="text" if store.unit == "text" else "token",
        rows=store.rows,
        wanted=store.rows,
        documents=told["documents"],
        bytes=told["bytes"],
        dtype=told["dtype"],
        context_size=int(m.get("context_size", 0)),
        batch_size=int(m.get("batch_size", 0)),
        exclusions=store.exclusions,
        complete=store.complete,
        notes=list(store.notes),
        artifacts=[Artifact(role="activations", path=store.address, bytes=told["bytes"])],
    )


def read_card(path: Path, kind: type[CardT]) -> CardT:
    """A card from its JSON file.

    Raises:
        StoreError: missing, damaged, or from a newer aquin-nb.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise StoreError(
            f"{path.parent} has no {path.name}; it was not written by aquin-nb, or not finished."
        ) from None
    except ValueError as error:
        raise StoreError(f"{path} is damaged or from a newer aquin-nb: {str(error).splitlines()[0]}") from error


def write_card(card: Card, path: Path) -> None:
    """Write a card as JSON, whole or not at all."""
    write_json(path, json.loads(card.model_dump_json()))


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame as CSV, whole or not at all."""
    with whole_file(path) as temporary:
        frame.to_csv(temporary, index=False)


def history_frame(points: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Logged points as a frame with the history's columns and dtypes, also when there are none."""
    import pandas as pd

    return pd.DataFrame(points, columns=list(HISTORY_DTYPES)).astype(HISTORY_DTYPES)


def read_history(path: Path) -> pd.DataFrame:
    """A history from its CSV; columns that the version which wrote it did not know are NaN.

    Raises:
        StoreError: missing, damaged, or without steps.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(path)
        if lacking := {"step", "tokens", "dead"} - set(frame):
            raise ValueError(f"it has no column {', '.join(sorted(lacking))}")
        return frame.reindex(columns=list(HISTORY_DTYPES)).astype(HISTORY_DTYPES)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
