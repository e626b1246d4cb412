"""Models: a catalogue of them, and one way to load and read any of them."""

from . import catalogue
from .checkpoints import read_checkpoint, write_checkpoint
from .fetching import fetch
from .finetune import FineTuned, finetune
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
