"""The card kinds: one class a verb, plus the session."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Card, CorpusRef, DictionaryRef, FiniteFloat, Record

Share = Annotated[float, Field(ge=0, le=1)]
Verdict = Literal["usable", "weak", "smoke test only"]


class LayerNorms(Record):
    """Norms of the captured vectors at one layer, a first check that a layer is well behaved."""

    layer: int
    median: FiniteFloat
    max: FiniteFloat


class ProbePreview(Record):
    row: int
    text: str


class ActivationCaptureCard(Card):
    """Activations of a handful of labelled probes."""

    kind: Literal["activationCapture"] = "activationCapture"
    topic: str | None = None
    n_probes: int = 0
    layers: list[int] = Field(default_factory=list)
    position: Literal["last", "mean"] = "last"
    dtype: str = "float32"
    metadata_keys: list[str] = Field(default_factory=list)
    norms: list[LayerNorms] = Field(default_factory=list)
    probes: list[ProbePreview] = Field(default_factory=list, description="the first probes; all are in the manifest")
    dictionary: DictionaryRef | None = Field(default=None, description="set when the probes were also encoded")


class TrainConfig(Record):
    """What was trained and how; enough to run it again."""

    architecture: Literal["topk", "relu"]
    d_in: int
    d_sae: int
    k: int | None = None
    l1: FiniteFloat | None = None
    lr: FiniteFloat
    batch_size: int
    steps: int
    warmup_steps: int
    decay_steps: int
    aux_k: int = 0
    dead_after_tokens: int
    seed: int
    matmul_dtype: str = "float32"


class TrainMetrics(Record):
    """The state of a dictionary on the batches just seen, or at the end on held-out rows."""

    step: int = 0
    tokens: int = 0
    recon_mse: FiniteFloat | None = Field(default=None, description="mean over rows of squared error summed over d_in")
    fvu: FiniteFloat | None = Field(default=None, description="fraction of variance unexplained")
    l0: FiniteFloat | None = Field(default=None, description="mean active latents a row")
    dead: int | None = Field(default=None, description="latents that did not fire in the last dead_after_tokens rows")
    dead_share: Share | None = None
    rows: int | None = Field(default=None, description="rows the figures were measured on")


class SaeTrainCard(Card):
    """One dictionary learning its weights."""

    kind: Literal["saeTrain"] = "saeTrain"
    layer: int
    hook: str = ""
    corpus: CorpusRef | None = None
    config: TrainConfig | None = None
    latest: TrainMetrics = Field(default_factory=TrainMetrics)
    held_out: TrainMetrics | None = Field(default=None, description="measured at the end on rows training never saw")
    history_points: int = 0
    verdict: Verdict | None = None
    reasons: list[str] = Field(default_factory=list)


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


class SessionCard(Card):
    """One locked model and the dictionary bound to it."""

    kind: Literal["session"] = "session"
    dictionary: DictionaryRef | None = None
    versions: dict[str, str] = Field(default_factory=dict)


AnyCard = Annotated[
    ActivationCaptureCard | SaeTrainCard | SaeDiffCard | SaeAlignCard | SessionCard, Field(discriminator="kind")
]
