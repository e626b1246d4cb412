"""What commands remember between each other: `$AQUIN_HOME/session.json`, one session, its model and dictionary."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .. import home
from ..errors import SessionError
from ..files import write_json

VERSION: Final = 1


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


def state_file() -> Path:
    """`$AQUIN_HOME/session.json`."""
    return home.home() / "session.json"


def recall() -> Remembered | None:
    """The active session, if there is one.

    Raises:
        SessionError: the file is damaged, unreadable, or of another version.
    """
    path = state_file()
    again = f"`aquin-nb session end` forgets it; what sessions wrote stays. ({path})"
    try:
        told = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SessionError(f"What was remembered of the session cannot be read: {error.strerror}. ({path})") from None
    except ValueError:
        raise SessionError(f"What was remembered of the session is damaged. {again}") from None
    version = told.get("version") if isinstance(told, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise SessionError(
            f"The session was begun by a newer aquin-nb (version {version} of its file, this one reads {VERSION}):"
            f" upgrade. {again}"
        )
    try:
        return Remembered.model_validate(told)
    except ValidationError as error:
        what = ".".join(str(part) for part in error.errors()[0]["loc"]) or "its form"
        raise SessionError(f"What was remembered of the session is damaged at {what}. {again}") from None


def remember(state: Remembered) -> None:
    """Write it, whole or not at all.

    Raises:
        OutputError: `$AQUIN_HOME` cannot be written.
    """
    write_json(state_file(), state.model_dump(mode="json"))


def forget() -> bool:
    """Remove it, whatever it holds; whether it was there."""
    try:
        state_file().unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise SessionError(f"{state_file()} cannot be removed: {error.strerror}.") from None
    return True
