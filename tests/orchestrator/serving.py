"""A board that answers on loopback, in this process or in one that can be killed."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

from aquin_nb.orchestrator.app import create_app
from aquin_nb.orchestrator.board import Board, Limits
from aquin_nb.orchestrator.storage import open_storage
from aquin_nb.orchestrator.tokens import new_token, row_of

BATCH = "application/cloudevents-batch+json"


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


class Caller:
    """Speaks to a board with a token."""

    def __init__(self, port: int, token: str | None) -> None:
        self.port, self.token = port, token
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None:
            given.setdefault("Authorization", f"Bearer {self.token}")
        try:
            connection.putrequest(method, path, skip_host="Host" in given, skip_accept_encoding=True)
            for name, value in given.items():
                connection.putheader(name, value)
            if body is not None and "Content-Length" not in given:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Any:
        answer = self.ask("GET", path, **headers)
        assert answer.status == 200, (answer.status, answer.raw)
        return answer.body

    def send(self, events: list[dict[str, Any]]) -> Any:
        answer = self.ask("POST", "/v1/events", json.dumps(events).encode(), Content_Type=BATCH)
        assert answer.status == 200, (answer.status, answer.raw)
        return answer.body

    def json(self, method: str, path: str, value: Any) -> Answer:
        return self.ask(method, path, json.dumps(value).encode(), Content_Type="application/json")

    def with_token(self, token: str | None) -> Caller:
        return Caller(self.port, token)

    def new_token(self, *scopes: str, room: str | None = None) -> Caller:
        answer = self.json("POST", "/v1/tokens", {"scopes": list(scopes), "room": room})
        assert answer.status == 201, answer.raw
        return self.with_token(answer.body["token"])

    @contextmanager
    def stream(self, path: str = "/v1/stream", **headers: str) -> Iterator[Iterator[tuple[str, str, Any]]]:
        """(event, id, data) as they come."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}", **given})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        try:
            yield _frames(response)
        finally:
            connection.close()


def _frames(response: http.client.HTTPResponse) -> Iterator[tuple[str, str, Any]]:
    found: dict[str, str] = {}
    while line := response.readline().decode():
        name, _, value = line.rstrip("\n").partition(": ")
        if line != "\n":
            found[name] = value
        elif "data" in found:
            yield found.get("event", "message"), found.get("id", ""), json.loads(found["data"])
            found = {}
        else:
            found = {}


class Served(Caller):
    board: Board


@contextmanager
def served(place: str, limits: Limits | None = None, hosts: tuple[str, ...] = ()) -> Iterator[Served]:
    """A board in a thread of this process, and its owner's token."""
    storage = open_storage(place)
    token = new_token()
    storage.put_token(row_of(token, ("ingest", "read", "admin"), None))
    app = create_app(storage, limits=limits, hosts=hosts)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", access_log=False, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    caller = Served(server.servers[0].sockets[0].getsockname()[1], token)
    caller.board = app.state.board
    try:
        yield caller
    finally:
        caller.board.bus.close()
        server.should_exit = True
        thread.join(10)
        storage.close()


def spawn(place: str, *more: str, **environment: str) -> tuple[subprocess.Popen[str], Caller]:
    """`aquin-nb orchestrator serve --json` as a process of its own."""
    command = [sys.executable, "-m", "aquin_nb.cli", "orchestrator", "serve", "--db", place, "--json", *more]
    root = Path(__file__).parents[2]
    env = os.environ | {"PYTHONPATH": str(root)} | environment
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(process.communicate()[1])
    told = json.loads(line)
    assert set(told) == {"url", "token", "pid"}
    assert told["pid"] == process.pid
    return process, Caller(int(told["url"].rsplit(":", 1)[1]), told["token"])
