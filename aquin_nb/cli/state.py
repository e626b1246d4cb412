"""What commands remember between each other: `$AQUIN_HOME/session.json`, one session, its model and dictionary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .. import home
from ..errors import SessionError
from ..files import write_json

if TYPE_CHECKING:
    from .remembered import Remembered

VERSION: Final = 1


def state_file() -> Path:
    """`$AQUIN_HOME/session.json`."""
    return home.home() / "session.json"


def recall(path: Path | None = None) -> Remembered | None:
    """The active session, or the one whose file is at `path`, if there is one.

    Raises:
        SessionError: the file is damaged, unreadable, or of another version.
    """
    path = path or state_file()
    again = f"`aquin-nb session end` forgets it; what sessions wrote stays. ({path})"
    try:
        told = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SessionError(f"What was remembered of the session cannot be read: {error.strerror}. ({path})") from None
    except ValueError:
        raise SessionError(f"What was remembered of the session is damaged. {again}") from None
    from pydantic import ValidationError

    from .remembered import Remembered

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
