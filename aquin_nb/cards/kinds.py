"""The card kinds: one class a verb, plus the session."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue, model_validator

from .align import SaeAlignCard
from .base import Card, CorpusRef, DictionaryRef, FiniteFloat, Record, Share
from .diff import SaeDiffCard, SaeTrajectoryCard

Verdict = Literal["usable", "weak", "smoke test only"]
Architecture = Literal["topk", "batchtopk", "relu", "jumprelu", "gated", "matryoshka"]


def _finite(value: JsonValue) -> JsonValue:
    """Refuse NaN and infinities at any depth: no JSON file can hold them."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a JSON number")
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        _finite(part)
    return value


PlainJson = Annotated[JsonValue, AfterValidator(_finite)]


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


class TrainSettings(Record):
    """What was trained and how, as a reader asks for it; `full` is enough to run it again."""

    architecture: Architecture
    d_in: int
    d_out: int = Field(description="d_in, unless a transcoder predicts another place")
    d_sae: int
    k: int | None = Field(default=None, description="active latents a row; none where a penalty makes them few")
    sparsity_coefficient: FiniteFloat | None = None
    sparsity_loss: str = Field(default="", description="what the coefficient multiplies")
    lr: FiniteFloat
    lr_schedule: str = ""
    optimizer: str = "adam"
    batch_size: int
    steps: int
    seed: int
    dtype: str = "float32"
    dead_after_tokens: int
    aux_k: int = 0
    groups: list[int] | None = Field(default=None, description="widths of a matryoshka's nested dictionaries")
    full: dict[str, PlainJson] = Field(default_factory=dict, description="the whole configuration, defaults filled in")

    @model_validator(mode="before")
    @classmethod
    def _written_by_0_1(cls, data: Any) -> Any:
        """Cards of version 0.1 knew TopK and ReLU only: l1, matmul_dtype, warmup_steps and decay_steps."""
        if not isinstance(data, dict):
            return data
        data = ({"d_out": data["d_in"]} if "d_in" in data else {}) | data
        for old, new in (("l1", "sparsity_coefficient"), ("matmul_dtype", "dtype")):
            if old in data:
                data[new] = data.pop(old)
        ramps = {name: data.pop(name) for name in ("warmup_steps", "decay_steps") if name in data}
        return {"lr_schedule": "linear", "full": ramps, **data} if ramps else data


class TrainMetrics(Record):
    """The state of a dictionary on the batches just seen, or at the end on held-out rows."""

    step: int = 0
    tokens: int = 0
    recon_mse: FiniteFloat | None = Field(default=None, description="mean over rows of squared error summed over d_out")
    fvu: FiniteFloat | None = Field(default=None, description="fraction of variance unexplained")
    explained_variance: FiniteFloat | None = None
    cosine: FiniteFloat | None = Field(default=None, description="mean cosine of a row with its reconstruction")
    l0: FiniteFloat | None = Field(default=None, description="mean active latents a row")
    dead: int | None = Field(default=None, description="latents that did not fire in the last dead_after_tokens rows")
    dead_share: Share | None = None
    grad_norm: FiniteFloat | None = Field(default=None, description="of all parameters together, after clipping")
    tokens_per_second: FiniteFloat | None = None
    density: list[int] | None = Field(
        default=None,
        description=(
            "latents in 40 equal bins of the logarithm of their firing rate, from 1e-6 to 1; the first bin also holds"
            " those that never fired"
        ),
    )
    rows: int | None = Field(default=None, description="rows the figures were measured on")
    ce_recovered: FiniteFloat | None = Field(
        default=None,
        description="share of the cross-entropy lost by zeroing the activations that the reconstruction keeps",
    )
    ce_clean: FiniteFloat | None = Field(default=None, description="cross-entropy of the model as it is, nats a token")
    ce_spliced: FiniteFloat | None = Field(default=None, description="with the reconstruction in place, nats a token")
    kl: FiniteFloat | None = Field(default=None, description="from the clean predictions to the spliced, nats a token")
    ce_tokens: int | None = Field(default=None, description="tokens the cross-entropies were measured on")


class TrainCheckpoint(Record):
    """Where a run that is killed now would go on from."""

    path: str
    step: int
    written_at: datetime


class SaeTrainCard(Card):
    """One dictionary learning its weights."""

    kind: Literal["saeTrain"] = "saeTrain"
    layer: int | None = Field(default=None, description="none for rows that are no model's layer")
    hook: str = ""
    corpus: CorpusRef | None = None
    config: TrainSettings | None = None
    latest: TrainMetrics = Field(default_factory=TrainMetrics)
    held_out: TrainMetrics | None = Field(default=None, description="measured at the end on rows training never saw")
    history_points: int = 0
    checkpoint: TrainCheckpoint | None = Field(default=None, description="the last one written")
    resumed_from: list[int] = Field(default_factory=list, description="steps at which a stopped run was continued")
    advice: list[str] = Field(
        default_factory=list, description="what looks unhealthy and what to try, most important first"
    )
    verdict: Verdict | None = None
    reasons: list[str] = Field(default_factory=list)


class SiteStatistics(Record):
    """One place of the model whose activations are kept, and how large they are."""

    hook: str
    layer: int | None = None
    d_in: int
    mean_norm: FiniteFloat | None = None
    median_norm: FiniteFloat | None = None
    max_norm: FiniteFloat | None = None
    outliers: int | None = Field(default=None, description="rows with a norm above 10 times the median; they are kept")


class ActivationStoreCard(Card):
    """Activations of a corpus, kept on disk to train on."""

    kind: Literal["activationStore"] = "activationStore"
    corpus: CorpusRef | None = None
    sites: list[SiteStatistics] = Field(default_factory=list)
    unit: Literal["token", "text"] = Field(default="token", description="what a row is of")
    rows: int = 0
    wanted: int = Field(default=0, description="rows asked for; a corpus may be shorter")
    documents: int | None = None
    bytes: int = 0
    dtype: str = ""
    context_size: int = 0
    batch_size: int = Field(default=0, description="context rows a forward pass")
    exclusions: str = ""
    complete: bool = False
    tokens_per_second: FiniteFloat | None = None
    resumed_from: list[int] = Field(default_factory=list, description="rows at which a stopped collection went on")


class SweepMember(Record):
    """One dictionary of a sweep, measured on rows that training never saw."""

    layer: int | None = None
    hook: str = ""
    name: str
    path: str
    d_sae: int
    k: int | None = None
    fvu: FiniteFloat | None = None
    recon_mse: FiniteFloat | None = None
    cosine: FiniteFloat | None = None
    l0: FiniteFloat | None = None
    dead_share: Share | None = None
    mean_norm: FiniteFloat | None = Field(default=None, description="of the site's activations")
    verdict: Verdict | None = None


class SaeSweepCard(Card):
    """One small dictionary a layer, trained over one pass of the same tokens."""

    kind: Literal["saeSweep"] = "saeSweep"
    corpus: CorpusRef | None = None
    members: list[SweepMember] = Field(default_factory=list)
    caution: str = Field(default="", description="what the table must not be read as")


class SessionCard(Card):
    """One locked model and the dictionary bound to it."""

    kind: Literal["session"] = "session"
    dictionary: DictionaryRef | None = None
    versions: dict[str, str] = Field(default_factory=dict)


AnyCard = Annotated[
    ActivationCaptureCard
    | ActivationStoreCard
    | SaeTrainCard
    | SaeSweepCard
    | SaeDiffCard
    | SaeTrajectoryCard
    | SaeAlignCard
    | SessionCard,
    Field(discriminator="kind"),
]
