"""What `make smoke` does with an installed aquin-nb: the real job on the packaged model, in an empty folder.

    python -P smoke_job.py FOLDER

Run by the Python of the environment to be tried; needs nothing but what is installed there. A step that fails is named
on the last line, after its traceback, and the exit status is 1.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MODEL, LAYER = "tiny", 3
VERDICTS = ("usable", "weak", "smoke test only")
CELLS = (
    "import aquin_nb\nsession = aquin_nb.Session('tiny')\nsession.capture_activations(count=6, layers=[3])",
    "job = session.sae.train(3, tokens=2_000, d_sae=64, k=4, steps=40, name='x')\ndisplay(job)\ntrained = job.wait()",
    "%load_ext aquin_nb\n%aquin load sae --user x\nopened = %aquin open {trained.path}\nopened",
)


class Wrong(Exception):
    """A step ran and what it gave is not what was promised."""


def expect(held: bool, otherwise: str) -> None:
    if not held:
        raise Wrong(otherwise)


def terminal(*words: object) -> dict[str, Any]:
    """The one JSON object that the installed `aquin-nb` writes."""
    entry = Path(sys.executable).with_name("aquin-nb")
    command = [str(entry), *(str(word) for word in words), "--output-json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    expect(done.returncode == 0, f"aquin-nb {' '.join(command[1:])}: {done.returncode}\n{done.stdout}{done.stderr}")
    return dict(json.loads(done.stdout))


def imported() -> None:
    import aquin_nb

    found = Path(aquin_nb.__file__)
    expect(found.is_relative_to(sys.prefix), f"imported from {found}, which is not the environment {sys.prefix}")
    expect(aquin_nb.__version__ == importlib.metadata.version("aquin-nb"), "its version is not the distribution's")


def doctor() -> None:
    checks = {one["name"]: one for one in terminal("doctor")["data"]["checks"]}
    for name in ("versions", "engine", "device", "notebook", "board"):
        expect(checks[name]["status"] == "ok", f"{name}: {checks[name]}")


def in_the_terminal() -> None:
    """A capture, and what is read of it afterwards."""
    options = ("--topic", "sentiment", "--count", 6, "--layers", LAYER, "--name", "shell")
    told = terminal("capture-activations", "--model", MODEL, *options)
    expect(told["card"]["n_probes"] == 6, str(told["card"]))
    shown = terminal("open", told["path"], "--html", "shell.html")
    expect(bool(shown["data"]["tables"]) and Path("shell.html").is_file(), str(shown))


def whole_loop() -> None:
    """Capture, train, load, diff, align; and each of them as a page that opens without a network."""
    import aquin_nb
    from aquin_nb.engine.models import finetune

    session = aquin_nb.Session(MODEL)
    capture = session.capture_activations(topic="sentiment", count=24, encode_sae=False)
    expect(len(capture.frame) == 24 and set(capture.layers) == set(range(6)), f"{capture!r}")
    options: dict[str, Any] = {"tokens": 6_000, "d_sae": 128, "k": 8, "steps": 120}
    trained = session.sae.train(LAYER, name="first", quick=True).wait()
    expect(trained.verdict in VERDICTS and bool(trained.reasons), f"verdict {trained.verdict!r}")
    session.load_sae(user="first")
    expect(len(session.inspect("In the beginning God created the heavens and the earth.").frame) > 0, "no features")

    texts = ["And it came to pass in those days, that there went out a decree from Caesar Augustus."] * 40
    finetune(MODEL, texts, "tuned.pt", steps=2, layers=[2, 3])
    probes = ["The king said unto him.", "She bought a loaf of bread."] * 4
    diff = session.sae.diff("tuned.pt", probes, name="first-diff")
    second = session.sae.train(LAYER, seed=1, name="second", **options).wait()
    alignment = session.sae.align(second)
    expect("class" in alignment.frame and len(alignment.frame) > 0, f"{alignment!r}")
    for result in (capture, trained, diff, alignment):
        page = result.save(f"{result.card.kind}.html").read_text(encoding="utf-8")
        expect("<table" in page and "<script" in page and "https://cdn" not in page, f"{result.card.kind}.html")
        result.save(f"{result.card.kind}.csv")
        result.figure().to_html()
    again = aquin_nb.open_training(trained.path)
    expect(again.card.kind == "saeTrain" and len(aquin_nb.open_capture(capture.path).frame) == 24, "not read again")
    session.close()


@contextlib.contextmanager
def board() -> Iterator[dict[str, Any]]:
    """`aquin-nb orchestrator serve` on a free port: {url, token, pid}."""
    command = [Path(sys.executable).with_name("aquin-nb"), "orchestrator", "serve", "--port", "0", "--json"]
    served = subprocess.Popen([str(one) for one in command], stdout=subprocess.PIPE, text=True)
    try:
        assert served.stdout is not None
        first = served.stdout.readline()
        expect(bool(first), "the board ended before it served; what it said is above")
        yield dict(json.loads(first))
        served.send_signal(signal.SIGINT)
        expect(served.wait(30) in (0, 130), f"the board stopped with {served.returncode}")
    finally:
        served.kill()
        served.wait()


def orchestrator() -> None:
    """A board serves its page, and a run that was told to it is a card there."""
    import aquin_nb

    def read(path: str) -> bytes:
        asked = urllib.request.Request(one["url"] + path, headers={"Authorization": f"Bearer {one['token']}"})
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return bytes(answer.read())

    with board() as one:
        os.environ["AQUIN_NB_TOKEN"] = one["token"]
        session = aquin_nb.Session(MODEL, orchestrator=one["url"])
        session.capture_activations(count=3, layers=[LAYER], name="told")
        cards: list[dict[str, Any]] = []
        until = time.monotonic() + 30
        while not [card for card in cards if card["status"] == "completed"]:
            expect(time.monotonic() < until, f"no card after 30 s: {session.sync_status()}")
            time.sleep(0.2)
            cards = json.loads(read("/v1/cards"))["cards"]
        expect([card["kind"] for card in cards] == ["activationCapture"], str(cards))
        expect(b"board.js" in read("/") and len(read("/board.js")) > 10_000, "the page or its script is not served")
        session.close()


def notebook() -> None:
    """Three cells in a kernel of this environment: a view, a monitor, and `%aquin`."""
    import nbformat
    from nbclient import NotebookClient

    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    book = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(
        book, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(Path.cwd())}}
    ).execute()
    for number, cell in enumerate(book.cells, start=1):
        shown = [output["data"] for output in cell.outputs if output.output_type in ("execute_result", "display_data")]
        expect(
            any('data-aquin="' in data.get("text/html", "") for data in shown), f"cell {number} shows no view: {shown}"
        )
        said = [output.text for output in cell.outputs if output.get("name") == "stderr"]
        expect(not said, f"cell {number} said {said}")


STEPS: tuple[tuple[str, Callable[[], None]], ...] = (
    ("import", imported),
    ("doctor", doctor),
    ("terminal", in_the_terminal),
    ("capture, train, load, diff, align, pages", whole_loop),
    ("orchestrator and a card", orchestrator),
    ("notebook of three cells with %aquin", notebook),
)


def main(folder: Path) -> int:
    os.chdir(folder)
    for name, step in STEPS:
        began = time.monotonic()
        try:
            step()
        except BaseException:
            traceback.print_exc()
            print(f"   FAILED  {name}", flush=True)
            return 1
        print(f"   {time.monotonic() - began:5.1f} s  {name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
