"""Dictionaries: configuration, arithmetic, training, judgement and files."""

from .config import ARCHITECTURES, Architecture, SaeConfig, TrainOptions, default_options
from .dictionary import SparseAutoencoder
from .formats import load_dictionary
from .metrics import Metrics, evaluate
from .verdict import Verdict, judge

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Metrics",
    "SaeConfig",
    "SparseAutoencoder",
    "TrainOptions",
    "Verdict",
    "default_options",
    "evaluate",
    "judge",
    "load_dictionary",
]
