"""What a person may know of the delivery at any moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["off", "connecting", "waiting", "connected", "refused", "incompatible", "closed"]


@dataclass(frozen=True)
class SyncStatus:
    """The state of an outbox.

    Attributes:
        state: off (no orchestrator asked for), connecting (nothing was tried yet), waiting (not reached; will sync
            later), connected, refused (wrong token), incompatible (it speaks another version), closed.
        pending: events told that no orchestrator has confirmed.
        in_memory: of them, those that are not on disk because it was full; they do not survive the process.
        delivered: events that were confirmed.
        dead: events, and large data of events, that the orchestrator will never take; they are kept in the outbox.
        lost: events that neither disk nor memory had room for; each is counted in a `sync.gap`.
        problem: the last trouble, in a sentence; empty when there is none.
        seconds_since_contact: since the orchestrator last answered; None when it never did.
    """

    state: State
    pending: int = 0
    in_memory: int = 0
    delivered: int = 0
    dead: int = 0
    lost: int = 0
    problem: str = ""
    seconds_since_contact: float | None = None
    url: str = ""
    path: str = ""

    def __str__(self) -> str:
        said = {
            "off": "kept on disk; no orchestrator was asked for",
            "connecting": f"connecting to {self.url}",
            "waiting": f"{self.url} was not reached; will sync later",
            "connected": f"connected to {self.url}",
            "refused": "paused: the token was refused",
            "incompatible": f"paused: {self.url} speaks another version",
            "closed": "closed",
        }[self.state]
        parts = [said, f"{self.delivered:,} delivered", f"{self.pending:,} waiting"]
        parts += [f"{self.in_memory:,} of them in memory only"] if self.in_memory else []
        parts += [f"{self.dead:,} refused for good"] if self.dead else []
        parts += [f"{self.lost:,} lost to a full disk"] if self.lost else []
        return " · ".join([*parts, *([self.problem] if self.problem else [])])
