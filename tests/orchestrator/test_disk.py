"""A disk that is full, or fails, under a board that serves: senders are told to come back, and nothing is lost."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from senders import Sender, uuid7
from serving import BATCH, Answer, Caller, spawn

from aquin_nb.orchestrator.storage import open_storage

resource = pytest.importorskip("resource", reason="limits of a process are Unix'")


def post(board: Caller, events: list[dict[str, Any]]) -> Answer:
    return board.ask("POST", "/v1/events", json.dumps(events).encode(), Content_Type=BATCH)


def told(board: Caller, events: list[dict[str, Any]], most: int) -> int:
    """Send in batches until one is not taken; how many were."""
    for begin in range(0, most, 100):
        if post(board, events[begin : begin + 100]).status != 200:
            return begin
    return most


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process are Linux'")
def test_writes_that_fail_lose_nothing_and_it_goes_on_without_a_restart(tmp_path: Path) -> None:
    place = str(tmp_path / "board.db")
    process, board = spawn(place, "--port", "0")
    try:
        sender, card = Sender(), uuid7()
        events = sender.run(card, 2_998)
        assert told(board, events, 300) == 300
        whole = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        size = (tmp_path / "board.db-wal").stat().st_size
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size + 20_000, whole[1]))
        kept = told(board, events, 3_000)
        assert 300 <= kept < 3_000
        refused = post(board, events[kept : kept + 100])
        assert refused.status == 503
        assert "right now" in refused.body["detail"]
        assert int(refused.headers["Retry-After"]) >= 1
        assert board.ask("GET", f"/v1/cards/{card}").status == 200
        assert board.json("PUT", f"/v1/producers/{sender.uuid}", {"alive": True}).status in (204, 503)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, whole)
        assert told(board, events, 3_000) == 3_000
        assert board.get(f"/v1/cards/{card}")["events"] == 3_000
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20)[1].count("Traceback") == 0
    finally:
        process.kill()
        process.wait()
    storage = open_storage(place)
    assert [json.loads(body) for _, body in storage.every()] == events
    assert storage.check() == []
    storage.close()


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="a small disk of one's own needs root")
def test_a_full_disk_is_said_and_freed_room_is_used_without_a_restart(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    serve = [sys.executable, "-m", "aquin_nb.cli", "orchestrator", "serve", "--json", "--port", "0"]
    script = 'mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, str(disk), *serve, "--db", str(disk / "board.db")]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            pytest.skip(f"no file system can be mounted here: {process.communicate()[1][-200:]}")
        started = json.loads(line)
        board = Caller(int(started["url"].rsplit(":", 1)[1]), started["token"])
        inside = Path(f"/proc/{process.pid}/root{disk}")
        ballast = inside / "ballast"
        ballast.write_bytes(b"x" * (2 << 20))
        sender, card = Sender(), uuid7()
        events = sender.run(card, 5_998)
        kept = told(board, events, 6_000)
        assert 0 < kept < 6_000
        full = post(board, events[kept : kept + 100])
        assert full.status in (503, 507)
        assert board.get(f"/v1/cards/{card}")["events"] == kept
        blob = b"[" + b"1," * 500_000 + b"1]"
        put = board.ask("PUT", f"/v1/blobs/{hashlib.sha256(blob).hexdigest()}", blob)
        assert put.status == 507
        assert "full" in put.body["detail"] or "space" in put.body["detail"]
        ballast.unlink()
        deadline = time.monotonic() + 20
        while post(board, events[kept : kept + 100]).status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert board.get(f"/v1/cards/{card}")["events"] == kept + 100
        assert board.get("/v1/events?limit=5000")["events"] == events[: kept + 100][:5_000]
    finally:
        process.kill()
        process.wait()


def test_a_board_whose_database_is_away_says_so_to_readers_too(tmp_path: Path) -> None:
    process, board = spawn(str(tmp_path / "board.db"), "--port", "0")
    try:
        board.send(Sender().run(uuid7()))
        with open(tmp_path / "board.db", "r+b") as file:
            file.write(b"\0" * file.seek(0, 2))
            file.truncate(100)
        for path in ("/v1/cards", "/v1/rooms", "/v1/events"):
            try:
                status = board.ask("GET", path).status
            except (OSError, http.client.HTTPException):
                status = 0
            assert status in (200, 503)
    finally:
        process.kill()
        process.wait()
