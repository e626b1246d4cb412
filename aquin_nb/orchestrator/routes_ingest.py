"""What sessions send: events, heartbeats, and bytes under their hash."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, HTTPException, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from .blobs import MAX_BLOB, media_type
from .board import Board, source_of
from .envelope import MAX_BODY, SCHEMA, parse_batch
from .guard import MAX_SMALL, WHOLE, body_of
from .storage import Outcome, Producer

router = APIRouter(tags=["ingest"])
MEDIA = ("application/cloudevents-batch+json", "application/json")
Uuid = Annotated[str, Path(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Sha256 = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


Short = Annotated[str, Field(max_length=300, pattern=r"^[^\x00]*$")]


class Refused(BaseModel):
    index: int
    id: str | None
    reason: str


class Taken(BaseModel):
    """What became of a batch. Everything accepted is on disk."""

    accepted: int
    duplicates: int = Field(description="events that change nothing: here already, or of a card that was deleted")
    deleted: int = Field(default=0, description="of the duplicates, those of a card that was deleted")
    rejected: list[Refused]
    next: dict[str, int] = Field(description="per source, the last sequence before the first that is missing")


class Heartbeat(BaseModel):
    """A process says that it lives, or that it ends."""

    model_config = ConfigDict(extra="ignore", strict=True)

    alive: bool = True
    pid: Annotated[int, Field(ge=0, lt=1 << 31), WHOLE] | None = None
    host: Short | None = None
    started_at: Short | None = None
    born: Short | None = None
    kernel: Short | None = None
    pending: Annotated[int, Field(ge=0, lt=1 << 53), WHOLE] | None = None


@router.post("/v1/events", response_model=Taken)
async def add(request: Request) -> Response:
    """Keep a batch of CloudEvents (application/cloudevents-batch+json); the answer comes once they are on disk."""
    board: Board = request.app.state.board
    grant = board.grant(request, "ingest")
    if request.headers.get("content-type", "").split(";")[0].strip().lower() not in MEDIA:
        raise HTTPException(415, f"Send a JSON array of events as {MEDIA[0]}.")
    events, refused = parse_batch(await body_of(request, MAX_BODY))
    if refused and not events and all(one.reason.startswith("specversion: Input") for one in refused):
        answer = {"detail": f"These events are of another version; here schema {SCHEMA} is spoken.", "schema": SCHEMA}
        return Response(orjson.dumps(answer), 409, media_type="application/json")
    if grant.room is not None and any(event.room != grant.room for event in events):
        raise HTTPException(403, "This token is for another room.")
    for room in {event.room for event in events}:
        if (reason := board.keeper.full(room)) is not None:
            raise HTTPException(507, reason, {"Retry-After": "30"})
    outcome = await asyncio.wrap_future(board.writer.add(events)) if events else Outcome()
    rejected = [{"index": one.position, "id": one.id, "reason": one.reason} for one in refused]
    if outcome.rejected:
        places = _places(len(events), {one.position for one in refused})
        rejected += [{"index": places[one.position], "id": one.id, "reason": one.reason} for one in outcome.rejected]
    answer = {
        "accepted": outcome.accepted,
        "duplicates": outcome.duplicates,
        "rejected": sorted(rejected, key=lambda one: one["index"]),  # type: ignore[arg-type, return-value]
        "next": outcome.next,
    }
    if outcome.deleted:
        answer["deleted"] = outcome.deleted
    return Response(orjson.dumps(answer), media_type="application/json")


def _places(kept: int, refused: set[int]) -> list[int]:
    """Where in its batch each kept event stood."""
    return [place for place in range(kept + len(refused)) if place not in refused]


@router.put("/v1/producers/{producer}", status_code=204, response_model=None)
async def beat(request: Request, producer: Uuid) -> None:
    """A heartbeat, every 10 seconds; with `alive` false the process says goodbye."""
    board: Board = request.app.state.board
    board.grant(request, "ingest")
    told = Heartbeat.model_validate_json(await body_of(request, MAX_SMALL))
    now = time.time()
    fields: dict[str, Any] = told.model_dump(exclude={"alive"})
    await board.beat(Producer(source_of(producer), seen=now, beat=now, gone=None if told.alive else now, **fields))


@router.put("/v1/blobs/{sha256}", status_code=201, responses={200: {"description": "It was here already."}})
async def put_blob(request: Request, sha256: Sha256) -> Response:
    """Keep bytes under their SHA-256; 200 where they were here already."""
    board: Board = request.app.state.board
    board.grant(request, "ingest")
    content = await body_of(request, MAX_BLOB)
    new = await board.read(lambda: board.blobs.put(sha256, content))
    return Response(status_code=201 if new else 200)


@router.get("/v1/blobs/{sha256}")
async def get_blob(request: Request, sha256: Sha256) -> Response:
    """Bytes by hash, as a download; their type is told from the bytes."""
    board: Board = request.app.state.board
    board.grant(request, "read")
    content = await board.read(lambda: board.blobs.get(sha256))
    if content is None:
        raise HTTPException(404, "There is no such blob.")
    headers = {
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Content-Disposition": f'attachment; filename="{sha256[:16]}"',
    }
    return Response(content, media_type=media_type(content), headers=headers)
