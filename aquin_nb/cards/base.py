"""What every card says: which run, of what, how far, and how it ended."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["queued", "running", "completed", "failed", "cancelled"]
Mode = Literal["llm", "embedding"]
Share = Annotated[float, Field(ge=0, le=1)]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]


class Record(BaseModel):
    """A typed part of a card. Unknown fields are refused, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, ser_json_inf_nan="strings")


class CheckpointRef(Record):
    """A fine-tuned state that was loaded over the base weights."""

    path: str
    step: int
    fingerprint: str = Field(description="SHA-256 of the checkpoint file")


class ModelRef(Record):
    """The exact weights a run looked at."""

    name: str = Field(description="catalogue slug, hub id or folder name")
    source: str = Field(description="bundled, fetched, hub, directory or gguf")
    mode: Mode
    n_layers: int
    d_model: int
    dtype: str
    device: str
    backend: str
    fingerprint: str = Field(description="SHA-256 of the weights as stored on disk, a checkpoint included")
    checkpoint: CheckpointRef | None = None


class DictionaryRef(Record):
    """A dictionary as a run used it."""

    path: str
    name: str
    architecture: str
    d_in: int
    d_sae: int
    layer: int | None = None
    fingerprint: str = Field(description="SHA-256 of the file")


class CorpusRef(Record):
    """Where training activations came from."""

    name: str
    documents: int | None = None
    tokens: int = Field(description="rows of activations that training could draw from")
    why: str = Field(default="", description="why this corpus: asked for, default, or a fallback and its reason")


class Progress(Record):
    """How far a run is, in its present stage and overall."""

    stage: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    rate: FiniteFloat | None = Field(default=None, description="units a second in this stage")
    eta_seconds: FiniteFloat | None = Field(default=None, description="seconds left in this stage")


class ErrorInfo(Record):
    type: str
    message: str


class Artifact(Record):
    """A file or folder that the run wrote."""

    role: str
    path: str
    bytes: int | None = None
    sha256: str | None = None


def _now() -> datetime:
    return datetime.now(UTC)


class Card(Record):
    """Fields that all kinds share. `kind` tells them apart."""

    schema_version: Literal[1] = 1
    id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    name: str
    status: Status = "queued"
    created_at: datetime = Field(default_factory=_now)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    model: ModelRef | None = None
    progress: Progress = Field(default_factory=Progress)
    notes: list[str] = Field(default_factory=list, description="what a reader must know: exclusions, fallbacks, limits")
    error: ErrorInfo | None = None
    artifacts: list[Artifact] = Field(default_factory=list)

    def start(self) -> None:
        self.status, self.started_at = "running", _now()

    def finish(self, status: Status, error: BaseException | None = None) -> None:
        """Close the card as completed, failed or cancelled; an error's text is kept."""
        self.status, self.finished_at = status, _now()
        if status == "completed":
            self.progress = self.progress.model_copy(
                update={"fraction": 1.0, "done": self.progress.total, "eta_seconds": None}
            )
        if error is not None:
            self.error = ErrorInfo(type=type(error).__name__, message=str(error))

    @property
    def seconds(self) -> float | None:
        """Wall seconds from start to finish."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()
