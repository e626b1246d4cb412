"""The cards of a diff and of a trajectory."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Card, CheckpointRef, DictionaryRef, FiniteFloat, Record, Share

Advice = Literal["keep", "align", "retrain"]


class FeatureDelta(Record):
    feature: int
    mean_base: FiniteFloat = Field(description="over all analysed tokens, or texts, silent ones included")
    mean_checkpoint: FiniteFloat
    delta: FiniteFloat
    mean_on_base: FiniteFloat | None = Field(default=None, description="over those on which it fires")
    mean_on_checkpoint: FiniteFloat | None = None
    rate_base: Share
    rate_checkpoint: Share
    probes: int | None = Field(default=None, description="probes on which it differs")
    p: Share | None = Field(default=None, description="sign-flip test over probes")
    q: Share | None = Field(default=None, description="false discovery rate; none where it could not be tested")
    changed: bool | None = None
    tokens: list[str] = Field(default_factory=list, description="some tokens on which it changes most")


class CohortDelta(Record):
    """The same comparison among the probes with one value of a metadata key."""

    cohort: str
    n_prompts: int
    n_tokens: int
    n_changed: int
    n_over: int
    n_tested: int
    mean_abs_delta: FiniteFloat
    deltas: list[FiniteFloat] = Field(description="of the features in `cohort_features`, in their order")
    changed: list[bool] = Field(description="whether each of them changed within the cohort")


class SaeDiffCard(Card):
    """Base and fine-tuned checkpoint seen through one dictionary, on the same tokens."""

    kind: Literal["saeDiff"] = "saeDiff"
    layer: int = 0
    dictionary: DictionaryRef | None = None
    n_prompts: int = 0
    n_tokens: int = 0
    n_features: int = 0
    n_changed: int = 0
    n_over: int | None = Field(default=None, description="features with |delta| ≥ threshold, whatever their q")
    n_tested: int | None = Field(default=None, description="features with enough probes that differ to have a q")
    threshold: FiniteFloat = Field(default=0.0, description="a changed feature has |delta| of this at least")
    fdr: FiniteFloat | None = Field(default=None, description="and a q of this at most; none before version 0.2")
    mean_abs_delta: FiniteFloat = 0.0
    max_abs_delta: FiniteFloat = 0.0
    fvu_base: FiniteFloat | None = Field(default=None, description="how well the dictionary reconstructs the base")
    fvu_checkpoint: FiniteFloat | None = Field(
        default=None, description="and the checkpoint; a rise means it fits less"
    )
    advice: Advice | None = Field(default=None, description="what to do with the dictionary, from the two FVU")
    advice_reason: str = ""
    same: Literal["", "weights", "activations"] = Field(
        default="", description="what is equal bit for bit, if anything"
    )
    by: str | None = Field(default=None, description="the metadata key of the cohorts")
    cohorts: list[CohortDelta] = Field(default_factory=list)
    cohort_features: list[int] = Field(
        default_factory=list, description="features shown by cohort: changed in one, largest |delta| first"
    )
    top: list[FeatureDelta] = Field(
        default_factory=list, description="changed ones first, then by |delta|; all are in the frame"
    )


class TrajectoryStop(Record):
    """One checkpoint of a training run, compared with the base."""

    step: int
    checkpoint: CheckpointRef
    n_changed: int
    n_over: int
    mean_abs_delta: FiniteFloat
    max_abs_delta: FiniteFloat
    fvu: FiniteFloat | None = None
    advice: Advice | None = None


class FeaturePath(Record):
    feature: int
    mean_base: FiniteFloat
    deltas: list[FiniteFloat] = Field(description="one a checkpoint")
    changed: list[bool] = Field(description="whether it changed there")


class SaeTrajectoryCard(Card):
    """Checkpoints along a training run against its base, through one dictionary."""

    kind: Literal["saeTrajectory"] = "saeTrajectory"
    layer: int = 0
    dictionary: DictionaryRef | None = None
    n_prompts: int = 0
    n_tokens: int = 0
    n_features: int = 0
    threshold: FiniteFloat = 0.0
    fdr: FiniteFloat = 0.05
    fvu_base: FiniteFloat | None = None
    stops: list[TrajectoryStop] = Field(default_factory=list)
    top: list[FeaturePath] = Field(
        default_factory=list, description="changed at a checkpoint first, then by the largest |delta| of all"
    )
