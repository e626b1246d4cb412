"""Tokens, and the one-use codes that let a browser in without a token in any address."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from .board import Board
from .guard import MAX_SMALL, body_of
from .tokens import BROWSER_SECONDS, CODE_SECONDS, Grant, Scope, new_token, row_of

router = APIRouter(tags=["access"])


class NewToken(BaseModel):
    """What a new token may do."""

    model_config = ConfigDict(extra="forbid", strict=True)

    scopes: Annotated[list[Scope], Field(min_length=1, max_length=3)]
    room: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")] | None = None
    seconds: Annotated[float, Field(gt=0, le=10 * 365 * 86400)] | None = None


class Code(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    code: Annotated[str, Field(max_length=100)]


@router.post("/v1/launch-codes", status_code=201)
async def launch_code(request: Request) -> dict[str, Any]:
    """A code for the address of the page (`/#code=…`): good once, for a minute."""
    board: Board = request.app.state.board
    return {"code": board.tokens.new_code(board.grant(request, "read")), "seconds": CODE_SECONDS}


@router.post("/v1/launch")
async def launch(request: Request) -> dict[str, Any]:
    """Exchange a code for a token that reads for 12 hours. Needs no token."""
    board: Board = request.app.state.board
    told = Code.model_validate_json(await body_of(request, MAX_SMALL))
    grant = board.tokens.spend_code(told.code)
    if grant is None:
        raise HTTPException(403, "This code is used up or too old; ask for a new one.")
    token = await _minted(board, ["read"], grant.room, BROWSER_SECONDS)
    return {"token": token, "seconds": BROWSER_SECONDS, "room": grant.room}


@router.post("/v1/tokens", status_code=201)
async def add_token(request: Request) -> dict[str, Any]:
    """A new token; it is shown this once."""
    board: Board = request.app.state.board
    grant = board.grant(request, "admin")
    asked = NewToken.model_validate_json(await body_of(request, MAX_SMALL))
    if grant.room is not None and asked.room != grant.room:
        raise HTTPException(403, "This token is for another room.")
    token = await _minted(board, list(asked.scopes), asked.room, asked.seconds)
    return {"token": token, "id": token.split("_")[1]}


@router.get("/v1/tokens")
async def tokens(request: Request) -> dict[str, Any]:
    """Tokens by id; never the tokens themselves."""
    board: Board = request.app.state.board
    grant = board.grant(request, "admin")
    rows = [row for row in board.tokens.rows() if _within(grant, row.room)]
    keys = ("id", "room", "created", "expires")
    return {"tokens": [{key: getattr(row, key) for key in keys} | {"scopes": row.scopes.split()} for row in rows]}


@router.delete("/v1/tokens/{token_id}", status_code=204, response_model=None)
async def drop_token(request: Request, token_id: str) -> None:
    """Take a token back; its streams end."""
    board: Board = request.app.state.board
    grant = board.grant(request, "admin")
    known = {row.id: row for row in board.tokens.rows()}
    if token_id not in known or not _within(grant, known[token_id].room):
        raise HTTPException(404, "There is no such token.")
    board.tokens.drop(token_id)
    await board.write(lambda: board.storage.drop_token(token_id))


def _within(grant: Grant, room: str | None) -> bool:
    return grant.room is None or grant.room == room


async def _minted(board: Board, scopes: list[Scope], room: str | None, seconds: float | None) -> str:
    token = new_token()
    row = row_of(token, scopes, room, seconds)
    await board.write(lambda: board.storage.put_token(row))
    board.tokens.keep(row)
    return token
