"""A batch of events as it comes over the wire: checked one by one, so that a poisoned event stops no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple, NotRequired

import orjson
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from ..cards import events as told
from ..errors import AquinError

SCHEMA: Final = told.SCHEMA
MAX_EVENTS: Final = told.MAX_BATCH_EVENTS
MAX_BODY: Final = told.MAX_BATCH_BYTES
MAX_EVENT: Final = told.MAX_EVENT_BYTES
MAX_DEPTH: Final = 16
MAX_TEXT: Final = 1 << 15
SOURCE_PREFIX: Final = "urn:aquin:"


class EventError(AquinError):
    """A batch of events cannot be read at all."""


class Event(NamedTuple):
    """A checked event and the exact bytes that are kept of it."""

    id: str
    source: str
    sequence: int
    room: str
    card: str  # "" where an event is about no card
    attempt: int
    type: str
    time: str
    data: dict[str, Any]
    body: bytes


class Refusal(NamedTuple):
    """An event of a batch that can never be kept, and why."""

    position: int  # in the batch, from 0
    id: str | None
    reason: str


class _Envelope(TypedDict):
    """`told.Event` without its data: what is checked of every event at the cost of a dict."""

    specversion: Literal["1.0"]
    id: told.Uuid
    source: told.Source
    type: Annotated[str, Field(min_length=1, max_length=200)]
    subject: told.Subject
    time: Annotated[str, Field(pattern=told.Event.model_fields["time"].metadata[0].pattern)]
    sequence: told.Whole
    room: NotRequired[Annotated[str, Field(min_length=1, max_length=200)]]
    attempt: NotRequired[told.Whole]
    datacontenttype: NotRequired[Literal["application/json"]]
    data: NotRequired[dict[str, Any]]


_ENVELOPES = TypeAdapter(list[_Envelope], config=ConfigDict(extra="ignore"))
_PLAIN = frozenset({int, float})


def parse_batch(raw: bytes) -> tuple[list[Event], list[Refusal]]:
    """The events of a JSON array and what was refused of it; order is kept.

    Raises:
        EventError: it is no JSON, no array, or holds more than `MAX_EVENTS`.

    >>> parse_batch(b'[{"type": "x"}]')[1][0].reason
    'id: Field required'
    """
    try:
        items = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise EventError(f"The batch is not JSON: {error}.") from None
    if not isinstance(items, list):
        raise EventError("A batch is a JSON array of CloudEvents.")
    if len(items) > MAX_EVENTS:
        raise EventError(f"A batch holds at most {MAX_EVENTS} events, not {len(items)}.")
    return parse_items(items)


def parse_items(items: Sequence[Any]) -> tuple[list[Event], list[Refusal]]:
    """As `parse_batch`, of values that were JSON."""
    try:
        envelopes: Sequence[Any] = _ENVELOPES.validate_python(items)
    except ValidationError:
        envelopes = [None] * len(items)
    events, refused = [], []
    for index, (item, lean) in enumerate(zip(items, envelopes, strict=True)):
        try:
            one = lean if lean is not None and _plain(lean) else _checked(item)
        except ValidationError as error:
            refused.append(_refusal(index, item, error))
            continue
        body = orjson.dumps(item)
        reason = _oversized(item, body)
        if reason is not None:
            refused.append(Refusal(index, one["id"], reason))
            continue
        subject = one["subject"]
        events.append(
            Event(
                one["id"],
                one["source"],
                one["sequence"],
                one.get("room", "default"),
                "" if subject == told.NOBODY else subject,
                one.get("attempt", 1),
                one["type"],
                one["time"],
                one.get("data") or {},
                body,
            )
        )
    return events, refused


def _plain(envelope: Any) -> bool:
    """Whether nothing can be wrong with an event's data: unknown types, and points that are numbers alone.

    Points are nearly all of what comes; their full check would cost more than keeping them.
    """
    if envelope["type"] != "card.progress":
        return envelope["type"] not in told.KNOWN
    data = envelope.get("data", {})
    point = data.get("point")
    return len(data) == 1 and type(point) is dict and _PLAIN.issuperset(map(type, point.values()))


def _checked(item: Any) -> dict[str, Any]:
    """The full check.

    Raises:
        ValidationError: pydantic's.
    """
    one = told.EVENT.validate_python(item)
    kept = {name: getattr(one, name) for name in ("id", "source", "type", "subject", "time", "sequence")}
    return {**kept, "room": one.room, "attempt": one.attempt, "data": item.get("data")}


def _refusal(index: int, item: Any, error: ValidationError) -> Refusal:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"] if part not in (*told.KNOWN, "other"))
    name = item.get("id") if isinstance(item, dict) else None
    short = name[:100] if isinstance(name, str) else None
    return Refusal(index, short, f"{where}: {first['msg']}" if where else first["msg"])


def _oversized(item: Any, body: bytes) -> str | None:
    """Why an event is too large, too deep or unstorable; looks inside only where its bytes leave the question open."""
    if len(body) > MAX_EVENT:
        return f"an event holds at most {MAX_EVENT} bytes, not {len(body)}"
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _depth(item) > MAX_DEPTH:
        return f"an event nests at most {MAX_DEPTH} levels"
    if b"\\u0000" in body and any("\0" in str(item.get(name, "")) for name in ("room", "subject", "type")):
        return "room, subject and type hold no NUL character"
    if len(body) > MAX_TEXT and _longest(item) > MAX_TEXT:
        return f"a text in an event holds at most {MAX_TEXT} characters"
    return None


def _depth(item: Any) -> int:
    level, depth = [item], 0
    while level and depth <= MAX_DEPTH:
        depth += 1
        level = [part for one in level for part in _parts(one) if isinstance(part, (dict, list))]
    return depth


def _longest(item: Any) -> int:
    longest, left = 0, [item]
    while left:
        one = left.pop()
        if isinstance(one, str):
            longest = max(longest, len(one))
        elif isinstance(one, dict):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            left += one
    return longest


def _parts(one: Any) -> list[Any]:
    return list(one.values()) if isinstance(one, dict) else one if isinstance(one, list) else []
