"""What an owner does to what is kept: delete a card, thin old curves."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from .board import Board
from .guard import MAX_SMALL, WHOLE, body_of
from .maintenance import ATTEMPTS, DAYS
from .routes_read import Room

router = APIRouter(tags=["admin"])


class Retention(BaseModel):
    """What is thinned; see `aquin-nb orchestrator gc`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    days: Annotated[float, Field(ge=0, le=100_000)] = DAYS
    attempts: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] = ATTEMPTS
    dry_run: bool = False


@router.delete("/v1/cards/{card:path}", status_code=204, response_model=None)
async def delete_card(request: Request, card: str, room: Room = None) -> None:
    """Delete a card for good: what comes later of its attempts is acknowledged and not kept.

    An attempt that begins later, as when its cell runs again, shows the card anew.
    """
    board: Board = request.app.state.board
    asked = board.room(board.grant(request, "admin"), room) or "default"
    if not await board.delete(asked, card):
        raise HTTPException(404, "There is no such card.")


@router.post("/v1/gc")
async def collect(request: Request) -> dict[str, Any]:
    """Thin old curves and drop bytes that nothing names, in every room; how many went, or would."""
    board: Board = request.app.state.board
    if board.grant(request, "admin").room is not None:
        raise HTTPException(403, "This token is for one room; retention is for all.")
    asked = Retention.model_validate_json(await body_of(request, MAX_SMALL) or b"{}")
    return asdict(await board.keeper.collect(asked.days, asked.attempts, asked.dry_run))
