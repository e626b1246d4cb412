"""`compare_dictionaries`: several dictionaries, each matched with each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from ..engine.analysis.alignment.several import LEAST, compare
from ..engine.sae import SparseAutoencoder
from ..progress import visible
from ..results import SaeTrain
from ..stability import DictionaryComparison
from .align import as_dictionary

Given = SparseAutoencoder | SaeTrain | str | Path


def compare_dictionaries(
    dictionaries: Mapping[str, Given] | Sequence[Given],
    *,
    on: Literal["decoder", "encoder"] = "decoder",
    least: float = LEAST,
    max_features: int | None = None,
) -> DictionaryComparison:
    """Match every two of several dictionaries (seeds, layers, checkpoints) and find the features that all of them have.

    Args:
        dictionaries: dictionaries, results of `sae.train`, or paths; as a dict, its keys are their names.
        on: what is compared: decoder rows or encoder columns.
        least: cosine from which a pair counts for a stable feature.
        max_features: only the first that many of each.

    Raises:
        DictionaryError: fewer than two, unreadable, of different width, or without a feature that has a direction.

    >>> compare_dictionaries(["seed0.pt", "seed1.pt", "seed2.pt"]).matrix   # doctest: +SKIP
    """
    if isinstance(dictionaries, Mapping):
        names, given = [str(name) for name in dictionaries], list(dictionaries.values())
    else:
        given, names = list(dictionaries), []
    opened = [as_dictionary(one) for one in given]
    names = names or _names(opened)
    with visible("Comparing") as control:
        found = compare(opened, names, side=on, least=least, max_features=max_features, control=control)
    return DictionaryComparison(found)


def _names(dictionaries: Sequence[SparseAutoencoder]) -> list[str]:
    """Each dictionary's name; with a number where two have the same or none."""
    own = [sae.cfg.name or (sae.path.stem if sae.path else "dictionary") for sae in dictionaries]
    return [name if own.count(name) == 1 else f"{name} {i + 1}" for i, name in enumerate(own)]
