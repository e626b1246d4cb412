"""Nothing lost: what a run tells is on disk before the call returns, and is delivered when and where it can be."""

from __future__ import annotations

from .outbox import Outbox
from .status import SyncStatus

__all__ = ["Outbox", "SyncStatus"]
