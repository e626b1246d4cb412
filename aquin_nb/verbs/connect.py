"""`aquin_nb.connect`: tell a board of every run of this process, with or without a session."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..connecting import open_outbox
from ..sync.status import SyncStatus
from ..telling import Telling, connect_process, process_telling

if TYPE_CHECKING:
    from ..sync import Outbox


def connect(orchestrator: str | Outbox = "auto", *, name: str | None = None, device: str | None = None) -> SyncStatus:
    """Tell an orchestrator of every run of this process from now on.

    That is of `sae_train`, `sae_resume` and `sae_align`, and of the verbs of every session that was not connected to
    an orchestrator itself. Without it, functions are told to the open session that connected last, if there is one.
    Each run has one card. Connecting again replaces the connection; what it still holds is delivered first, or later.

    Args:
        orchestrator: "auto" (the one on this machine, started if need be), a URL (its token in AQUIN_NB_TOKEN), or
            "outbox" (kept on disk for `aquin-nb sync`).
        name: what the board calls this process; default: the notebook's or script's name.
        device: what the board calls this machine; default: the host's name.

    Raises:
        SessionError: it cannot be started. NetworkError: not an address.

    >>> aquin_nb.connect()                                                          # doctest: +SKIP
    connected to http://127.0.0.1:8600 · 0 delivered · 0 waiting
    >>> aquin_nb.sae_train(torch.randn(4096, 64), {"d_sae": 256, "k": 8})           # doctest: +SKIP
    """
    outbox = open_outbox(orchestrator)
    before = connect_process(Telling(outbox, name or _own_name(), device))
    if before is not None and before.outbox is not outbox:
        before.outbox.close()
    return outbox.status()


def sync_status() -> SyncStatus:
    """Whether what `connect` is told has reached the orchestrator, and what waits."""
    telling = process_telling()
    if telling is None:
        return SyncStatus("off", problem="nobody is told of this process' runs; aquin_nb.connect() changes that")
    return telling.outbox.status()


def _own_name() -> str:
    """The file that is running, for a person to know it by."""
    return Path(os.environ.get("JPY_SESSION_NAME") or sys.argv[0] or "python").stem
