"""Whether a run that has not ended is still there: live, silent, lost, or interrupted on proof alone.

Silence is no proof: a laptop sleeps, a network fails. A run counts as interrupted when its process said goodbye, when
its process id is gone from this machine, or when its kernel has a new process. Whatever comes later revives it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from .storage import Producer

Contact = Literal["live", "silent", "lost", "interrupted"]
SILENT: Final = 30.0  # seconds without a heartbeat or an event; heartbeats come every 10
LOST: Final = 300.0


def contact(producer: Producer | None, now: float, since: float) -> Contact:
    """
    Args:
        since: when this server began; nobody could have reached it before.
    """
    if producer is None:
        return "lost"
    age = now - max(producer.seen, since)
    if producer.gone is not None and (producer.seen <= producer.gone or age >= SILENT):
        return "interrupted"
    return "live" if age < SILENT else "silent" if age < LOST else "lost"


def replaced(by: Producer, known: Iterable[Producer], now: float) -> list[Producer]:
    """Producers that `by`, a newer process of the same kernel, proves to be gone."""
    if not by.kernel or not by.host:
        return []
    return [
        replace(one, gone=now)
        for one in known
        if one.source != by.source and one.gone is None and (one.kernel, one.host) == (by.kernel, by.host)
        and one.pid != by.pid and _began(one) <= _began(by)
    ]  # fmt: skip


def vanished(producer: Producer) -> bool:
    """Whether its process is provably gone from this machine; False where nobody here can know."""
    if producer.host != socket.gethostname() or not producer.pid or producer.pid <= 0:
        return False
    try:
        os.kill(producer.pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    born = _born(producer.pid)
    return bool(producer.born and born and born != producer.born)


def _began(producer: Producer) -> float:
    try:
        return datetime.fromisoformat(producer.started_at or "").timestamp()
    except ValueError:
        return 0.0


def _born(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""
