"""A deleted card stays deleted, whoever comes back with it, and no sender is held up by that; on both databases."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from senders import Sender, checked, uuid7
from serving import served

from aquin_nb.orchestrator.migrations import SQLITE
from aquin_nb.orchestrator.storage import Storage, open_storage

CARD = uuid7()


@pytest.fixture(params=["sqlite", "postgres"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    place = str(tmp_path / "board.db") if request.param == "sqlite" else request.getfixturevalue("postgres")
    opened = open_storage(place)
    yield opened
    opened.close()


def write(storage: Storage, events: list[dict[str, Any]]) -> Any:
    return storage.write([checked(events)], time.time())[0]


def swept(storage: Storage) -> None:
    while storage.sweep(3):
        pass


def test_nothing_of_a_deleted_card_is_left_and_its_neighbours_are_whole(storage: Storage) -> None:
    sender, other = Sender(), uuid7()
    write(storage, sender.run(CARD, 7) + sender.run(other, 2))
    write(storage, Sender(room="lab").run(CARD, 1))
    cursor = storage.bury("default", CARD)
    assert cursor == storage.head() == 17
    swept(storage)
    assert storage.card("default", CARD) is None
    assert [(row.room, row.card) for _, row in storage.cards(None, 10)] == [("lab", CARD), ("default", other)]
    assert len(storage.events(0, 100)) == 7
    assert storage.rooms() == [("default", 1), ("lab", 1)]
    assert storage.bury("default", CARD) is None
    assert ("default", CARD, cursor) in storage.changed(None, 16, 10)


def test_its_events_are_acknowledged_whenever_they_come_and_kept_no_more(storage: Storage) -> None:
    sender = Sender()
    events = sender.run(CARD, 20)
    write(storage, events[:10])
    storage.bury("default", CARD)
    swept(storage)
    again = write(storage, events[:12])
    assert (again.accepted, again.duplicates, again.deleted, again.next) == (0, 12, 2, {sender.source: 12})
    late = write(storage, [*events[15:], sender.start(uuid7())])  # reordered: a hole is open
    assert (late.accepted, late.deleted, late.next) == (1, 7, {sender.source: 12})
    assert write(storage, events[15:]).duplicates == 7
    assert write(storage, events[12:15]).next == {sender.source: 23}
    assert storage.card("default", CARD) is None
    assert storage.head() == 12
    assert [cursor for cursor, _ in storage.events(0, 10)] == [12]


def test_events_behind_a_hole_when_it_was_deleted_do_not_hold_their_sender_up(storage: Storage) -> None:
    sender = Sender()
    events = sender.run(CARD, 8)
    write(storage, events[5:])
    storage.bury("default", CARD)
    swept(storage)
    assert write(storage, events[5:]).duplicates == 5
    assert write(storage, events[:5]).next == {sender.source: 10}


def test_a_run_that_began_later_is_shown(storage: Storage) -> None:
    sender = Sender()
    write(storage, sender.run(CARD, 2) + sender.run(CARD, 2, attempt=2))
    storage.bury("default", CARD)
    assert write(storage, sender.run(CARD, 2, attempt=2)).deleted == 4
    assert write(storage, sender.run(CARD, 2, attempt=3)).accepted == 4
    swept(storage)
    row = storage.card("default", CARD)
    assert row is not None
    assert [one.number for one in row.attempts] == [3]
    assert len(storage.events(0, 100, card=CARD)) == 4


def test_it_stays_deleted_when_the_board_is_killed_before_it_is_swept(tmp_path: Path) -> None:
    place = str(tmp_path / "board.db")
    first = open_storage(place)
    events = Sender().run(CARD, 9)
    write(first, events)
    first.bury("default", CARD)
    first.close()
    second = open_storage(place)
    assert second.cards(None, 10) == []
    assert write(second, events).duplicates == 11
    swept(second)
    assert second.events(0, 10) == []
    second.close()


def test_what_a_room_holds_is_counted(storage: Storage) -> None:
    sender = Sender(room="lab")
    events = sender.run(CARD, 4)
    write(storage, events)
    write(storage, events)
    kept = storage.events(0, 100)
    assert storage.usage() == {"lab": (6, sum(len(body) for _, body in kept))}
    storage.delete([kept[1][0]])
    assert storage.usage()["lab"] == (5, sum(len(body) for _, body in kept) - len(kept[1][1]))
    storage.bury("lab", CARD)
    assert storage.usage()["lab"] == (0, 0)
    swept(storage)
    assert storage.usage() == {"lab": (0, 0)}


def test_a_database_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    place = tmp_path / "board.db"
    old = apsw.Connection(str(place))
    old.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
    old.execute(SQLITE[0])
    old.execute("INSERT INTO meta VALUES ('schema', '1'), ('head', '1')")
    old.execute("INSERT INTO producers (source, contiguous, highest, seen) VALUES ('urn:aquin:x', 1, 1, 0)")
    old.execute("INSERT INTO cards VALUES (1, 'lab', 'c', 1, 1, 1)")
    old.execute("INSERT INTO events VALUES (1, 1, 1, 'i', 1, 1, 't', 0, '{\"ü\":1}')")
    old.close()
    storage = open_storage(str(place))
    assert storage.usage() == {"lab": (1, 8)}
    assert write(storage, Sender().run(CARD)).accepted == 5
    storage.close()


def test_a_viewer_is_told_that_a_card_is_gone_now_or_when_it_comes_back(tmp_path: Path) -> None:
    with served(str(tmp_path / "board.db")) as board:
        board.send(Sender().run(CARD))
        cursor = board.get("/v1/cards")["next"]
        with board.stream() as frames:
            assert board.ask("DELETE", f"/v1/cards/{CARD}").status == 204
            assert next(frames)[::2] == ("gone", {"room": "default", "id": CARD})
        with board.stream(Last_Event_ID=str(cursor)) as frames:
            assert next(frames)[::2] == ("gone", {"room": "default", "id": CARD})
        assert board.get(f"/v1/changes?after={cursor}&wait=0")["gone"] == [{"room": "default", "id": CARD}]
        assert board.get("/v1/events")["events"] == []
        assert board.ask("DELETE", f"/v1/cards/{CARD}").status == 404
        told = board.send(Sender().run(CARD))
        assert (told["accepted"], told["duplicates"], told["deleted"]) == (0, 5, 5)


def test_only_an_owner_of_the_room_deletes(tmp_path: Path) -> None:
    with served(str(tmp_path / "board.db")) as board:
        board.send(Sender(room="lab").run(CARD))
        stranger = board.new_token("admin", room="street")
        assert stranger.ask("DELETE", f"/v1/cards/{CARD}?room=lab").status == 404
        assert stranger.ask("DELETE", f"/v1/cards/{CARD}").status == 404
        assert board.new_token("admin", room="lab").ask("DELETE", f"/v1/cards/{CARD}").status == 204
