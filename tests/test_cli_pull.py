"""`pull sae` from a hub: what it downloads is what was announced, no code is run, and each refusal says what to do."""

import hashlib
import io
import json
import pickle
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from aquin_nb import load_dictionary
from aquin_nb.cli import main
from aquin_nb.engine.sae.dictionary import SparseAutoencoder
from aquin_nb.engine.sae.formats import save_dictionary
from aquin_nb.engine.sae.record import SaeConfig

COMMIT = "c" * 40
D_IN, D_SAE = 16, 24
CFG = {"architecture": "standard", "model_name": "tiny", "hook_name": "blocks.3.hook_resid_pre"}
REFUSED = {"lost/repo": (404, "RepoNotFound"), "shut/repo": (401, "GatedRepo"), "hidden/repo": (401, "RepoNotFound")}


class Hub(ThreadingHTTPServer):
    """Answers `/<repository>/resolve/<revision>/<file>` as the hub does."""

    daemon_threads = True

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.announced: dict[str, str] = {}
        self.cuts = 0
        """How many of the next downloads of weights end in their middle."""
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who asked may have gone."""


class Answer(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        hub, path = self.server, self.path.lstrip("/")
        repo, _, name = (
            path.partition("/resolve/main/") if "/resolve/main/" in path else path.partition(f"/resolve/{COMMIT}/")
        )
        hub.asked.append(f"{self.command} {name}")
        if repo in REFUSED:
            return self._refuse(*REFUSED[repo])
        data = hub.files.get(f"{repo}/{name}")
        if data is None:
            return self._refuse(404, "EntryNotFound")
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.send_header("X-Repo-Commit", COMMIT)
        # The hub names large files by their SHA-256, small ones by that of git.
        large = name.endswith((".safetensors", ".pt"))
        plain = hashlib.sha1(data).hexdigest()
        self.send_header("ETag", f'"{hub.announced.get(name, hashlib.sha256(data).hexdigest()) if large else plain}"')
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        if not body:
            return None
        part = data[begin:]
        if large and hub.cuts > 0:
            hub.cuts -= 1
            part, self.close_connection = part[: len(part) // 2], True
        with suppress(OSError):
            self.wfile.write(part)
        return None

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a dictionary in each form that is read; what HF_ENDPOINT says is read once, so it is put in place."""
    from huggingface_hub import constants

    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _seconds: None)
    g = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (D_IN, D_SAE), "W_dec": (D_SAE, D_IN), "b_enc": (D_SAE,), "b_dec": (D_IN,)}
    tensors = {name: torch.randn(shape, generator=g) for name, shape in shapes.items()}
    server.files["some/saes/third/cfg.json"] = json.dumps(CFG).encode()
    server.files["some/saes/third/sae_weights.safetensors"] = save(tensors)
    cfg = SaeConfig("relu", D_IN, D_SAE, D_IN, name="ours", model="tiny", layer=3, hook="blocks.3.hook_resid_post")
    ours = save_dictionary(SparseAutoencoder(cfg, **tensors), tmp_path / "ours.pt")
    server.files["some/saes/ours/sae.pt"] = ours.read_bytes()
    server.files["some/saes/code/cfg.json"] = json.dumps(CFG).encode()
    server.files["some/saes/code/sae_weights.pt"] = server.files["some/saes/code/evil.pt"] = evil()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


class Evil:
    def __reduce__(self) -> Any:
        return (Path("pwned").touch, ())


def evil() -> bytes:
    into = io.BytesIO()
    torch.save({"format": "aquin-nb/sae", "W_enc": Evil()}, into, pickle_protocol=2)
    assert pickle.PROTO[0] in into.getvalue()
    return into.getvalue()


def pulled(capsys: pytest.CaptureFixture[str], slug: str, status: int = 0) -> Any:
    assert main(["pull", "sae", slug, "--output-json"]) == status
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("slug", "layer"), [("some/saes/third", 2), ("some/saes/ours/sae.pt", 3)], ids=["saelens", "ours"]
)
def test_it_is_downloaded_once_and_is_the_same_function(
    slug: str, layer: int, hub: Hub, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = pulled(capsys, slug)
    assert told["data"]["layer"] == layer
    assert told["path"] == str(home / "sae" / "tiny" / f"sae_layer{layer}.pt")
    sae = load_dictionary(told["path"])
    x = torch.randn(5, D_IN, generator=torch.Generator().manual_seed(1))
    ours = load_dictionary(Path(hub_copy(hub, home)))
    torch.testing.assert_close(sae.encode(x), ours.encode(x))
    hub.asked.clear()
    pulled(capsys, slug)
    assert not [one for one in hub.asked if one.startswith("GET")]


def hub_copy(hub: Hub, home: Path) -> Path:
    place = home / "copy.pt"
    place.write_bytes(hub.files["some/saes/ours/sae.pt"])
    return place


def test_a_download_that_is_cut_is_gone_on_with(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.cuts = 1
    assert pulled(capsys, "some/saes/third")["data"]["layer"] == 2
    assert len([one for one in hub.asked if one.startswith("GET") and "safetensors" in one]) == 2


@pytest.mark.parametrize(
    ("slug", "said"),
    [
        ("lost/repo/x", "The hub has no 'lost/repo' that you may read"),
        ("hidden/repo/x", "that you may read. Check the spelling and your login"),
        ("shut/repo/x", "accept its terms at https://huggingface.co/shut/repo"),
        ("some/saes/nowhere", "some/saes has no nowhere/cfg.json"),
        ("some/saes/code", "has no code/sae_weights.safetensors"),
        ("some/saes/code/evil.pt", "code"),
    ],
)
def test_what_is_refused(slug: str, said: str, hub: Hub, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = pulled(capsys, slug, 1)
    assert said in told["error"]["message"]
    assert "\n" not in told["error"]["message"]
    assert not (home / "sae").exists()
    assert not Path("pwned").exists()
    if slug == "some/saes/code":
        assert "GET code/sae_weights.pt" not in hub.asked, "a pickle that nobody named is not downloaded"


def test_another_file_than_announced_is_removed(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.announced["third/sae_weights.safetensors"] = "0" * 64
    for _ in range(2):
        assert "not the file that the hub announced" in pulled(capsys, "some/saes/third", 1)["error"]["message"]
    del hub.announced["third/sae_weights.safetensors"]
    assert pulled(capsys, "some/saes/third")["status"] == "completed"


def test_without_a_network(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.shutdown()
    hub.server_close()
    told = pulled(capsys, "some/saes/third", 1)
    assert told["error"]["type"] == "NetworkError"
    assert "is not on this machine and the hub cannot be reached" in told["error"]["message"]
