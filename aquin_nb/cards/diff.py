"""The card of a diff."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Card, DictionaryRef, FiniteFloat, Record, Share


class FeatureDelta(Record):
    feature: int
    mean_base: FiniteFloat
    mean_checkpoint: FiniteFloat
    delta: FiniteFloat
    rate_base: Share
    rate_checkpoint: Share


class SaeDiffCard(Card):
    """Base and fine-tuned checkpoint seen through one dictionary, on the same tokens."""

    kind: Literal["saeDiff"] = "saeDiff"
    layer: int = 0
    dictionary: DictionaryRef | None = None
    n_prompts: int = 0
    n_tokens: int = 0
    n_features: int = 0
    n_changed: int = 0
    threshold: FiniteFloat = Field(default=0.0, description="|delta| above which a feature counts as changed")
    mean_abs_delta: FiniteFloat = 0.0
    max_abs_delta: FiniteFloat = 0.0
    fvu_base: FiniteFloat | None = Field(default=None, description="how well the dictionary reconstructs the base")
    fvu_checkpoint: FiniteFloat | None = Field(
        default=None, description="and the checkpoint; a rise means it fits less"
    )
    top: list[FeatureDelta] = Field(default_factory=list, description="largest |delta| first; all are in the frame")
