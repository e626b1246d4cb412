"""Commands remember a session between each other: one model, one dictionary, one board; and say what comes first."""

import json
from pathlib import Path
from typing import Any

import pytest

from aquin_nb.cli import main
from aquin_nb.cli.locks import at_work
from aquin_nb.cli.state import recall


def told(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> dict[str, Any]:
    """The one object that a command writes."""
    assert main([*words, "--output-json"]) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert set(found) == {"schema_version", "verb", "status", "exit_code", "card", "path", "data", "error"}
    assert found["exit_code"] == status
    return found


def refused(capsys: pytest.CaptureFixture[str], *words: str, status: int = 2) -> str:
    assert main(words) == status
    said = capsys.readouterr()
    assert said.out == ""
    return [line for line in said.err.splitlines() if line.startswith("aquin-nb:")][-1]


def test_from_load_to_a_capture_under_the_bound_dictionary(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert "`aquin-nb load --model SLUG`" in refused(capsys, "capture-activations")
    assert "First `aquin-nb load" in refused(capsys, "load", "sae", "--user", "s")
    loaded = told(capsys, "session", "start", "--id", "monday", "--model", "tiny")
    assert loaded["data"]["session"]["model"]["n_layers"] == 6
    assert "locked to tiny" in refused(capsys, "sae", "train", "--model", "minilm", "--quick")
    assert "`aquin-nb session start --model minilm`" in refused(capsys, "load", "--model", "minilm")
    assert "aquin-nb load sae" in refused(capsys, "capture-activations", "--encode-sae", status=1)
    assert "aquin-nb load sae" in refused(capsys, "sae", "diff", "--checkpoint", "x.pt", status=1)

    captured = told(capsys, "capture-activations", "--count", "3", "--layers", "2,3", "--name", "c")
    assert captured["verb"] == "capture-activations"
    assert captured["status"] == "completed"
    assert captured["card"]["kind"] == "activationCapture"
    assert captured["path"] == str(home / "captures" / "c")

    options = ["--activations", captured["path"], "--layer", "3", "--steps", "5", "--d-sae", "32", "--name", "s"]
    trained = told(capsys, "sae", "train", *options, "--strict", status=3)
    assert trained["data"]["verdict"] == "smoke test only"
    assert "no dictionary 't' of tiny" in refused(capsys, "load", "sae", "--user", "t", status=1)
    bound = told(capsys, "load", "sae", "--user", "s")
    assert bound["path"] == trained["path"]
    encoded = told(capsys, "capture-activations", "--count", "3", "--layers", "3", "--encode-sae", "--name", "e")
    assert encoded["card"]["dictionary"]["path"] == trained["path"]
    assert main(["session", "show"]) == 0
    assert trained["path"] in capsys.readouterr().out

    for path, kind in ((captured["path"], "activationCapture"), (trained["path"], "saeTrain")):
        page = home / f"{kind}.html"
        shown = told(capsys, "open", path, "--html", str(page))
        assert shown["card"]["kind"] == kind
        assert shown["data"]["tables"]
        assert page.read_text(encoding="utf-8").startswith("<!")
    assert main(["open", captured["path"]]) == 0
    assert "3 of 3 rows" in capsys.readouterr().out
    Path(trained["path"]).with_suffix(".card.json").unlink()
    bare = told(capsys, "open", trained["path"])
    assert (bare["card"], bare["data"]["config"]["d_sae"]) == (None, 32)
    assert "has no view" in refused(capsys, "open", trained["path"], "--html", "x.html", status=1)
    assert told(capsys, "session", "end")["data"] == {"ended": True}
    assert recall() is None


def test_a_session_at_work_is_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "session", "start", "--id", "first")
    with at_work():
        for words in (("session", "start"), ("session", "end"), ("load", "--model", "tiny"), ("connect",)):
            assert "a command is at work" in refused(capsys, *words, status=1)
        assert main(["session", "show"]) == 0
    assert "first" in capsys.readouterr().out
    assert main(["session", "start", "--id", "second"]) == 0
    assert "Session first has ended." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"version": 9}', "newer aquin-nb (version 9"),
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"version": 1, "id": "x"}', "damaged at name"),
        ('{"version": 1, "id": "x", "name": "y", "more": 1}', "damaged at more"),
    ],
)
def test_a_state_that_cannot_be_used_is_refused_and_forgotten(
    text: str, said: str, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    (home / "session.json").write_text(text)
    for words in (("session", "show"), ("capture-activations",), ("sae", "align", "a.pt", "b.pt")):
        complaint = refused(capsys, *words, status=1)
        assert said in complaint
        assert "aquin-nb session end" in complaint
    assert main(["session", "end"]) == 0
    assert not (home / "session.json").exists()


def test_a_home_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AQUIN_HOME", str(tmp_path / "file" / "home"))
    assert main(["session", "show"]) == 0
    assert "There is no session" in capsys.readouterr().out
    assert "Cannot write" in refused(capsys, "session", "start", status=1)
    found = told(capsys, "doctor", status=1)
    assert found["data"]["failed"] == ["disk"]
    disk = next(one for one in found["data"]["checks"] if one["name"] == "disk")
    assert disk["advice"].startswith("set AQUIN_HOME")


def test_what_is_run_is_kept_for_a_board(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    pytest.importorskip("apsw")
    connected = told(capsys, "connect", "--orchestrator", "outbox", "--name", "monday", "--device", "lab laptop")
    assert connected["data"]["session"]["orchestrator"] == "outbox"
    told(capsys, "load", "--model", "tiny")
    told(capsys, "capture-activations", "--count", "3", "--layers", "1", "--name", "c")
    assert list((home / "outbox").glob("*.outbox"))
    assert told(capsys, "connect", "--orchestrator", "none")["data"]["session"]["orchestrator"] is None
    assert "aquin-nb connect" in refused(capsys, "sync")
