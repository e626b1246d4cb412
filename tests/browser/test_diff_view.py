"""Diff table and token view in a browser: from a file without any kernel, and in a real JupyterLab."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lab
import nbformat
import numpy as np
import pandas as pd
import pytest

from aquin_nb.cards import SaeDiffCard
from aquin_nb.inspection import Inspection
from aquin_nb.widgets.page import standalone_page
from aquin_nb.widgets.view_page import view_html
from aquin_nb.widgets.views.diff import diff_data, driving

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=\"document.title='hacked'\">"

MAKE = """import json, torch, aquin_nb
from pathlib import Path
from transformers import AutoModelForCausalLM
from aquin_nb.engine.sae import SaeConfig
session = aquin_nb.Session("tiny", dtype="float32")
sae = aquin_nb.SparseAutoencoder.random(SaeConfig("topk", d_in=128, d_sae=256, d_out=128, k=8))
session.bind(sae, layer=3)
tiny = Path(aquin_nb.__file__).parent / "engine" / "models" / "tiny"
state = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32).state_dict()
name = "model.layers.2.mlp.down_proj.weight"
torch.save({"step": 8, "state_dict": state | {name: state[name] * 1.4}}, "c.pt")
prompts = [{"text": f"In the beginning God created number {i}.", "kind": "ab"[i % 2]} for i in range(12)]
diff = session.sae.diff("c.pt", prompts, by="kind", output="out")
diff"""


@pytest.fixture
def page() -> Iterator[Any]:
    if lab.CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed; make test installs Debian's package as root")
        pytest.skip("chromium was not found; install it to run the browser tests")
    with lab.chromium() as opened:
        opened.errors = []
        opened.set_default_timeout(15_000)
        opened.on("pageerror", lambda error: opened.errors.append(str(error)))
        yield opened
        assert opened.errors == []
        assert opened.foreign == []
        assert opened.title() != "hacked"


def show(page: Any, folder: Path, html: str) -> None:
    (folder / "page.html").write_text(standalone_page("page", [html]), encoding="utf-8")
    page.goto(f"file://{folder}/page.html")


def drivers(feature: int) -> dict[str, Any]:
    probes = pd.DataFrame(
        {"probe": [0], "base": [0.1], "checkpoint": [0.4], "delta": [0.3], "share": [1.0], "tokens": [4]}
    ).assign(text=f"In the {HOSTILE}beginning", kind=HOSTILE)
    cut = {"probe": 0, "position": 3, "before": "In the ", "token": HOSTILE, "after": "beginning"}
    return driving(f"Feature {feature}", probes, pd.DataFrame([cut | {"base": 0.0, "checkpoint": 2.5}]))


def diff_page(n: int) -> str:
    rng = np.random.default_rng(0)
    base = rng.gamma(0.5, 1.0, n)
    frame = pd.DataFrame({"feature": np.arange(n), "mean_base": base, "mean_checkpoint": base + rng.normal(0, 0.1, n)})
    frame["mean_checkpoint"] = frame["mean_checkpoint"].clip(lower=0)
    frame["delta"] = frame["mean_checkpoint"] - frame["mean_base"]
    frame = frame.assign(rate_base=0.1, rate_checkpoint=0.2, probes=40, q=rng.random(n))
    frame["changed"] = (frame["q"] <= 0.05) & (frame["delta"].abs() >= 0.05)
    card = SaeDiffCard(
        name=HOSTILE, n_features=n, n_changed=int(frame["changed"].sum()), n_tested=n, threshold=0.05, fdr=0.05,
        max_abs_delta=float(frame["delta"].abs().max()) if n else 0.0, notes=[HOSTILE],
    )  # fmt: skip
    return view_html("diff", diff_data(card, frame, drivers), "<p>static</p>")


def test_levels_filters_keyboard_and_drivers_without_a_kernel(page: Any, tmp_path: Path) -> None:
    show(page, tmp_path, diff_page(4608))
    panel = page.locator("section.panel")
    said, status = panel.locator(".said-count"), panel.locator(".status")
    before = said.inner_text()
    changed = int(before.split(" of ")[0].replace(",", ""))
    assert before.endswith(" of 4,608 changed")
    panel.get_by_text(f"{changed:,} rows").wait_for()

    panel.get_by_role("slider", name="q ≤").focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    panel.locator(".said-count").get_by_text(before).wait_for(state="detached")
    assert int(said.inner_text().split(" of ")[0].replace(",", "")) > changed
    panel.get_by_role("button", name="Reset").click()
    panel.get_by_text(before).wait_for()

    panel.get_by_role("grid").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    panel.locator(".cut:not(.heads)").wait_for()
    assert "2.50" in panel.locator(".cut:not(.heads)").inner_text()
    assert HOSTILE in panel.locator(".cut .passage").first.inner_text()
    panel.get_by_role("radio", name="All").click()
    panel.get_by_text("4,608 rows").wait_for()
    panel.get_by_role("searchbox").fill("17, 4000")
    panel.get_by_text("2 rows").wait_for()
    panel.locator('tr[data-id="4000"]').click()
    panel.get_by_text("it needs the kernel").wait_for()
    assert status.inner_text().startswith("2 rows")


@pytest.mark.parametrize("n", [0, 1])
def test_no_feature_and_one(page: Any, tmp_path: Path, n: int) -> None:
    show(page, tmp_path, diff_page(n))
    panel = page.locator("section.panel")
    panel.get_by_text(f"of {n} changed").wait_for()
    panel.get_by_role("radio", name="log").click()
    panel.get_by_text(f"{n} rows").first.wait_for()


def test_tokens_are_walked_with_the_arrow_keys(page: Any, tmp_path: Path) -> None:
    tokens = pd.DataFrame({"position": [1, 2, 3], "token": ["In", " the", HOSTILE]})
    frame = pd.DataFrame(
        {"position": [1, 2, 2, 3], "token": ["In", " the", " the", HOSTILE], "rank": [1, 1, 2, 1]}
        | {"feature": [5, 9, 5, 7], "activation": [1.0, 4.0, 2.0, np.inf]}
    )
    show(page, tmp_path, Inspection("x", frame, tokens, "a look").html())
    panel = page.locator("section.panel")
    text = panel.get_by_role("application")
    text.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    panel.get_by_role("heading", name="position 2").wait_for()
    page.keyboard.press("ArrowDown")
    panel.get_by_text("Colour: feature 9").wait_for()
    page.keyboard.press("ArrowDown")
    panel.get_by_text("Colour: feature 5").wait_for()
    page.keyboard.press("ArrowRight")
    panel.get_by_text("⚠ ∞").wait_for()
    assert HOSTILE in text.inner_text().replace("·", " ")
    panel.locator("button.pair").click()
    panel.get_by_text("Colour: feature 7").wait_for()
    panel.get_by_role("button", name="Strongest of each token").click()
    panel.get_by_text("Colour: the strongest").wait_for()


def test_in_jupyterlab_the_kernel_answers_hears_and_is_missed(page: Any, jupyter: lab.Lab) -> None:
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    cells = [
        MAKE,
        "import json; print(json.dumps([diff.selection.of, list(diff.selection.ids), len(diff.selected)]))",
        "diff.select([3])",
        'look = session.inspect(["In the beginning", "na\\u00efve"], top=4)\nlook',
    ]
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(notebook, jupyter.root / "diff.ipynb")
    opened = lab.Notebook(page, jupyter, "diff.ipynb")
    opened.open()
    opened.run(0)
    view = opened.output(0).locator("section.panel")
    opened.output(0).locator("[data-lane=live]").wait_for()
    view.get_by_role("radio", name="All").click()
    view.get_by_role("searchbox").fill("200")
    view.get_by_text("1 rows").wait_for()
    view.locator("tbody tr").first.click()
    view.locator(".inspector").get_by_text("Probes that drive it").wait_for()
    opened.run(1)
    assert json.loads(opened.output(1).inner_text()) == ["features", [200], 1]
    opened.run(2)
    opened.output(0).locator("section.panel").get_by_role("heading", name="Feature 3").wait_for()
    view.get_by_label("kind").select_option("b")
    opened.output(0).locator(".said-count").get_by_text("of 256 changed").wait_for(state="detached")
    opened.run(3)
    opened.output(3).locator("section.panel").get_by_text("2 texts").wait_for()
    opened.save()
    opened.shut_kernel_down()
    opened.open(kernel=False)
    opened.output(0).locator(".said-count", has_text="of 256 changed").wait_for()
    assert opened.output(0).locator("[data-lane=live]").count() == 0
