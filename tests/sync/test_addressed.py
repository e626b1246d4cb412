"""Events go to the board they were meant for: others leave them alone, and one that moved is found again."""

from __future__ import annotations

import time

import apsw
import pytest
from board import TOKEN, Board
from history import History

from aquin_nb.cli import main
from aquin_nb.sync import Outbox
from aquin_nb.sync.adopt import Adoption
from aquin_nb.sync.client import Client, board_of
from aquin_nb.sync.delivery import Delivery
from aquin_nb.sync.spool import FORMAT, Spool

CARD = "01890000-0000-7000-8000-0000000000aa"
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _token(monkeypatch):
    monkeypatch.setenv("AQUIN_NB_TOKEN", TOKEN)


def left(directory, count, url=NOWHERE, **options):
    """What a session that told `url` left behind."""
    outbox = Outbox(directory, url, TOKEN, **options)
    for i in range(count):
        outbox.log("card.progress", CARD, {"point": {"step": i}})
    outbox.close(0.0)
    return outbox


def look(directory, board):
    """What a board that watches the folder delivers at one look."""
    adoption = Adoption(directory, board.url, TOKEN, lambda type, data: None)
    return adoption.drain(Delivery(Client(board.url, TOKEN)), time.monotonic() + 10)


def eventually(true):
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_was_meant_for_another_board_waits_for_it(tmp_path, board):
    left(tmp_path, 3)
    found = look(tmp_path, board)
    assert (found.delivered, dict(found.elsewhere)) == (0, {NOWHERE: 1})
    assert (board.stored, len(list(tmp_path.glob("*.outbox")))) == ([], 1)


def test_a_board_takes_over_what_was_meant_for_it_by_any_name_of_this_machine(tmp_path, board):
    outbox = Outbox(tmp_path, board.url.replace("127.0.0.1", "localhost") + "/", "a wrong token")
    outbox.log("card.progress", CARD, {})
    outbox.close(0.0)
    assert look(tmp_path, board).delivered == 1


def test_what_was_meant_for_any_board_goes_to_the_first(tmp_path, board):
    left(tmp_path, 3, find=lambda: None)
    assert look(tmp_path, board).delivered == 3


def test_a_session_says_which_outboxes_beside_its_own_wait_for_whom(tmp_path, board):
    left(tmp_path, 3)
    left(tmp_path, 2)
    with Outbox(tmp_path, board.url, TOKEN) as outbox:
        outbox.log("card.progress", CARD, {})
        eventually(lambda: outbox.status().elsewhere)
        assert f"2 other outboxes wait for {NOWHERE}" in str(outbox.status())


def test_sync_by_hand_takes_all_and_says_whose_they_were(tmp_path, board, capsys):
    left(tmp_path, 3)
    assert main(["sync", "--outbox", str(tmp_path), "--url", board.url, "--wait", "10"]) == 0
    said = capsys.readouterr().out
    assert said == f"3 events were delivered; 1 of the outboxes was meant for {NOWHERE}; nothing is left.\n"
    assert len(board.stored) == 3


def test_an_outbox_of_the_first_format_is_for_any_board(tmp_path, board):
    left(tmp_path, 3)
    (path,) = tmp_path.glob("*.outbox")
    connection = apsw.Connection(str(path))
    connection.execute("DELETE FROM about WHERE name = 'board'; PRAGMA user_version = 1")
    connection.close()
    assert FORMAT > 1
    assert look(tmp_path, board).delivered == 3


def test_a_board_that_was_started_again_elsewhere_is_found(tmp_path):
    history, boards = History(), []

    def find():
        return (boards[-1].url, TOKEN) if boards else None

    with Board() as first:
        boards.append(first)
        outbox = Outbox(tmp_path, first.url, TOKEN, find=find)
        for step in range(10):
            data = {"point": {"step": step}}
            history.tell(outbox.source, outbox.log("card.progress", CARD, data), data)
        assert outbox.flush(10)
        first.fault = lambda path, number: (503, {}, {})  # connections that it keeps outlive this server
    boards.clear()
    history.tell(outbox.source, outbox.log("card.progress", CARD, {}), {})
    eventually(lambda: outbox.status().state == "waiting")
    with Board() as second:
        boards.append(second)
        second.wait(1)
        assert outbox.flush(10)
        assert outbox.status().url == second.url
        outbox.close()
        history.stored = first.stored + second.stored
    history.judge()


def test_a_status_names_the_board_its_last_answer_and_what_waits(tmp_path, board):
    with Outbox(tmp_path, board.url, TOKEN) as outbox:
        outbox.log("card.progress", CARD, {})
        assert outbox.flush(10)
        said = str(outbox.status())
        assert f"connected to {board.url} · 1 delivered · 0 waiting · last contact 0 s ago" == said
        assert f'href="{board.url}"' in outbox.status()._repr_html_()


def test_an_address_is_kept_without_its_secret(tmp_path):
    assert board_of("https://me:secret@board.example:8443/team/") == "https://board.example:8443/team"
    outbox = Outbox(tmp_path, "http://me:secret@127.0.0.1:1", TOKEN)
    outbox.log("card.progress", CARD, {})
    outbox.close(0.0)
    (path,) = tmp_path.glob("*.outbox")
    spool = Spool.open(path)
    assert spool.board() == NOWHERE
    spool.close()
    assert b"secret" not in path.read_bytes()
