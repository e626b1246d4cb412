"""Models: a catalogue of them, and one way to load and read any of them.

Names are imported when first used: the catalogue can be read on a machine without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import catalogue

if TYPE_CHECKING:
    from .checkpoints import read_checkpoint, write_checkpoint
    from .fetching import fetch
    from .finetuning import FineTuned, finetune
    from .info import CheckpointInfo, ModelInfo
    from .loading import load_model
    from .model import Model
    from .tokens import Tokens

__all__ = [
    "CheckpointInfo",
    "FineTuned",
    "Model",
    "ModelInfo",
    "Tokens",
    "catalogue",
    "fetch",
    "finetune",
    "load_model",
    "read_checkpoint",
    "write_checkpoint",
]

# No module here may have the name of something it exports: importing it would put the module in that name's place.
_HOMES = {
    "CheckpointInfo": "info",
    "FineTuned": "finetuning",
    "Model": "model",
    "ModelInfo": "info",
    "Tokens": "tokens",
    "fetch": "fetching",
    "finetune": "finetuning",
    "load_model": "loading",
    "read_checkpoint": "checkpoints",
    "write_checkpoint": "checkpoints",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
