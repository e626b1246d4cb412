"""Who watches, and which cards they have not seen the latest of. A slow viewer gets the newest state, not a backlog."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

Key = tuple[str, str]  # room, card
MOST_CARDS: Final = 2_000
"""Cards remembered for a viewer that does not read; beyond it it is told to begin anew."""


class Subscription:
    """One viewer's changed cards, each once, the longest waiting first."""

    def __init__(self, room: str | None) -> None:
        self.room = room
        self.overflown = False
        self._changed: dict[Key, None] = {}
        self._wake = asyncio.Event()

    def tell(self, keys: Iterable[Key]) -> None:
        before = len(self._changed)
        self._changed |= {key: None for key in keys if self.room is None or key[0] == self.room}
        if len(self._changed) > MOST_CARDS:
            self._changed.clear()
            self.overflown = True
        if len(self._changed) != before or self.overflown:
            self._wake.set()

    def stop(self) -> None:
        self._wake.set()

    @property
    def waiting(self) -> bool:
        return bool(self._changed)

    async def wait(self, seconds: float) -> bool:
        """Whether something changed within `seconds`."""
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def take(self, most: int = 100) -> list[Key]:
        """The next changed cards, which count as seen from now on."""
        keys = list(self._changed)[:most]
        for key in keys:
            del self._changed[key]
        if not self._changed:
            self._wake.clear()
        return keys


class Bus:
    """Hands changes from the writer's thread to every subscription, in the event loop's thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self.head = 0  # every event up to it has been told to every subscription
        self._subscriptions: set[Subscription] = set()
        self.closing = False

    def attach(self, loop: asyncio.AbstractEventLoop, head: int) -> None:
        self._loop, self.head = loop, head

    def publish(self, keys: Iterable[Key], head: int = 0) -> None:
        """From any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._spread, set(keys), head)

    def _spread(self, keys: set[Key], head: int) -> None:
        self.head = max(self.head, head)
        for one in self._subscriptions:
            one.tell(keys)

    def subscribe(self, room: str | None) -> Subscription:
        one = Subscription(room)
        self._subscriptions.add(one)
        return one

    def leave(self, one: Subscription) -> None:
        self._subscriptions.discard(one)

    def __len__(self) -> int:
        return len(self._subscriptions)

    def close(self) -> None:
        """Ends every stream, so that a server with open pages can stop."""
        self.closing = True
        for one in self._subscriptions:
            one.stop()
