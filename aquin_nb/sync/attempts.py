"""Which run of a card this is: running a cell again is the next attempt of the same card, also after a restart."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import apsw

from .identity import running_kernel

_FILE = "attempts.db"
_NAMESPACE = uuid.UUID("b7a5b0ae-2f1c-5d0c-9a55-6e1f0c1d7a01")


def next_attempt(directory: Path, card: str) -> int:
    """The number of a new run of a card, from 1, counted by all processes that share a folder of outboxes.

    Raises:
        OSError, apsw.Error: it cannot be counted there.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(directory / _FILE, os.O_RDWR | os.O_CREAT, 0o600))
    connection = apsw.Connection(str(directory / _FILE))
    try:
        connection.set_busy_timeout(2000)
        connection.execute("CREATE TABLE IF NOT EXISTS attempt (card TEXT PRIMARY KEY, runs INTEGER NOT NULL) STRICT")
        one_more = "INSERT INTO attempt VALUES (?, 1) ON CONFLICT DO UPDATE SET runs = runs + 1 RETURNING runs"
        return int(connection.execute(one_more, (card,)).get)
    finally:
        connection.close()


def card_id(*key: str) -> str:
    """The identifier of the card with this key: the same for the same place, verb and name, whoever asks.

    >>> card_id("notebook.ipynb", "cell 3", "sae.train") == card_id("notebook.ipynb", "cell 3", "sae.train")
    True
    """
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(key)))


def this_cell() -> tuple[str, str, int]:
    """Where the running code is: notebook, cell and its execution; or the working folder, an empty text and 0.

    A cell without an identifier (an old notebook, a console) is known by its text.
    """
    kernel = running_kernel()
    try:
        parent: Any = kernel.get_parent("shell")
        content = parent.get("content", {})
        cell = parent.get("metadata", {}).get("cellId") or uuid.uuid5(_NAMESPACE, str(content.get("code", ""))).hex
        return os.environ.get("JPY_SESSION_NAME") or os.getcwd(), str(cell), int(kernel.execution_count)  # noqa: PTH109
    except (AttributeError, TypeError, ValueError):
        return os.getcwd(), "", 0  # noqa: PTH109  a key, not a path
