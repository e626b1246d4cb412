"""What a reader of a comparison of captures must know, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..activations.captured import CaptureData
from .geometry import FEWEST_ROWS
from .pairing import Pairing
from .probing import Labelled


def of_pairings(first: str, pairings: Mapping[str, Pairing]) -> list[str]:
    """How probes were matched with those of the first capture, and what could not be."""
    notes = []
    for name, pairing in pairings.items():
        if pairing.by is None:
            notes.append(f"{first} and {name} have no probe in common: no cosine and no CKA.")
            continue
        if pairing.by == "position":
            notes.append(
                f"No text is in both {first} and {name}: their probes are matched by position, and cosine and CKA mean"
                " something only where the rows belong together."
            )
        count = len(pairing.first)
        counts = {flag: sum(row["flag"] == flag for row in pairing.flags) for flag in ("missing", "extra")}
        if pairing.by == "text" and any(counts.values()):
            notes.append(
                f"{count:,} probes are in both {first} and {name}; {counts['missing']:,} only in {first},"
                f" {counts['extra']:,} only in {name}."
            )
        if (changed := sum(row["flag"] == "metadata differs" for row in pairing.flags)) and pairing.by == "text":
            notes.append(f"{changed:,} of the probes in both {first} and {name} carry other metadata.")
        if count < FEWEST_ROWS:
            notes.append(f"CKA needs {FEWEST_ROWS} probes in common; {first} and {name} have {count}.")
    return notes


def of_models(captures: Mapping[str, CaptureData]) -> list[str]:
    """Why a figure is missing, or says less than it seems to."""
    (first, base), *others = captures.items()
    notes = []
    for name, data in others:
        width, wide = base.d_model, data.d_model
        if width != wide:
            notes.append(
                f"No cosine between {first} and {name}: their vectors have {width} and {wide} dimensions. CKA does not"
                " need equal widths."
            )
        elif base.model["name"] != data.model["name"]:
            notes.append(
                f"{first} and {name} are of different models: unless one was tuned from the other, their axes need not"
                " correspond and the cosine says little; read CKA."
            )
        deep, depth = (x.model["n_layers"] for x in (base, data))
        if deep != depth:
            notes.append(
                f"The model of {first} has {deep} layers and that of {name} {depth}: equal numbers are not the same"
                " depth; cka='all' compares every pair of layers."
            )
        only = [
            f"{who} lacks {_listed(lacking)}"
            for who, here, there in ((first, base, data), (name, data, base))
            if (lacking := sorted(set(there.layers) - set(here.layers)))
        ]
        if only and not set(base.layers) & set(data.layers):
            notes.append(f"{first} and {name} have no layer number in common: no matched cosine or CKA (cka='all').")
        elif only and deep == depth:
            notes.append(f"Layers that are not in both: {'; '.join(only)}.")
    return notes


def _listed(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers[:12])) + (f" and {len(layers) - 12} more" if len(layers) > 12 else "")


def labelled_texts(data: CaptureData, key: str) -> frozenset[str]:
    """The texts that carry a label."""
    return frozenset(probe.text for probe in data.probes if probe.metadata.get(key) is not None)


def of_label(name: str, found: Labelled) -> list[str]:
    """Probes that a label leaves out."""
    parts = []
    if found.missing:
        parts.append(f"{found.missing:,} {'probe has' if found.missing == 1 else 'probes have'} none")
    if found.repeated:
        parts.append(f"{found.repeated:,} {'repeats' if found.repeated == 1 else 'repeat'} the text of another")
    return [f"Label {found.key!r} of {name}: {' and '.join(parts)}; left out."] if parts else []
