"""Cards as they change: server-sent events that a browser resumes, and long polling with the same cursor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse

from .board import Board
from .bus import Key, Subscription
from .routes_read import Cursor, Room
from .tokens import Grant

router = APIRouter(tags=["live"])
FRAME: Final = 0.02  # seconds between two looks: a screen shows no more
REST: Final = 3.0  # times as long as a look took: on a busy board viewers leave three quarters of it to senders
PING: Final = 15.0
BACKLOG: Final = 500  # changed cards beyond which a viewer rather begins anew


@router.get("/v1/stream")
async def stream(request: Request, room: Room = None, after: Cursor | None = None) -> Response:
    """Server-sent events: `card` with a whole card, `gone` with room and id of a deleted one, `reset` when too much was
    missed; ids go into `Last-Event-ID`.

    A slow reader gets each card's newest state, never a backlog.
    """
    board: Board = request.app.state.board
    grant = board.grant(request, "read")
    asked = board.room(grant, room)
    if len(board.bus) >= board.limits.streams:
        raise HTTPException(503, "Too many streams are open.", {"Retry-After": "30"})
    told = request.headers.get("last-event-id", "")
    begin = int(told) if told.isdecimal() and len(told) < 16 else after
    subscription = board.bus.subscribe(asked)
    try:
        await _missed(board, subscription, begin)
    except BaseException:
        board.bus.leave(subscription)
        raise
    return StreamingResponse(
        _frames(board, request, grant, subscription),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _missed(board: Board, subscription: Subscription, begin: int | None) -> None:
    """Mark what changed since the viewer's cursor. Subscribed first, so nothing falls between."""
    if begin is None:
        return
    if begin > board.bus.head:
        subscription.overflown = True  # the database was replaced by an older one
        return
    rows = await board.read(lambda: board.storage.changed(subscription.room, begin, BACKLOG + 1))
    if len(rows) > BACKLOG:
        subscription.overflown = True
    subscription.tell((room, card) for room, card, _ in rows)


async def _frames(board: Board, request: Request, grant: Grant, subscription: Subscription) -> AsyncIterator[bytes]:
    try:
        yield b": aquin-nb\nretry: 1000\n\n"
        while not board.bus.closing and _valid(board, grant):
            if subscription.overflown:
                subscription.overflown = False
                subscription.take(BACKLOG * 10)
                yield b"id: %d\nevent: reset\ndata: {}\n\n" % board.bus.head
            head, keys = board.bus.head, subscription.take()
            if keys:
                began = time.monotonic()
                views = await board.read(lambda keys=keys: board.views.several(keys))  # type: ignore[misc]
                frames = [b"event: card\ndata: %b\n\n" % orjson.dumps(view) for view in views]
                frames += [b"event: gone\ndata: %b\n\n" % orjson.dumps(one) for one in _gone(keys, views)]
                yield b"".join(frames)
                if not subscription.waiting:
                    yield b"id: %d\nevent: seen\ndata: {}\n\n" % head
                spent = time.monotonic() - began
                await asyncio.sleep(max(FRAME - spent, REST * spent))
            elif not await subscription.wait(PING):
                yield b": ping\n\n"
    finally:
        board.bus.leave(subscription)


def _gone(keys: Sequence[Key], views: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    there = {(view["room"], view["id"]) for view in views}
    return [{"room": room, "id": card} for room, card in keys if (room, card) not in there and card]


def _valid(board: Board, grant: Grant) -> bool:
    known = any(row.id == grant.id for row in board.tokens.rows())
    return known and (grant.expires is None or grant.expires > time.time())


@router.get("/v1/changes")
async def changes(
    request: Request,
    after: Cursor = 0,
    room: Room = None,
    wait: Annotated[float, Query(ge=0, le=30)] = 25.0,
) -> Response:
    """Long polling for where streams do not pass: cards that changed behind a cursor, or none after `wait` seconds."""
    board: Board = request.app.state.board
    asked = board.room(board.grant(request, "read"), room)
    subscription = board.bus.subscribe(asked)
    try:
        await _missed(board, subscription, after)
        if not (subscription.waiting or subscription.overflown or board.bus.closing):
            await subscription.wait(wait)
        reset = subscription.overflown
        head, keys = board.bus.head, subscription.take(BACKLOG * 10)
        views = [] if reset else await board.read(lambda: board.views.several(keys))
        answer: dict[str, Any] = {
            "cards": views,
            "gone": [] if reset else _gone(keys, views),
            "next": max(after, head) if not reset else head,
            "reset": reset,
        }
        return Response(orjson.dumps(answer), media_type="application/json")
    finally:
        board.bus.leave(subscription)
