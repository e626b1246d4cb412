"""What is told of a run while it runs: CloudEvents 1.0, one small typed record each, numbered by whoever tells it.

Events of one `source` carry `sequence` 1, 2, 3, ...; order follows from it and never from a clock. What is not known
here (a newer type, a new field) is kept as it came, so that a board can show it generically.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter

SCHEMA = 1
"""Version of the envelope and its data; a server that speaks another one says so (409)."""

MAX_EVENT_BYTES = 64 * 1024
MAX_BATCH_BYTES = 1024 * 1024
MAX_BATCH_EVENTS = 500
MAX_TEXT = 8 * 1024
MAX_ITEMS = 64
MAX_DEPTH = 8
BATCH_TYPE = "application/cloudevents-batch+json"
NOBODY = "00000000-0000-0000-0000-000000000000"
"""The subject of an event that is of no card: what a damaged outbox lost cannot be told by card."""

LASTING = ("tool.start", "tool.result", "card.artifact", "sync.gap")
"""Types that survive a power cut once told; the others, once a second has passed."""

NonFinite = Literal["NaN", "Infinity", "-Infinity"]
Number = int | float | NonFinite | None
Value = bool | int | float | str | None
Uuid = Annotated[str, Field(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]
Subject = Annotated[str, Field(min_length=1, max_length=200)]
Source = Annotated[str, Field(pattern=r"^urn:aquin:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Whole = Annotated[int, Field(ge=1, le=2**53 - 1)]


class Told(BaseModel):
    """A part of an event. Unknown fields are kept: they come from a newer version."""

    model_config = ConfigDict(extra="allow")


class LeftOut(Told):
    """Something that a slimmed card no longer holds; the whole of it lies beside the notebook."""

    path: str = Field(description="where in the card, as a JSON pointer")
    what: str = Field(description="how much is missing, in words: 50 of 58 items")


class External(Told):
    """Data too large for an event, kept under the hash of its content."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]
    media_type: str = "application/json"


class Data(Told):
    """What an event says. Everything may be missing: a start without a name is better shown than refused."""

    external: External | None = Field(default=None, description="where all of it is, when it was too large")


class Advance(Told):
    """How far a run is, as `Progress` of its card."""

    stage: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    fraction: Number = 0.0
    rate: Number = Field(default=None, description="units a second in this stage")
    eta_seconds: Number = Field(default=None, description="seconds left in this stage")


class Failure(Told):
    """Why a run ended early."""

    type: str = ""
    message: str = ""


class ToolStart(Data):
    """A verb was called."""

    tool: str = Field(default="", description="the verb: capture_activations, sae.train, ...")
    kind: str = Field(default="", description="kind of the card it makes")
    name: str = ""
    session: str = ""
    device: str = Field(default="", description="what the machine is called, for a person to know it by")
    card: dict[str, Any] | None = None
    left_out: list[LeftOut] = Field(default_factory=list)


class CardProgress(Data):
    """How far a run is, or one logged point of its curve, or both."""

    progress: Advance | None = None
    point: dict[str, Value] | None = Field(default=None, description='by column; NaN and infinities as "NaN", ...')


class CardSnapshot(Data):
    """The card as it is now, slimmed."""

    card: dict[str, Any] | None = None
    left_out: list[LeftOut] = Field(default_factory=list)


class ToolResult(Data):
    """How a verb ended, and its card."""

    status: Literal["completed", "failed", "cancelled"] | None = None
    tool: str = ""
    error: Failure | None = None
    seconds: Number = None
    card: dict[str, Any] | None = None
    left_out: list[LeftOut] = Field(default_factory=list)


class CardArtifact(Data):
    """A file that the run wrote, or bytes kept for it under their hash."""

    role: str = ""
    path: str = ""
    name: str = ""
    sha256: str | None = None
    bytes: int | None = None
    media_type: str = ""


class GapRange(Told):
    """What the lost values of one quantity were between, so that a curve can say what it lacks."""

    min: Number = None
    max: Number = None
    last: Number = None


class SyncGap(Data):
    """Events that were told and are not there: how many, and why. Never silent."""

    reason: str = ""
    count: int | None = Field(default=None, description="events that were lost; none where nobody can know")
    after: int = Field(default=0, description="sequence of the source's last event before them")
    origin: str = Field(default="", description="the source that lost them, where it is another one")
    first_time: str = ""
    last_time: str = ""
    ranges: dict[str, GapRange] = Field(default_factory=dict)


class Event(BaseModel):
    """One CloudEvent in its JSON form; `data` of a known type is checked by `parse`.

    Attributes:
        source: who tells it: one process life.
        subject: the card; ours are UUIDs, which nobody may count on.
        sequence: per source, from 1, without gaps.
        attempt: which run of the same cell it belongs to.
    """

    model_config = ConfigDict(extra="allow")

    specversion: Literal["1.0"] = "1.0"
    id: Uuid
    source: Source
    type: Annotated[str, Field(min_length=1, max_length=200)]
    subject: Subject
    time: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")]
    sequence: Whole
    room: Annotated[str, Field(min_length=1, max_length=200)] = "default"
    attempt: Whole = 1
    datacontenttype: Literal["application/json"] = "application/json"
    data: dict[str, Any] = Field(default_factory=dict)


class ToolStartEvent(Event):
    type: Literal["tool.start"]
    data: ToolStart = Field(default_factory=ToolStart)  # type: ignore[assignment]


class CardProgressEvent(Event):
    type: Literal["card.progress"]
    data: CardProgress = Field(default_factory=CardProgress)  # type: ignore[assignment]


class CardSnapshotEvent(Event):
    type: Literal["card.snapshot"]
    data: CardSnapshot = Field(default_factory=CardSnapshot)  # type: ignore[assignment]


class ToolResultEvent(Event):
    type: Literal["tool.result"]
    data: ToolResult = Field(default_factory=ToolResult)  # type: ignore[assignment]


class CardArtifactEvent(Event):
    type: Literal["card.artifact"]
    data: CardArtifact = Field(default_factory=CardArtifact)  # type: ignore[assignment]


class SyncGapEvent(Event):
    type: Literal["sync.gap"]
    data: SyncGap = Field(default_factory=SyncGap)  # type: ignore[assignment]


KNOWN: dict[str, type[Event]] = {
    "tool.start": ToolStartEvent,
    "card.progress": CardProgressEvent,
    "card.snapshot": CardSnapshotEvent,
    "tool.result": ToolResultEvent,
    "card.artifact": CardArtifactEvent,
    "sync.gap": SyncGapEvent,
}


def _tag(value: Any) -> str:
    found = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    return found if isinstance(found, str) and found in KNOWN else "other"


AnyEvent = Annotated[
    Annotated[ToolStartEvent, Tag("tool.start")]
    | Annotated[CardProgressEvent, Tag("card.progress")]
    | Annotated[CardSnapshotEvent, Tag("card.snapshot")]
    | Annotated[ToolResultEvent, Tag("tool.result")]
    | Annotated[CardArtifactEvent, Tag("card.artifact")]
    | Annotated[SyncGapEvent, Tag("sync.gap")]
    | Annotated[Event, Tag("other")],
    Discriminator(_tag),
]
EVENT: TypeAdapter[Event] = TypeAdapter(AnyEvent)


def parse(given: str | bytes | Mapping[str, Any]) -> Event:
    """An event from its JSON text or object, with its data checked where the type is known.

    Raises:
        ValueError: pydantic's, naming every field that is wrong.

    >>> parse({"id": "01890000-0000-7000-8000-000000000000", "type": "card.tagged",
    ...        "source": "urn:aquin:01890000-0000-7000-8000-000000000001", "time": "2026-01-01T00:00:00Z",
    ...        "subject": "01890000-0000-7000-8000-000000000002", "sequence": 1, "data": {"tag": "new"}}).data
    {'tag': 'new'}
    """
    if isinstance(given, str | bytes):
        return EVENT.validate_json(given)
    return EVENT.validate_python(given)


def _encoder() -> Callable[[Any], str]:
    encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False)
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    # What `encoder.encode` would make anew for every event; that alone takes twice the time of the encoding.
    chunks = make(None, encoder.default, json.encoder.encode_basestring, None, ":", ",", False, False, False)
    return lambda data: "".join(chunks(data, 0))


_plain = _encoder()


def encode(data: Any) -> str:
    """JSON text; NaN and infinities, which JSON has none of, become the strings "NaN", "Infinity" and "-Infinity".

    Numbers of numpy and torch become plain ones, and what no JSON can hold becomes its text.

    >>> encode({"fvu": float("nan"), "step": 3})
    '{"fvu":"NaN","step":3}'
    """
    try:
        return _plain(data)
    except (TypeError, ValueError, RecursionError):
        return _plain(plain(data))


def plain(value: Any, depth: int = 0) -> Any:
    """The same made of dicts, lists, strings, finite numbers, booleans and None alone."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value).encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _named(value)
    if depth > 4 * MAX_DEPTH:
        return "…"
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"), depth)
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one, depth + 1) for one in value]
    if callable(getattr(value, "tolist", None)):
        return plain(value.tolist(), depth + 1)
    return str(value)


def _named(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def slim(card: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """A card small enough to be told, and what was left out of it (see `LeftOut`).

    Lists keep their first 64 items, texts 8 kB; what lies deeper than 8 levels goes.

    >>> slim({"kind": "x", "ids": list(range(100))})[1]
    [{'path': '/ids', 'what': '36 of 100 items'}]
    """
    left: list[dict[str, str]] = []
    kept = _slim(plain(card), "", 0, left)
    return kept, left


def _slim(value: Any, path: str, depth: int, left: list[dict[str, str]]) -> Any:
    if isinstance(value, str) and len(value) > MAX_TEXT:
        left.append({"path": path, "what": f"{len(value) - MAX_TEXT} of {len(value)} characters"})
        return value[:MAX_TEXT]
    if isinstance(value, dict | list) and depth >= MAX_DEPTH and value:
        left.append({"path": path, "what": f"{len(value)} of {len(value)} items"})
        return type(value)()
    if isinstance(value, dict):
        return {key: _slim(one, f"{path}/{_pointer(key)}", depth + 1, left) for key, one in value.items()}
    if isinstance(value, list):
        if len(value) > MAX_ITEMS:
            left.append({"path": path, "what": f"{len(value) - MAX_ITEMS} of {len(value)} items"})
        return [_slim(one, f"{path}/{i}", depth + 1, left) for i, one in enumerate(value[:MAX_ITEMS])]
    return value


def _pointer(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
