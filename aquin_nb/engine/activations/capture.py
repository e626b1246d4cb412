"""Capture a handful of labelled probes at many layers of a model; `captured` reads it back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from ... import files
from ...control import Control
from ...errors import Cancelled, DictionaryError, ModelError, ProbeError, StoreError
from .captured import CaptureData
from .manifest import CAPTURE, MANIFEST, SCHEMA_VERSION
from .probes import Probe

if TYPE_CHECKING:
    from ..models import Model, Tokens

POSITIONS = ("last", "mean")
TOKENS_A_BATCH = 2048
RESIDUAL_BYTES = 256 << 20  # of all layers of one batch
CAPTURE_DTYPE = "float32"
SITE = "hook_resid_post"


class Dictionary(Protocol):
    """What `capture` needs of a dictionary: `encode(x [n, d_in]) -> [n, d_sae]` and `cfg.d_in`, `cfg.d_sae`."""

    @property
    def cfg(self) -> Any: ...

    def encode(self, x: Tensor) -> Tensor: ...


def capture(
    model: Model,
    probes: Sequence[Probe],
    *,
    output: Path,
    layers: str | int | Sequence[int] = "all",
    site: str = SITE,
    position: str = "last",
    dictionary: Dictionary | None = None,
    sae_layer: int | None = None,
    name: str | None = None,
    topic: str | None = None,
    about_dictionary: Mapping[str, Any] | None = None,
    control: Control | None = None,
) -> CaptureData:
    """Capture one vector a probe and layer, by default of the residual stream after the block; write it to `output`.

    Args:
        model: loaded.
        probes: see `read_probes`.
        output: a new or empty folder.
        layers: "all", one block index, or several.
        site: what is read of every block: the end of a name in `models.sites`, such as "hook_mlp_out". One forward pass
            reads all layers.
        position: "last", the last real token of each probe (language models), or "mean", the mean over its analysed
            tokens (BOS, position 0 and special tokens left out; embedding models: over all its tokens).
        dictionary: also write the probes' features at `sae_layer`, at the same `site`. With "mean" in a language model
            every token is encoded and the features are averaged, because a mean vector is none that the dictionary
            knows.
        sae_layer: the layer the dictionary belongs to; by default `dictionary.cfg.layer`. It need not be in `layers`.
        name: of the capture; None leaves it to the folder.
        topic: what the probes are about.
        about_dictionary: JSON values that identify the dictionary, kept in the manifest.
        control: progress in probes under the stage "capture", and cancelling.

    Values are float32 whatever the model's dtype. When cancelled, the probes done so far are written as a capture
    with complete=false before `Cancelled` goes on. When anything else fails, nothing is left behind.

    Raises:
        ProbeError: no probes, or one without a token to look at (the row is named).
        ModelError: no such layer, site or position; "last" with an embedding model.
        DictionaryError: `d_in` differs from the model's width, or its layer is unknown.
        StoreError: an activation is not finite.
        OutputError, NoSpace: `output` is taken, cannot be written, or the disk is full.
    """
    control = control or Control()
    if not probes:
        raise ProbeError("There are no probes to capture; give at least one.")
    _require_position(model, position)
    wanted = _layers(model, layers)
    encoded_layer = _sae_layer(model, dictionary, sae_layer)
    forward = sorted({*wanted, *([] if encoded_layer is None else [encoded_layer])})
    hooks = {layer: model.site(f"blocks.{layer}.{site}").hook for layer in forward}
    output = Path(output).expanduser()
    files.require_space(output, len(probes) * len(wanted) * model.d_model * 4, f"A capture of {len(probes):,} probes")
    with _all_or_nothing(output) as folder:
        kept: dict[int, list[Tensor]] = {layer: [] for layer in wanted}
        features: list[Tensor] = []
        lengths: list[int] = []
        notes: list[str] = []
        stopped: Cancelled | None = None
        try:
            control.tick("capture", 0, len(probes), "probes")
            for tokens in _batches(model, probes, len(forward)):
                vectors, encoded = _look(model, tokens, hooks, position, dictionary, encoded_layer, len(lengths))
                for layer in wanted:
                    kept[layer].append(vectors[layer])
                features += encoded
                lengths += tokens.mask.sum(1).tolist()
                control.tick("capture", len(lengths), len(probes), "probes")
        except Cancelled as cancelled:
            if not lengths:
                raise
            stopped = cancelled
            notes.append(f"Cancelled after {len(lengths):,} of {len(probes):,} probes.")
        notes += _length_notes(model, probes[: len(lengths)], lengths, position)
        records = {str(layer): _write_layer(folder, layer, hooks[layer], torch.cat(kept[layer])) for layer in wanted}
        sae = None
        if encoded_layer is not None and dictionary is not None:
            sae = _write_features(folder, encoded_layer, features, int(dictionary.cfg.d_sae))
            sae["dictionary"] = {"d_in": model.d_model, "d_sae": sae["shape"][1], **(about_dictionary or {})}
        done = [{"text": p.text, "metadata": p.metadata, "n_tokens": n} for p, n in zip(probes, lengths, strict=False)]
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "kind": CAPTURE,
            "complete": stopped is None,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "name": name,
            "topic": topic,
            "model": dataclasses.asdict(model.info),
            "position": position,
            "dtype": CAPTURE_DTYPE,
            "d_model": model.d_model,
            "n_probes": len(lengths),
            "metadata_keys": list(dict.fromkeys(key for probe in probes[: len(lengths)] for key in probe.metadata)),
            "layers": records,
            "sae": sae,
            "notes": notes,
            "probes": done,
        }
        files.write_json(folder / MANIFEST, manifest)
        if stopped is not None:
            raise stopped
        return CaptureData(folder, manifest)


@contextmanager
def _all_or_nothing(output: Path) -> Iterator[Path]:
    """Claim the folder; a failure before the manifest stands in it takes away what was written, so that a retry works.

    The folder was empty, so every shard in it is this run's; it goes too if this run made it and nothing else is there.
    """
    made = not output.exists()
    folder = files.claim_folder(output, MANIFEST)
    try:
        yield folder
    except BaseException:
        if not (folder / MANIFEST).exists():
            for shard in (*folder.glob("layers/layer_*.pt"), *folder.glob("sae/sae_layer_*.pt")):
                shard.unlink(missing_ok=True)
            for place in (folder / "layers", folder / "sae", *([folder] if made else [])):
                with suppress(OSError):
                    place.rmdir()
        raise


def _require_position(model: Model, position: str) -> None:
    if position not in POSITIONS:
        raise ModelError(f"position={position!r} is neither 'last' nor 'mean'.")
    if position == "last" and model.mode != "llm":
        raise ModelError(f"{model.info.name} is an embedding model: it says one thing a text. Use position='mean'.")


def _layers(model: Model, layers: str | int | Sequence[int]) -> list[int]:
    if layers == "all":
        return list(range(model.n_layers))
    if isinstance(layers, str):
        raise ModelError(f"layers={layers!r} is neither 'all', a layer number nor a list of them.")
    chosen = [model.check_layer(layer) for layer in (layers if isinstance(layers, Iterable) else [layers])]
    if not chosen:
        raise ModelError(f"layers is empty; name one of 0 to {model.n_layers - 1}, or 'all'.")
    return sorted(set(chosen))


def _sae_layer(model: Model, dictionary: Dictionary | None, sae_layer: int | None) -> int | None:
    if dictionary is None:
        if sae_layer is not None:
            raise DictionaryError("sae_layer= was given without a dictionary; load one first.")
        return None
    if dictionary.cfg.d_in != model.d_model:
        raise DictionaryError(
            f"The dictionary reads vectors of {dictionary.cfg.d_in} and {model.info.name} gives {model.d_model};"
            " it belongs to another model."
        )
    layer = getattr(dictionary.cfg, "layer", None) if sae_layer is None else sae_layer
    if layer is None:
        raise DictionaryError("The dictionary does not say which layer it belongs to; pass sae_layer=.")
    return model.check_layer(layer)


def _batches(model: Model, probes: Sequence[Probe], n_layers: int) -> Iterator[Tokens]:
    """Probes in order, as many at once as the budgets of tokens and of residual bytes allow."""
    budget = max(1, min(TOKENS_A_BATCH, RESIDUAL_BYTES // (n_layers * model.d_model * 4)))
    for start in range(0, len(probes), 256):
        texts = [probe.text for probe in probes[start : start + 256]]
        tokens = model.tokenize(texts)
        lengths = tokens.mask.sum(1).tolist()
        at = 0
        while at < len(texts):
            stop, width = at, 0
            while stop < len(texts) and (stop == at or max(width, lengths[stop]) * (stop - at + 1) <= budget):
                width, stop = max(width, lengths[stop]), stop + 1
            yield tokens.rows(at, stop)
            at = stop


def _look(
    model: Model,
    tokens: Tokens,
    hooks: Mapping[int, str],
    position: str,
    dictionary: Dictionary | None,
    encoded_layer: int | None,
    before: int,
) -> tuple[dict[int, Tensor], list[Tensor]]:
    """One forward pass: {layer: float32 [b, d_model]} on the CPU, and sparse features a probe."""
    weights = tokens.analysed if position == "mean" else _last(model, tokens)
    empty = (~weights.any(dim=1)).nonzero().flatten().tolist()
    if empty:
        raise ProbeError(f"Probe {before + empty[0] + 1} has no token to analyse beside special ones; lengthen it.")
    found = model.activations(tokens, list(hooks.values()))
    weights = weights.to(model.device)
    vectors = {layer: _mean(found[hook], weights) for layer, hook in hooks.items()}
    _require_finite(vectors, before)
    if dictionary is None or encoded_layer is None:
        return vectors, []
    if model.mode != "llm":
        return vectors, [_encode(dictionary, row[None])[0].to_sparse() for row in vectors[encoded_layer]]
    rows = zip(found[hooks[encoded_layer]], weights, strict=True)
    return vectors, [_encode(dictionary, row[kept].float()).mean(0).to_sparse() for row, kept in rows]


def _mean(x: Tensor, weights: Tensor) -> Tensor:
    """Means of the rows of x [b, t, d] at the places that are True in weights [b, t]; float32 [b, d] on the CPU."""
    return torch.stack([row[kept].float().mean(0) for row, kept in zip(x, weights, strict=True)]).cpu()


def _last(model: Model, tokens: Tokens) -> Tensor:
    """Bool [b, t], True on the last real token of each row; a row of BOS alone has none."""
    length = tokens.mask.sum(1, keepdim=True)
    fewest = 1 if model.bos_id is None else 2
    return (torch.arange(tokens.mask.shape[1]) == length - 1) & (length >= fewest)


def _encode(dictionary: Dictionary, x: Tensor) -> Tensor:
    weights = getattr(dictionary, "W_enc", None)
    with torch.no_grad():
        return dictionary.encode(x if weights is None else x.to(weights.device, weights.dtype)).float().cpu()


def _require_finite(vectors: Mapping[int, Tensor], before: int) -> None:
    for layer, x in vectors.items():
        bad = (~torch.isfinite(x)).any(dim=1).nonzero().flatten().tolist()
        if bad:
            raise StoreError(
                f"The model gives NaN or infinity at layer {layer} for probe {before + bad[0] + 1};"
                " load it with dtype='float32', and check a fine-tuned checkpoint for damage."
            )


def _length_notes(model: Model, probes: Sequence[Probe], lengths: Sequence[int], position: str) -> list[str]:
    notes = []
    limit = model.text_limit
    full = [row for row, length in enumerate(lengths) if length >= limit]
    whole = model.encode([probes[row].text for row in full])
    if cut := [row + 1 for row, ids in zip(full, whole, strict=True) if len(ids) + model.policy.frame > limit]:
        notes.append(f"{_rows(cut)} longer than {limit:,} tokens, the most that is read of a text, and cut there.")
    if position == "last" and model.bos_id is None and (first := [row + 1 for row, n in enumerate(lengths) if n == 1]):
        notes.append(f"{_rows(first)} a single token, at position 0, where norms can be far from the usual.")
    return notes


def _rows(rows: Sequence[int]) -> str:
    listed = ", ".join(map(str, rows[:10])) + (f" and {len(rows) - 10} more" if len(rows) > 10 else "")
    return f"Probe {listed} is" if len(rows) == 1 else f"Probes {listed} are"


def _write_layer(folder: Path, layer: int, hook: str, x: Tensor) -> dict[str, Any]:
    norms = x.norm(dim=1)
    return {
        "hook": hook,
        **_write_shard(folder, f"layers/layer_{layer}.pt", {"layer": layer, "activations": x}),
        "shape": list(x.shape),
        "dtype": CAPTURE_DTYPE,
        "norms": {"median": float(norms.median()), "max": float(norms.max())},
    }


def _write_features(folder: Path, layer: int, rows: Sequence[Tensor], d_sae: int) -> dict[str, Any]:
    rows = [row.coalesce() for row in rows]
    counts = torch.tensor([0, *(row.values().numel() for row in rows)])
    shard = {
        "layer": layer,
        "shape": [len(rows), d_sae],
        "crow_indices": counts.cumsum(0),
        "col_indices": torch.cat([row.indices()[0] for row in rows]),
        "values": torch.cat([row.values() for row in rows]),
    }
    written = _write_shard(folder, f"sae/sae_layer_{layer}.pt", shard)
    return {"layer": layer, **written, "shape": shard["shape"], "dtype": CAPTURE_DTYPE}


def _write_shard(folder: Path, name: str, value: dict[str, Any]) -> dict[str, Any]:
    with files.whole_file(folder / name) as temporary:
        torch.save(value, temporary)
        digest = files.sha256(temporary)
    return {"file": name, "sha256": digest}
