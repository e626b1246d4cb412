"""Dictionaries: configuration, arithmetic, training, judgement and files."""

from .config import TrainConfig
from .dictionary import SparseAutoencoder
from .formats import load_dictionary
from .metrics import Metrics, evaluate
from .record import ARCHITECTURES, Architecture, SaeConfig
from .verdict import Verdict, judge

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Metrics",
    "SaeConfig",
    "SparseAutoencoder",
    "TrainConfig",
    "Verdict",
    "evaluate",
    "judge",
    "load_dictionary",
]
