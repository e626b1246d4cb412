"""Which orchestrator a session tells of its runs, and how one on this machine is found or started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from . import home
from .errors import AquinError, SessionError
from .orchestrator.find import default_database, find, find_or_start

if TYPE_CHECKING:
    from .sync import Outbox


def open_outbox(orchestrator: str | Outbox) -> Outbox:
    """An outbox in `$AQUIN_HOME/outbox` that delivers to "auto" (one on this machine, started if need be) or a URL.

    The token of a URL is read from AQUIN_NB_TOKEN. "outbox" keeps events on disk for `aquin-nb sync`.

    Raises:
        SessionError: apsw is not installed, or "auto" could not start one. NetworkError: no address.
    """
    try:
        from .sync import Outbox
    except ModuleNotFoundError as error:
        raise SessionError(f"An orchestrator needs {error.name}: pip install 'aquin-nb[sync]'.") from error
    if isinstance(orchestrator, Outbox):
        return orchestrator
    if orchestrator == "outbox":
        return Outbox(home.outbox_dir())
    if orchestrator == "auto":
        database = default_database()
        try:
            board = find_or_start(database)
        except AquinError as error:
            raise SessionError(str(error)) from None

        def where() -> tuple[str, str | None] | None:
            found = find(database)
            return (found.url, found.token) if found is not None else None

        return Outbox(home.outbox_dir(), board.url, board.token, find=where)
    return Outbox(home.outbox_dir(), str(orchestrator), os.environ.get("AQUIN_NB_TOKEN"))
