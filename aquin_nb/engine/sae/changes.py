"""What a resumed run may be asked to do otherwise, and what not: its result would belong to neither configuration."""

from __future__ import annotations

from ...errors import DictionaryError
from .config import TrainConfig

FREE = ("checkpoint_every", "keep_checkpoints", "loggers", "device", "block_rows", "output", "name")
"""Settings that a resumed run may change: where it runs and what it writes."""


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Settings that differ, as `name: old -> new`; those that are `FREE` are left out."""
    return [
        f"{name}: {getattr(old, name)} -> {getattr(new, name)}"
        for name in TrainConfig.model_fields
        if name not in FREE and getattr(old, name) != getattr(new, name)
    ]


def changes(old: TrainConfig, asked: TrainConfig, rows: int) -> list[str]:
    """Where a config, resolved or not, asks for something else than the resolved `old` of a run on `rows` rows.

    What it leaves open, or to "auto", is no change.
    """
    named = {name: getattr(asked, name) for name in asked.model_fields_set}
    named = {name: value for name, value in named.items() if value not in (None, "auto")}
    budget = {"steps", "tokens", "epochs"} & set(named)
    values = old.model_dump() | ({"steps": None, "tokens": None, "epochs": None} if budget else {}) | named
    try:
        return differences(old.resolved(rows), TrainConfig(**values).resolved(rows))
    except DictionaryError:  # settings that do not go with the run's others
        return [
            f"{name}: {getattr(old, name)} -> {value}"
            for name, value in named.items()
            if name not in FREE and value != getattr(old, name)
        ]


def overlaid(old: TrainConfig, asked: TrainConfig) -> TrainConfig:
    """`old` with what `asked` says of the settings that are `FREE`, but for the name and place of what is written."""
    named = {name: getattr(asked, name) for name in FREE if name in asked.model_fields_set}
    return old.model_copy(update={name: value for name, value in named.items() if name not in ("output", "name")})
