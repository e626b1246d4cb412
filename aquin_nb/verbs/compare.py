"""The verb `compare_captures`: captures side by side, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ..comparison import CaptureComparison
from ..engine.activations.captured import CaptureData, read_capture
from ..engine.analysis.compare import compare
from ..errors import AquinError
from ..progress import visible
from ..results import Capture


def compare_captures(
    captures: Sequence[Capture | str | Path],
    labels: str | Sequence[str] | None = None,
    *,
    names: Sequence[str] | None = None,
    cka: Literal["matched", "all"] = "matched",
) -> CaptureComparison:
    """Compare captures with the first of them, layer by layer.

    They may be of the same probes through several models, checkpoints or positions, or of different probes. Probes are
    matched by text, else by position; those that differ are in `.probes`.

    Args:
        captures: results of `capture_activations` or folders; one is enough for norms and separability.
        labels: metadata keys whose linear separability is measured; None takes every key with 2 to 20 classes of 5
            probes or more, and () none.
        names: what to call the captures; default: their own names.
        cka: of "matched" layers (equal numbers), or of "all" pairs of layers too, for models of different depth.

    Norms are of the captured vectors. Cosines and CKA (debiased linear) are between matched probes. Separability is
    the accuracy of cross-validated logistic regression, beside the share of the largest class. `.methods` says how.

    Raises:
        StoreError: not a capture, damaged, empty, or with NaN or infinity in it.
        ProbeError: a label that no capture has or that cannot be cross-validated; says what it lacks.
        OutOfMemory: too many probes and layers for cka="all".
        AquinError: no captures, names that do not fit, or scikit-learn is not installed.

    >>> base = session.capture_activations("facts.jsonl")                                    # doctest: +SKIP
    >>> tuned = session.capture_activations("facts.jsonl", checkpoint="tuned.pt")            # doctest: +SKIP
    >>> compare_captures([base, tuned], labels="true", names=["base", "tuned"]).figure()     # doctest: +SKIP
    """
    if isinstance(captures, (str, Path, Capture)) or not isinstance(captures, Sequence):
        raise AquinError("compare_captures wants a list of captures: compare_captures([a, b]).")
    if not captures:
        raise AquinError("compare_captures got an empty list; give one capture or more.")
    opened = [_opened(capture) for capture in captures]
    called = _names(opened) if names is None else list(names)
    if len(called) != len(opened) or len(set(called)) != len(called):
        raise AquinError(f"names= has to name each of the {len(opened)} captures differently, not {called!r:.200}.")
    with visible(f"Comparing {len(opened)} captures" if len(opened) > 1 else f"Looking at {called[0]}") as control:
        named = dict(zip(called, opened, strict=True))
        found = compare(
            named,
            labels=[labels] if isinstance(labels, str) else labels,
            cka=cka,
            control=control,
        )
    return CaptureComparison(found, named)


def _opened(capture: Capture | str | Path) -> CaptureData:
    if isinstance(capture, Capture):
        return capture.data
    if isinstance(capture, (str, Path)):
        return read_capture(capture)
    raise AquinError(f"{type(capture).__name__} is no capture; give a result of capture_activations or its folder.")


def _names(captures: Sequence[CaptureData]) -> list[str]:
    """Their own names; "probes (2)" for the second that is called so."""
    names: list[str] = []
    for data in captures:
        name, number = data.name, 1
        while name in names:
            number += 1
            name = f"{data.name} ({number})"
        names.append(name)
    return names
