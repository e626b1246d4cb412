"""The board of this machine: the one that runs already, or a new one that outlives the session that asked for it.

Only the standard library is imported: a session calls this before anything of the board is needed.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from ..errors import AquinError
from ..home import home

START_SECONDS: Final = 30.0


class Board(NamedTuple):
    """A board that answers.

    Attributes:
        token: its owner's; allows everything.
        started: this call started it.
    """

    url: str
    token: str
    pid: int
    started: bool


def default_database() -> Path:
    """`$AQUIN_HOME/orchestrator/board.db`."""
    return home() / "orchestrator" / "board.db"


def serving_file(database: Path) -> Path:
    """Where a server that has started says its address; it holds no secret."""
    return database.with_name(database.name + ".serving")


def token_file(database: Path) -> Path:
    """Where the owner's token lies, readable by its user alone."""
    return database.with_name(database.name + ".token")


def find(database: Path | None = None) -> Board | None:
    """The board over a database of this machine, if one answers."""
    database = (database or default_database()).expanduser().resolve()
    try:
        told = json.loads(serving_file(database).read_text(encoding="utf-8"))
        url, pid = str(told["url"]), int(told["pid"])
        token = token_file(database).read_text(encoding="ascii").strip()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Board(url, token, pid, False) if _answers(url) else None


def find_or_start(database: Path | None = None) -> Board:
    """The board over a database of this machine; a process of its own is started where none answers.

    Raises:
        AquinError: it did not start; its reason is in the message.
    """
    database = (database or default_database()).expanduser().resolve()
    if (found := find(database)) is not None:
        return found
    database.parent.mkdir(parents=True, exist_ok=True)
    for port in dict.fromkeys((_last_port(database), 0)):
        line, said = _start(database, port)
        if line:
            told = json.loads(line)
            return Board(told["url"], told["token"], told["pid"], True)
        deadline = time.monotonic() + START_SECONDS
        while "Another orchestrator serves" in said and time.monotonic() < deadline:
            if (found := find(database)) is not None:  # somebody else started it at the same moment
                return found
            time.sleep(0.05)
        if "is taken" not in said:
            break
    raise AquinError(f"The board did not start: {said.splitlines()[-1] if said else 'it said nothing'}")


def _last_port(database: Path) -> int:
    """Where it listened before it was killed, so that whoever sent to it then finds it again; 0 for anywhere."""
    try:
        return urlsplit(json.loads(serving_file(database).read_text(encoding="utf-8"))["url"]).port or 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _start(database: Path, port: int) -> tuple[bytes, str]:
    """The first line of a new server, or what it said when it ended."""
    command = [sys.executable, "-m", "aquin_nb.cli", "orchestrator", "serve", "--json", "--port", str(port)]
    log = database.with_name(database.name + ".log")
    with open(log, "wb") as errors:
        process = subprocess.Popen(
            [*command, "--db", str(database)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # Ctrl-C in the session's terminal is not meant for it
            env={name: value for name, value in os.environ.items() if name != "AQUIN_NB_TOKEN"},
        )
    assert process.stdout is not None
    with closing(process.stdout):
        line = process.stdout.readline()
    if not line:
        process.wait()
    return line, log.read_text(encoding="utf-8", errors="replace").strip()


def _answers(url: str) -> bool:
    try:
        parts = urlsplit(url)
        with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=2)) as connection:
            connection.request("GET", "/v1/health")
            told = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return False
    return isinstance(told, dict) and told.get("name") == "aquin-nb orchestrator"
