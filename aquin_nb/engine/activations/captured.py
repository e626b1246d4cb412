"""A capture on disk, opened: its manifest and frame at once, its tensors when asked for.

    manifest.json           written last; see `capture.capture`
    layers/layer_<N>.pt     {"layer": N, "activations": float32 [probes, d_model]}
    sae/sae_layer_<N>.pt    {"layer": N, "shape": [probes, d_sae], "crow_indices": int64 [probes + 1],
                             "col_indices": int64 [nnz], "values": float32 [nnz]}: the probes' features, row by row

torch is imported only when a tensor is read, so that manifest and frame open on a machine without it; every shard is
read without running anything in it (`models.torchfiles`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import files
from ...errors import StoreError
from .manifest import CAPTURE, MANIFEST, capture_frame, field, member, read_manifest
from .probes import Probe

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor


HASHED_BYTES = 64 << 20
"""A shard up to this size is compared with its hash when it is first read; hashing reads the whole file."""

_MODEL_FIELDS = {
    "name": str, "source": str, "mode": str, "n_layers": int, "d_model": int, "dtype": str, "device": str,
    "backend": str, "fingerprint": str,
}  # fmt: skip


class LayerTensors(Mapping[int, "Tensor"]):
    """`{layer: float32 [probes, d_model]}`, memory-mapped: what is not looked at is not read.

    A shard of at most 64 MB is compared with its hash when it is first asked for. A larger one is only checked to be
    whole and of the recorded shape; `checked` and `CaptureData.verify` read all of it.

    Raises (on access):
        StoreError: the layer was not captured, or its shard is missing or damaged.
    """

    def __init__(self, folder: Path, records: Mapping[int, Mapping[str, Any]]) -> None:
        self._folder, self._records = folder, records
        self._loaded: dict[int, Tensor] = {}
        self._sound: set[int] = set()

    def __getitem__(self, layer: int) -> Tensor:
        if layer not in self._loaded:
            record = self._record(layer)
            path = _present(self._folder, record)
            if path.stat().st_size <= HASHED_BYTES:
                self._require_sound(layer)
            self._loaded[layer] = _expected(_load(path).get("activations"), record["shape"], path)
        return self._loaded[layer]

    def checked(self, layer: int) -> Tensor:
        """A layer whose whole shard was compared with its hash, once."""
        self._require_sound(layer)
        return self[layer]

    def _require_sound(self, layer: int) -> None:
        if layer not in self._sound:
            _sound(self._folder, self._record(layer))
            self._sound.add(layer)

    def _record(self, layer: int) -> Mapping[str, Any]:
        if layer not in self._records:
            raise StoreError(f"{self._folder} has no layer {layer}; it has {', '.join(map(str, self._records))}.")
        return self._records[layer]

    def __contains__(self, layer: object) -> bool:
        return layer in self._records

    def __iter__(self) -> Iterator[int]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"LayerTensors({list(self._records)})"


class CaptureData:
    """A capture on disk, opened.

    Attributes:
        path: its folder. manifest: as written; model: its account of the model.
        complete: False if the capture was stopped before the last probe.
        layers: `{layer: float32 [probes, d_model]}`, memory-mapped when asked for (`LayerTensors`).
        notes: what a reader should know (probes that were cut, for instance).
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        where = path / MANIFEST
        self.path, self.manifest = path, manifest
        self.complete: bool = field(manifest, "complete", bool, where)
        self.position: str = field(manifest, "position", str, where)
        self.notes: list[str] = field(manifest, "notes", list, where)
        self.d_model: int = field(manifest, "d_model", int, where)
        for key, kind in {"n_probes": int, "dtype": str, "metadata_keys": list}.items():
            field(manifest, key, kind, where)
        self.model: dict[str, Any] = field(manifest, "model", dict, where)
        for key, kind in _MODEL_FIELDS.items():
            field(self.model, key, kind, where)
        for probe in field(manifest, "probes", list, where):
            field(probe if isinstance(probe, dict) else {}, "text", str, where)
            field(probe, "metadata", dict, where)
        records: dict[int, dict[str, Any]] = {}
        for layer, record in field(manifest, "layers", dict, where).items():
            record = record if isinstance(record, dict) and layer.isdecimal() else {}
            member(path, record.get("file"))
            field(record, "sha256", str, where)
            field(record, "hook", str, where)
            field(field(record, "norms", dict, where), "median", float, where)
            if field(record, "shape", list, where) != [len(manifest["probes"]), self.d_model]:
                raise StoreError(
                    f"{where} is damaged: layer {layer} has the shape {record['shape']!r:.60} for"
                    f" {len(manifest['probes'])} probes of {self.d_model} dimensions."
                )
            records[int(layer)] = record
        self.layers = LayerTensors(path, records)

    @property
    def name(self) -> str:
        return str(self.manifest.get("name") or self.path.name)

    @property
    def topic(self) -> str | None:
        return self.manifest.get("topic")

    @property
    def site(self) -> str:
        """What was read of every block, such as "hook_resid_post"."""
        ends = {record["hook"].removeprefix(f"blocks.{layer}.") for layer, record in self.manifest["layers"].items()}
        return " and ".join(sorted(ends))

    @property
    def probes(self) -> list[Probe]:
        return [Probe(row["text"], row["metadata"]) for row in self.manifest["probes"]]

    @property
    def frame(self) -> pd.DataFrame:
        """One row a probe: text, then metadata keys as columns; needs no torch."""
        return capture_frame(self.manifest)

    def rows(self, layer: int, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors of some probes at a layer, float32 [len(rows), d_model]; nothing else of the shard is kept in memory.

        Raises:
            StoreError: as `layers`.
        """
        return self.layers[layer].numpy()[rows]

    @property
    def sae_layer(self) -> int | None:
        """The layer whose features were captured too, if any."""
        record = self.manifest.get("sae")
        return record["layer"] if record else None

    @cached_property
    def features(self) -> Tensor | None:
        """Feature activations of the probes, a sparse float32 tensor [probes, d_sae], or None.

        Raises:
            StoreError: the shard is missing or damaged.
        """
        record = self.manifest.get("sae")
        if record is None:
            return None
        where = self.path / MANIFEST
        shape, path = field(record, "shape", list, where), member(self.path, field(record, "file", str, where))
        field(record, "sha256", str, where)
        shard = _load(_sound(self.path, record))
        import torch

        try:
            rows = torch.arange(shape[0]).repeat_interleave(shard["crow_indices"].diff())
            indices = torch.stack([rows, shard["col_indices"]])  # COO: torch warns on every use of CSR
            return torch.sparse_coo_tensor(indices, shard["values"], shape, check_invariants=True).coalesce()
        except (KeyError, RuntimeError, TypeError, AttributeError):
            raise StoreError(f"{path} is damaged: it does not hold the features that the manifest says.") from None

    @property
    def feature_frame(self) -> pd.DataFrame | None:
        """`features` as a frame, one row an active feature of a probe: `probe, feature, value`; None without features.

        Raises:
            StoreError: as `features`.
        """
        import pandas as pd

        features = self.features
        if features is None:
            return None
        probe, feature = features.indices().numpy()
        return pd.DataFrame({"probe": probe, "feature": feature, "value": features.values().numpy()})

    def verify(self) -> None:
        """Read every shard and compare with the recorded hashes.

        Raises:
            StoreError: naming the first shard that is missing or damaged.
        """
        records = [*self.manifest["layers"].values(), *([self.manifest["sae"]] if self.manifest.get("sae") else [])]
        for record in records:
            _sound(self.path, record)

    def __repr__(self) -> str:
        return f"CaptureData({str(self.path)!r}, {len(self.manifest['probes'])} probes, layers {list(self.layers)})"


def read_capture(path: Path | str) -> CaptureData:
    """Open a capture: the manifest is read and checked now, tensors when asked for.

    Raises:
        StoreError: not a capture, damaged, or written by a newer aquin-nb.
    """
    folder = Path(path).expanduser()
    return CaptureData(folder, read_manifest(folder, CAPTURE))


def _present(folder: Path, record: Mapping[str, Any]) -> Path:
    path = member(folder, record["file"])
    if not path.is_file():
        raise StoreError(f"{path} is missing though the manifest names it.")
    return path


def _sound(folder: Path, record: Mapping[str, Any]) -> Path:
    path = _present(folder, record)
    if files.sha256(path) != record["sha256"]:
        raise StoreError(f"{path} is damaged: its SHA-256 is not the recorded one.")
    return path


def _load(path: Path) -> dict[str, Any]:
    try:
        from ..models.torchfiles import Unreadable, load_plain
    except ImportError:
        raise StoreError("Reading a capture's tensors needs torch: pip install 'aquin-nb[engine]'.") from None
    try:
        shard = load_plain(path, mmap=True)
    except Unreadable as error:
        raise StoreError(f"{path} {error}.") from None
    if not isinstance(shard, dict):
        raise StoreError(f"{path} holds a {type(shard).__name__} where a dictionary of tensors is expected.")
    return shard


def _expected(value: object, shape: Sequence[int], path: Path) -> Tensor:
    import torch

    if not isinstance(value, torch.Tensor) or list(value.shape) != list(shape) or value.dtype != torch.float32:
        raise StoreError(f"{path} does not hold float32 activations of shape {list(shape)}.")
    return value
