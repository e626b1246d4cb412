"""The form of what is remembered between commands; `state` reads and writes it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .state import VERSION


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LoadedModel(_Part):
    """A model that was loaded once, and is loaded again by each command that computes."""

    asked: str = Field(description="as it was named; a folder in full")
    name: str
    mode: str
    n_layers: int
    d_model: int
    device: str = "auto"
    dtype: str = "auto"
    backend: str = "transformer-lens"


class BoundDictionary(_Part):
    path: str
    name: str
    layer: int | None = Field(default=None, description="where it is bound; none for the dictionary's own")


class Remembered(_Part):
    """The active session."""

    version: Literal[1] = VERSION
    id: str
    name: str
    device: str | None = Field(default=None, description="what the board calls this machine")
    orchestrator: str | None = Field(default=None, description='"auto", "outbox" or a URL; its token is never kept')
    model: LoadedModel | None = None
    dictionary: BoundDictionary | None = None
    started_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
