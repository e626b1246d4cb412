"""Captures side by side, layer by layer: norms, cosines of matched probes, CKA, and how separable a label is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from ...control import Control
from ...errors import AquinError, OutOfMemory, ProbeError, StoreError
from ...files import human_bytes
from ..activations.captured import CaptureData
from . import caveats
from .geometry import FEWEST_ROWS, Kernel, Rows, cosines, debiased_cka
from .pairing import Pairing, pair
from .probing import METHOD, Labelled, labelled, separability

GRAM_ROWS = 1024
"""With at most this many matched probes kernels are kept as [n, n], which every pair of layers shares."""
KERNEL_BYTES = 2 << 30  # of one capture's kernels, when every pair of layers is compared
MOST_CLASSES = 20
"""A metadata key with more values is not taken for a label unless it is asked for."""
CKA_METHOD = (
    "CKA: debiased linear (Kornblith et al. 2019, section 3, with the unbiased HSIC of Song et al. 2012), 1 for the"
    " same geometry and about 0 for none in common, also with fewer probes than dimensions. The directions of largest"
    " variance decide most of it."
)


@dataclass
class Comparison:
    """What `compare` found.

    Attributes:
        captures: one row a capture: `capture, model, checkpoint, site, position, probes, layers, d_model, matched_by,
            path`. The first is the one that the others are compared with; their probes are matched by "text",
            "position" or not at all (missing).
        layers: one row a layer and capture: `layer, capture, norm_q25, norm_median, norm_q75`; with several captures
            `cosine_q25, cosine_median, cosine_q75, cosine_others` (the mean over probes that do not belong together)
            and `cka`, with the same layer of the first capture, NaN where they cannot be told; and for every label
            `accuracy_<label>, spread_<label>, baseline_<label>`.
        probes: one row a probe that differs: `capture, flag, probe, first_probe, text, detail` (`pairing.Pairing`).
        labels: one row a capture and label: `capture, label, probes, classes, baseline, missing, repeated`.
        cka: every pair of layers, `capture, first_layer, layer, cka`, or None when it was not asked for.
        notes: what a reader must know. methods: how the figures were made.
    """

    captures: pd.DataFrame
    layers: pd.DataFrame
    probes: pd.DataFrame
    labels: pd.DataFrame
    cka: pd.DataFrame | None
    notes: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)


def compare(
    captures: Mapping[str, CaptureData],
    *,
    labels: Sequence[str] | None = None,
    cka: Literal["matched", "all"] = "matched",
    control: Control | None = None,
) -> Comparison:
    """Compare captures with the first of them.

    Args:
        captures: one or more, by the name they go by.
        labels: metadata keys whose linear separability is measured; None takes every key that has 2 to 20 classes of
            5 probes or more.
        cka: of the "matched" layers (equal numbers) or of "all" pairs of layers too.
        control: progress in layers under the stage "compare", and cancelling.

    Probes are matched by text, else by position (`pairing.pair`); every shard is checked against its hash.

    Raises:
        AquinError: `cka` is neither; scikit-learn is not installed.
        StoreError: a capture is empty, a shard is missing or damaged, or it holds NaN or infinity.
        ProbeError: no capture has the label, or none can be cross-validated by it.
        OutOfMemory: too many probes and layers for every pair of them.

    >>> compare({"base": a, "tuned": b}, labels=["label"]).layers        # doctest: +SKIP
    """
    control = control or Control()
    if cka not in ("matched", "all"):
        raise AquinError(f"cka={cka!r:.60} is neither 'matched' nor 'all'.")
    names = list(captures)
    for name, data in captures.items():
        if not data.probes or not data.layers:
            raise StoreError(
                f"{data.path} ({name}) has no {'layers' if data.probes else 'probes'}: nothing to compare."
            )
    notes: list[str] = []
    used = _labels(captures, labels, notes)
    pairings = {name: pair(captures[names[0]].probes, captures[name].probes) for name in names[1:]}
    notes += caveats.of_pairings(names[0], pairings) + caveats.of_models(captures)
    every = sorted({layer for data in captures.values() for layer in data.layers})
    total, done, rows = sum(len(data.layers) for data in captures.values()), 0, []
    control.tick("compare", 0, total, "layers")
    for layer in every:
        first = _rows(captures[names[0]], layer) if layer in captures[names[0]].layers else None
        for name in (name for name in names if layer in captures[name].layers):
            x = first if name == names[0] and first is not None else _rows(captures[name], layer)
            row: dict[str, Any] = {"layer": layer, "capture": name, **_quartiles("norm", np.linalg.norm(x, axis=1))}
            if name != names[0] and first is not None:
                row |= _alike(first, x, pairings[name])
            for label in used.get(name, []):
                found = separability(x[label.rows], label.classes)
                row[f"accuracy_{label.key}"], row[f"spread_{label.key}"] = found.accuracy, found.spread
                row[f"baseline_{label.key}"] = label.baseline
            rows.append(row)
            done += 1
            control.tick("compare", done, total, "layers")
    keys = list(dict.fromkeys(label.key for found in used.values() for label in found))
    return Comparison(
        captures=_capture_frame(captures, pairings),
        layers=pd.DataFrame(rows, columns=_columns(len(names) > 1, keys)),
        probes=_flagged(pairings),
        labels=_label_frame(used),
        cka=_every_pair(captures, pairings, control) if cka == "all" and len(names) > 1 else None,
        notes=notes,
        methods=[*([CKA_METHOD] if len(names) > 1 else []), *([METHOD] if keys else [])],
    )


def _rows(data: CaptureData, layer: int) -> Rows:
    """One layer in float64 [probes, d], read whole anyway and so checked whole."""
    x: Rows = data.layers.checked(layer).numpy().astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        raise StoreError(
            f"{data.path} holds NaN or infinity at layer {layer} for probe {bad[0] + 1}; capture it again with"
            " dtype='float32', and check a fine-tuned checkpoint for damage."
        )
    return x


def _quartiles(name: str, values: Rows) -> dict[str, float]:
    known = values[np.isfinite(values)]
    found = np.quantile(known, (0.25, 0.5, 0.75)) if len(known) else (np.nan,) * 3
    return dict(zip((f"{name}_q25", f"{name}_median", f"{name}_q75"), map(float, found), strict=True))


def _alike(first: Rows, x: Rows, pairing: Pairing) -> dict[str, float]:
    """Cosines where the widths agree, and CKA where there are enough probes."""
    if pairing.by is None:
        return {}
    a, b = first[pairing.first], x[pairing.second]
    row: dict[str, float] = {}
    if a.shape[1] == b.shape[1]:
        matched, others = cosines(a, b)
        row = {**_quartiles("cosine", matched), "cosine_others": others}
    if len(a) >= FEWEST_ROWS:
        gram = len(a) < max(a.shape[1], b.shape[1])
        row["cka"] = debiased_cka(Kernel(a, gram=gram), Kernel(b, gram=gram))
    return row


def _columns(several: bool, keys: Sequence[str]) -> list[str]:
    alike = ["cosine_q25", "cosine_median", "cosine_q75", "cosine_others", "cka"] if several else []
    measured = [f"{what}_{key}" for key in keys for what in ("accuracy", "spread", "baseline")]
    return ["layer", "capture", "norm_q25", "norm_median", "norm_q75", *alike, *measured]


def _every_pair(captures: Mapping[str, CaptureData], pairings: Mapping[str, Pairing], control: Control) -> pd.DataFrame:
    """CKA of every layer of the first capture with every layer of each other one."""
    first = next(iter(captures.values()))
    usable = {name: p for name, p in pairings.items() if len(p.first) >= FEWEST_ROWS}
    most = max((len(p.first) for p in usable.values()), default=0)
    gram = most <= GRAM_ROWS
    width = most if gram else max(data.d_model for data in captures.values())
    if (needed := len(first.layers) * most * width * 8) > KERNEL_BYTES:
        raise OutOfMemory(
            f"CKA of every pair of layers would hold {human_bytes(needed)} for {most:,} probes and"
            f" {len(first.layers)} layers; capture fewer of either, or compare matched layers only (cka='matched')."
        )
    rows, done = [], 0
    for name, pairing in usable.items():
        kernels = {layer: Kernel(_rows(first, layer)[pairing.first], gram=gram) for layer in first.layers}
        for layer in captures[name].layers:
            other = Kernel(_rows(captures[name], layer)[pairing.second], gram=gram)
            for at, kernel in kernels.items():
                rows.append({"capture": name, "first_layer": at, "layer": layer, "cka": debiased_cka(kernel, other)})
            done += 1
            control.tick("pairs of layers", done, sum(len(captures[name].layers) for name in usable), "layers")
    return pd.DataFrame(rows, columns=["capture", "first_layer", "layer", "cka"])


def _labels(
    captures: Mapping[str, CaptureData], asked: Sequence[str] | None, notes: list[str]
) -> dict[str, list[Labelled]]:
    """The labels to measure in each capture; one that no capture can give is refused if it was asked for."""
    keys = list(dict.fromkeys(key for data in captures.values() for p in data.probes for key in p.metadata))
    used: dict[str, list[Labelled]] = {name: [] for name in captures}
    unused = []
    for key in keys if asked is None else list(dict.fromkeys(asked)):
        refusals: list[ProbeError] = []
        for name, data in captures.items():
            try:
                found = labelled(data.probes, key, name)
            except ProbeError as error:
                refusals.append(error)
                continue
            if asked is None and len(found.counts) > MOST_CLASSES:
                refusals.append(ProbeError(f"The label {key!r} of {name} has {len(found.counts)} classes."))
                continue
            used[name].append(found)
            notes += caveats.of_label(name, found)
        if len(refusals) < len(captures):
            notes += [str(refusal) for refusal in refusals]
            if len({caveats.labelled_texts(data, key) for data in captures.values()}) > 1:
                notes.append(f"The accuracies of {key!r} are over other probes in each capture; compare with care.")
        elif asked is not None:
            raise refusals[0]
        else:
            unused.append(key)
    if unused:
        notes.append(
            f"Not taken for labels: {', '.join(unused)} (a label has 2 to {MOST_CLASSES} classes of 5 probes or more;"
            " labels= asks for one by name and says what it lacks)."
        )
    return used


def _flagged(pairings: Mapping[str, Pairing]) -> pd.DataFrame:
    rows = [
        {"capture": name, "flag": f["flag"], "probe": f["second"], "first_probe": f["first"], **_words(f)}
        for name, pairing in pairings.items()
        for f in pairing.flags
    ]
    frame = pd.DataFrame(rows, columns=["capture", "flag", "probe", "first_probe", "text", "detail"])
    return frame.astype({"probe": "Int64", "first_probe": "Int64"})


def _words(flag: Mapping[str, Any]) -> dict[str, str]:
    return {"text": flag["text"], "detail": flag["detail"]}


def _capture_frame(captures: Mapping[str, CaptureData], pairings: Mapping[str, Pairing]) -> pd.DataFrame:
    rows = [
        {
            "capture": name,
            "model": data.model["name"],
            "checkpoint": (data.model.get("checkpoint") or {}).get("path"),
            "site": data.site,
            "position": data.position,
            "probes": len(data.probes),
            "layers": len(data.layers),
            "d_model": data.d_model,
            "matched_by": pairings[name].by if name in pairings else None,
            "path": str(data.path),
        }
        for name, data in captures.items()
    ]
    return pd.DataFrame(rows)


def _label_frame(used: Mapping[str, Sequence[Labelled]]) -> pd.DataFrame:
    rows = [
        {
            "capture": name,
            "label": found.key,
            "probes": len(found.rows),
            "classes": ", ".join(f"{value} {count}" for value, count in found.counts.items()),
            "baseline": found.baseline,
            "missing": found.missing,
            "repeated": found.repeated,
        }
        for name, labels in used.items()
        for found in labels
    ]
    return pd.DataFrame(rows, columns=["capture", "label", "probes", "classes", "baseline", "missing", "repeated"])
