"""What a board and scripts read: events in order, cards, rooms, points of a curve."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, HTTPException, Query, Request, Response

from .board import Board

router = APIRouter(tags=["read"])
Room = Annotated[str | None, Query(max_length=200, description="default: the token's room, or all")]
Cursor = Annotated[int, Query(ge=0, lt=1 << 53)]


@router.get("/v1/events")
async def events(
    request: Request,
    after: Cursor = 0,
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
    room: Room = None,
    card: Annotated[str | None, Query(max_length=100)] = None,
    type: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Events behind a cursor, as they were sent; `next` is the cursor to go on from."""
    board: Board = request.app.state.board
    asked = board.room(board.grant(request, "read"), room)
    rows = await board.read(lambda: board.storage.events(after, limit, room=asked, card=card, kind=type))
    cursor = rows[-1][0] if rows else after
    text = b'{"events":[' + b",".join(body for _, body in rows) + b'],"next":%d}' % cursor
    return Response(text, media_type="application/json")


@router.get("/v1/cards")
async def cards(
    request: Request,
    room: Room = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    before: Annotated[int | None, Query(ge=0, lt=1 << 53, description="`more` of the page before")] = None,
) -> Response:
    """Cards, the newest attempt first. `next` is where the stream goes on, `more` where the next page does."""
    board: Board = request.app.state.board
    asked = board.room(board.grant(request, "read"), room)

    def work() -> dict[str, Any]:
        head = board.storage.head()  # before the cards: what comes between is told twice rather than never
        rows = board.storage.cards(asked, limit, before=before)
        views = board.views.of([row for _, row in rows])
        return {"cards": views, "next": head, "more": rows[-1][0] if len(rows) == limit else None}

    return Response(orjson.dumps(await board.read(work)), media_type="application/json")


@router.get("/v1/cards/{card:path}/points")
async def points(
    request: Request,
    card: str,
    room: Room = None,
    attempt: Annotated[int, Query(ge=1, lt=1 << 53)] = 1,
    most: Annotated[int, Query(ge=2, le=2000)] = 300,
) -> Response:
    """An attempt's logged points, at most `most` of them evenly chosen; `total` says of how many."""
    board: Board = request.app.state.board
    asked = board.room(board.grant(request, "read"), room) or "default"

    def work() -> dict[str, Any]:
        cursors = board.storage.cursors(asked, card, attempt, "card.progress")
        step = max(1, -(-(len(cursors) - 1) // (most - 1)))
        chosen = cursors[::step] + ([] if not cursors or (len(cursors) - 1) % step == 0 else cursors[-1:])
        bodies = board.storage.bodies(chosen)
        told = [(orjson.loads(bodies[cursor]).get("data") or {}).get("point") for cursor in chosen if cursor in bodies]
        return {"points": [one for one in told if isinstance(one, dict)], "total": len(cursors)}

    return Response(orjson.dumps(await board.read(work)), media_type="application/json")


@router.get("/v1/cards/{card:path}")
async def card(request: Request, card: str, room: Room = None) -> Response:
    """One card."""
    board: Board = request.app.state.board
    asked = board.room(board.grant(request, "read"), room) or "default"
    view = await board.read(lambda: board.views.one(asked, card))
    if view is None:
        raise HTTPException(404, "There is no such card.")
    return Response(orjson.dumps(view), media_type="application/json")


@router.get("/v1/rooms")
async def rooms(request: Request) -> dict[str, Any]:
    """Rooms that this token sees, with their number of cards and what they hold."""
    board: Board = request.app.state.board
    grant = board.grant(request, "read")
    found = [row for row in await board.read(board.storage.rooms) if grant.sees(row[0])]
    used = await board.read(board.storage.usage)
    return {
        "rooms": [{"name": name, "cards": count} for name, count in found],
        "room": grant.room,  # that this token is for; null for all
        "usage": {name: used[name]._asdict() for name, _ in found if name in used},
    }
