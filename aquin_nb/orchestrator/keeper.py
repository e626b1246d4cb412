"""What a board does on its own: thins old curves, removes what deleted cards were made of, counts what rooms hold."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from functools import partial
from typing import Final

from ..files import human_bytes
from .maintenance import ATTEMPTS, DAYS, Kept, collect_garbage
from .storage import Storage, StorageBusy, Usage
from .writer import Writer

FIRST_SECONDS: Final = 300.0
EVERY_SECONDS: Final = 6 * 3600.0
LOOK_SECONDS: Final = 2.0
PIECE: Final = 1_000
"""Events removed in one transaction: whoever tells something meanwhile waits for no more."""


class Keeper:
    """
    Args:
        most: events and bytes that a room holds before nothing more is taken.
    """

    def __init__(self, storage: Storage, writer: Writer, most: Usage) -> None:
        self._storage, self._writer, self._most = storage, writer, most
        self._used: dict[str, Usage] = {}
        self._stopping = threading.Event()
        self._one = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; in the event loop."""
        self._tasks = [asyncio.create_task(self._count()), asyncio.create_task(self._retain())]

    def stop(self) -> None:
        self._stopping.set()
        for task in self._tasks:
            task.cancel()

    def full(self, room: str) -> str | None:
        """Why a room takes no more events; None while it does."""
        used = self._used.get(room, Usage(0, 0))
        if used.events < self._most.events and used.bytes < self._most.bytes:
            return None
        held = f"{used.events:,} events, {human_bytes(used.bytes)}"
        advice = "thin it (aquin-nb orchestrator gc), delete cards, or serve with more --room-events or --room-bytes"
        return f"The room {room[:40]} is full ({held}): {advice}."

    async def collect(self, days: float = DAYS, attempts: int = ATTEMPTS, dry_run: bool = False) -> Kept:
        """Retention, beside everything else that goes on; one at a time.

        Raises:
            StorageBusy: the board stops, or its database is away; what was removed is gone.
        """
        async with self._one:
            return await asyncio.to_thread(
                collect_garbage, self._storage, days=days, attempts=attempts, dry_run=dry_run,
                delete=self._delete, between=self._go_on,
            )  # fmt: skip

    async def sweep(self) -> None:
        """Remove what deleted cards consisted of."""
        while await asyncio.wrap_future(self._writer.call(partial(self._storage.sweep, PIECE))):
            self._go_on()

    def _delete(self, cursors: Sequence[int]) -> int:
        pieces = [cursors[begin : begin + PIECE] for begin in range(0, len(cursors), PIECE)]
        return sum(self._writer.call(partial(self._storage.delete, some)).result() for some in pieces)

    def _go_on(self) -> None:
        if self._stopping.is_set():
            raise StorageBusy("The board is stopping; ask again once it serves.")

    async def _count(self) -> None:
        while True:
            try:
                self._used = await asyncio.to_thread(self._storage.usage)
            except Exception as error:  # the figures of the last look are good enough meanwhile
                logging.getLogger(__name__).warning("Counting what rooms hold failed: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def _retain(self) -> None:
        await asyncio.sleep(FIRST_SECONDS)
        while True:
            try:
                await self.sweep()
                await self.collect()
            except Exception as error:  # a database that is away for a moment must not end it
                logging.getLogger(__name__).warning("Thinning old curves failed: %s", error)
            await asyncio.sleep(EVERY_SECONDS)
