"""The description of the API, `/v1/openapi.json`: what FastAPI finds, and the bodies that routes read by themselves."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from .blobs import KINDS
from .envelope import MAX_EVENTS, SCHEMA
from .routes_access import Code, NewToken
from .routes_admin import Retention
from .routes_ingest import MEDIA, Heartbeat

_OPEN: Final = {"/v1/health", "/v1/launch"}
_MODELS: Final[dict[tuple[str, str], type[BaseModel]]] = {
    ("put", "/v1/producers/{producer}"): Heartbeat,
    ("post", "/v1/launch"): Code,
    ("post", "/v1/tokens"): NewToken,
    ("post", "/v1/gc"): Retention,
}
_EVENT: Final = {
    "specversion": "1.0",
    "id": "01890000-0000-7000-8000-000000000000",
    "source": "urn:aquin:01890000-0000-7000-8000-000000000001",
    "type": "tool.start",
    "subject": "01890000-0000-7000-8000-000000000002",
    "time": "2026-01-01T00:00:00Z",
    "sequence": 1,
    "data": {"tool": "sae.train", "kind": "saeTrain", "name": "a run"},
}
_BATCH: Final = {
    "type": "array",
    "maxItems": MAX_EVENTS,
    # Each is judged alone: one that is no event is named in the answer, and stops no other.
    "items": {"description": f"A CloudEvent as JSON; its data has a schema of version {SCHEMA} by type."},
    "example": [_EVENT],
}


def describe(found: dict[str, Any]) -> dict[str, Any]:
    """Complete what FastAPI found: bodies, content types and who may."""
    _, definitions = models_json_schema(
        [(model, "validation") for model in _MODELS.values()], ref_template="#/components/schemas/{model}"
    )
    found["components"]["schemas"] |= definitions["$defs"]
    found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            if path not in _OPEN:
                operation["security"] = [{"token": []}]
            if (model := _MODELS.get((method, path))) is not None:
                content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
                operation["requestBody"] = {"required": model is not Retention, "content": content}
    paths = found["paths"]
    paths["/v1/events"]["post"]["requestBody"] = {
        "required": True, "content": {kind: {"schema": _BATCH} for kind in MEDIA},
    }  # fmt: skip
    blob = paths["/v1/blobs/{sha256}"]
    blob["put"]["requestBody"] = {
        "required": True, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }  # fmt: skip
    blob["get"]["responses"]["200"]["content"] = {kind: {} for kind in KINDS}
    paths["/v1/stream"]["get"]["responses"]["200"]["content"] = {"text/event-stream": {}}
    return found
