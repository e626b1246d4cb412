"""One suite for both databases: nothing twice, nothing lost, nothing rolled back."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from senders import Sender, checked, uuid7

from aquin_nb.orchestrator.storage import Producer, Storage, StorageBusy, StorageError, TokenRow, open_storage

CARD = uuid7()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "board.db") if request.param == "sqlite" else request.getfixturevalue("postgres")


@pytest.fixture
def storage(place: str) -> Iterator[Storage]:
    opened = open_storage(place)
    yield opened
    opened.close()


def write(storage: Storage, events: list[dict[str, Any]]) -> Any:
    return storage.write([checked(events)], time.time())[0]


def test_events_come_back_in_the_order_they_were_kept_and_byte_for_byte(storage: Storage) -> None:
    events = Sender().run(CARD, 5)
    outcome = write(storage, events)
    assert (outcome.accepted, outcome.duplicates, outcome.rejected) == (7, 0, [])
    assert outcome.next == {events[0]["source"]: 7}
    kept = storage.events(0, 100)
    assert [cursor for cursor, _ in kept] == list(range(1, 8))
    assert [body for _, body in kept] == [orjson.dumps(event) for event in events]
    assert storage.head() == 7
    assert [cursor for cursor, _ in storage.events(5, 100)] == [6, 7]


def test_what_was_stored_is_a_duplicate_however_it_comes_again(storage: Storage) -> None:
    events = Sender().run(CARD, 4)
    write(storage, events)
    again = write(storage, [events[3], events[0]])
    assert (again.accepted, again.duplicates) == (0, 2)
    twice = storage.write([checked(events), checked(events)], time.time())
    assert [one.duplicates for one in twice] == [6, 6]
    assert storage.head() == 6


def test_the_same_event_twice_in_one_transaction_is_kept_once(storage: Storage) -> None:
    events = Sender().run(CARD, 4)
    first, second = storage.write([checked(events + events[:2]), checked(events)], time.time())
    assert (first.accepted, first.duplicates, second.accepted, second.duplicates) == (6, 2, 0, 6)


def test_reordered_batches_leave_no_hole(storage: Storage) -> None:
    sender = Sender()
    events = sender.run(CARD, 30)
    assert write(storage, events[20:]).next == {sender.source: 0}
    assert write(storage, events[:10]).next == {sender.source: 10}
    assert write(storage, events[12:20]).next == {sender.source: 10}
    assert write(storage, events[10:12]).next == {sender.source: 32}


def test_a_sequence_that_is_another_event_is_refused_and_the_rest_is_kept(storage: Storage) -> None:
    sender = Sender()
    events = sender.run(CARD, 2)
    write(storage, events)
    copied = events[1] | {"id": uuid7()}
    renumbered = events[1] | {"sequence": 5}
    outcome = write(storage, [copied, renumbered, sender.progress(CARD, 9) | {"sequence": 6}])
    assert [(one.position, one.id) for one in outcome.rejected] == [(0, copied["id"]), (1, renumbered["id"])]
    assert outcome.accepted == 1
    assert storage.events(0, 10)[1][1] == orjson.dumps(events[1])


def test_a_card_is_the_same_whatever_the_order_of_delivery(place: str, tmp_path: Path) -> None:
    first, second = Sender(), Sender()
    events = [*first.run(CARD, 6), *second.run(CARD, 6, attempt=2)]
    events[4]["data"]["point"]["fvu"] = "NaN"
    folds = []
    for seed in range(4):
        card = uuid7()
        shuffled = [event | {"subject": card, "id": uuid7()} for event in events]
        if seed:
            for event in shuffled:
                event["source"] = event["source"][:-4] + f"{seed:04d}"
            random.Random(seed).shuffle(shuffled)
        storage = open_storage(place)
        for event in shuffled:
            write(storage, [event])
        row = storage.card("default", card)
        assert row is not None
        folds.append(
            [
                (one.number, one.events, one.ended, one.result and one.result.sequence, one.progress.sequence)
                for one in row.attempts
                if one.progress
            ]
        )
        storage.close()
    assert folds == [[(1, 8, True, 8, 7), (2, 8, True, 8, 7)]] * 4


def test_events_of_one_card_room_and_type_can_be_asked_for(storage: Storage) -> None:
    other = uuid7()
    write(storage, [*Sender().run(CARD), *Sender(room="lab").run(other)])
    assert len(storage.events(0, 100, room="lab")) == 5
    assert len(storage.events(0, 100, card=CARD, kind="card.progress")) == 3
    assert storage.rooms() == [("default", 1), ("lab", 1)]
    assert [row.card for _, row in storage.cards("lab", 10)] == [other]
    assert storage.changed(None, 5, 10) == [("lab", other, 10)]


def test_the_newest_attempt_comes_first_and_pages_on(storage: Storage) -> None:
    sender, cards = Sender(), [uuid7() for _ in range(3)]
    for card in cards:
        write(storage, sender.run(card))
    write(storage, [sender.start(cards[0], attempt=2), sender.progress(cards[1], 9)])
    rows = storage.cards("default", 2)
    assert [row.card for _, row in rows] == [cards[0], cards[2]]
    assert [one.number for one in rows[0][1].attempts] == [1, 2]
    assert [row.card for _, row in storage.cards("default", 2, before=rows[-1][0])] == [cards[1]]
    assert storage.running() == [("default", cards[0], sender.source)]


def test_unknown_types_and_events_of_no_card_are_kept(storage: Storage) -> None:
    sender = Sender()
    nobody = "00000000-0000-0000-0000-000000000000"
    events = [
        sender.event("card.tagged", CARD, {"tag": "new"}),
        sender.event("sync.gap", nobody, {"reason": "disk full", "count": 3}),
    ]
    write(storage, events)
    assert [orjson.loads(body) for _, body in storage.events(0, 10)] == events
    assert [row.card for _, row in storage.cards(None, 10)] == [CARD]


def test_everything_survives_a_reopening(place: str) -> None:
    sender = Sender()
    events = sender.run(CARD)
    storage = open_storage(place)
    write(storage, events[:3])
    storage.beat(Producer(sender.source, seen=5.0, beat=5.0, pid=7, host="h", kernel="k", pending=2))
    storage.put_token(TokenRow("a", "hash", "read", None, 1.0, None))
    storage.close()
    storage = open_storage(place)
    assert write(storage, events[3:]).next == {sender.source: 5}
    producer = storage.producers()[sender.source]
    assert (producer.contiguous, producer.pid, producer.pending) == (5, 7, 2)
    assert [token.id for token in storage.tokens()] == ["a"]
    assert storage.drop_token("a")
    assert not storage.drop_token("a")
    assert storage.check() == []
    storage.close()


def test_a_second_orchestrator_on_one_database_is_refused(place: str, storage: Storage) -> None:
    with pytest.raises(StorageError, match="Another orchestrator serves"):
        open_storage(place)
    reader = open_storage(place, writable=False)
    assert reader.head() == 0
    reader.close()


def test_a_database_of_a_newer_version_is_left_alone(place: str) -> None:
    storage: Any = open_storage(place)
    storage.run("UPDATE meta SET value = '99' WHERE name = 'schema'")
    storage.close()
    with pytest.raises(StorageError, match="schema 99"):
        open_storage(place)


def test_a_transaction_that_fails_leaves_nothing_and_the_next_one_works(
    storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = Sender()
    events = sender.run(CARD)
    write(storage, events[:1])
    whole: Callable[..., None] = storage.insert_events

    def broken(rows: Any) -> None:
        whole(rows)
        raise RuntimeError("power cut")

    monkeypatch.setattr(storage, "insert_events", broken)
    with pytest.raises(RuntimeError):
        write(storage, events[1:])
    monkeypatch.undo()
    assert storage.head() == 1
    assert write(storage, events[1:]).next == {sender.source: 5}
    assert [cursor for cursor, _ in storage.events(0, 10)] == [1, 2, 3, 4, 5]


def test_only_what_senders_know_to_be_kept_can_be_deleted_and_it_never_comes_back(storage: Storage) -> None:
    sender = Sender()
    events = sender.run(CARD, 8)
    write(storage, [*events[:5], *events[7:]])
    assert storage.delete([2, 3, 6]) == 2
    assert [cursor for cursor, _ in storage.every()] == [1, 4, 5, 6, 7, 8]
    assert write(storage, events[:5]).duplicates == 5
    assert write(storage, events[5:7]).next == {sender.source: 10}


def test_a_full_database_keeps_what_it_has_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    storage: Any = open_storage(str(tmp_path / "board.db"))
    (pages,) = storage.run("PRAGMA page_count")[0]
    storage.run(f"PRAGMA max_page_count = {pages + 20}")
    sender = Sender()
    events = sender.run(CARD, 900)
    kept = 0

    def fill() -> None:
        nonlocal kept
        while kept < 902:
            kept += write(storage, events[kept : kept + 50]).accepted

    with pytest.raises(StorageBusy, match="disk is full"):
        fill()
    assert kept > 0
    assert storage.head() == kept
    storage.run("PRAGMA max_page_count = 100000")
    assert write(storage, events[kept:]).next == {sender.source: 902}
    assert [body for _, body in storage.every()] == [orjson.dumps(event) for event in events]
    assert storage.check() == []
    storage.close()


def test_no_file_is_overwritten_that_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a database, but long enough to have a header" * 100)
    with pytest.raises(StorageError, match="cannot be opened"):
        open_storage(str(file))
    assert file.read_text().startswith("not a database")
    with pytest.raises(StorageError, match="path or a postgresql"):
        open_storage("mysql://x/y")
