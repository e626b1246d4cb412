"""The web application: every route of the board over one `Board`."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Iterable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from . import page, routes_access, routes_admin, routes_ingest, routes_read, stream
from .blobs import BlobError
from .board import Board, Limits
from .describe import describe
from .envelope import SCHEMA, EventError
from .guard import Guard
from .storage import Storage, StorageBusy, StorageFull

NAME = "aquin-nb orchestrator"
MODULES = (routes_ingest, routes_read, routes_access, routes_admin, stream)


class Problem(BaseModel):
    """Why a request was not served, in one sentence."""

    detail: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "It cannot be read.", 401: "No valid token.", 403: "Not with this token, or from another page.",
        404: "It is not there.", 405: "Not by this method.", 409: "Another version of the contract.",
        413: "Too large.", 415: "Not this kind of content.", 422: "A parameter makes no sense.",
        429: "Too fast; see Retry-After.", 503: "Not right now; see Retry-After.",
        507: "No room left.",
    }.items()
}  # fmt: skip


def create_app(storage: Storage, *, hosts: Iterable[str] = (), limits: Limits | None = None) -> FastAPI:
    """The application over an opened storage; closing the storage stays with the caller.

    Args:
        hosts: names beside loopback's under which it is reached.
    """
    board = Board(storage, limits)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await board.start()
        yield
        await board.stop()

    # The pages that come with FastAPI load scripts from elsewhere; the description itself is under /v1/openapi.json.
    app = FastAPI(title=NAME, version=f"{SCHEMA}", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.board = board
    app.add_middleware(Guard, hosts=tuple(hosts))

    @app.get("/v1/health", tags=["health"])
    async def health() -> dict[str, Any]:
        """Whether this is an orchestrator, and which schema it speaks. Needs no token."""
        return {"name": NAME, "schema": SCHEMA}

    @functools.cache
    def described() -> dict[str, Any]:
        return describe(get_openapi(title=NAME, version=app.version, routes=app.routes))

    @app.get("/v1/openapi.json", include_in_schema=False)
    async def description(request: Request) -> dict[str, Any]:
        board.grant(request, "read")
        return described()

    for module in MODULES:
        app.include_router(module.router, responses=PROBLEMS)
    page.mount(app)

    app.add_exception_handler(405, _other_method)
    app.add_exception_handler(StorageBusy, _busy)
    app.add_exception_handler(EventError, _bad)
    app.add_exception_handler(BlobError, _bad)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ValidationError, _invalid)
    app.add_exception_handler(ClientDisconnect, _gone)
    return app


async def _other_method(request: Request, _: Exception) -> JSONResponse:
    routes = [route for module in MODULES for route in module.router.routes if isinstance(route, APIRoute)]
    path = next((one.path for one in routes if one.path_regex.match(request.url.path)), None)
    there = {method for one in routes if one.path == path for method in one.methods or ()}
    allowed = ", ".join(sorted(there or {"GET"}))
    return JSONResponse({"detail": f"Only {allowed} is answered here."}, 405, {"Allow": allowed})


async def _busy(_: Request, error: Exception) -> JSONResponse:
    status, wait = (507, "5") if isinstance(error, StorageFull) else (503, "1")
    return JSONResponse({"detail": str(error)}, status, {"Retry-After": wait})


async def _bad(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 400)


async def _gone(_: Request, __: Exception) -> Response:
    # A sender that was killed while it spoke is no error of ours; nobody reads this answer.
    return Response(status_code=400)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError | ValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return JSONResponse({"detail": f"{where}: {first['msg']}"}, 422)
