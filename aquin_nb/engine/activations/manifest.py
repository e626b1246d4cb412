"""The manifest.json of captures and activation stores, readable without torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import StoreError
from .places import Place, place_of

MANIFEST = "manifest.json"
CAPTURE = "activationCapture"
ACTIVATIONS = "activations"
SCHEMA_VERSION = 1  # of captures
STORE_VERSION = 2  # of activation stores; version 1 knew one site
_NEWEST = {CAPTURE: SCHEMA_VERSION, ACTIVATIONS: STORE_VERSION}
_MEMBER = re.compile(
    r"chunks/(chunk|r\d{2,})_\d{6,}\.safetensors|layers/layer_\d+\.pt|sae/sae_layer_\d+\.pt"
)  # all that a manifest may point to: nothing outside its own folder


@dataclass(frozen=True)
class SiteInfo:
    """A place in a model whose activations a store holds.

    hook: its name, such as `blocks.3.hook_resid_post`; layer: its block, None where it belongs to none; d_in: the
    width of its vectors.
    """

    hook: str
    layer: int | None
    d_in: int


class Fields(dict[str, Any]):
    """A part of a manifest; a key that is not there is a StoreError that names the key and the manifest."""

    def __init__(self, values: Mapping[str, Any], name: str, where: object) -> None:
        super().__init__(values)
        self._name, self._where = name, where

    def __missing__(self, key: str) -> Any:
        raise StoreError(f"{self._where} is damaged: {self._name} does not say {key!r}.")


def read_manifest(folder: Path | str | Place, kind: str | None = None, name: str = MANIFEST) -> dict[str, Any]:
    """The manifest in `folder`, checked to be of a kind and version that we can read.

    Args:
        folder: a capture or an activation store; a folder, or a URL that fsspec knows.
        kind: `"activationCapture"`, `"activations"`, or None for either; `manifest["kind"]` tells which it is.
        name: of the manifest.

    Raises:
        StoreError: no such folder or manifest, damaged JSON, another kind, or written by a newer aquin-nb.
    """
    what = {CAPTURE: "a capture", ACTIVATIONS: "an activation store", None: "a capture or an activation store"}[kind]
    place = place_of(folder)
    path = f"{place.address}/{name}"
    text = place.read(name)
    if text is None:
        raise StoreError(_nothing(place, what))
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is damaged and cannot be read ({error}).") from None
    if not isinstance(manifest, dict) or manifest.get("kind") not in _NEWEST:
        raise StoreError(f"{path} does not describe {what}.")
    if kind is not None and manifest["kind"] != kind:
        raise StoreError(f"{place.address} holds {manifest['kind']!r} where {what} ({kind!r}) is expected.")
    version, newest = manifest.get("schema_version"), _NEWEST[manifest["kind"]]
    if not isinstance(version, int) or version < 1:
        raise StoreError(f"{path} is damaged: schema_version is {version!r:.60}.")
    if version > newest:
        raise StoreError(
            f"{place.address} was written by a newer aquin-nb (schema {version}, this one reads up to {newest});"
            " upgrade with: pip install -U aquin-nb."
        )
    return manifest


def _nothing(place: Place, what: str) -> str:
    names = place.sizes()
    if any(re.fullmatch(r"manifest\.r\d+\.json", name) for name in names):
        return (
            f"{place.address} holds what several ranks collected, not joined yet: do so with"
            f" aquin_nb.engine.activations.merge.merge({place.address!r})."
        )
    if not names and (absence := place.absence()):
        return f"{place.address} is {absence}; give the folder of {what}."
    return f"{place.address} is not {what}: it has no {MANIFEST}."


def field(record: Mapping[str, Any], key: str, kind: type | tuple[type, ...], path: object) -> Any:
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
    return folder / member_name(name, folder / MANIFEST)


def member_name(name: object, where: object) -> str:
    """`name`, the name of a file in the manifest `where`.

    Raises:
        StoreError: as `member`.
    """
    if not isinstance(name, str) or not _MEMBER.fullmatch(name):
        raise StoreError(f"{where} names the file {name!r:.80}, which no capture or store of ours has.")
    return name


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
