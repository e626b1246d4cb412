"""Nobody gets in: every route against every stranger."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from senders import Sender, uuid7
from serving import BATCH, Served, served

from aquin_nb.orchestrator import tokens
from aquin_nb.orchestrator.app import create_app
from aquin_nb.orchestrator.storage import open_storage

OPEN = {"/", "/view-{kind}.js", "/board.css", "/board.js", "/board.svg", "/v1/health", "/v1/launch"}
NEEDS = {  # what each guarded route asks for; a route that is missing here fails `test_no_route_is_forgotten`
    ("POST", "/v1/events"): "ingest",
    ("PUT", "/v1/producers/{producer}"): "ingest",
    ("PUT", "/v1/blobs/{sha256}"): "ingest",
    ("GET", "/v1/blobs/{sha256}"): "read",
    ("GET", "/v1/events"): "read",
    ("GET", "/v1/cards"): "read",
    ("GET", "/v1/cards/{card:path}"): "read",
    ("GET", "/v1/cards/{card:path}/points"): "read",
    ("GET", "/v1/rooms"): "read",
    ("GET", "/v1/stream"): "read",
    ("GET", "/v1/changes"): "read",
    ("GET", "/v1/openapi.json"): "read",
    ("POST", "/v1/launch-codes"): "read",
    ("POST", "/v1/tokens"): "admin",
    ("GET", "/v1/tokens"): "admin",
    ("DELETE", "/v1/tokens/{token_id}"): "admin",
    ("DELETE", "/v1/cards/{card:path}"): "admin",
    ("POST", "/v1/gc"): "admin",
}
ROOMLESS = {  # these take no room: what they do with a token of another one is promised by a test of its own below
    ("POST", "/v1/events"),
    ("PUT", "/v1/producers/{producer}"),
    ("PUT", "/v1/blobs/{sha256}"),
    ("GET", "/v1/blobs/{sha256}"),
    ("GET", "/v1/rooms"),
    ("GET", "/v1/openapi.json"),
    ("POST", "/v1/launch-codes"),
    ("POST", "/v1/tokens"),
    ("GET", "/v1/tokens"),
    ("DELETE", "/v1/tokens/{token_id}"),
    ("POST", "/v1/gc"),
}


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(str(tmp_path_factory.mktemp("board") / "board.db")) as one:
        yield one


def routes() -> dict[tuple[str, str], set[str]]:
    """Every (method, path) of the application, and the names of its query parameters."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(str(Path(folder) / "x.db"))
        app = create_app(storage)
        found = {
            (method, route.path): {one.name for one in route.dependant.query_params}
            for route in _routes(app.routes)
            for method in sorted(route.methods)
        }
        app.state.board.writer.close()
        storage.close()
    return found


def _routes(given: list[object]) -> Iterator[APIRoute]:
    for one in given:
        if isinstance(one, APIRoute):
            yield one
        else:
            yield from _routes(getattr(getattr(one, "original_router", one), "routes", []))


ROUTES = routes()


def filled(path: str) -> str:
    for name, value in (("producer", uuid7()), ("sha256", "0" * 64), ("card:path", uuid7()), ("token_id", "12345678")):
        path = path.replace("{" + name + "}", value)
    return path


def test_no_route_is_forgotten() -> None:
    assert {key for key in ROUTES if key[1] not in OPEN} == set(NEEDS)
    assert {path for _, path in ROUTES} >= OPEN
    assert {key for key in NEEDS if "room" not in ROUTES[key]} == ROOMLESS


@pytest.mark.parametrize(("method", "path"), sorted(ROUTES))
def test_a_route_refuses_every_stranger(board: Served, method: str, path: str) -> None:
    place, body = filled(path), None if method == "GET" else b"{}"
    kind = {} if body is None else {"Content_Type": "application/json"}
    for host in ("evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:80", "[::1].evil"):
        assert board.ask(method, place, body, Host=host, **kind).status in (400, 403)
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "https://localhost", "file://", "http://["):
        assert board.ask(method, place, body, Origin=origin, **kind).status == 403
    assert board.ask(method, place, body, Sec_Fetch_Site="cross-site", **kind).status == 403
    assert board.ask(method, place, body, Sec_Fetch_Site="same-site", **kind).status == 403
    if method != "GET":
        for form in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"):
            assert board.ask(method, place, b"a=b", Content_Type=form).status == 415
    if path in OPEN:
        return
    for token in (None, "", "x", "aqn_00000000_" + "A" * 43 + "_00000000", (board.token or "")[:-1] + "!"):
        assert board.with_token(token).ask(method, place, body, **kind).status == 401
    by_query = board.with_token(None).ask(
        method, f"{place}?token={board.token}&access_token={board.token}", body, **kind
    )
    assert by_query.status == 401
    need = NEEDS[method, path]
    for scope in {"ingest", "read"} - {need}:
        assert board.new_token(scope).ask(method, place, body, **kind).status == 403
    stranger = board.new_token("ingest", "read", "admin", room="street")
    if "room" in ROUTES[method, path]:
        assert stranger.ask(method, f"{place}?room=lab", body, **kind).status == 404


def test_a_token_of_a_room_sees_and_writes_no_other(board: Served) -> None:
    card, secret = uuid7(), "only for the lab"
    board.send([Sender(room="lab").start(card, name=secret)])
    stranger = board.new_token("ingest", "read", "admin", room="street")
    for path in ("/v1/events", "/v1/cards", "/v1/rooms", "/v1/changes?wait=0", "/v1/tokens"):
        answer = stranger.ask("GET", path)
        assert answer.status == 200
        assert secret.encode() not in answer.raw
        assert b'"lab"' not in answer.raw
    for path in (
        "/v1/events",
        "/v1/cards",
        f"/v1/cards/{card}",
        f"/v1/cards/{card}/points",
        "/v1/changes",
        "/v1/stream",
    ):
        assert stranger.ask("GET", f"{path}?room=lab").status == 404
    assert stranger.ask("GET", f"/v1/cards/{card}").status == 404
    events = [Sender(room="lab").start(card)]
    assert stranger.ask("POST", "/v1/events", json.dumps(events).encode(), Content_Type=BATCH).status == 403
    for room in ("lab", None):
        assert stranger.json("POST", "/v1/tokens", {"scopes": ["read"], "room": room}).status == 403
    assert stranger.json("POST", "/v1/gc", {}).status == 403
    lab = board.json("POST", "/v1/tokens", {"scopes": ["read"], "room": "lab"}).body["id"]
    assert stranger.ask("DELETE", f"/v1/tokens/{lab}").status == 404
    assert stranger.ask("DELETE", f"/v1/cards/{card}").status == 404
    assert stranger.json("POST", "/v1/launch-codes", {}).status == 201
    code = stranger.json("POST", "/v1/launch-codes", {}).body["code"]
    assert board.with_token(None).json("POST", "/v1/launch", {"code": code}).body["room"] == "street"
    with stranger.stream() as frames:
        board.send([Sender(room="lab").start(card, attempt=2), *Sender(room="street").run(uuid7())])
        assert next(frames)[2]["room"] == "street"


def test_a_launch_code_lets_one_browser_in_once(board: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def code() -> str:
        return str(board.json("POST", "/v1/launch-codes", {}).body["code"])

    nobody = board.with_token(None)
    first = code()
    entered = nobody.json("POST", "/v1/launch", {"code": first})
    assert entered.status == 200
    browser = board.with_token(entered.body["token"])
    assert browser.ask("GET", "/v1/cards").status == 200
    assert browser.json("POST", "/v1/tokens", {"scopes": ["admin"]}).status == 403
    assert nobody.json("POST", "/v1/launch", {"code": first}).status == 403
    second, now = code(), time.time()
    monkeypatch.setattr(tokens.time, "time", lambda: now + 61)
    assert nobody.json("POST", "/v1/launch", {"code": second}).status == 403
    monkeypatch.setattr(tokens.time, "time", lambda: now + 13 * 3600)
    assert browser.ask("GET", "/v1/cards").status == 401


def test_every_answer_carries_the_strict_headers(board: Served) -> None:
    for path in ("/", "/board.js", "/v1/health", "/v1/cards", "/nothing"):
        headers = board.ask("GET", path).headers
        policy = headers["Content-Security-Policy"]
        for part in (
            "default-src 'none'",
            "script-src 'self'",
            "require-trusted-types-for 'script'",
            "form-action 'none'",
        ):
            assert part in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers
        assert "Set-Cookie" not in headers
    assert board.ask("GET", "/v1/cards").headers["Cache-Control"] == "no-store"


def test_the_token_is_nowhere_but_in_its_file(tmp_path: Path) -> None:
    with served(str(tmp_path / "board.db")) as board:
        token = board.token or ""
        board.send(Sender().run(uuid7()))
        board.ask("GET", f"/v1/nothing/{token[:8]}")
        pages = b"".join(
            board.ask("GET", path).raw for path in ("/", "/board.js", "/v1/cards", "/v1/tokens", "/v1/events")
        )
    kept = pages + b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    secret = token.split("_", 2)[2].rsplit("_", 1)[0]
    assert secret.encode() not in kept


def test_a_proxys_name_is_let_through_only_when_it_was_named(tmp_path: Path) -> None:
    with served(str(tmp_path / "board.db"), hosts=("hub.example",)) as board:
        assert board.ask("GET", "/v1/cards", Host="hub.example", Origin="https://hub.example").status == 200
        assert board.ask("GET", "/v1/cards", Host="127.0.0.1", Origin="https://hub.example").status == 200
        assert board.ask("GET", "/v1/cards", Host="other.example").status == 403
