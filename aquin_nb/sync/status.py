"""What a person may know of the delivery at any moment."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
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
        elsewhere: how many outboxes that other processes left in the folder wait for which other board.
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
    elsewhere: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        said = {
            "off": "kept for `aquin-nb sync`" if self.path else "off",
            "connecting": f"connecting to {self.url}",
            "waiting": "will sync later",
            "connected": f"connected to {self.url}",
            "refused": "paused",
            "incompatible": "paused",
            "closed": "closed",
        }[self.state]
        parts = [said, f"{self.delivered:,} delivered", f"{self.pending:,} waiting"] if self.path else [said]
        if self.seconds_since_contact is not None and self.state != "closed":
            parts.append(f"last contact {_ago(self.seconds_since_contact)} ago")
        parts += [f"{self.in_memory:,} of them in memory only"] if self.in_memory else []
        parts += [f"{self.dead:,} refused for good"] if self.dead else []
        parts += [f"{self.lost:,} lost to a full disk"] if self.lost else []
        for board, count in sorted(self.elsewhere.items()):
            parts.append(f"{count:,} other {'outbox waits' if count == 1 else 'outboxes wait'} for {board}")
        return " · ".join([*parts, *([self.problem] if self.problem else [])])

    def _repr_html_(self) -> str:
        text = html.escape(str(self))
        if not self.url.startswith(("http://", "https://")):
            return f"<div>{text}</div>"
        url = html.escape(self.url)
        link = f'<a href="{url}" target="_blank" rel="noopener noreferrer">{url}</a>'
        return f"<div>{text.replace(url, link, 1) if url in text else f'{text} · {link}'}</div>"


def _ago(seconds: float) -> str:
    """
    >>> _ago(7.2), _ago(300), _ago(90_000)
    ('7 s', '5 min', '25 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
