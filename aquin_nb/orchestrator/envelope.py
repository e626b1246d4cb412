"""A batch of events as it comes over the wire: checked one by one, so that a poisoned event stops no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson
from pydantic import TypeAdapter, ValidationError

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


_BATCH: TypeAdapter[list[told.Event]] = TypeAdapter(list[told.AnyEvent])


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
    refused: list[Refusal] = []
    try:
        checked: list[told.Event | None] = list(_BATCH.validate_python(items))
    except ValidationError:
        checked = [_checked(index, item, refused) for index, item in enumerate(items)]
    events = []
    for index, (item, one) in enumerate(zip(items, checked, strict=True)):
        if one is None:
            continue
        body = orjson.dumps(item)
        reason = _oversized(item, body)
        if reason is not None:
            refused.append(Refusal(index, one.id, reason))
            continue
        card = "" if one.subject == told.NOBODY else one.subject
        data = item.get("data") or {}
        events.append(
            Event(one.id, one.source, one.sequence, one.room, card, one.attempt, one.type, one.time, data, body)
        )
    return events, refused


def _checked(index: int, item: Any, refused: list[Refusal]) -> told.Event | None:
    try:
        return told.EVENT.validate_python(item)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part not in (*told.KNOWN, "other"))
        name = item.get("id") if isinstance(item, dict) else None
        short = name[:100] if isinstance(name, str) else None
        refused.append(Refusal(index, short, f"{where}: {first['msg']}" if where else first["msg"]))
        return None


def _oversized(item: Any, body: bytes) -> str | None:
    """Why an event is too large or too deep; looks inside only where its size leaves the question open."""
    if len(body) > MAX_EVENT:
        return f"an event holds at most {MAX_EVENT} bytes, not {len(body)}"
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _depth(item) > MAX_DEPTH:
        return f"an event nests at most {MAX_DEPTH} levels"
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
