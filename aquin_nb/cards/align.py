"""The card of an alignment."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Card, DictionaryRef, FiniteFloat, Record, Share


class FeaturePair(Record):
    a: int
    b: int
    cosine: FiniteFloat


class SaeAlignCard(Card):
    """Two dictionaries matched one to one by the direction of their decoder rows."""

    kind: Literal["saeAlign"] = "saeAlign"
    a: DictionaryRef
    b: DictionaryRef
    n_pairs: int = 0
    zero_a: int = Field(default=0, description="latents of a without a direction, left out")
    zero_b: int = 0
    mean_cosine: FiniteFloat = 0.0
    median_cosine: FiniteFloat = 0.0
    share_above_0_7: Share = 0.0
    share_above_0_9: Share = 0.0
    objective: FiniteFloat = Field(default=0.0, description="sum of matched cosines")
    bound: FiniteFloat = Field(default=0.0, description="no matching has a larger sum")
    gap: FiniteFloat = Field(default=0.0, description="bound - objective; 0 from an exact solver")
    histogram: list[int] = Field(default_factory=list, description="pairs in 40 equal bins of cosine from -1 to 1")
    weakest: list[FeaturePair] = Field(default_factory=list)
    strongest: list[FeaturePair] = Field(default_factory=list)
