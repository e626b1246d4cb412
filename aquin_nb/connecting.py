"""Which orchestrator a session tells of its runs, and how one on this machine is found or started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import home
from .errors import NetworkError, SessionError

if TYPE_CHECKING:
    from .sync import Outbox

START_SECONDS = 30.0


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
        found = found_or_started()
        return Outbox(home.outbox_dir(), found["url"], found["token"])
    return Outbox(home.outbox_dir(), str(orchestrator), os.environ.get("AQUIN_NB_TOKEN"))


def found_or_started() -> dict[str, Any]:
    """`{"url", "token", "pid"}` of the orchestrator of this user on this machine.

    Raises:
        SessionError: none runs and none could be started.
    """
    from .sync.lease import Lease

    note = home.home() / "orchestrator" / "running.json"
    note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline = time.monotonic() + START_SECONDS
    while (lease := Lease.take(note.with_suffix(".lock"))) is None and time.monotonic() < deadline:
        time.sleep(0.05)  # another session is starting one
    try:
        known = _noted(note)
        return known if known is not None and _answers(known["url"]) else _started(note, deadline)
    finally:
        if lease is not None:
            lease.release()


def _noted(note: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(note.read_text("utf-8"))
        return found if {"url", "token", "pid"} <= set(found) else None
    except (OSError, ValueError, TypeError):
        return None


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/v1/health", timeout=5) as response:
            return str(json.loads(response.read(65536)).get("name", "")).startswith("aquin-nb")
    except (OSError, ValueError, AttributeError):
        return False


def _started(note: Path, deadline: float) -> dict[str, Any]:
    log = note.with_suffix(".log")
    command = [sys.executable, "-m", "aquin_nb.cli", "orchestrator", "serve", "--json", "--port", "0"]
    with open(log, "wb") as errors:
        # A session of its own: the board outlives the kernel that started it, and its interrupts.
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, start_new_session=True
        )
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.readline()
    try:
        found: dict[str, Any] = json.loads(line)
        while not _answers(found["url"]):
            if time.monotonic() > deadline:
                raise NetworkError(f"{found['url']} does not answer")
            time.sleep(0.05)
    except (ValueError, KeyError, TypeError, NetworkError) as error:
        process.kill()
        process.wait()
        said = log.read_text("utf-8", "replace").strip().splitlines()[-1:] or [str(error)]
        raise SessionError(f"No orchestrator could be started: {said[0]}") from None
    handle = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as stream:
        json.dump(found, stream)
    return found
