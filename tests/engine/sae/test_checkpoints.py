"""Checkpoints on disk: whole or not there, the last few kept, written when they are due."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from aquin_nb.engine.sae.checkpoints import Checkpoints, failed
from aquin_nb.errors import NoSpace, OutputError, StoreError


def names(kept: Checkpoints) -> list[str]:
    return [path.name for path in kept.files()]


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "run.checkpoints", 5)
    path = kept.write(7, {"parameters": {"enc": torch.arange(3.0)}, "note": "ü", "nothing": None, "rows": [1, 2]})
    assert path == tmp_path / "run.checkpoints" / "step_000000007.pt"
    state, problems = kept.latest()
    assert problems == []
    assert torch.equal(state.pop("parameters")["enc"], torch.arange(3.0))
    expected = {"format": "aquin-nb/training", "version": 1, "step": 7, "note": "ü", "nothing": None, "rows": [1, 2]}
    assert state == expected


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_the_last_few_are_kept(tmp_path: Path, keep: int) -> None:
    kept = Checkpoints(tmp_path, 1, keep)
    for step in (1, 9, 10, 11, 100):
        kept.write(step, {})
    assert names(kept) == [f"step_{step:09d}.pt" for step in (1, 9, 10, 11, 100)][-keep:]
    assert kept.latest()[0]["step"] == 100


@pytest.mark.parametrize("keep", [1, 2])
def test_what_was_just_written_stays_whatever_lies_beside_it(tmp_path: Path, keep: int) -> None:
    """A damaged file of a later step, from which an earlier attempt could not go on."""
    kept = Checkpoints(tmp_path, 1, keep)
    kept.write(60, {})
    (tmp_path / "step_000000100.pt").write_bytes(b"half of it")
    kept.write(70, {})
    kept.write(80, {})
    assert names(kept) == [*[f"step_{step:09d}.pt" for step in (70, 80)][-keep:], "step_000000100.pt"]
    assert kept.latest()[0]["step"] == 80


def test_files_that_could_not_be_read_are_set_aside(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, 1)
    kept.write(60, {})
    (tmp_path / "step_000000100.pt").write_bytes(b"half of it")
    kept.set_aside(60)
    assert names(kept) == ["step_000000060.pt"]
    assert (tmp_path / "step_000000100.unreadable").read_bytes() == b"half of it"


def test_they_lie_beside_the_dictionary(tmp_path: Path) -> None:
    assert Checkpoints.beside(tmp_path / "sae_layer3.pt").folder == tmp_path / "sae_layer3.checkpoints"
    assert Checkpoints.beside(tmp_path / "my.run.pt").folder == tmp_path / "my.run.checkpoints"


class TestDue:
    def test_every_so_many_steps(self, tmp_path: Path) -> None:
        kept = Checkpoints(tmp_path, 7)
        assert [step for step in range(1, 30) if kept.due(step)] == [7, 14, 21, 28]

    def test_every_so_much_time_since_the_last_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [1000.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        kept, written = Checkpoints(tmp_path, "2min"), []
        for step in range(1, 11):
            now[0] += 50
            if kept.due(step):
                kept.write(step, {})
                written.append(step)
        assert written == [3, 6, 9]

    def test_never_unless_asked(self, tmp_path: Path) -> None:
        kept = Checkpoints(tmp_path, None)
        assert not any(kept.due(step) for step in range(1, 1000))
        assert not kept.folder.joinpath("anything").exists()


class TestFailure:
    def full(self, monkeypatch: pytest.MonkeyPatch, code: int = errno.ENOSPC) -> None:
        def save(_: Any, path: Path) -> None:
            path.write_bytes(b"some of it")
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(torch, "save", save)

    def test_a_full_disk_leaves_the_one_before(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        kept = Checkpoints(tmp_path / "run", 1)
        kept.write(1, {"x": torch.ones(3)})
        with monkeypatch.context() as patch:
            self.full(patch)
            with pytest.raises(NoSpace, match=r"No space left while writing .*step_000000002\.pt"):
                kept.write(2, {"x": torch.ones(3)})
        assert [path.name for path in kept.folder.iterdir()] == ["step_000000001.pt"]
        assert kept.latest()[0]["step"] == 1

    def test_so_does_a_disk_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        kept = Checkpoints(tmp_path / "run", 1)
        kept.write(1, {})
        with monkeypatch.context() as patch:
            self.full(patch, errno.EROFS)
            with pytest.raises(OutputError, match="Read-only file system"):
                kept.write(2, {})
        assert names(kept) == ["step_000000001.pt"]

    def test_a_failure_waits_for_the_next_turn(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With a time between checkpoints, a full disk is not tried again on every step."""
        now = [0.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        kept = Checkpoints(tmp_path / "run", "1min")
        now[0] = 61
        assert kept.due(1)
        self.full(monkeypatch)
        with pytest.raises(NoSpace):
            kept.write(1, {})
        assert not kept.due(2)

    def test_the_note_says_that_the_one_before_is_good(self) -> None:
        note = failed(1234, NoSpace("No space left."))
        assert note == (
            "The checkpoint at step 1,234 could not be written: No space left. The one before it is still good."
        )


class TestReading:
    def test_there_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match=r"run\.checkpoints cannot be resumed from: there is no checkpoint"):
            Checkpoints(tmp_path / "run.checkpoints", 1).latest()

    def test_a_file_with_code_is_not_run(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> tuple[Any, ...]:
                return (os.mkdir, (str(tmp_path / "owned"),))

        kept = Checkpoints(tmp_path, 1)
        kept.write(1, {})
        torch.save({"format": "aquin-nb/training", "x": Evil()}, tmp_path / "step_000000002.pt")
        state, (problem,) = kept.latest()
        assert state["step"] == 1
        assert "it was not run and not loaded; an earlier checkpoint was used" in problem
        assert not (tmp_path / "owned").exists()

    def test_what_a_kill_left_half_written_is_no_checkpoint_and_is_removed(self, tmp_path: Path) -> None:
        kept = Checkpoints.beside(tmp_path / "run.pt", 1)
        kept.write(1, {})
        for part in (kept.folder / ".step_000000002.pt.x1.part", tmp_path / ".run.card.json.x2.part"):
            part.write_bytes(b"half")
        (tmp_path / ".other.pt.x3.part").write_bytes(b"another run's")
        assert names(kept) == ["step_000000001.pt"]
        kept.tidy()
        assert sorted(path.name for path in tmp_path.rglob("*")) == [
            ".other.pt.x3.part",
            "run.checkpoints",
            "step_000000001.pt",
        ]

    def test_remove_leaves_nothing(self, tmp_path: Path) -> None:
        kept = Checkpoints.beside(tmp_path / "run.pt", 1)
        kept.write(1, {})
        kept.remove()
        kept.remove()
        assert list(tmp_path.iterdir()) == []
