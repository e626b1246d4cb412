"""A session finds the board of its machine, or starts one that outlives it; and who is provably gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving import Caller

from aquin_nb.errors import AquinError
from aquin_nb.orchestrator.find import find, find_or_start, serving_file
from aquin_nb.orchestrator.liveness import vanished
from aquin_nb.orchestrator.storage import Producer


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    place = tmp_path / "board.db"
    yield place
    if (running := find(place)) is not None:
        stop(place, signal.SIGKILL)
        assert running.pid


def stop(place: Path, how: int) -> None:
    running = find(place)
    assert running is not None
    os.kill(running.pid, how)
    while find(place) is not None:
        time.sleep(0.02)


def test_several_sessions_at_once_share_one_board_and_a_killed_one_comes_back_where_it_was(database: Path) -> None:
    assert find(database) is None
    with ThreadPoolExecutor(3) as pool:
        boards = list(pool.map(lambda _: find_or_start(database), range(3)))
    assert len({(one.url, one.token, one.pid) for one in boards}) == 1
    assert [one.started for one in boards].count(True) == 1
    first = boards[0]
    assert Caller(int(first.url.rsplit(":", 1)[1]), first.token).ask("GET", "/v1/cards").status == 200
    stop(database, signal.SIGKILL)
    assert serving_file(database).exists()
    again = find_or_start(database)
    assert (again.url, again.token, again.started) == (first.url, first.token, True)
    stop(database, signal.SIGTERM)


def test_a_board_that_cannot_start_says_why(database: Path) -> None:
    database.write_text("not a database" * 1000)
    with pytest.raises(AquinError, match=r"did not start: .* cannot be opened"):
        find_or_start(database)


def test_only_a_process_of_this_machine_is_ever_provably_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    here = socket.gethostname()
    assert vanished(Producer("x", pid=child.pid, host=here))
    assert not vanished(Producer("x", pid=child.pid, host="elsewhere"))
    assert not vanished(Producer("x", pid=os.getpid(), host=here))
    assert not vanished(Producer("x", pid=None, host=here))
    if Path("/proc/self/stat").exists():
        assert vanished(Producer("x", pid=os.getpid(), host=here, born="1"))
