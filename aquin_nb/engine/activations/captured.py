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
    import pandas as pd
    from torch import Tensor


class LayerTensors(Mapping[int, "Tensor"]):
    """`{layer: float32 [probes, d_model]}`, each read and checked when first asked for.

    Raises (on access):
        StoreError: the layer was not captured, or its shard is missing or damaged.
    """

    def __init__(self, folder: Path, records: Mapping[int, Mapping[str, Any]]) -> None:
        self._folder, self._records = folder, records
        self._loaded: dict[int, Tensor] = {}

    def __getitem__(self, layer: int) -> Tensor:
        if layer not in self._records:
            raise StoreError(f"{self._folder} has no layer {layer}; it has {', '.join(map(str, self._records))}.")
        if layer not in self._loaded:
            record = self._records[layer]
            shard = _read_shard(self._folder, record)
            self._loaded[layer] = _expected(shard.get("activations"), record["shape"], self._folder / record["file"])
        return self._loaded[layer]

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
        path: its folder. manifest: as written. complete: False if the capture was stopped before the last probe.
        layers: `{layer: float32 [probes, d_model]}`, read when asked for.
        notes: what a reader should know (probes that were cut, for instance).
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        where = path / MANIFEST
        self.path, self.manifest = path, manifest
        self.complete: bool = field(manifest, "complete", bool, where)
        self.position: str = field(manifest, "position", str, where)
        self.notes: list[str] = field(manifest, "notes", list, where)
        for probe in field(manifest, "probes", list, where):
            field(probe if isinstance(probe, dict) else {}, "text", str, where)
            field(probe, "metadata", dict, where)
        records: dict[int, dict[str, Any]] = {}
        for layer, record in field(manifest, "layers", dict, where).items():
            record = record if isinstance(record, dict) and layer.isdecimal() else {}
            member(path, record.get("file"))
            field(record, "sha256", str, where)
            field(record, "shape", list, where)
            records[int(layer)] = record
        self.layers = LayerTensors(path, records)

    @property
    def name(self) -> str:
        return str(self.manifest.get("name") or self.path.name)

    @property
    def topic(self) -> str | None:
        return self.manifest.get("topic")

    @property
    def probes(self) -> list[Probe]:
        return [Probe(row["text"], row["metadata"]) for row in self.manifest["probes"]]

    @property
    def frame(self) -> pd.DataFrame:
        """One row a probe: text, then metadata keys as columns; needs no torch."""
        return capture_frame(self.manifest)

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
        shard = _read_shard(self.path, record)
        import torch

        try:
            rows = torch.arange(shape[0]).repeat_interleave(shard["crow_indices"].diff())
            indices = torch.stack([rows, shard["col_indices"]])  # COO: torch warns on every use of CSR
            return torch.sparse_coo_tensor(indices, shard["values"], shape, check_invariants=True).coalesce()
        except (KeyError, RuntimeError, TypeError, AttributeError):
            raise StoreError(f"{path} is damaged: it does not hold the features that the manifest says.") from None

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


def _sound(folder: Path, record: Mapping[str, Any]) -> Path:
    path = member(folder, record["file"])
    if not path.is_file():
        raise StoreError(f"{path} is missing though the manifest names it.")
    if files.sha256(path) != record["sha256"]:
        raise StoreError(f"{path} is damaged: its SHA-256 is not the recorded one.")
    return path


def _read_shard(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    path = _sound(folder, record)
    try:
        from ..models.torchfiles import Unreadable, load_plain
    except ImportError:
        raise StoreError("Reading a capture's tensors needs torch: pip install 'aquin-nb[engine]'.") from None
    try:
        shard = load_plain(path)
    except Unreadable as error:
        raise StoreError(f"{path} {error}.") from None
    if not isinstance(shard, dict):
        raise StoreError(f"{path} holds a {type(shard).__name__} where a dictionary of tensors is expected.")
    return shard


def _expected(value: object, shape: Sequence[int], path: Path) -> Tensor:
    import torch

    if not isinstance(value, torch.Tensor) or list(value.shape) != list(shape):
        raise StoreError(f"{path} does not hold activations of shape {list(shape)}.")
    return value
