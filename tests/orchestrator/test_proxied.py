"""The board behind a real Jupyter server with jupyter-server-proxy, under a path of its own, in a real Chromium."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import CHROMIUM, chromium
from senders import Sender, uuid7
from serving import BATCH, Caller

from aquin_nb.orchestrator.bridge import _readdressed
from aquin_nb.orchestrator.find import Board, find_or_start

BASE = "/user/someone"


class Jupyter:
    """A Jupyter server whose only extension is the proxy."""

    def __init__(self, home: Path) -> None:
        pytest.importorskip("jupyter_server_proxy", reason="pip install jupyter-server-proxy")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.token = secrets.token_hex(16)
        self.url = f"http://127.0.0.1:{self.port}{BASE}"
        config = home / "config"
        config.mkdir(parents=True)
        # As the entry point of an installed package does.
        (config / "jupyter_server_config.py").write_text(
            "from aquin_nb.orchestrator.bridge import setup\nc.ServerProxy.servers = {'aquin-nb': setup()}\n"
        )
        env = os.environ | {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
        command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
        command += [f"--port={self.port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}"]
        command += [f"--ServerApp.base_url={BASE}/", f"--ServerApp.root_dir={home}"]
        command += ["--ServerApp.jpserver_extensions={'jupyter_server_proxy': True}"]
        self.log = home / "log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, cwd=home)
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.url}/api/status?token={self.token}", timeout=2).read()
                return
            assert self.process.poll() is None, self.log.read_text()[-2_000:]
            assert time.monotonic() < deadline, self.log.read_text()[-2_000:]
            time.sleep(0.1)

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Jupyter, Board]]:
    home = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AQUIN_HOME", str(home / "aquin"))
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        patch.delenv("AQUIN_NB_TOKEN", raising=False)
        board = find_or_start()
        jupyter = None
        try:
            jupyter = Jupyter(home / "jupyter")
            yield jupyter, board
        finally:
            if jupyter is not None:
                jupyter.close()
            os.kill(board.pid, signal.SIGTERM)


@pytest.fixture(scope="module")
def tab(places: tuple[Jupyter, Board]) -> Iterator[Any]:
    """A browser that is logged in at Jupyter."""
    jupyter, _ = places
    with chromium() as page:
        page.said = []
        page.on("console", lambda message: page.said.append(message.text))
        page.goto(f"{jupyter.url}/api/status?token={jupyter.token}")
        yield page


def seen(page: Any, board: Board, name: str) -> None:
    """The page is live, shows a new card as it comes, and said nothing."""
    page.locator(".link[data-state=live]").wait_for()
    direct = Caller(int(board.url.rsplit(":", 1)[1]), board.token)
    direct.send([Sender().start(uuid7(), name=name)])
    page.get_by_text(name).first.wait_for(timeout=5_000)
    assert page.evaluate("document.cookie").find("aqn_") == -1
    assert [text for text in page.said if "violates" in text or "Trusted" in text] == []


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_launcher_lets_in_by_a_code_and_the_stream_passes(places: tuple[Jupyter, Board], tab: Any) -> None:
    jupyter, board = places
    passed: list[str] = []
    tab.on("response", lambda answer: passed.append(answer.url) if "/v1/stream" in answer.url else None)
    tab.goto(f"{jupyter.url}/aquin-nb/enter")
    seen(tab, board, "through the launcher")
    assert tab.url == f"{jupyter.url}/aquin-nb/"
    assert passed
    assert all(one.startswith(f"{jupyter.url}/aquin-nb/v1/stream") for one in passed)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_page_works_under_the_path_of_its_port(places: tuple[Jupyter, Board], tab: Any) -> None:
    jupyter, board = places
    direct = Caller(int(board.url.rsplit(":", 1)[1]), board.token)
    code = direct.json("POST", "/v1/launch-codes", {}).body["code"]
    tab.goto(f"{jupyter.url}/proxy/{direct.port}/#code={code}")
    seen(tab, board, "by its port")


def test_events_are_taken_through_the_proxy(places: tuple[Jupyter, Board]) -> None:
    jupyter, board = places
    events = Sender(room="proxied").run(uuid7())
    address = f"{jupyter.url}/aquin-nb/v1/events"
    headers = {"Content-Type": BATCH, "Authorization": f"Bearer {board.token}"}
    asked = urllib.request.Request(f"{address}?token={jupyter.token}", json.dumps(events).encode(), headers)
    assert json.loads(urllib.request.urlopen(asked, timeout=20).read())["accepted"] == 5
    direct = Caller(int(board.url.rsplit(":", 1)[1]), board.token)
    assert direct.get("/v1/events?room=proxied")["events"] == events


def test_nobody_gets_near_it_without_jupyters_leave(places: tuple[Jupyter, Board]) -> None:
    jupyter, _ = places
    for path in ("enter", "v1/health", ""):
        with contextlib.suppress(urllib.error.HTTPError):
            answer = urllib.request.urlopen(f"{jupyter.url}/aquin-nb/{path}", timeout=20)
            assert "/login" in answer.url
    headers = {"Authorization": f"token {jupyter.token}", "Origin": "http://evil.example"}
    asked = urllib.request.Request(f"{jupyter.url}/aquin-nb/v1/health", headers=headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked, timeout=20)
    assert refused.value.code in (403, 404)


def test_a_page_of_the_proxy_is_the_boards_and_another_is_not() -> None:
    own = [("Host", "hub.example"), ("Origin", "https://hub.example"), ("Cookie", "secret"), ("Accept", "x")]
    assert _readdressed(own, "127.0.0.1:1") == [("Host", "127.0.0.1:1"), ("Connection", "close"), ("Accept", "x")]
    foreign = [("Host", "hub.example"), ("Origin", "https://evil.example")]
    assert ("Origin", "https://evil.example") in _readdressed(foreign, "127.0.0.1:1")
