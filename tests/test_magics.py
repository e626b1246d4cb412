"""`%aquin` parses as the terminal does, works in the notebook's session and hands back the result itself."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import aquin_nb
from aquin_nb.cli.usage import UsageError
from aquin_nb.errors import AquinError

InteractiveShell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell


@pytest.fixture
def shell() -> Any:
    shell = InteractiveShell()
    shell.extension_manager.load_extension("aquin_nb")
    return shell


def aquin(shell: Any, line: str) -> Any:
    return shell.run_line_magic("aquin", line)


def test_the_notebooks_own_session_is_used(shell: Any, home: Path) -> None:
    session = aquin_nb.Session("tiny")
    shell.user_ns["mine"] = session
    capture = aquin(shell, "capture-activations --count 3 --layers 2,3 --name 'two words'")
    assert isinstance(capture, aquin_nb.Capture)
    assert capture.path == home / "captures" / "two-words"
    trained = aquin(shell, f"sae train --activations {capture.path} --layer 3 --steps 5 --d-sae 32 --name s")
    assert isinstance(trained, aquin_nb.SaeTrain)
    assert [job.name for job in session.jobs.jobs] == ["train s"]
    assert aquin(shell, "load sae --user s") is session.dictionary
    assert aquin(shell, f"open {trained.path} --output-json")["card"]["kind"] == "saeTrain"
    with pytest.raises(UsageError, match="locked to tiny"):
        aquin(shell, "capture-activations --model minilm")
    shell.user_ns["other"] = SimpleNamespace()
    shell.user_ns["second"] = object.__new__(aquin_nb.Session)
    with pytest.raises(UsageError, match="several sessions"):
        aquin(shell, "capture-activations")


def test_without_one_it_loads_its_own_and_keeps_it(shell: Any) -> None:
    with pytest.raises(UsageError, match="`%aquin load --model SLUG`"):
        aquin(shell, "capture-activations")
    session = aquin(shell, "load --model tiny")
    assert isinstance(session, aquin_nb.Session)
    assert aquin(shell, "capture-activations --count 3 --layers 2").card.n_probes == 3


def test_errors_are_raised(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="Did you mean 'train'"):
        aquin(shell, "sae trian")
    with pytest.raises(UsageError, match="cannot be read"):
        aquin(shell, "open 'no end")
    with pytest.raises(AquinError, match="is not there"):
        aquin(shell, "open /nowhere")
    aquin(shell, "--help")
    assert "capture-activations" in capsys.readouterr().out
