"""A board takes over what killed sessions of its machine left, and leaves everybody else's alone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from history import History
from kills import killed_writers
from serving import Caller, spawn

from aquin_nb.cli import main


def stop(process: subprocess.Popen[str]) -> str:
    """End a server; what it said on stderr."""
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=20)[1]
    assert process.returncode == 0, said
    return said


def kept(board: Caller, count: int) -> list[dict[str, object]]:
    """The events on the board, once there are at least `count` of them."""
    deadline = time.monotonic() + 20
    while True:
        found: list[dict[str, object]] = []
        while page := board.get(f"/v1/events?after={len(found)}&limit=1000")["events"]:
            found += page
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


@pytest.mark.parametrize("where", ["the default database", "--adopt"])
def test_what_killed_writers_left_arrives_whole_without_a_session_and_without_a_word(
    home: Path, tmp_path: Path, where: str
) -> None:
    asked = where == "--adopt"
    outbox = tmp_path / "spool" if asked else home / "outbox"
    outbox.mkdir()
    history = History()
    assert killed_writers(outbox, "", 3, 1, history) > 50
    place = tmp_path / "mine.db" if asked else home / "orchestrator" / "board.db"
    process, board = spawn(str(place), "--port", "0", *(["--adopt", str(outbox)] if asked else []))
    try:
        history.stored = kept(board, len(history.told))
        deadline = time.monotonic() + 20
        while list(outbox.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(outbox.iterdir()) == []
    finally:
        said = stop(process)
    assert said == ""
    history.judge()


def test_a_board_over_another_database_leaves_the_outboxes_of_home_alone(home: Path, tmp_path: Path) -> None:
    outbox = home / "outbox"
    outbox.mkdir()
    code = "import sys; from aquin_nb.sync import Outbox; Outbox(sys.argv[1]).log('card.progress', 'a card', {})"
    subprocess.run([sys.executable, "-c", code, outbox], check=True, timeout=60)
    process, board = spawn(str(tmp_path / "other.db"), "--port", "0")
    assert kept(board, 0) == []
    time.sleep(0.3)
    stop(process)
    assert len(list(outbox.glob("*.outbox"))) == 1


def test_a_folder_that_is_not_there_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = tmp_path / "board.db"
    assert main(["orchestrator", "serve", "--db", str(database), "--adopt", str(tmp_path / "nowhere")]) == 1
    assert "--adopt names the one" in capsys.readouterr().err
    assert not database.exists()
