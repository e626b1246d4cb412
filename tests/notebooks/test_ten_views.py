"""Ten views in one notebook, run headless: none is blank anywhere, and the saved file stays small."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import lab
import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_notebook

SETUP = """\
import json, torch
from pathlib import Path
from transformers import AutoModelForCausalLM
import aquin_nb
folder = Path(aquin_nb.__file__).parent / "engine" / "models" / "tiny"
state = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
name, runs = "model.layers.2.mlp.down_proj.weight", []
for step in (2, 8):
    torch.save({"step": step, "state_dict": state | {name: state[name] * (1 + step / 20)}}, f"{step}.pt")
    runs.append(f"{step}.pt")
rows = [json.loads(line) for line in (folder / "sample.jsonl").read_text("utf-8").splitlines()]
prompts = [{"text": r["text"][:160], "kind": k} for k in ("bible", "wordnet")
           for r in [r for r in rows if r["source"] == k][:8]]
session = aquin_nb.Session("tiny", dtype="float32")
config = {"d_sae": 512, "k": 16, "steps": 80, "batch_size": 256}
"""
CELLS = {
    "capture": "capture = session.capture_activations(prompts)\ncapture",
    "train": "one = session.sae.train(3, tokens=4000, config=config, name='one').wait()\none",
    "captures": "aquin_nb.compare_captures([capture, session.capture_activations(prompts, layers=[2, 3], name='two')])",
    "sweep": "sweep = session.sae.sweep([2, 3], tokens=4000, config=config, name='both').wait()\nsweep",
    "standing": "one.standing(sweep, capture)",
    "align": "session.sae.align(one, sweep[3])",
    "tokens": "session.bind(one.dictionary)\nsession.inspect('In the beginning God created the heavens.')",
    "diff": "session.sae.diff(runs[1], prompts, by='kind')",
    "trajectory": "session.sae.trajectory(runs, prompts)",
    "session": "session",
}


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = new_notebook(cells=[new_code_cell(source) for source in (SETUP, *CELLS.values())])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AQUIN_HOME", str(tmp_path_factory.mktemp("home")))
        # As nbclient and papermill do unless told otherwise: with the state of widgets, the bridge's here.
        NotebookClient(made, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return made


def shown(notebook: Any, kind: str) -> str:
    """The HTML that the cell of a view left."""
    cell = notebook.cells[1 + list(CELLS).index(kind)]
    found = [str(output.data.get("text/html", "")) for output in cell.outputs if "data" in output]
    (html,) = [html for html in found if f'data-aquin="{kind}"' in html]
    return html


@pytest.mark.parametrize("kind", CELLS)
def test_a_view_says_something_without_scripts_too(notebook: Any, kind: str) -> None:
    static = re.sub(r"<script.*?</script>", "", shown(notebook, kind), flags=re.DOTALL)  # an untrusted notebook, GitHub
    words = re.sub(r"<[^>]*>", " ", static).split()
    assert len(words) > 15, words


def test_ten_views_are_saved_in_two_megabytes(notebook: Any) -> None:
    assert len(CELLS) == 10
    assert len(nbformat.writes(notebook).encode()) <= 2_000_000


# Not with the tests of the browser: there the notebook would have to be run a second time.
def test_the_exported_page_brings_all_of_them_to_life_without_a_network(notebook: Any, tmp_path: Path) -> None:
    if lab.CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed; make test installs Debian's package as root")
        pytest.skip("chromium was not found; install it to run the browser tests")
    html, _ = HTMLExporter().from_notebook_node(notebook)
    # A page that may ask nobody for anything: what a strict host says, beside the driver that refuses other hosts.
    rule = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
    html = html.replace("<head>", f'<head><meta http-equiv="Content-Security-Policy" content="{rule}">', 1)
    (tmp_path / "page.html").write_text(html)
    with lab.chromium() as page:
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto((tmp_path / "page.html").as_uri())
        for kind in CELLS:
            view = page.locator(f"[data-aquin={kind}][data-aquin-state=live]")
            view.locator(".panel").first.wait_for(timeout=20_000)
            assert view.locator(".note.bad").count() == 0, kind
        assert wrong == []
