"""Stores in places that fsspec reaches: the same store, read through a cache that is never trusted blindly."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
import torch
from stores import LATER, MIDDLE, SEVERAL, assert_holds, rows, write

from aquin_nb.engine.activations import remote
from aquin_nb.engine.activations.manifest import read_manifest
from aquin_nb.engine.activations.merge import merge
from aquin_nb.engine.activations.places import place_of
from aquin_nb.engine.activations.store import Store
from aquin_nb.errors import NetworkError, NoSpace, OutputError, StoreError

URL = "memory://bucket/some/store"


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> fsspec.AbstractFileSystem:
    """An empty remote place, and an empty cache."""
    monkeypatch.setenv("AQUIN_HOME", str(tmp_path / "home"))
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    return memory


def remote_files(memory) -> dict[str, bytes]:
    """What lies there, but for when it was begun."""
    files = {path: memory.cat_file(path) for path in memory.find("/bucket")}
    return {path: b"" if path.endswith("manifest.json") else data for path, data in files.items()}


def test_a_remote_store_is_written_and_read_like_any_other(memory, tmp_path):
    store = write(URL, 25, sites=SEVERAL, dtype="bfloat16")
    assert sorted(memory.find("/bucket/some/store")) == [
        "/bucket/some/store/chunks/chunk_000000.safetensors",
        "/bucket/some/store/chunks/chunk_000001.safetensors",
        "/bucket/some/store/chunks/chunk_000002.safetensors",
        "/bucket/some/store/manifest.json",
    ]
    assert store.address == URL
    assert repr(store) == f"Store({URL!r}, 25 rows of 3 sites)"
    assert_holds(store)
    assert_holds(Store(f"{URL}/"))
    assert read_manifest(URL)["kind"] == "activations"
    local = write(tmp_path / "local", 25, sites=SEVERAL, dtype="bfloat16")
    for chunk in local.chunks:
        assert memory.cat_file(f"/bucket/some/store/{chunk.file}") == (local.path / chunk.file).read_bytes()
    assert store.stat() == local.stat()


def test_a_remote_store_goes_on_is_trimmed_and_merged(memory):
    write(URL, 47)
    whole = remote_files(memory)
    memory.rm("/bucket", recursive=True)
    write(URL, 12)
    with pytest.raises(OutputError, match="already holds an earlier result"):
        write(URL, 12)
    write(URL, 33, resume=True)
    assert_holds(Store(URL).trim(21))
    assert_holds(write(URL, 47, resume=True))
    assert remote_files(memory) == whole
    for rank in range(2):
        write("memory://parts", 17, part=(rank, 2))
    assert merge("memory://parts").rows == 34
    assert set(memory.find("/parts")) == {"/parts/manifest.json"} | {
        f"/parts/chunks/r0{rank}_00000{chunk}.safetensors" for rank in range(2) for chunk in range(2)
    }


class Killed(BaseException):
    """What nothing of ours catches."""


def test_a_remote_writer_that_is_killed_leaves_a_store(memory, monkeypatch):
    """Stopped before each of the eight things it puts: two manifests, a line and a file for each of three chunks."""
    write(URL, 25)
    whole = remote_files(memory)
    real = {name: getattr(type(memory), name) for name in ("put_file", "pipe_file")}
    for limit in range(8):
        memory.store.clear()
        left = [limit]

        def put(name: str, left: list[int], *args: object) -> None:
            if not left[0]:
                raise Killed
            left[0] -= 1
            real[name](*args)

        with monkeypatch.context() as patch:
            for name in real:
                patch.setattr(type(memory), name, lambda *args, name=name, left=left: put(name, left, *args))
            with pytest.raises(Killed):
                write(URL, 25)
        if limit:
            assert_holds(Store(URL))
        write(URL, 25, resume=True)
        assert remote_files(memory) == whole


def test_only_what_is_read_is_fetched_and_once(memory, monkeypatch):
    fetched = []
    real = type(memory).get_file
    monkeypatch.setattr(type(memory), "get_file", lambda self, *a, **o: fetched.append(a[0]) or real(self, *a, **o))
    store = write(URL, 45, sites=SEVERAL)
    assert store.stat()["documents"] == 7
    assert torch.allclose(store.at(LATER).mean(), rows(0, 45, LATER)[0].mean(0))
    assert fetched == []
    for _ in range(2):
        assert torch.equal(Store(URL).at(MIDDLE).x(2), rows(20, 30)[0])
    assert [path.rpartition("/")[2] for path in fetched] == ["chunk_000002.safetensors"]


def test_a_store_that_was_collected_anew_is_not_read_from_old_copies(memory):
    assert_holds(write(URL, 20))
    memory.rm("/bucket", recursive=True)
    assert_holds(write(URL, 520, first=500), first=500)


def test_damage_is_found_when_a_chunk_is_fetched_and_the_rest_is_readable(memory):
    store = write(URL, 30)
    path = "/bucket/some/store/chunks/chunk_000001.safetensors"
    data = bytearray(memory.cat_file(path))
    data[-1] ^= 1
    memory.pipe_file(path, bytes(data))
    with pytest.raises(StoreError, match=r"memory://bucket/some/store/chunks/chunk_000001.safetensors is damaged"):
        store.x(1)
    with pytest.raises(StoreError, match=r"chunk_000001.safetensors; 2 other chunks are sound"):
        store.verify()
    assert torch.equal(store.x(2), rows(20, 30)[0])
    memory.rm_file(path)
    with pytest.raises(StoreError, match="chunk_000001"):
        store.x(1)
    with pytest.raises(StoreError, match=r"chunk_000001.safetensors is missing"):
        Store(URL)


def test_copies_make_room_for_others(memory, monkeypatch):
    store = write(URL, 40)
    full = lambda path: len(list(path.glob("*.safetensors"))) >= 2  # noqa: E731
    monkeypatch.setattr(remote.files, "free_bytes", lambda path: 10 if full(path) else 10**9)
    for chunk in range(4):
        assert torch.equal(store.x(chunk), rows(10 * chunk, 10 * chunk + 10)[0])
    kept = {path.stem for path in store.path.glob("*.safetensors")}
    assert kept == {store.chunks[2].sha256, store.chunks[3].sha256}
    monkeypatch.setattr(remote.files, "free_bytes", lambda path: 10)
    with pytest.raises(NoSpace, match=r"A copy of chunks/chunk_000000.safetensors of memory://"):
        store.x(0)


def test_a_second_writer_of_this_machine_is_refused():
    from test_writer import writer

    with writer(URL) as first:
        with pytest.raises(OutputError, match="being written by another"):
            writer(URL, resume=True)
        first.discard()
    with pytest.raises(StoreError, match="not there"):
        Store(URL)


def test_what_a_remote_place_refuses_is_told(memory, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no credentials")

    store = write(URL, 20)
    monkeypatch.setattr(type(memory), "get_file", refuse)
    with pytest.raises(
        NetworkError, match=r"memory://bucket/some/store cannot be read \(RuntimeError: no credentials\)"
    ):
        store.x(0)
    monkeypatch.setattr(type(memory), "put_file", refuse)
    with pytest.raises(NetworkError, match=r"cannot be written .*credentials"):
        write("memory://other", 20)


def test_a_file_url_is_a_folder(tmp_path):
    store = write(f"file://{tmp_path}/a%20store", 12)
    assert store.path == tmp_path / "a store"
    assert_holds(Store(tmp_path / "a store"))


def test_places_that_cannot_be_are_told(tmp_path):
    with pytest.raises(StoreError, match="nosuch://x cannot be opened: Protocol not known"):
        Store("nosuch://x")
    with pytest.raises(StoreError, match="give it as a string"):
        place_of(Path("s3://bucket/x"))
    with pytest.raises(StoreError, match="memory://nothing is not there"):
        Store("memory://nothing")
    assert place_of("~/x").path == Path.home() / "x"
