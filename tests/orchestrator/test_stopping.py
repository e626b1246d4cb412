"""A board that is asked to stop does so at once and in silence; one that cannot start says why in a sentence."""

from __future__ import annotations

import http.client
import signal
import socket
import time
from pathlib import Path

import pytest
from senders import Sender, uuid7
from serving import Caller, spawn

from aquin_nb.cli import main
from aquin_nb.orchestrator.serve import STOP_SECONDS
from aquin_nb.orchestrator.storage import open_storage


def hold(board: Caller, how: str) -> object:
    """A connection that the server would like to wait for."""
    if how == "a stream":
        connection = http.client.HTTPConnection("127.0.0.1", board.port)
        connection.request("GET", "/v1/stream", headers={"Authorization": f"Bearer {board.token}"})
        answer = connection.getresponse()
        answer.readline()
        return connection, answer
    if how == "half a request":
        half = socket.create_connection(("127.0.0.1", board.port))
        head = f"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {board.token}\r\n"
        kind = "Content-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
        half.sendall((head + kind).encode())
        assert half.recv(100).startswith(b"HTTP/1.1 100")
        return half
    return None


@pytest.mark.parametrize(
    "signals", [[signal.SIGINT], [signal.SIGINT] * 3, [signal.SIGTERM]], ids=["one", "three", "term"]
)
@pytest.mark.parametrize("held", ["nothing", "a stream", "half a request"])
def test_it_stops_in_silence_and_keeps_what_it_took(tmp_path: Path, signals: list[signal.Signals], held: str) -> None:
    place = str(tmp_path / "board.db")
    process, board = spawn(place, "--port", "0")
    board.send(Sender().run(uuid7()))
    kept = hold(board, held)
    began = time.monotonic()
    for number in signals:
        process.send_signal(number)
        time.sleep(0.05)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0
    assert time.monotonic() - began < STOP_SECONDS + 10
    assert kept is None or kept
    storage = open_storage(place)
    assert storage.head() == 5
    storage.close()


def test_what_cannot_be_served_is_said_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newer = open_storage(str(tmp_path / "newer.db"))
    newer.run("UPDATE meta SET value = '99' WHERE name = 'schema'")  # type: ignore[attr-defined]
    newer.close()
    (tmp_path / "junk.db").write_bytes(b"no database" * 1_000)
    place = str(tmp_path / "board.db")
    process, board = spawn(place, "--port", "0")
    try:
        for words, said in (
            (["serve", "--db", str(tmp_path / "x.db"), "--port", str(board.port)], f"Port {board.port} is taken"),
            (["serve", "--db", place, "--port", "0"], f"serves {place} at {board.url}: use that one"),
            (["serve", "--db", str(tmp_path), "--port", "0"], "is a folder"),
            (["serve", "--db", str(tmp_path / "newer.db"), "--port", "0"], "upgrade aquin-nb"),
            (["export", "--db", str(tmp_path / "newer.db"), "-"], "upgrade aquin-nb"),
            (["serve", "--db", str(tmp_path / "junk.db"), "--port", "0"], "file is not a database"),
            (["serve", "--db", str(tmp_path / "x.db"), "--port", "99999"], "port must be 0-65535. Choose"),
            (["serve", "--db", str(tmp_path / "x.db"), "--room-bytes", "0"], "want 1 or more"),
        ):
            assert main(["orchestrator", *words]) == 1
            error = capsys.readouterr().err
            assert said in error
            assert len(error.splitlines()) == 1
    finally:
        process.kill()
        process.communicate()
