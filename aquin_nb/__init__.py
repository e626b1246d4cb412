"""aquin-nb: capture, train, diff and align sparse-autoencoder dictionaries in the notebook.

Nothing heavy is imported until a name is used.

>>> import aquin_nb
>>> session = aquin_nb.Session("tiny")           # doctest: +SKIP
>>> job = session.sae.train(3)                   # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import errors
    from .alignment import SaeAlign, open_alignment
    from .collection import Activations, open_activations
    from .difference import SaeDiff, SaeTrajectory, open_diff, open_trajectory
    from .engine.models import fetch, load_model
    from .engine.sae import SparseAutoencoder, TrainConfig, load_dictionary
    from .jobs import Job
    from .opening import open_training
    from .results import Capture, SaeTrain, open_capture
    from .session import Session, sae_align
    from .showing import link
    from .stability import DictionaryComparison
    from .sweep import SaeSweep, open_sweep
    from .verbs.bare import sae_resume, sae_train
    from .verbs.compare import compare_captures
    from .verbs.connect import connect, sync_status
    from .verbs.dictionaries import compare_dictionaries

__all__ = [
    "Activations",
    "Capture",
    "DictionaryComparison",
    "Job",
    "SaeAlign",
    "SaeDiff",
    "SaeSweep",
    "SaeTrain",
    "SaeTrajectory",
    "Session",
    "SparseAutoencoder",
    "TrainConfig",
    "compare_captures",
    "compare_dictionaries",
    "connect",
    "errors",
    "fetch",
    "link",
    "load_dictionary",
    "load_model",
    "open_activations",
    "open_alignment",
    "open_capture",
    "open_diff",
    "open_sweep",
    "open_training",
    "open_trajectory",
    "sae_align",
    "sae_resume",
    "sae_train",
    "sync_status",
]

_HOMES = {
    "Activations": ".collection",
    "Capture": ".results",
    "DictionaryComparison": ".stability",
    "Job": ".jobs",
    "SaeAlign": ".alignment",
    "SaeDiff": ".difference",
    "SaeSweep": ".sweep",
    "SaeTrain": ".results",
    "SaeTrajectory": ".difference",
    "Session": ".session",
    "SparseAutoencoder": ".engine.sae",
    "TrainConfig": ".engine.sae",
    "compare_captures": ".verbs.compare",
    "compare_dictionaries": ".verbs.dictionaries",
    "connect": ".verbs.connect",
    "fetch": ".engine.models",
    "link": ".showing",
    "load_dictionary": ".engine.sae",
    "load_model": ".engine.models",
    "open_activations": ".collection",
    "open_alignment": ".alignment",
    "open_capture": ".results",
    "open_diff": ".difference",
    "open_sweep": ".sweep",
    "open_training": ".opening",
    "open_trajectory": ".difference",
    "sae_align": ".session",
    "sae_resume": ".verbs.bare",
    "sae_train": ".verbs.bare",
    "sync_status": ".verbs.connect",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module(".errors", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_HOMES[name], __name__), name)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in (
            "torch",
            "transformers",
            "transformer_lens",
            "datasets",
            "scipy",
        ):
            raise ModuleNotFoundError(
                f"aquin_nb.{name} computes, and needs {error.name}: pip install 'aquin-nb[engine]'.", name=error.name
            ) from error
        raise


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext aquin_nb` gives the notebook `%aquin`: the commands of the terminal, which hand back their results."""
    importlib.import_module(".magics", __name__).register(shell)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
