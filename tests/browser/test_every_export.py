"""Every view of the gallery hands out CSV, JSON, PNG and SVG, and what it hands out is such a file."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import lab
import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.browser

WIDGETS = Path(__file__).parents[2] / "widgets"
GALLERY = WIDGETS / ".gallery"
VIEWS = [
    "align/typical",
    "capture/typical",
    "capture/files moved",
    "capture/two side by side",
    "diff/typical",
    "inspect/several texts",
    "inspect/hostile",
    "session/typical",
    "standing/typical",
    "sweep/typical",
    "train/typical",
    "trajectory/typical",
]
BEGINS = {"json": (b"{", b"["), "png": (b"\x89PNG",), "svg": (b"<svg ",)}


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    if lab.CHROMIUM is None or shutil.which("node") is None or not (WIDGETS / "node_modules").exists():
        if os.environ.get("CI"):
            pytest.fail("chromium, node and widgets/node_modules are needed; make test installs them")
        pytest.skip("chromium, node or widgets/node_modules was not found; run `make front` to get the latter")
    subprocess.run(["node", "build.mjs", "--gallery"], cwd=WIDGETS, check=True, stdout=subprocess.DEVNULL)
    with lab.chromium() as opened:
        yield opened


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_gives_all_four_kinds_of_file(page: Page, view: str) -> None:
    page.goto(f"{(GALLERY / 'index.html').as_uri()}?only={quote(view)}&theme=light&width=1200")
    page.locator(".host[data-ready]").first.wait_for()
    button = page.get_by_role("button", name="Export").first
    items = page.get_by_role("menuitem")
    button.click()
    labels = items.all_inner_texts()
    page.keyboard.press("Escape")
    given = set()
    for place in range(len(labels)):
        button.click()
        with page.expect_download() as download:
            items.nth(place).click()
        kind = download.value.suggested_filename.rpartition(".")[2]
        content = Path(download.value.path()).read_bytes()
        assert kind.upper() in labels[place]
        assert content.startswith(BEGINS.get(kind, b"")), labels[place]
        given.add(kind)
    assert given == {"csv", "json", "png", "svg"}
