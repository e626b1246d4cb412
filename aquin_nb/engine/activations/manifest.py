"""The manifest.json of captures and activation stores, readable without torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import StoreError

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
CAPTURE = "activationCapture"
ACTIVATIONS = "activations"
_MEMBER = re.compile(
    r"chunks/chunk_\d{6,}\.safetensors|layers/layer_\d+\.pt|sae/sae_layer_\d+\.pt"
)  # all that a manifest may point to: nothing outside its own folder


def read_manifest(folder: Path, kind: str | None = None) -> dict[str, Any]:
    """The manifest in `folder`, checked to be of a kind and version that we can read.

    Args:
        folder: a capture or an activation store.
        kind: `"activationCapture"`, `"activations"`, or None for either; `manifest["kind"]` tells which it is.

    Raises:
        StoreError: no such folder or manifest, damaged JSON, another kind, or written by a newer aquin-nb.
    """
    what = {CAPTURE: "a capture", ACTIVATIONS: "an activation store", None: "a capture or an activation store"}[kind]
    path = folder / MANIFEST
    if not folder.is_dir():
        raise StoreError(f"{folder} is {'a file' if folder.exists() else 'not there'}; give the folder of {what}.")
    if not path.is_file():
        raise StoreError(f"{folder} is not {what}: it has no {MANIFEST}.")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path} is damaged and cannot be read ({error}).") from None
    if not isinstance(manifest, dict) or manifest.get("kind") not in (CAPTURE, ACTIVATIONS):
        raise StoreError(f"{path} does not describe {what}.")
    if kind is not None and manifest["kind"] != kind:
        raise StoreError(f"{folder} holds {manifest['kind']!r} where {what} ({kind!r}) is expected.")
    version = manifest.get("schema_version")
    if not isinstance(version, int) or version < 1:
        raise StoreError(f"{path} is damaged: schema_version is {version!r}.")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{folder} was written by a newer aquin-nb (schema {version}, this one reads up to {SCHEMA_VERSION});"
            " upgrade with: pip install -U aquin-nb."
        )
    return manifest


def field(record: Mapping[str, Any], key: str, kind: type | tuple[type, ...], path: Path) -> Any:
    """`record[key]` if it is of `kind`, else a StoreError that names the key and the manifest at `path`."""
    value = record.get(key)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise StoreError(f"{path} is damaged: {key} is {value!r:.60}.")
    return value


def member(folder: Path, name: object) -> Path:
    """The path of a file that a manifest names.

    Raises:
        StoreError: the name is not one that we write, for instance because it leads out of the folder.
    """
    if not isinstance(name, str) or not _MEMBER.fullmatch(name):
        raise StoreError(f"{folder / MANIFEST} names the file {name!r:.80}, which no capture or store of ours has.")
    return folder / name


def capture_frame(manifest: Mapping[str, Any]) -> pd.DataFrame:
    """One row a probe of a capture: its text, then every metadata key as a column, in order of first appearance.

    A probe without a key has a missing value there; the index `probe` is the row in every layer's tensor.

    >>> capture_frame({"probes": [{"text": "a", "metadata": {"label": 1}}]}).loc[0].to_dict()
    {'text': 'a', 'label': 1}
    """
    probes = manifest["probes"]
    keys = list(dict.fromkeys(key for probe in probes for key in probe["metadata"]))
    columns: dict[str, list[Any]] = {"text": [probe["text"] for probe in probes]}
    for key in keys:
        columns[key] = [probe["metadata"].get(key) for probe in probes]
    return pd.DataFrame(columns, index=pd.RangeIndex(len(probes), name="probe"))
