"""The hub, against a small server that speaks its protocol: download, cache, progress, and every refusal."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from huggingface_hub import constants

from aquin_nb.control import Control, Tick
from aquin_nb.engine.models import Model, load_model
from aquin_nb.engine.models.hub import snapshot
from aquin_nb.errors import Cancelled, ModelError, NetworkError

from .wheels import MEMBERS, TINY

COMMIT = "c" * 40


class Hub(BaseHTTPRequestHandler):
    """`org/model` is the bundled model with some other files; `org/gated`, `org/pickled`, and nothing else."""

    files: ClassVar = {
        **{name: (TINY / name).read_bytes() for name in MEMBERS},
        "onnx/model.onnx": b"no",
        "code.py": b"no",
    }
    downloads: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if "/org/gated" in path:
            self.answer(403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "ask first"})
        elif path.startswith("/api/models/org/model/tree/"):
            rows = [{"type": "file", "path": n, "size": len(b), "oid": digest(b)} for n, b in self.files.items()]
            self.answer(200, json.dumps(rows).encode(), {"Content-Type": "application/json"})
        elif path.startswith("/api/models/org/model"):
            self.describe("org/model", self.files)
        elif path.startswith("/api/models/org/pickled"):
            self.describe("org/pickled", {"pytorch_model.bin": b"x"})
        elif path.startswith("/org/model/resolve/"):
            name = path.split("/", 5)[5]
            if self.command == "GET":
                self.downloads.append(name)
            content = self.files[name]
            self.answer(200, content, {"ETag": f'"{digest(content)}"', "X-Repo-Commit": COMMIT})
        else:
            self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def describe(self, name: str, content: dict[str, bytes]) -> None:
        files = [{"rfilename": n, "size": len(b)} for n, b in content.items()]
        body = {"_id": "1", "id": name, "modelId": name, "sha": COMMIT, "siblings": files, "private": False, "tags": []}
        self.answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and a hub that nobody answers at."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    point_at(monkeypatch, "http://127.0.0.1:9")
    return tmp_path / "cache"


@pytest.fixture
def server(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    Hub.downloads = []
    running = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    point_at(monkeypatch, f"http://127.0.0.1:{running.server_port}")
    yield Hub
    running.shutdown()
    running.server_close()


def point_at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


def test_a_hub_model_is_fetched_once_and_loads(
    server: type[Hub], monkeypatch: pytest.MonkeyPatch, plain: Model
) -> None:
    ticks: list[Tick] = []
    model = load_model(
        "org/model", device="cpu", dtype="float32", backend="huggingface", control=Control(on_tick=ticks.append)
    )
    assert (model.info.name, model.info.source) == ("org/model", "hub")
    assert model.info.fingerprint == plain.info.fingerprint
    assert sorted(set(server.downloads)) == sorted(MEMBERS)  # neither code nor other formats
    size = sum(len(server.files[name]) for name in MEMBERS)
    assert Tick("download", size, size, "bytes") in ticks
    point_at(monkeypatch, "http://127.0.0.1:9")
    before = len(server.downloads)
    assert load_model("org/model", device="cpu", backend="huggingface").info.name == "org/model"
    assert len(server.downloads) == before


def test_an_incomplete_cache_is_not_taken_for_a_model(server: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = snapshot("org/model")
    (folder / "model.safetensors").unlink()
    assert (snapshot("org/model") / "model.safetensors").is_file()
    (folder / "model.safetensors").unlink()
    point_at(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(NetworkError):
        snapshot("org/model")


def test_cancel_stops_a_download(server: type[Hub]) -> None:
    control = Control(on_tick=lambda tick: control.cancel())
    with pytest.raises(Cancelled):
        snapshot("org/model", control)


def test_refusals_are_told_apart(server: type[Hub]) -> None:
    with pytest.raises(ModelError, match=r"gated.*hf auth login"):
        load_model("org/gated")
    with pytest.raises(ModelError, match="no safetensors weights"):
        load_model("org/pickled")
    with pytest.raises(ModelError, match="no model 'org/none'"):
        load_model("org/none")


@pytest.mark.parametrize("spec", ["org/model", "gpt2"])
def test_without_a_network_it_says_so(cache: Path, spec: str) -> None:
    with pytest.raises(NetworkError, match=r"cannot be reached.*'tiny' \(bundled\)"):
        load_model(spec)


def test_a_resolver_that_never_answers_cannot_hold_us(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aquin_nb.engine.models import hub

    answer = threading.Event()
    monkeypatch.setattr(hub, "_ANSWER_SECONDS", 0.3)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: answer.wait(30))
    with pytest.raises(NetworkError, match="no answer"):
        snapshot("org/model")
    answer.set()


def test_the_offline_switch_is_obeyed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(NetworkError, match="HF_HUB_OFFLINE is set"):
        load_model("org/model")
