"""Files appear whole or not at all, and errors name the place."""

import errno
import os
from pathlib import Path

import pytest

from aquin_nb import files
from aquin_nb.errors import NoSpace, OutputError


def test_whole_file_leaves_the_old_one_when_writing_fails(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    files.write_json(target, {"old": 1})

    def write_half() -> None:
        with files.whole_file(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_half()
    assert target.read_text() == '{\n  "old": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(NoSpace, match="No space left while writing"), files.whole_file(tmp_path / "x.pt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_claim_folder_refuses_what_is_taken(tmp_path: Path) -> None:
    assert files.claim_folder(tmp_path / "new", "manifest.json").is_dir()
    (tmp_path / "new" / "manifest.json").write_text("{}")
    with pytest.raises(OutputError, match="an earlier result"):
        files.claim_folder(tmp_path / "new", "manifest.json")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(OutputError, match="other files"):
        files.claim_folder(tmp_path / "other", "manifest.json")
    with pytest.raises(OutputError, match="is a file"):
        files.claim_folder(tmp_path / "other" / "thesis.tex", "manifest.json")


def test_require_space_gives_both_figures(tmp_path: Path) -> None:
    with pytest.raises(NoSpace, match=r"needs about .* TB and .* free"):
        files.require_space(tmp_path / "not" / "yet", 10**18, "The store")


def test_a_full_disk_reported_by_torch_is_told_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("usage", (), {"free": 0})
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage)

    def write() -> None:
        with files.whole_file(tmp_path / "x.pt"):
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 1408 vs 1302")

    with pytest.raises(NoSpace, match=r"No space left while writing .*x\.pt"):
        write()


def test_free_folder_counts_up(tmp_path: Path) -> None:
    assert files.free_folder(tmp_path / "a") == tmp_path / "a"
    (tmp_path / "a").mkdir()
    (tmp_path / "a-2").mkdir()
    assert files.free_folder(tmp_path / "a") == tmp_path / "a-3"
