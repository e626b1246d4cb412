"""The card of an alignment."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Card, DictionaryRef, FiniteFloat, Record, Share


class FeaturePair(Record):
    a: int
    b: int
    cosine: FiniteFloat
    margin: FiniteFloat | None = Field(default=None, description="certified loss if the pair were forbidden")


class Neighbour(Record):
    feature: int
    cosine: FiniteFloat


class AlignedFeature(Record):
    """A feature, what is near it in the other dictionary, and what it was matched with."""

    feature: int
    label: str = Field(description="its class")
    neighbours: list[Neighbour] = Field(default_factory=list, description="of the other dictionary, nearest first")
    partner: int | None = None
    cosine: FiniteFloat | None = Field(default=None, description="with the partner")
    margin: FiniteFloat | None = None


class AlignThresholds(Record):
    """Where one class ends and the next begins; see `Thresholds` of the engine."""

    tau: FiniteFloat = 0.7
    claim: FiniteFloat = 0.4
    span: FiniteFloat = 0.6
    gain: FiniteFloat = 0.1
    regret: FiniteFloat = 0.1
    level: FiniteFloat = 0.99


class SaeAlignCard(Card):
    """Two dictionaries matched one to one, by direction or by what their features fire on."""

    kind: Literal["saeAlign"] = "saeAlign"
    a: DictionaryRef
    b: DictionaryRef
    on: Literal["decoder", "encoder", "both", "firings"] = Field(
        default="decoder", description="what is compared; by firings, cosines are correlations"
    )
    sample: str = Field(default="", description="rows of activations that were encoded, where there were")
    n_pairs: int = 0
    n_a: int = Field(default=0, description="features looked at")
    n_b: int = 0
    zero_a: int = Field(default=0, description="latents of a that took no part: without a direction, or silent")
    zero_b: int = 0
    dead_by: str = ""
    mean_cosine: FiniteFloat = 0.0
    median_cosine: FiniteFloat = 0.0
    live_mean_cosine: FiniteFloat | None = Field(default=None, description="over pairs of which neither is dead")
    quantiles: dict[str, FiniteFloat] = Field(default_factory=dict, description="of matched cosines, by percent")
    share_above_0_7: Share = 0.0
    share_above_0_9: Share = 0.0
    mean_max_a: FiniteFloat | None = Field(default=None, description="mean best cosine of the features of a (MMCS)")
    mean_max_b: FiniteFloat | None = None
    mutual: Share | None = Field(default=None, description="features that are the nearest of their nearest")
    agreement: Share | None = Field(default=None, description="pairs that encoders and decoders agree on")
    null_line: FiniteFloat | None = Field(default=None, description="an unrelated feature's best cosine, 99 %")
    null_typical: FiniteFloat | None = Field(default=None, description="its median")
    null_isotropic: FiniteFloat | None = None
    null_covariance: FiniteFloat | None = None
    n_significant: int = Field(default=0, description="pairs with a false discovery rate of at most 0.01")
    objective: FiniteFloat = Field(default=0.0, description="sum of matched cosines")
    bound: FiniteFloat = Field(default=0.0, description="no matching has a larger sum")
    gap: FiniteFloat = Field(default=0.0, description="bound - objective; 0 when certified")
    verdict: str = Field(default="", description="optimal, or how far from it at most")
    thresholds: AlignThresholds = Field(default_factory=AlignThresholds)
    classes_a: dict[str, int] = Field(default_factory=dict, description="features of a by class")
    classes_b: dict[str, int] = Field(default_factory=dict)
    exchangeable_low: Share | None = Field(
        default=None, description="of the pairs below tau, those without a proven margin of 0.01"
    )
    exchangeable_high: Share | None = Field(default=None, description="of the pairs from tau on")
    histogram: list[int] = Field(default_factory=list, description="pairs in 40 equal bins of cosine from -1 to 1")
    weakest: list[FeaturePair] = Field(default_factory=list)
    strongest: list[FeaturePair] = Field(default_factory=list)
    weakest_a: list[AlignedFeature] = Field(
        default_factory=list, description="living features of a whose nearest neighbour is least similar"
    )
    weakest_b: list[AlignedFeature] = Field(default_factory=list)
