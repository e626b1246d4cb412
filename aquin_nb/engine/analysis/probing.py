"""Linear separability of a label: cross-validated logistic regression beside the share of the largest class."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import AquinError, ProbeError, did_you_mean
from ..activations.probes import Probe
from .geometry import Rows

FOLDS = 5
INNER_FOLDS = 3
STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Values of C times the mean squared norm of a row that are tried; a standardised row's is about d."""
SEED = 0
MOST_ITERATIONS = 1000
METHOD = (
    f"Separability: accuracy of logistic regression, mean and standard deviation over {FOLDS} stratified folds of the"
    " probes. Vectors are standardised inside each fold, and the L2 penalty is chosen there by"
    f" {INNER_FOLDS}-fold cross-validation among {len(STRENGTHS)} strengths, the strongest of equals, because probes"
    " are usually fewer than dimensions. The baseline is the share of the largest class."
)


@dataclass(frozen=True)
class Labelled:
    """The probes of a capture that take part, and their classes.

    Attributes:
        rows: int64 [n], probe rows in the order of their texts, so that folds do not depend on the capture's order.
        classes: [n] class names. counts: probes by class, most frequent first.
        missing: probes without the label (absent or None). repeated: probes whose text occurred before; they would
            stand on both sides of a fold.
    """

    key: str
    rows: NDArray[np.int64]
    classes: NDArray[np.str_]
    counts: dict[str, int]
    missing: int
    repeated: int

    @property
    def baseline(self) -> float:
        """Share of the largest class: the accuracy of always guessing it."""
        return max(self.counts.values()) / len(self.rows)


@dataclass(frozen=True)
class Separability:
    """Accuracy (mean over folds) and spread (sample standard deviation over folds)."""

    accuracy: float
    spread: float


def labelled(probes: Sequence[Probe], key: str, where: str) -> Labelled:
    """The probes that carry the label `key`, checked to be enough for cross-validation.

    A label is a text, a number or true/false; None and an absent key leave the probe out.

    Args:
        where: what to call the capture in an error.

    Raises:
        ProbeError: no probe has the key, a value is a list or an object, there is one class only, or a class has fewer
            than 5 probes.
    """
    keys = list(dict.fromkeys(name for probe in probes for name in probe.metadata))
    if key not in keys:
        known = did_you_mean(key, keys) if keys else "Its probes carry no metadata."
        raise ProbeError(f"No probe of {where} has the label {key!r}. {known}")
    found: dict[str, tuple[int, str]] = {}
    missing = repeated = 0
    for row, probe in enumerate(probes):
        value = probe.metadata.get(key)
        if value is None:
            missing += 1
        elif isinstance(value, (list, dict)):
            kind = "a list" if isinstance(value, list) else "an object"
            raise ProbeError(
                f"The label {key!r} of probe {row + 1} of {where} is {kind}; a text, a number or true/false is needed."
            )
        elif probe.text in found:
            repeated += 1
        else:
            found[probe.text] = row, value if isinstance(value, str) else json.dumps(value)
    kept = [found[text] for text in sorted(found)]
    counts = dict(Counter(name for _, name in kept).most_common())
    _require_classes(key, counts, where)
    rows = np.array([row for row, _ in kept], dtype=np.int64)
    return Labelled(key, rows, np.array([name for _, name in kept]), counts, missing, repeated)


def _require_classes(key: str, counts: dict[str, int], where: str) -> None:
    if not counts:
        raise ProbeError(f"The label {key!r} is None in every probe of {where}.")
    if len(counts) == 1:
        (only,) = counts
        raise ProbeError(
            f"The label {key!r} of {where} has one class only ({only!r}, {counts[only]} probes); separating needs two."
        )
    few = [f"{name!r} has {count}" for name, count in counts.items() if count < FOLDS]
    if few:
        named = ", ".join(few[:4]) + (f" and {len(few) - 4} classes more" if len(few) > 4 else "")
        raise ProbeError(
            f"The label {key!r} of {where} cannot be cross-validated: {FOLDS} folds need {FOLDS} probes a class, and"
            f" {named}. Capture more of them, join classes, or set the label to None there to leave them out."
        )


def separability(x: Rows, classes: NDArray[np.str_]) -> Separability:
    """How well a linear classifier tells the classes apart on probes that it was not fitted to; see `METHOD`.

    Args:
        x: [n, d], any scale. classes: [n], each with 5 members or more (`labelled`).

    The same rows give the same folds and the same figures.

    Raises:
        AquinError: scikit-learn is not installed.
    """
    folds = _sklearn("model_selection").StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    scores = []
    for train, test in folds.split(x, classes):
        seen, unseen = _standardised(x[train], x[test])
        strength = _strength(seen, classes[train])
        scores.append(_accuracy(seen, classes[train], unseen, classes[test], strength))
    return Separability(float(np.mean(scores)), float(np.std(scores, ddof=1)))


def _standardised(train: Rows, test: Rows) -> tuple[Rows, Rows]:
    """Zero mean and unit variance by the training rows; with more dimensions than rows, in the space they span.

    An L2-penalised weight has no part outside that span, so that the rotation changes no prediction and saves time.
    """
    mean, scale = train.mean(0), train.std(0)
    scale[scale == 0] = 1.0
    train, test = (train - mean) / scale, (test - mean) / scale
    if train.shape[1] > train.shape[0]:
        u, s, v = np.linalg.svd(train, full_matrices=False)
        return u * s, test @ v.T
    return train, test


def _strength(x: Rows, classes: NDArray[np.str_]) -> float:
    """The C with the best mean accuracy over inner folds; the smallest (strongest penalty) of equals."""
    folds = _sklearn("model_selection").StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=SEED)
    inner = list(folds.split(x, classes))
    size = float(np.square(x).sum(1).mean()) or 1.0  # no variance at all: every C is as good
    tried = [strength / size for strength in STRENGTHS]
    means = [np.mean([_accuracy(x[a], classes[a], x[b], classes[b], c) for a, b in inner]) for c in tried]
    return tried[int(np.argmax(means))]


def _accuracy(x: Rows, classes: NDArray[np.str_], unseen: Rows, truth: NDArray[np.str_], strength: float) -> float:
    model = _sklearn("linear_model").LogisticRegression(C=strength, max_iter=MOST_ITERATIONS).fit(x, classes)
    return float(np.mean(model.predict(unseen) == truth))


def _sklearn(module: str) -> Any:
    try:
        return import_module(f"sklearn.{module}")
    except ModuleNotFoundError:
        raise AquinError("Linear separability needs scikit-learn: pip install 'aquin-nb[engine]'.") from None
