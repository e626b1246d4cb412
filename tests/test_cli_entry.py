"""`aquin-nb` as a shell sees it: light to start, quiet when a pipe closes, stopped by Ctrl-C and SIGTERM."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aquin_nb import load_dictionary
from aquin_nb.cli import main
from aquin_nb.cli.output import write
from aquin_nb.cli.termination import termination

ENTRY = Path(sys.executable).with_name("aquin-nb")


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    code = "import sys; from aquin_nb.cli import main; main(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("connect", "load", "fetch", "capture-activations", "sae", "orchestrator", "sync", "open", "doctor"):
        assert command in done.stdout
    loaded = set(done.stderr.replace("'", "").strip("[]\n").split(", "))
    assert not loaded & {"torch", "numpy", "pandas", "plotly", "pydantic", "IPython"}


def test_a_pipe_that_closes_early_is_no_error() -> None:
    done = subprocess.run(["bash", "-c", f"'{ENTRY}' models --output-json | true; echo ${{PIPESTATUS[0]}}"],
                          capture_output=True, text=True)  # fmt: skip
    assert done.stdout == "0\n"
    assert done.stderr == ""


def test_an_encoding_that_lacks_our_letters_is_written_all_the_same() -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), "ascii")
    write("0% ≥ 0.7, é, ▁█ 3 × 4 → 5…", narrow)
    assert narrow.buffer.getvalue() == b"0% >= 0.7, ?, _# 3 x 4 -> 5...\n"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "term"])
def test_a_training_is_stopped_with_what_it_has(
    number: signal.Signals, status: int, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if " train " in line and len([one for one in said if " train " in one]) == 1:
            os.kill(os.getpid(), number)
            if number == signal.SIGTERM:
                os.kill(os.getpid(), number)  # as `timeout` does; the second one changes nothing

    monkeypatch.setattr("aquin_nb.progress._say", say)
    words = ["sae", "train", "--model", "tiny", "--layer", "3", "--corpus", "packaged", "--tokens", "2000"]
    words += ["--steps", "1000000", "--d-sae", "32", "--name", "long", "--output-json"]
    assert main(words) == status
    found = json.loads(capsys.readouterr().out)
    assert (found["status"], found["exit_code"]) == ("cancelled", status)
    assert found["error"]["message"].endswith("`aquin-nb sae resume long` goes on from there.")
    assert any("Stopping after the present step" in line for line in said)
    dictionary = home / "sae" / "user" / "tiny" / "long" / "sae_layer3.pt"
    assert load_dictionary(dictionary).cfg.complete is False
    assert main(["open", str(dictionary)]) == 0
    assert "SaeTrain long: cancelled" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_shell_that_ignores_ctrl_c_for_what_it_starts_can_still_end_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with termination() as asked, pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        assert asked.asked
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_narrow_terminal_shows_whole_names_of_options() -> None:
    env = os.environ | {"COLUMNS": "40"}
    done = subprocess.run([ENTRY, "sae", "train", "--help"], env=env, capture_output=True, text=True, check=True)
    for option in ("--sparsity-coefficient", "--no-keep-activations", "--output-json"):
        assert option in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sae", "trian"], "Did you mean 'train'"),
        (["capture-activations", "--promts", "x"], "Did you mean --prompts"),
        (["sae", "align"], "Missing option '--sae-a'"),
        (["sae", "diff"], "Missing option '--checkpoint'"),
        (["sae", "diff", "a.pt", "--checkpoint", "b.pt"], "both name one thing"),
        (["sae", "trajectory", "probes.jsonl"], "Missing argument"),
        (["load"], "Missing option '--model'"),
        (["load", "sae"], "one of --user NAME"),
        (["sae", "train", "--resume"], "--resume wants the --name"),
        (["sae", "train", "--architecture", "topp"], "'topk'"),
        (["sae", "train", "--steps", "many"], "--steps"),
        (["fetch"], "Example: aquin-nb fetch"),
        (["pull", "sae"], "Example: aquin-nb pull sae"),
        (["open", "x", "--html", "x.pdf"], "ends in .html"),
        (["orchestrator", "export", "-", "--output-json"], "name a file"),
        (["orchestrator", "bridge"], "--socket"),
    ],
)
def test_a_command_line_that_cannot_be_followed(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    found = capsys.readouterr()
    if "--output-json" in words:
        assert said in json.loads(found.out)["error"]["message"]
        return
    assert found.out == ""
    assert said in found.err
    assert found.err.count("\n") == 1


def test_a_noun_alone_shows_its_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sae"]) == 2
    found = capsys.readouterr()
    assert "trajectory" in found.out + found.err


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"], ids=["unix", "windows"])
def test_line_ends_do_not_matter(ends: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "probes.jsonl").write_bytes(ends.join([b'{"text": "one"}', b'{"text": "two", "label": "b"}', b""]))
    words = ["--model", "tiny", "--layers", "1", "--prompts", str(tmp_path / "probes.jsonl"), "--output-json"]
    assert main(["capture-activations", *words]) == 0
    assert json.loads(capsys.readouterr().out)["card"]["n_probes"] == 2


def test_a_file_that_is_no_utf8_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "probes.jsonl").write_bytes('{"text": "naïve"}\n'.encode("latin-1"))
    words = ["--model", "tiny", "--layers", "1", "--prompts", str(tmp_path / "probes.jsonl")]
    assert main(["capture-activations", *words]) == 1
    assert "probes.jsonl" in capsys.readouterr().err
