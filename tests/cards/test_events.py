"""Events: CloudEvents that keep what they do not know, whose schema only ever grows."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from aquin_nb.cards import SaeTrainCard
from aquin_nb.cards.event_schema import FOLDER, incompatible, schemas, texts, write
from aquin_nb.cards.events import KNOWN, MAX_EVENT_BYTES, encode, parse, slim

OLD = Path(__file__).parent / "told_by_v1" / "events.jsonl"
LINES = OLD.read_text("utf-8").splitlines()


def status(schema):
    return schema["$defs"]["ToolResult"]["properties"]["status"]["anyOf"][0]


def event(**changes):
    return json.loads(LINES[0]) | changes


def test_the_committed_schemas_are_fresh():
    committed = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.json")}
    assert committed == texts(), "run `python -m aquin_nb.cards.event_schema` and commit aquin_nb/cards/event_schema"


@pytest.mark.parametrize("line", LINES, ids=[json.loads(line)["type"] for line in LINES])
def test_what_version_1_told_is_read_and_told_again_unchanged(line):
    found = parse(line)
    assert json.loads(found.model_dump_json(exclude_unset=True)) == json.loads(line)


def test_the_kept_lines_have_every_type_and_an_unknown_one():
    types = {json.loads(line)["type"] for line in LINES}
    assert types > set(KNOWN)


def test_a_type_nobody_knows_is_kept_with_all_it_says():
    found = parse(event(type="card.applauded", data={"hands": 2}, colour="red"))
    assert (type(found).__name__, found.type, found.data, found.colour) == (
        "Event",
        "card.applauded",
        {"hands": 2},
        "red",
    )


def test_a_field_nobody_knows_is_kept_inside_known_data():
    data = json.loads(LINES[0])["data"] | {"mood": "calm"}
    assert parse(event(data=data)).data.mood == "calm"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sequence": 0}, "sequence"),
        ({"sequence": 1.5}, "sequence"),
        ({"source": "me"}, "source"),
        ({"subject": ""}, "subject"),
        ({"id": "1"}, "id"),
        ({"time": "yesterday"}, "time"),
        ({"attempt": 0}, "attempt"),
        ({"specversion": "0.3"}, "specversion"),
        ({"type": ""}, "type"),
        ({"type": "tool.start", "data": {"tool": 3}}, "tool"),
        ({"type": "tool.result", "data": {"status": "meh"}}, "status"),
        ({"data": [1]}, "data"),
    ],
)
def test_what_is_no_event_is_refused_by_name(changes, named):
    with pytest.raises(ValidationError, match=named):
        parse(event(**changes))


def test_nan_and_infinities_stay_visible():
    told = encode({"a": math.nan, "b": [math.inf, -math.inf], "c": np.float32("nan"), "d": np.int64(3)})
    assert json.loads(told) == {"a": "NaN", "b": ["Infinity", "-Infinity"], "c": "NaN", "d": 3}
    assert parse(event(type="card.progress", data={"point": json.loads(told) | {"b": None}})).data.point["a"] == "NaN"


def test_anything_at_all_can_be_told():
    loop: list = []
    loop.append(loop)
    told = json.loads(encode({"x": object(), "path": Path("/a"), "\ud800": "\ud800", 3: {1, 2}, "loop": loop}))
    assert told["path"] == "/a"
    assert told["3"] == [1, 2]


def test_a_huge_card_is_slimmed_into_an_event_and_says_what_is_missing():
    card = SaeTrainCard(name="x", notes=["word " * 5000, *["n"] * 200]).model_dump(mode="json")
    kept, left = slim(card)
    assert {one["path"]: one["what"] for one in left} == {
        "/notes": "137 of 201 items",
        "/notes/0": "16808 of 25000 characters",
    }
    assert len(encode(kept).encode()) < MAX_EVENT_BYTES
    assert slim(kept) == (kept, [])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s["properties"].pop("room"), "event.room was removed or renamed"),
        (lambda s: s["required"].append("room"), "room became required"),
        (lambda s: s["properties"]["sequence"].update(minimum=5), "minimum became 5"),
        (lambda s: s["properties"]["sequence"].update(type="string"), "integer became string"),
        (lambda s: s["properties"]["specversion"].update(const="2.0"), "'1.0' is no longer allowed"),
        (lambda s: s["properties"]["id"].update(pattern="^x$"), "pattern became"),
        (lambda s: s.update(additionalProperties=False), "additionalProperties are refused now"),
        (lambda s: status(s)["enum"].remove("failed"), "is no longer allowed"),
        (lambda s: s["$defs"]["ToolResult"]["properties"].pop("error"), "event.data.error was removed"),
    ],
)
def test_a_change_that_would_refuse_old_events_is_found(change, said):
    old = schemas()["tool.result"]
    new = copy.deepcopy(old)
    change(new)
    assert said in "; ".join(incompatible(old, new))


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["properties"].update(mood={"type": "string"}),
        lambda s: s["properties"]["room"].update(maxLength=500, description="anything"),
        lambda s: status(s)["enum"].append("paused"),
        lambda s: s["$defs"]["ToolResult"]["properties"].update(mood={"type": "string"}),
        lambda s: s["required"].remove("id"),
    ],
)
def test_a_change_that_allows_more_is_compatible(change):
    old = schemas()["tool.result"]
    new = copy.deepcopy(old)
    change(new)
    assert incompatible(old, new) == []


def test_a_broken_version_is_never_written_over_the_committed_one(tmp_path):
    write(tmp_path)
    path = tmp_path / "event.json"
    strict = json.loads(path.read_text()) | {"properties": {"gone": {"type": "string"}}}
    path.write_text(json.dumps(strict))
    with pytest.raises(ValueError, match=r"event\.gone was removed"):
        write(tmp_path)
    assert json.loads(path.read_text()) == strict
