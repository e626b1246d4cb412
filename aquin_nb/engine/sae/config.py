"""What a dictionary is (`SaeConfig`) and how it is trained (`TrainOptions`), with the defaults and their reasons."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from ...errors import DictionaryError

Architecture = Literal["topk", "relu"]
ARCHITECTURES: tuple[Architecture, ...] = ("topk", "relu")


@dataclass(frozen=True)
class SaeConfig:
    """The plain values saved beside the weights: shape, activation function and where the dictionary comes from."""

    architecture: Architecture
    d_in: int
    d_sae: int
    d_out: int
    k: int | None = None
    name: str = ""
    model: str = ""
    model_fingerprint: str = ""
    mode: Literal["llm", "embedding"] = "llm"
    layer: int | None = None
    hook: str = ""
    corpus: str = ""
    rows: int = 0
    step: int = 0
    complete: bool = True

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise DictionaryError(f"architecture must be one of {', '.join(ARCHITECTURES)}, not {self.architecture!r}.")
        for name in ("d_in", "d_sae", "d_out"):
            if getattr(self, name) < 1:
                raise DictionaryError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.architecture == "topk" and (self.k is None or not 1 <= self.k <= self.d_sae):
            raise DictionaryError(f"k must be between 1 and d_sae ({self.d_sae}) for topk, not {self.k}.")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SaeConfig:
        """Fields this version does not know are ignored: a newer writer may add some."""
        known = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})


@dataclass(frozen=True)
class TrainOptions:
    """How to train. Losses refer to activations scaled so that their mean squared norm is `d_in`.

    The loss is the squared error summed over `d_in` and averaged over rows, plus `l1` times the sum of activations
    for `relu`, plus `aux_alpha` times the AuxK loss for `topk` (Gao et al. 2024, arXiv 2406.04093, appendix A.2).

    `matmul_dtype` is that of the one product that picks the candidates of a TopK row; values, loss, gradients and
    weights are float32 either way.
    """

    architecture: Architecture = "topk"
    d_sae: int = 4096
    k: int = 32
    l1: float = 2.0
    lr: float = 1e-3
    batch_size: int = 1024
    steps: int = 3000
    warmup_steps: int = 50
    decay_steps: int = 2950
    aux_k: int = 256
    aux_alpha: float = 1 / 32
    dead_after_tokens: int = 100_000
    seed: int = 0
    matmul_dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise DictionaryError(f"architecture must be one of {', '.join(ARCHITECTURES)}, not {self.architecture!r}.")
        for name in ("d_sae", "k", "batch_size", "steps", "dead_after_tokens"):
            _require_int(name, getattr(self, name), 1)
        _require_int("seed", self.seed, 0)
        if not _is_number(self.lr) or self.lr <= 0:
            raise DictionaryError(f"lr must be positive and finite, not {self.lr!r}.")
        if not _is_number(self.l1) or self.l1 < 0:
            raise DictionaryError(f"l1 must be finite and not negative, not {self.l1!r}.")
        if self.architecture == "topk" and self.k > self.d_sae:
            raise DictionaryError(f"k ({self.k}) is larger than d_sae ({self.d_sae}).")

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, a plateau, then linear decay to zero over the last `decay_steps`."""
        rise = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        fall = min(1.0, (self.steps - step) / self.decay_steps) if self.decay_steps else 1.0
        return self.lr * rise * fall

    @property
    def log_every(self) -> int:
        """At least 100 points a run and at least one every 500 steps."""
        return max(1, min(500, self.steps // 100))


def _require_int(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise DictionaryError(f"{name} must be a whole number, not {value!r}.")
    if not least <= value < 2**63:
        raise DictionaryError(f"{name} must be at least {least}, not {value}.")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def default_options(
    rows: int, d_sae: int, mode: str, *, quick: bool = False, architecture: Architecture = "topk", **changes: Any
) -> TrainOptions:
    """Defaults for `rows` training rows; `changes` that are None keep the default.

    A language model's token positions get k = 32. Embedding vectors get k = 16 and a lower L1: one pooled vector a
    text means few rows, and a strong penalty on few rows leaves dead latents. `quick` trains 500 steps instead of
    3,000. A latent counts as dead when it fired for no row of the last epoch, or of the last third of a run that is
    shorter than three epochs (at most 10 million rows).

    Raises:
        DictionaryError: a value that is no number or out of range; it is named.
    """
    embedding = mode == "embedding"
    steps, batch_size = changes.pop("steps", None), changes.pop("batch_size", None)
    steps = (500 if quick else 3000) if steps is None else steps
    batch_size = (256 if embedding else 1024) if batch_size is None else batch_size
    _require_int("d_sae", d_sae, 1)
    _require_int("steps", steps, 1)
    _require_int("batch_size", batch_size, 1)
    batch_size = min(batch_size, max(1, rows))
    warmup = min(50, steps // 10)
    window = min(rows, steps * batch_size // 3, 10_000_000)
    options = TrainOptions(
        architecture=architecture,
        d_sae=d_sae,
        k=min(16 if embedding else 32, d_sae),
        l1=1.0 if embedding else 2.0,
        batch_size=batch_size,
        steps=steps,
        warmup_steps=warmup,
        decay_steps=steps - warmup,
        dead_after_tokens=max(batch_size, window),
    )
    given = {name: value for name, value in changes.items() if value is not None}
    return replace(options, **given)
