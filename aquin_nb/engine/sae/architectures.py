"""Which class trains which architecture."""

from __future__ import annotations

from .config import SELECTED, TrainConfig
from .mesh import ALONE, Mesh
from .penalised import Penalised
from .selected import Selected
from .steps import Architecture, Batch, Now, StepResult

__all__ = ["Architecture", "Batch", "Now", "Penalised", "Selected", "StepResult", "build"]


def build(config: TrainConfig, *, transcoder: bool = False, mesh: Mesh = ALONE, compiled: bool = False) -> Architecture:
    """The architecture that a resolved config names."""
    kind = Selected if config.architecture in SELECTED else Penalised
    return kind(config, transcoder=transcoder, mesh=mesh, compiled=compiled)
