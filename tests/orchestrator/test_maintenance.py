"""Backup, retention, and all events through a file and back."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from senders import Sender, checked, uuid7
from serving import served

from aquin_nb.errors import AquinError
from aquin_nb.orchestrator.blobs import Blobs
from aquin_nb.orchestrator.maintenance import POINTS, backup, collect_garbage, export_to, load
from aquin_nb.orchestrator.storage import Storage, StorageError, open_storage


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = open_storage(str(tmp_path / "board.db"))
    yield opened
    opened.close()


def lines(path: Path) -> Iterator[bytes]:
    return iter(path.read_bytes().splitlines(keepends=True))


@pytest.mark.parametrize("other", ["sqlite", "postgres"])
def test_export_import_export_is_byte_identical(
    storage: Storage, tmp_path: Path, other: str, request: pytest.FixtureRequest
) -> None:
    place = str(tmp_path / "second.db") if other == "sqlite" else request.getfixturevalue("postgres")
    for room in ("default", "lab"):
        sender = Sender(room=room)
        events = sender.run(uuid7(), 700)
        events[3]["data"]["point"]["fvu"] = "NaN"
        events[4]["data"] = {"text": "ü\u2028\x00\U0001f600", "tiny": 5e-324, "large": 1.7976931348623157e308}
        storage.write([checked(events[:400]), checked(events[400:])], time.time())
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    assert export_to(storage, first) == 1404
    target = open_storage(place)
    assert load(target, lines(first), "a.jsonl") == (1404, 0)
    assert load(target, lines(first), "a.jsonl") == (0, 1404)
    export_to(target, second)
    assert [row[1].attempts[-1].events for row in target.cards(None, 10)] == [702, 702]
    target.close()
    assert first.read_bytes() == second.read_bytes()


def test_a_damaged_export_names_its_line(storage: Storage, tmp_path: Path) -> None:
    event = Sender().start(uuid7())
    for bad, said in ((b"{", "line 2, is not JSON"), (orjson.dumps(event | {"time": 5}), "line 2: time")):
        file = tmp_path / "x.jsonl"
        file.write_bytes(orjson.dumps(event) + b"\n" + bad + b"\n")
        with pytest.raises(AquinError, match=said):
            load(storage, lines(file), "x.jsonl")


def test_a_backup_is_taken_while_it_is_served_and_can_be_served_itself(tmp_path: Path) -> None:
    place, target = str(tmp_path / "board.db"), tmp_path / "copy.db"
    with served(place) as board:
        events = Sender().run(uuid7())
        board.send(events)
        name = hashlib.sha256(b"[1]").hexdigest()
        board.ask("PUT", f"/v1/blobs/{name}", b"[1]")
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-m", "aquin_nb.cli", "orchestrator", "backup", "--db", place, str(target)]
        subprocess.run(command, check=True, env=env, timeout=30)
        board.send(Sender().run(uuid7()))
    copy = open_storage(str(target))
    assert [orjson.loads(body) for _, body in copy.every()] == events
    assert Blobs(copy.blobs).get(name) == b"[1]"
    copy.close()
    reader = open_storage(place, writable=False)
    with pytest.raises(AquinError, match="is there already"):
        backup(reader, target)
    reader.close()
    with pytest.raises(StorageError, match="no database"):
        open_storage(str(tmp_path / "none.db"), writable=False)


def test_old_curves_are_thinned_and_keep_their_extremes(storage: Storage) -> None:
    sender, card = Sender(), uuid7()
    events = sender.run(card, 3000)
    events[1501]["data"]["point"]["fvu"] = 9.5
    events[2001]["data"]["point"]["fvu"] = "NaN"
    month_ago = time.time() - 31 * 86400
    for begin in range(0, len(events), 500):
        storage.write([checked(events[begin : begin + 500])], month_ago)
    running = uuid7()
    storage.write([checked([sender.start(running), *(sender.progress(running, n) for n in range(400))])], month_ago)
    before = storage.head()
    told = collect_garbage(storage, dry_run=True)
    assert len(storage.events(0, 5000)) == before == 3403
    gone = collect_garbage(storage)
    assert gone == told
    assert gone.events > 1500
    left = [orjson.loads(body) for _, body in storage.events(0, 5000, card=card, kind="card.progress")]
    values = [event["data"]["point"]["fvu"] for event in left]
    assert len(values) <= 1.5 * POINTS
    assert {9.5, "NaN"} <= set(values)
    assert (left[0]["sequence"], left[-1]["sequence"]) == (2, 3001)
    assert len(storage.events(0, 5000, card=running)) == 401
    assert storage.write([checked(events[:500])], time.time())[0].duplicates == 500
    assert collect_garbage(storage).events == 0


def test_attempts_beyond_the_newest_keep_start_and_result(storage: Storage) -> None:
    sender, card = Sender(), uuid7()
    for number in range(1, 6):
        storage.write([checked(sender.run(card, 10, attempt=number))], time.time())
    collect_garbage(storage, attempts=2)
    row = storage.card("default", card)
    assert row is not None
    left = [len(storage.cursors("default", card, number, "card.progress")) for number in range(1, 6)]
    assert left == [1, 1, 1, 10, 10]
    assert [one.ended for one in row.attempts] == [True] * 5


def test_bytes_that_no_event_names_go_when_they_are_old(storage: Storage) -> None:
    blobs, sender = Blobs(storage.blobs), Sender()
    names = [hashlib.sha256(content).hexdigest() for content in (b"[1]", b"[2]", b"[3]")]
    for name, content in zip(names, (b"[1]", b"[2]", b"[3]"), strict=True):
        blobs.put(name, content)
    for name in names[:2]:
        os.utime(blobs.path(name), (1, 1))
    event = sender.event("card.artifact", uuid7(), {"role": "sae", "sha256": names[0]})
    storage.write([checked([event])], time.time())
    assert collect_garbage(storage).blobs == 1
    assert [path.name for path in blobs.all()] == sorted([names[0], names[2]])
