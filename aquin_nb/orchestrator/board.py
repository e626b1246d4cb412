"""What the routes share: the database, its writer, who watches, who may, and how fast."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

from fastapi import HTTPException, Request

from .blobs import Blobs
from .bus import Bus
from .envelope import SOURCE_PREFIX
from .keeper import Keeper
from .liveness import contact, replaced, vanished
from .storage import Producer, Storage, Usage
from .tokens import Grant, Scope, Tokens
from .views import Views
from .writer import Writer

LOOK_SECONDS: Final = 2.0
T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """How much one token may ask for, and how much a room holds."""

    requests_per_second: float = 5_000.0
    burst: float = 10_000.0
    streams: int = 200
    room_events: int = 20_000_000
    room_bytes: int = 10 << 30


class Board:
    """One database and all that happens around it."""

    def __init__(self, storage: Storage, limits: Limits | None = None) -> None:
        self.storage = storage
        self.limits = limits or Limits()
        self.bus = Bus()
        self.writer = Writer(storage, self.bus.publish)
        self.keeper = Keeper(storage, self.writer, Usage(self.limits.room_events, self.limits.room_bytes))
        self.views = Views(storage)
        self.tokens = Tokens(storage.tokens())
        self.blobs = Blobs(storage.blobs)
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="aquin-read")
        self._allowance: dict[str, tuple[float, float]] = {}
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.bus.attach(asyncio.get_running_loop(), await self.read(self.storage.head))
        self._watch = asyncio.create_task(self._look())
        self.keeper.start()

    async def stop(self) -> None:
        """End streams, write what waits."""
        self.bus.close()
        self.keeper.stop()
        if self._watch is not None:
            self._watch.cancel()
        await asyncio.to_thread(self.writer.close)
        self._threads.shutdown()

    async def read(self, work: Callable[[], T]) -> T:
        """A read of the database, outside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def write(self, work: Callable[[], T]) -> T:
        """A small write, in the writer's thread."""
        return await asyncio.wrap_future(self.writer.call(work))

    async def delete(self, room: str, card: str) -> bool:
        """Delete a card and tell whoever looks at it; False where there is none."""
        cursor = await self.write(lambda: self.storage.bury(room, card))
        if cursor is None:
            return False
        self.bus.publish([(room, card)], cursor)
        await self.keeper.sweep()
        return True

    # -- who may --------------------------------------------------------------------------------------------------

    def grant(self, request: Request, scope: Scope) -> Grant:
        """What the request's bearer token allows, if it allows `scope` and its time is not used up.

        Raises:
            HTTPException: 401 without a valid token, 403 without the scope, 429 too fast.
        """
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        grant = self.tokens.grant(token.strip()) if kind.lower() == "bearer" else None
        if grant is None:
            raise HTTPException(401, "A valid token is needed.", {"WWW-Authenticate": "Bearer"})
        if not grant.may(scope):
            raise HTTPException(403, f"This token lacks the scope {scope}.")
        wait = self._spend(grant.id)
        if wait > 0:
            raise HTTPException(429, "Too many requests.", {"Retry-After": f"{max(1, round(wait))}"})
        return grant

    def _spend(self, token_id: str) -> float:
        """Seconds until a token may ask again; 0 now. A bucket that fills at a steady rate."""
        now = time.monotonic()
        left, then = self._allowance.get(token_id, (self.limits.burst, now))
        left = min(self.limits.burst, left + (now - then) * self.limits.requests_per_second)
        if left < 1:
            self._allowance[token_id] = (left, now)
            return (1 - left) / self.limits.requests_per_second
        self._allowance[token_id] = (left - 1, now)
        return 0.0

    @staticmethod
    def room(grant: Grant, asked: str | None) -> str | None:
        """The room to read: that which was asked for, the token's own, or None for all.

        Raises:
            HTTPException: 404, as for a room that is not there.
        """
        if asked is not None and not grant.sees(asked):
            raise HTTPException(404, "There is no such room.")
        return asked if asked is not None else grant.room

    # -- who lives ------------------------------------------------------------------------------------------------

    async def beat(self, told: Producer) -> None:
        """A heartbeat: keeps it, and what it proves about earlier processes of the same kernel."""

        def work() -> list[str]:
            known = self.storage.producers()
            gone = [] if told.gone else replaced(told, known.values(), told.seen)
            for one in [told, *gone]:
                self.storage.beat(one)
            return [told.source, *(one.source for one in gone)]

        await self._tell(await self.write(work))

    async def _tell(self, sources: Iterable[str]) -> None:
        """Show the running cards of some producers anew."""
        named = set(sources)
        running = await self.read(self.storage.running)
        self.bus.publish([(room, card) for room, card, source in running if source in named])

    async def _look(self) -> None:
        """Notice silence, and look for the processes of the silent."""
        shown: dict[str, str] = {}
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                shown = await self._looked(shown)
            except Exception as error:
                # A database that is away for a moment must not end the watch.
                logging.getLogger(__name__).warning("Looking for silent sessions failed: %s", error)

    async def _looked(self, shown: dict[str, str]) -> dict[str, str]:
        running = await self.read(self.storage.running)
        producers = await self.read(lambda: self.storage.producers({source for _, _, source in running}))
        now = time.time()
        states: dict[str, str] = {}
        for source, producer in producers.items():
            states[source] = contact(producer, now, self.views.since)
            if states[source] != "live" and producer.gone is None and vanished(producer):
                await self.write(partial(self.storage.beat, replace(producer, gone=now)))
                states[source] = "interrupted"
        changed = {source for source, state in states.items() if shown.get(source, state) != state}
        if changed:
            await self._tell(changed)
        return states


def source_of(producer: str) -> str:
    """The source of a producer's events."""
    return SOURCE_PREFIX + producer
