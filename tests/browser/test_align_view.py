"""The explorer of an alignment in a real JupyterLab, and as a file without any kernel."""

import json
from pathlib import Path

import lab
import nbformat
import pytest
import torch
from torch.nn.functional import normalize

import aquin_nb
from aquin_nb.engine.sae import SaeConfig, SparseAutoencoder

N, D = 1500, 24

pytestmark = pytest.mark.browser


def dictionary(seed: int) -> SparseAutoencoder:
    common = torch.randn(N // 2, D, generator=torch.Generator().manual_seed(0))
    own = torch.randn(N // 2, D, generator=torch.Generator().manual_seed(seed + 1))
    W = normalize(torch.cat([common, own]), dim=1)[torch.randperm(N, generator=torch.Generator().manual_seed(seed))]
    cfg = SaeConfig("topk", d_in=D, d_sae=N, d_out=D, k=4, name=f"seed {seed}")
    return SparseAutoencoder(cfg, W.T.contiguous(), W, torch.zeros(N), torch.zeros(D))


@pytest.fixture(scope="module")
def alignment(tmp_path_factory: pytest.TempPathFactory) -> aquin_nb.SaeAlign:
    folder = tmp_path_factory.mktemp("align")
    saved = [dictionary(seed).save(folder / f"{seed}.pt") for seed in (0, 1)]
    return aquin_nb.sae_align(*saved, output=folder / "out", name="two seeds")


@pytest.fixture(scope="module")
def server(jupyter: lab.Lab, alignment: aquin_nb.SaeAlign) -> lab.Lab:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    cells = [
        f"import aquin_nb\nalignment = aquin_nb.open_alignment({str(alignment.path)!r})\nalignment",
        "print('selected', alignment.selected['feature'].tolist(), 'said', alignment.annotations['verdict'].tolist())",
        "alignment.select([5])",
    ]
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(notebook, jupyter.root / "align.ipynb")
    return jupyter


def test_a_person_walks_flags_selects_and_the_kernel_knows(server: lab.Lab, alignment: aquin_nb.SaeAlign) -> None:
    order = alignment.frame[alignment.frame["class"] != "dead"].sort_values(["nearest_cosine", "feature"])
    weakest = order["feature"].iloc[1]
    with lab.chromium() as page:
        notebook = lab.Notebook(page, server, "align.ipynb")
        notebook.open()
        notebook.run(0)
        view = notebook.output(0).locator("[data-aquin=align]")
        view.locator(".told", has_text=f"{N:,} features").first.wait_for(timeout=30_000)  # more than the page carries

        view.get_by_role("tab", name="Features").focus()
        page.keyboard.press("j")
        page.keyboard.press("j")
        view.get_by_role("heading", name=f"a {weakest} ").wait_for()
        page.keyboard.press("f")
        notebook.see(0, "Kept beside the alignment.")
        notebook.run(1)
        notebook.see(1, f"selected [{weakest}] said ['flagged']")
        kept = json.loads((alignment.path / "annotations.json").read_text())
        assert kept["pairs"][0]["a"] == weakest

        notebook.run(2)
        view = notebook.output(0).locator("[data-aquin=align]")
        view.get_by_role("heading", name="a 5 ").wait_for()

        view.get_by_role("tab", name="Map").click()
        view.get_by_label("Order").select_option("class")
        view.get_by_text("By class of a").wait_for()

        notebook.save()
        notebook.open()  # the page again, the kernel still there: what was said and selected comes back
        view = notebook.output(0).locator("[data-aquin=align]")
        view.get_by_role("heading", name="a 5 ").wait_for(timeout=30_000)
        view.get_by_role("button", name="flagged 1").wait_for(timeout=30_000)

        notebook.shut_kernel_down()
        view.get_by_role("tab", name="Features").focus()
        page.keyboard.press("j")
        notebook.see(0, "top texts need the kernel", within=".status")
        notebook.save()
        notebook.open(kernel=False)
        notebook.see(0, "the most telling of 1,500")
        assert page.foreign == []


def test_a_file_shows_what_it_carries_without_a_kernel(alignment: aquin_nb.SaeAlign, tmp_path: Path) -> None:
    if lab.CHROMIUM is None:
        pytest.skip("chromium was not found; install it to run the browser tests")
    aquin_nb.open_alignment(alignment.path).save(tmp_path / "page.html")
    with lab.chromium(dark=True) as page:
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto((tmp_path / "page.html").as_uri())
        view = page.locator("[data-aquin=align]")
        view.get_by_text("the most telling of 1,500").wait_for()
        view.get_by_label("Go to a feature").fill(f"b {N}")
        view.get_by_text("There is no feature").wait_for()
        for name in ("Map", "Margins", "Threshold"):
            view.get_by_role("tab", name=name).click()
            view.locator("canvas:visible").first.wait_for()
        view.get_by_label("τ").first.press("ArrowRight")
        view.get_by_text("pairs at least 0.705").wait_for()
        view.get_by_role("button", name="j ›").click()
        view.get_by_role("button", name="Accept").click()
        view.get_by_text("Kept in this page only").wait_for()
        with page.expect_download() as got:
            view.get_by_role("button", name="Export").click()
            view.get_by_role("menuitem", name="Annotations (CSV)").click()
        lines = Path(got.value.path()).read_text().splitlines()
        assert lines[0] == "a,b,verdict,note,at"
        assert any(",accepted," in line for line in lines[1:])
        assert wrong == []
        assert page.foreign == []
