"""What a saved dictionary says of itself (`SaeConfig`): shape, activation function and where it comes from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from ...errors import DictionaryError

Architecture = Literal["topk", "batchtopk", "relu", "jumprelu", "gated", "matryoshka"]
ARCHITECTURES: tuple[Architecture, ...] = ("topk", "batchtopk", "relu", "jumprelu", "gated", "matryoshka")


@dataclass(frozen=True)
class SaeConfig:
    """The plain values saved beside the weights.

    `hook_out` differs from `hook` for a transcoder. `transcoder`: b_dec is not subtracted from the input. `groups` are
    the prefix sizes of a matryoshka dictionary.
    """

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
    hook_out: str = ""
    transcoder: bool = False
    groups: tuple[int, ...] | None = None
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
        if not self.transcoder and self.d_in != self.d_out:
            raise DictionaryError(
                f"An autoencoder's d_out ({self.d_out}) is its d_in ({self.d_in}); a transcoder says so."
            )

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        return values | {"groups": list(self.groups) if self.groups else None}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SaeConfig:
        """Fields this version does not know are ignored: a newer writer may add some."""
        known = {f.name for f in fields(cls)}
        kept = {name: value for name, value in values.items() if name in known}
        if kept.get("groups") is not None:
            kept["groups"] = tuple(int(size) for size in kept["groups"])
        return cls(**kept)
