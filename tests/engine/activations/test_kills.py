"""Killed at any byte: what is left opens, verifies, goes on, and ends with the bytes of a store that was not killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import SEVERAL, assert_holds, contents, write

from aquin_nb import files
from aquin_nb.engine.activations.merge import merge
from aquin_nb.engine.activations.store import Store
from aquin_nb.engine.activations.trim import trim

KILLS = 15


class Camera:
    """Takes a picture of a folder at every instant at which its files change: what a kill there would leave."""

    def __init__(self, folder: Path, album: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.album, self.pictures = folder, album, list[Path]()
        replace, append, unlink = os.replace, files.append, Path.unlink

        def replacing(source: Any, target: Any) -> None:
            for share in (0.3, None):
                self.take(share)
            replace(source, target)
            self.take()

        def appending(path: Path, line: bytes) -> None:
            for end in (1, len(line) - 1, len(line)):
                picture = self.take()
                with open(picture / path.relative_to(folder), "ab") as stream:
                    stream.write(line[:end])
            append(path, line)

        def unlinking(path: Path, missing_ok: bool = False) -> None:
            if path.exists() and path.is_relative_to(folder):
                self.take()
            unlink(path, missing_ok=missing_ok)

        patch.setattr(files.os, "replace", replacing)
        patch.setattr(files, "append", appending)
        patch.setattr(Path, "unlink", unlinking)

    def take(self, share: float | None = None) -> Path:
        """A copy of the folder, its temporaries cut to a share of their length."""
        picture = self.album / str(len(self.pictures))
        shutil.copytree(self.folder, picture)
        if share is not None:
            for part in picture.rglob("*.part"):
                part.write_bytes(part.read_bytes()[: int(part.stat().st_size * share)])
        self.pictures.append(picture)
        return picture


@pytest.fixture
def watched(tmp_path: Path) -> Callable[[Callable[[Path], object]], list[Path]]:
    """Pictures of tmp_path / "s" while something works on it."""

    def watch(work: Callable[[Path], object]) -> list[Path]:
        with pytest.MonkeyPatch.context() as patch:
            camera = Camera(tmp_path / "s", tmp_path / "album", patch)
            work(tmp_path / "s")
        return camera.pictures

    return watch


def test_killed_at_any_instant_of_a_collection(tmp_path, watched):
    whole = contents(write(tmp_path / "whole", 24, sites=SEVERAL).path)
    seen = set()
    for picture in watched(lambda folder: write(folder, 24, sites=SEVERAL)):
        if (picture / "manifest.json").exists():
            store = Store(picture)
            assert_holds(store)
            seen.add((store.rows, store.complete))
        write(picture, 24, sites=SEVERAL, resume=True)
        assert contents(picture) == whole
    assert seen == {(0, False), (10, False), (20, False), (24, False), (24, True)}


def test_killed_at_any_instant_of_going_on(tmp_path, watched):
    """A complete store grows: its last chunk is written anew, longer, and is never lost."""
    write(tmp_path / "s", 14)
    whole = contents(write(tmp_path / "whole", 33).path)
    seen = set()
    for picture in watched(lambda folder: write(folder, 33, resume=True)):
        store = Store(picture)
        assert_holds(store)
        seen.add((store.rows, store.complete))
        write(picture, 33, resume=True)
        assert contents(picture) == whole
    assert seen == {(14, True), (14, False), (20, False), (30, False), (33, False), (33, True)}


@pytest.mark.parametrize("complete", [True, False])
def test_killed_at_any_instant_of_a_trim(tmp_path, watched, killed, whole, complete):
    if complete:
        write(tmp_path / "s", 65)
    else:
        shutil.copytree(killed, tmp_path / "s")
    before = Store(tmp_path / "s").rows
    assert before == (65 if complete else 60)
    seen = set()
    for picture in watched(lambda folder: trim(folder, 14)):
        store = Store(picture)
        assert_holds(store)
        assert not store.complete or complete
        seen.add(store.rows)
        shutil.copytree(picture, again := picture.with_suffix(".again"))
        trim(again, 14)
        assert_holds(Store(again))
        assert Store(again).rows == 14
        write(picture, 65, resume=True)
        assert contents(picture) == whole
    assert seen == {before, 14}


def test_killed_at_any_instant_of_a_merge(tmp_path, watched):
    def collect(folder: Path, **options: Any) -> None:
        for rank in range(2):
            write(folder, 1000 * rank + 17, first=1000 * rank, part=(rank, 2), **options)

    collect(tmp_path / "whole")
    whole = contents(merge(tmp_path / "whole").path)
    collect(tmp_path / "s")
    for picture in watched(merge):
        store = Store(picture)
        assert (store.rows, store.complete) == (34, True)
        assert store.verify() == 34
        merge(picture)
        assert contents(picture) == whole
    for picture in watched_parts(tmp_path, collect)[::3]:
        collect(picture, resume=True)
        merge(picture)
        assert contents(picture) == whole


def watched_parts(tmp_path: Path, collect: Callable[..., None]) -> list[Path]:
    """Pictures of two ranks that go on with a merged store."""
    for rank in range(2):
        write(tmp_path / "parts", 1000 * rank + 9, first=1000 * rank, part=(rank, 2))
    merge(tmp_path / "parts")
    with pytest.MonkeyPatch.context() as patch:
        camera = Camera(tmp_path / "parts", tmp_path / "parts-album", patch)
        collect(tmp_path / "parts", resume=True)
    for picture in camera.pictures:
        store = Store(picture)
        assert store.verify() == store.rows >= 18
    return camera.pictures


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_journal_cut_anywhere(tmp_path_factory, data, killed, whole):
    folder = tmp_path_factory.mktemp("cut") / "s"
    shutil.copytree(killed, folder)
    journal = (folder / "chunks.jsonl").read_bytes()
    (folder / "chunks.jsonl").write_bytes(journal[: data.draw(st.integers(0, len(journal)))])
    assert_holds(Store(folder))
    write(folder, 65, resume=True)
    assert contents(folder) == whole


@pytest.mark.parametrize("missing", range(6))
def test_lines_for_chunks_that_are_not_there(tmp_path, killed, whole, missing):
    folder = tmp_path / "s"
    shutil.copytree(killed, folder)
    (folder / f"chunks/chunk_{missing:06d}.safetensors").unlink()
    store = Store(folder)
    assert store.rows == 10 * missing
    assert store.notes == (
        []
        if missing == 5
        else [f"chunks/chunk_{missing:06d}.safetensors is missing; the {5 - missing} chunks after it are left out."]
    )
    assert_holds(store)
    write(folder, 65, resume=True)
    assert contents(folder) == whole


def test_chunks_without_a_line_and_what_else_a_kill_leaves(tmp_path, killed, whole):
    folder = tmp_path / "s"
    shutil.copytree(killed, folder)
    for name in (
        "chunks/chunk_000006.safetensors",
        "chunks/.chunk_000006.safetensors.x1.part",
        ".manifest.json.x2.part",
        ".lock",
    ):
        (folder / name).write_bytes(b"half of")
    store = Store(folder)
    assert store.rows == 60
    assert_holds(store)
    write(folder, 65, resume=True)
    assert contents(folder) == whole


def test_a_damaged_line_ends_the_journal_with_a_note(tmp_path, killed, whole):
    folder = tmp_path / "s"
    shutil.copytree(killed, folder)
    lines = (folder / "chunks.jsonl").read_text().splitlines(keepends=True)
    for damage in ("{\n", json.dumps([1]) + "\n", json.dumps({"file": "x"}) + "\n", "\x00\n"):
        (folder / "chunks.jsonl").write_text("".join([*lines[:3], damage, *lines[4:]]))
        store = Store(folder)
        assert store.rows == 30
        assert "chunks.jsonl is damaged in line 4; what follows is left out." in store.notes[0]
        assert_holds(store)
    write(folder, 65, resume=True)
    assert contents(folder) == whole


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> Path:
    """A store whose writer was killed after 60 of 65 rows, in 6 chunks of its journal."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        camera = Camera(folder / "s", folder / "album", patch)
        write(folder / "s", 65)
    return next(p for p in camera.pictures if (p / "manifest.json").exists() and Store(p).rows == 60)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, Any]:
    return contents(write(tmp_path_factory.mktemp("whole") / "s", 65).path)


WRITERS = """
import os, sys
sys.path[:0] = {path!r}
from stores import SEVERAL, write
for _ in sys.stdin:
    child = os.fork()
    if not child:
        write({folder!r}, 1_000_000, chunk_rows=100, step=37, sites=SEVERAL, resume=True)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def test_killed_for_good_at_random_instants(tmp_path):
    """Writer after writer is killed; each goes on where the one before was killed, at times hardly begun."""
    folder, instants, here = tmp_path / "s", random.Random(0), Path(__file__).parent
    code = WRITERS.format(path=[str(here.parents[2]), str(here)], folder=str(folder))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as writers:
        rows = 0
        for kill in range(KILLS):
            writers.stdin.write("\n")
            child = int(writers.stdout.readline())
            wanted, deadline = rows // 100 + instants.choice((0, 0, 1, 3)), time.monotonic() + 60
            while len(list(folder.glob("chunks/chunk_*"))) < wanted or (kill == 0 and not folder.exists()):
                assert time.monotonic() < deadline
                time.sleep(0.001)
            time.sleep(instants.uniform(0, 0.05))
            os.kill(child, signal.SIGKILL)
            assert int(writers.stdout.readline()) == signal.SIGKILL
            if (folder / "manifest.json").exists():
                store = Store(folder)
                assert store.rows >= rows
                assert_holds(store)
                rows = store.rows
        writers.stdin.close()
    total = rows + 50
    assert rows > 100
    whole = write(tmp_path / "whole", total, chunk_rows=100, step=37, sites=SEVERAL)
    write(folder, total, chunk_rows=100, step=37, sites=SEVERAL, resume=True)
    assert contents(folder) == contents(whole.path)
