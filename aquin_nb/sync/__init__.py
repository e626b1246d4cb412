"""Nothing lost: what a run tells is on disk before the call returns, and is delivered when and where it can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .status import SyncStatus

if TYPE_CHECKING:
    from .outbox import Outbox

__all__ = ["Outbox", "SyncStatus"]


def __getattr__(name: str) -> Any:
    """`Outbox` on first use: it needs apsw, which a session without an orchestrator does not."""
    if name != "Outbox":
        raise AttributeError(name)
    from .outbox import Outbox

    return Outbox
