"""The installed `aquin-nb` as a shell sees it: light to start, quiet when a pipe closes, stopped by Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aquin_nb.cli import main

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
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([ENTRY, "session", "show"], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run([ENTRY, "open", "/nowhere/é×"], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "is not there" in done.stderr


def test_ctrl_c_stops_a_training_with_what_it_has(home: Path) -> None:
    words = [ENTRY, "sae", "train", "--model", "tiny", "--layer", "3", "--corpus", "packaged", "--tokens", "2000"]
    words += ["--steps", "1000000", "--name", "long", "--output-json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "% train" in line:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, err
    found = json.loads(out)
    assert found["status"] == "cancelled"
    assert "Stopping after the present step" in err
    assert (home / "sae" / "user" / "tiny" / "long" / "sae_layer3.pt").is_file()


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
