"""What a board sees: cards made of their events, a stream that misses nothing, points of a curve."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from demo_cards import cards
from senders import Sender, uuid7
from serving import Served, served


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(str(tmp_path_factory.mktemp("board") / "board.db")) as one:
        yield one


def test_events_come_back_as_they_were_sent_behind_a_cursor(board: Served) -> None:
    sender = Sender(room="as-sent")
    events = sender.run(uuid7(), 10)
    events[3]["data"]["point"]["fvu"] = "NaN"
    board.send(events)
    seen, cursor = [], 0
    while page := (answer := board.get(f"/v1/events?after={cursor}&limit=5&room=as-sent"))["events"]:
        seen, cursor = seen + page, answer["next"]
    assert seen == events
    assert board.get(f"/v1/events?after={cursor}") == {"events": [], "next": cursor}


def test_a_card_is_its_newest_attempt_with_the_older_ones_behind_it(board: Served) -> None:
    sender, card = Sender(room="attempts"), uuid7()
    told = cards()["saeTrain"]
    board.send([sender.start(card), sender.result(card, "cancelled")])
    board.send([sender.start(card, attempt=2), sender.event("card.snapshot", card, {"card": told}, attempt=2)])
    board.send([sender.progress(card, 250, attempt=2), sender.event("card.artifact", card, {"role": "sae"}, attempt=2)])
    (view,) = board.get("/v1/cards?room=attempts")["cards"]
    assert (view["kind"], view["name"], view["status"]) == ("saeTrain", "bible-5", "running")
    assert [(one["attempt"], one["status"]) for one in view["attempts"]] == [(2, "running"), (1, "cancelled")]
    assert view["progress"]["done"] == 250
    assert view["card"] == told
    assert view["artifacts"] == [{"role": "sae"}]
    board.send([sender.result(card, attempt=2), sender.progress(card, 300, attempt=2)])
    view = board.get(f"/v1/cards/{card}?room=attempts")
    assert (view["status"], view["late"], view["progress"]["done"]) == ("completed", True, 300)


def test_a_card_says_which_session_ran_it_and_where(board: Served) -> None:
    sender, card = Sender(room="origins"), uuid7()
    board.json("PUT", f"/v1/producers/{sender.uuid}", {"host": "node-17"})
    for told, device in (({"session": "mine"}, "node-17"), ({"session": "mine", "device": "the laptop"}, "the laptop")):
        board.send([sender.event("tool.start", card, told)])
        view = board.get(f"/v1/cards/{card}?room=origins")
        assert (view["session"], view["device"], view["host"]) == ("mine", device, "node-17")


def test_cards_page_and_rooms_are_counted(board: Served) -> None:
    sender = Sender(room="pages")
    names = [uuid7() for _ in range(5)]
    for name in names:
        board.send([sender.start(name)])
    first = board.get("/v1/cards?room=pages&limit=3")
    rest = board.get(f"/v1/cards?room=pages&limit=3&before={first['more']}")
    assert [one["id"] for one in first["cards"] + rest["cards"]] == names[::-1]
    assert rest["more"] is None
    assert {"name": "pages", "cards": 5} in board.get("/v1/rooms")["rooms"]


def test_a_curve_is_thinned_and_says_of_how_many(board: Served) -> None:
    sender, card = Sender(), uuid7()
    board.send([sender.start(card), *(sender.progress(card, step) for step in range(1, 401))])
    found = board.get(f"/v1/cards/{card}/points?most=50")
    steps = [point["step"] for point in found["points"]]
    assert found["total"] == 400
    assert len(steps) <= 50
    assert (steps[0], steps[-1]) == (1, 400)


def test_lost_events_are_counted_where_the_sender_declares_them(board: Served) -> None:
    sender, card = Sender(), uuid7()
    board.send([sender.start(card), sender.event("sync.gap", card, {"reason": "disk full", "count": 12})])
    assert board.get(f"/v1/cards/{card}")["lost"] == 12


def test_a_stream_brings_what_changed_since_its_cursor_and_then_what_changes(board: Served) -> None:
    sender, card, other = Sender(room="live"), uuid7(), uuid7()
    board.send([sender.start(card)])
    cursor = board.get("/v1/cards?room=live")["next"]
    board.send([sender.progress(card, 1), sender.start(other)])
    with board.stream("/v1/stream?room=live", Last_Event_ID=str(cursor)) as frames:
        first = [next(frames) for _ in range(3)]
        assert {data["id"] for event, _, data in first if event == "card"} == {card, other}
        assert first[-1][0] == "seen"
        assert int(first[-1][1]) == board.get("/v1/events?after=0&limit=5000")["next"]
        began = time.monotonic()
        board.send([sender.progress(card, 2)])
        event, _, data = next(frames)
        assert (event, data["progress"]["done"]) == ("card", 2)
        assert time.monotonic() - began < 5
        board.send([Sender(room="elsewhere").start(uuid7()), sender.progress(card, 3)])
        assert [next(frames)[0] for _ in range(2)] == ["seen", "card"]


def test_a_slow_reader_gets_the_newest_state_and_no_backlog(board: Served) -> None:
    sender, card = Sender(room="slow"), uuid7()
    board.send([sender.start(card)])
    with board.stream("/v1/stream?room=slow", Last_Event_ID="0") as frames:
        assert next(frames)[0] == "card"
        for step in range(1, 101):
            board.send([sender.progress(card, step)])
        reached, count = 0, 0
        for event, _, data in frames:
            if event == "card":
                reached, count = data["progress"]["done"], count + 1
            if reached == 100:
                break
    assert count < 100


def test_a_cursor_from_another_database_begins_anew(board: Served) -> None:
    with board.stream(Last_Event_ID="999999999") as frames:
        assert next(frames)[0] == "reset"
    answer = board.get("/v1/changes?after=999999999&wait=0")
    assert answer["reset"] is True


def test_long_polling_brings_the_same(board: Served) -> None:
    sender, card = Sender(room="poll"), uuid7()
    board.send([sender.start(card)])
    cursor = board.get("/v1/cards?room=poll")["next"]
    assert board.get(f"/v1/changes?room=poll&after={cursor}&wait=0")["cards"] == []
    board.send([sender.progress(card, 7)])
    answer = board.get(f"/v1/changes?room=poll&after={cursor}&wait=5")
    assert [one["progress"]["done"] for one in answer["cards"]] == [7]
    assert answer["next"] > cursor


def test_an_end_of_the_token_ends_its_stream(board: Served) -> None:
    sender = Sender()
    reader = board.new_token("read")
    with reader.stream() as frames:
        assert reader.token is not None
        assert board.ask("DELETE", f"/v1/tokens/{reader.token.split('_')[1]}").status == 204
        board.send([sender.start(uuid7())])
        assert sum(1 for _ in frames) <= 2
    assert reader.ask("GET", "/v1/rooms").status == 401


def test_the_description_names_every_route(board: Served) -> None:
    paths = board.get("/v1/openapi.json")["paths"]
    assert {"/v1/events", "/v1/cards", "/v1/stream", "/v1/changes", "/v1/health"} <= set(paths)
    assert "swagger" not in json.dumps(paths).lower()
