"""How a dictionary is trained: one typed configuration, readable from TOML, JSON and YAML, with its defaults."""

from __future__ import annotations

import math
import operator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from ...errors import DictionaryError, did_you_mean
from .config_file import asked_for, read_settings
from .record import ARCHITECTURES, Architecture
from .schedules import coefficient_at, k_at, lr_at

Steps = Annotated[int, Field(ge=0, strict=True)] | Annotated[float, Field(ge=0, le=1, strict=True)]
"""A number of steps (whole) or a share of the run (0.0 to 1.0)."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, lt=2**63, strict=True)]

IN_STEPS = ("sparsity_warmup", "lr_warmup", "lr_decay", "k_hold", "k_warmup")
"""Settings that are `Steps`."""

SELECTED = ("topk", "batchtopk", "matryoshka")
"""Architectures whose sparsity is k, not a penalty."""

FAST_STEPS = 3000

LOW_NOTE = (
    "The large products are in bfloat16, which a timed probe found faster on this device; selected values, losses,"
    " gradient sums, optimiser and weights are float32."
)
"""Said where dtype "auto" became bfloat16."""

SMALLEST_P, LARGEST_P = 0.1, 10.0
"""Of an L^p penalty: outside, powers of activations leave the range of float32."""

ELSEWHERE = {
    "learning_rate": "lr",
    "dict_size": "d_sae",
    "num_latents": "d_sae",
    "expansion_factor": "d_sae",
    "activation_fn": "architecture",
    "top_k": "k",
    "l1_coefficient": "sparsity_coefficient",
    "l0_coefficient": "sparsity_coefficient",
    "l1_penalty": "sparsity_coefficient",
    "sparsity_penalty": "sparsity_coefficient",
    "warmup_steps": "lr_warmup",
    "training_tokens": "tokens",
}
"""What other tools call these settings."""


class TrainConfig(BaseModel):
    """How to train a dictionary. Whatever is not set has a default that suits the data; `resolved` fills them in.

    Activations are scaled so that their mean squared norm is d_in (`normalize`), and every coefficient refers to that
    scale. The loss of a batch of n rows is

        Σ_b w_b ‖x̂_b - y_b‖²  +  sparsity_coefficient / n · Σ_b penalty(f_b · ‖W_dec‖)  +  aux terms

    where y = x for an autoencoder and w_b = 1/n for `error="sum"`.

    Args:
        architecture: topk, batchtopk, relu, jumprelu, gated or matryoshka (BatchTopK over prefix groups).
        d_sae: latents. k: active latents a row (mean, for batchtopk and matryoshka); default 32.
        groups: prefix sizes of matryoshka, ascending, the last one d_sae; default a sixteenth, eighth, quarter, half
            and all.
        skip: a transcoder also learns a linear map from input to output.
        error: which rows' weights: "sum": w_b = 1/n, the squared error summed over d_out, averaged over rows;
            "variance": w_b = 1/Σ_b‖y_b - ȳ‖², so that the loss is the batch's FVU; "row": w_b = 1/(n‖y_b - ȳ‖²).
        sparsity_loss: "lp": ‖g‖_p of each row's g = f·‖W_dec‖ (p, 0.1 to 10); "tanh": Σ tanh(tanh_scale·g);
            "tanh-quadratic": Σ_i q_i (1 + q_i / frequency_scale) with q_i the batch mean of tanh(tanh_scale·g_i);
            "l0": the number of active latents, with a straight-through gradient (jumprelu only).
            Default: lp for relu and gated, tanh for jumprelu (Anthropic, January 2025 update), none for the others.
        sparsity_coefficient: its weight. pre_act_coefficient: weight of Σ relu(θ - pre)·‖W_dec‖ over dead latents of a
            jumprelu dictionary, ‖W_dec‖ held constant, which pulls them back (Anthropic, January 2025 update, sums over
            all latents). sparsity_warmup: linear rise of both from 0.
        aux_k, aux_coefficient: dead latents that model the residual of a row, and the weight (Gao et al. 2024, A.2).
        dead_after_tokens: rows after which a silent latent counts as dead; default: the last epoch, or the last third
            of a run that is shorter than three epochs (at most 10 million rows).
        threshold: where a penalised architecture starts, in standard deviations of a sample's pre-activations, so that
            few latents are active from the first step: JumpReLU's first θ (learned as log θ), and -b_enc of relu and
            gated.
        bandwidth, threshold_lr: the width ε of the window of JumpReLU's straight-through gradient, and the threshold's
            learning rate as a multiple of `lr`.
        lr, lr_schedule, lr_warmup, lr_decay, lr_end: peak rate (default 4e-3, lower above 4,096 latents; 1e-3 for relu,
            jumprelu and gated); constant, linear, cosine or wsd (plateau, then decay);
            linear rise; length of the fall (linear and wsd); the rate at the end as a share of the peak.
        initial_k, k_hold, k_warmup, k_schedule: start with more active latents, hold them, then fall to k.
        decoder_norm: norm of each decoder row at the start; kept there when `unit_decoder`.
        encoder_scale: norm of encoder rows relative to the decoder's; "search" fits it to a sample.
        bias: b_dec at the start: mean or geometric_median of a sample, or zero.
        normalize: "dataset" scales by one factor, folded back into the saved weights; "none" trains on raw values.
        optimizer, betas, weight_decay, grad_clip, unit_decoder, ema: Adam or AdamW; the total gradient norm is clipped
            to grad_clip; decoder rows are held at their norm and the gradient along them removed; ema in (0, 1) keeps
            an exponential mean of the weights and saves that.
        batch_size; steps, tokens or epochs (exactly one, default 3,000 steps); seed.
        held_out: share of rows set aside to judge the result.
        dtype: of the large products: "auto" (bfloat16 where a timed probe shows it faster), "float32" or "bfloat16".
            Weights, losses, selected values and optimiser are float32 either way.
        device: "auto" (the CUDA GPU where there is one), "cpu", "cuda" or "cuda:N".
        block_rows: rows whose dense pre-activations are in memory at once; changes memory and speed, not the result.
        checkpoint_every: steps, or a time such as "10min"; None writes none. keep_checkpoints: how many stay.
        log_every: steps between points; default: a hundredth of the run, at least 1 and at most 500.
        loggers: "tensorboard", "wandb".
        name: of the run. output: the `.pt` to write.

    Raises:
        DictionaryError: a value out of range, or an unknown name, with the nearest known one.

    >>> TrainConfig(architecture="batchtopk", d_sae=4096, k=32, epochs=2).resolved(100_000).lr
    0.004
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Architecture = "topk"
    d_sae: Count = 4096
    k: Count | None = None
    groups: tuple[Count, ...] | None = None
    skip: bool = False

    error: Literal["sum", "variance", "row"] = "sum"
    sparsity_loss: Literal["lp", "tanh", "tanh-quadratic", "l0"] | None = None
    sparsity_coefficient: NotNegative | None = None
    p: Positive = 1.0
    tanh_scale: Positive = 4.0
    frequency_scale: Positive = 0.01
    pre_act_coefficient: NotNegative = 0.0
    sparsity_warmup: Steps = 0.1
    aux_k: Annotated[int, Field(ge=0, strict=True)] | None = None
    aux_coefficient: NotNegative = 1 / 32
    dead_after_tokens: Count | None = None
    threshold: Positive = 2.0
    bandwidth: Positive = 0.5
    threshold_lr: Positive = 1.0

    lr: Positive | None = None
    lr_schedule: Literal["constant", "linear", "cosine", "wsd"] = "linear"
    lr_warmup: Steps | None = None
    lr_decay: Steps | None = None
    lr_end: Annotated[float, Field(ge=0, le=1)] = 0.0
    initial_k: Count | None = None
    k_hold: Steps = 0
    k_warmup: Steps = 0.1
    k_schedule: Literal["linear", "exponential"] = "linear"

    decoder_norm: Positive = 1.0
    encoder_scale: Positive | Literal["search"] = 1.0
    bias: Literal["mean", "geometric_median", "zero"] = "mean"
    normalize: Literal["dataset", "none"] = "dataset"

    optimizer: Literal["adam", "adamw"] = "adam"
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.98)
    weight_decay: NotNegative = 0.0
    grad_clip: Positive | None = None
    unit_decoder: bool = True
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None

    batch_size: Count = 1024
    steps: Count | None = None
    tokens: Count | None = None
    epochs: Positive | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 0
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.05

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"
    block_rows: Count | None = None
    checkpoint_every: Count | str | None = "5min"
    keep_checkpoints: Count = 2
    log_every: Count | None = None
    loggers: tuple[str, ...] = ()
    name: str | None = None
    output: str | None = None  # a Path is taken too

    def __init__(self, **values: Any) -> None:
        unknown = [key for key in values if key not in type(self).model_fields]
        if unknown:
            raise DictionaryError(_unknown(unknown[0], values[unknown[0]]))
        if isinstance(values.get("output"), Path):
            values["output"] = str(values["output"])
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise DictionaryError(_sentence(error)) from None

    @field_validator("*", mode="before")
    @classmethod
    def _number(cls, value: Any, info: ValidationInfo) -> Any:
        """NumPy's numbers as Python's, and whole ones such as 1e4 as integers."""
        assert info.field_name is not None
        kinds = _kinds(cls.model_fields[info.field_name].annotation)
        whole = int in kinds and float not in kinds
        if isinstance(value, tuple | list):
            return [_plain(part, whole=whole) for part in value]
        value = _plain(value, whole=whole)
        if isinstance(value, bool) and bool not in kinds:
            raise ValueError("should be a number or a name")  # lr=True would be taken for 1.0
        return value

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        budgets = [name for name in ("steps", "tokens", "epochs") if getattr(self, name) is not None]
        if len(budgets) > 1:
            raise ValueError(f"Give one of steps, tokens and epochs, not {' and '.join(budgets)}")
        for name in ("k", "initial_k"):
            if (value := getattr(self, name)) is not None and value > self.d_sae:
                raise ValueError(f"{name} ({value}) is larger than d_sae ({self.d_sae})")
        if self.initial_k is not None and self.k is not None and self.initial_k < self.k:
            raise ValueError(f"initial_k ({self.initial_k}) is smaller than k ({self.k})")
        if self.groups is not None:
            rising = all(a < b for a, b in zip(self.groups, self.groups[1:], strict=False))
            if not self.groups or not rising or self.groups[-1] != self.d_sae:
                raise ValueError(f"groups must rise and end with d_sae ({self.d_sae}), not {list(self.groups)}")
        if self.sparsity_loss == "l0" and self.architecture != "jumprelu":
            raise ValueError("sparsity_loss l0 needs a learned threshold: architecture jumprelu")
        if self.sparsity_loss is not None and self.architecture in SELECTED:
            raise ValueError(f"{self.architecture} is sparse by k: sparsity_loss does not go with it")
        if isinstance(self.checkpoint_every, str):
            try:
                seconds(self.checkpoint_every)
            except ValueError as error:
                raise ValueError(f"checkpoint_every: {error}") from None
        return self

    @classmethod
    def read(cls, source: TrainConfig | dict[str, Any] | str | Path) -> TrainConfig:
        """A config as it is, from a dict, or from a `.toml`, `.json`, `.yaml` or `.yml` file.

        The `.config.json` beside a dictionary is one too; its name and output are left out.

        Raises:
            DictionaryError: the file is missing, is not of its kind, or holds an unknown key or a bad value.
        """
        if isinstance(source, TrainConfig):
            return source
        if isinstance(source, dict):
            return cls._of(source)
        if not isinstance(source, str | Path):
            raise DictionaryError(f"config must be a TrainConfig, a dict or a file, not {type(source).__name__}.")
        path = Path(source).expanduser()
        values = read_settings(path)
        try:
            return cls._of(values)
        except DictionaryError as error:
            raise DictionaryError(f"{path}: {error}") from None

    @classmethod
    def _of(cls, values: dict[Any, Any]) -> TrainConfig:
        values = asked_for(values)
        for key in values:
            if not isinstance(key, str):
                raise DictionaryError(f"{key!r} is not the name of a setting.")
        return cls(**values)

    def resolved(self, rows: int, *, dtype: Literal["float32", "bfloat16"] = "float32") -> TrainConfig:
        """Every default filled in for `rows` training rows, fractions turned into steps; training takes no other.

        `dtype` is what "auto" means on this machine (`engine.numerics.fast_dtype`).

        Raises:
            DictionaryError: a schedule that is longer than the run, or a p that cannot be computed.
        """
        batch = min(self.batch_size, max(1, rows))
        steps = self._steps(rows, batch)
        k = min(32, self.d_sae) if self.k is None else self.k
        warmup = _in_steps(self.lr_warmup, steps, min(50, steps // 10))
        plateau = {"linear": max(0, steps - warmup), "wsd": steps // 5}.get(self.lr_schedule, 0)
        window = max(batch, min(rows, steps * batch // 3, 10_000_000))
        penalised = self.architecture not in SELECTED
        filled: dict[str, Any] = {
            "k": None if penalised else k,
            "batch_size": batch,
            "steps": steps,
            "tokens": None,
            "epochs": None,
            "lr": self.lr or (PENALISED_LR if penalised else LR * min(1.0, (LR_WIDTH / self.d_sae) ** 0.5)),
            "lr_warmup": warmup,
            "lr_decay": _in_steps(self.lr_decay, steps, plateau),
            "sparsity_warmup": _in_steps(self.sparsity_warmup, steps, 0),
            "k_hold": _in_steps(self.k_hold, steps, 0),
            "k_warmup": _in_steps(self.k_warmup, steps, 0),
            "sparsity_loss": self.sparsity_loss or DEFAULT_LOSS.get(self.architecture),
            "sparsity_coefficient": DEFAULT_COEFFICIENT.get(self.architecture)
            if self.sparsity_coefficient is None
            else self.sparsity_coefficient,
            "aux_k": (0 if penalised else 256) if self.aux_k is None else self.aux_k,
            "dead_after_tokens": self.dead_after_tokens or window,
            "log_every": self.log_every or max(1, min(500, steps // 100)),
            "dtype": dtype if self.dtype == "auto" else self.dtype,
        }
        if self.architecture != "matryoshka":
            filled["groups"] = None
        elif self.groups is None:
            filled["groups"] = tuple(sorted({max(1, self.d_sae >> shift) for shift in (4, 3, 2, 1, 0)}))
        out = type(self)(**{**self.model_dump(), **filled})
        out._require_room(steps)
        return out

    def _require_room(self, steps: int) -> None:
        """Refuse what would not be reached within the run; of a resolved config."""
        lengths = {"lr_warmup": _known(self.lr_warmup)}
        if self.lr_schedule in ("linear", "wsd"):
            lengths["lr_decay"] = _known(self.lr_decay)
        if self.k is None:
            lengths["sparsity_warmup"] = _known(self.sparsity_warmup)
        elif self.initial_k not in (None, self.k):
            lengths["k_hold and k_warmup"] = _known(self.k_hold) + _known(self.k_warmup)
        for name, length in lengths.items():
            if length > steps:
                verb = "are" if " and " in name else "is"
                raise DictionaryError(
                    f"{name} ({length:,} steps) {verb} longer than the run ({steps:,} steps): its end would never be"
                    " reached."
                )
        if self.sparsity_loss == "lp" and not SMALLEST_P <= self.p <= LARGEST_P:
            raise DictionaryError(
                f"p ({self.p:g}) is out of range: powers from {SMALLEST_P:g} to {LARGEST_P:g} can be computed."
            )

    def _steps(self, rows: int, batch: int) -> int:
        if self.tokens is not None:
            return max(1, math.ceil(self.tokens / batch))
        if self.epochs is not None:
            return max(1, round(self.epochs * (rows // batch)))
        return FAST_STEPS if self.steps is None else self.steps

    def learning_rate(self, step: int) -> float:
        """The rate of step 0, 1, ...; of a resolved config."""
        if self.lr is None:
            raise TypeError("schedules need a resolved config")
        return self.lr * lr_at(
            step,
            total=_known(self.steps),
            schedule=self.lr_schedule,
            warmup=_known(self.lr_warmup),
            decay=_known(self.lr_decay),
            end=self.lr_end,
        )

    def sparsity_share(self, step: int) -> float:
        """How much of the penalties is on at a step, 0 to 1; of a resolved config."""
        return coefficient_at(step, _known(self.sparsity_warmup))

    def active(self, step: int) -> int:
        """k at a step; of a resolved config."""
        final = _known(self.k)
        first = self.initial_k or final
        return k_at(step, first, final, hold=_known(self.k_hold), warmup=_known(self.k_warmup), kind=self.k_schedule)


LR, LR_WIDTH, PENALISED_LR = 4e-3, 4096, 1e-3
"""topk, batchtopk and matryoshka: `LR` up to `LR_WIDTH` latents, then falling with the root of the width, as the
scaling of Gao et al. 2024 has it; the others `PENALISED_LR`. Tried on layer 10 of smollm2-135m, 4,608 latents, 512,000
rows: topk ends at FVU 0.229 with 1e-3, 0.202 with 2e-3, 0.192 with 4e-3 and 0.204 with 8e-3, where latents die. Betas
(0.9, 0.98) instead of (0.9, 0.999) bring 0.192 to 0.189."""

DEFAULT_LOSS: dict[str, Literal["lp", "tanh"]] = {"relu": "lp", "gated": "lp", "jumprelu": "tanh"}

DEFAULT_COEFFICIENT = {"relu": 1.0, "gated": 2.0, "jumprelu": 0.1}
"""Tried on layer 10 of smollm2-135m (100,000 tokens, 600 steps)."""


def seconds(text: str) -> float:
    """A time such as "90s", "10min" or "2h" in seconds.

    Raises:
        ValueError: it is none.

    >>> seconds("10min")
    600.0
    """
    for suffix, unit in (("min", 60.0), ("s", 1.0), ("h", 3600.0)):
        if text.endswith(suffix):
            try:
                value = float(text.removesuffix(suffix)) * unit
            except ValueError:
                break
            if math.isfinite(value) and value > 0:
                return value
    raise ValueError(f'a time is written "90s", "10min" or "2h", not {text!r}')


def _known(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError("schedules need a resolved config")
    return value


def _in_steps(value: int | float | None, total: int, default: int) -> int:
    if value is None:
        return default
    return value if isinstance(value, int) else round(value * total)


def _kinds(annotation: Any) -> set[Any]:
    """The plain types that a field takes."""
    parts = get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        parts = parts[:1]
    return {annotation}.union(*map(_kinds, parts))


def _plain(value: Any, *, whole: bool) -> Any:
    if not isinstance(value, str | int | float) and getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool | int | str):
        return value
    if hasattr(value, "__index__"):
        return operator.index(value)
    return int(value) if whole and isinstance(value, float) and value.is_integer() else value


def _unknown(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"{name!r} holds a table of settings; they belong at the top level, without a table around them."
    known = list(TrainConfig.model_fields)
    near = f"Here it is called {ELSEWHERE[name]}." if name in ELSEWHERE else did_you_mean(name, known)
    return f"{name!r} is not a setting of a training. {near} help(aquin_nb.TrainConfig) explains all of them."


def _sentence(error: ValidationError) -> str:
    """The first complaint of pydantic in words: which setting, what is wrong, what was given."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("constrained", "int", "float")))
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ").replace("a valid tuple", "a list")
    if not place:
        return f"{message}."
    if place.startswith("betas") and first["type"] in ("missing", "too_long"):
        return f"betas should be two numbers, not {first['input']!r}."
    if place == "architecture":
        return f"architecture must be one of {', '.join(ARCHITECTURES)}, not {first['input']!r}."
    if place in IN_STEPS:
        return f"{place} is a number of steps, or a share of the run from 0.0 to 1.0, not {first['input']!r}."
    return f"{place} {message}, not {first['input']!r}."
