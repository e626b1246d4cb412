"""The shared parts of the views in Chromium, on the gallery's page: keys, screen readers, themes, widths, huge data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lab
import pytest
from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

WIDGETS = Path(__file__).parents[2] / "widgets"
GALLERY = WIDGETS / ".gallery"
KINDS = ["shell", "table", "scatter", "heatmap", "histogram", "lines"]


@pytest.fixture(scope="module")
def page(gallery: Path) -> Iterator[Page]:
    with lab.chromium() as opened:
        opened.emulate_media(reduced_motion="reduce")  # nothing is measured in the middle of a transition
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        yield opened
        assert errors == []
        assert opened.foreign == []  # type: ignore[attr-defined]


def show(page: Page, sample: str, theme: str = "light", width: int = 700) -> Locator:
    """Open one sample (or all of a kind) alone; returns its host element."""
    page.set_viewport_size({"width": max(360, width + 40), "height": 900})
    page.goto(f"{(GALLERY / 'index.html').as_uri()}?only={sample}&theme={theme}&width={width}")
    host = page.locator(".host").first
    host.locator(".panel").wait_for()
    page.wait_for_function("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return host


def settle(page: Page) -> None:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def here(host: Locator) -> str:
    return host.locator("[data-here]").inner_text()


def test_a_table_is_walked_sorted_and_selected_by_keys(page: Page) -> None:
    host = show(page, "table/huge")
    grid = host.get_by_role("grid")
    assert grid.get_attribute("aria-rowcount") == str(131_072 + 1)
    grid.focus()
    page.keyboard.press("ArrowDown")
    settle(page)
    assert grid.get_attribute("aria-activedescendant") == host.locator("[data-here]").get_attribute("id")
    assert host.get_by_role("row", selected=True).get_attribute("aria-rowindex") == "3"
    page.keyboard.press("End")
    settle(page)
    settle(page)
    assert host.get_by_role("row", selected=True).get_attribute("aria-rowindex") == str(131_072 + 1)
    assert host.get_by_role("gridcell", name="131071", exact=True).is_visible()
    assert host.locator("tbody tr").count() < 60  # of 131,072
    page.keyboard.press("PageUp")
    page.keyboard.press("Home")
    settle(page)
    page.keyboard.press("ArrowUp")  # into the header
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    settle(page)
    assert here(host).startswith("Cosine")
    page.keyboard.press("Enter")
    header = host.get_by_role("columnheader", name="Cosine")
    page.wait_for_function(
        "(th) => th.getRootNode().querySelector('th[aria-sort=descending]')", arg=header.element_handle()
    )
    settle(page)
    first = host.locator('tr[aria-rowindex="2"] td').nth(2).inner_text()
    largest = host.evaluate("(host) => host.data.columns.cosine.reduce((a, b) => Math.max(a, b))")
    assert float(first) == pytest.approx(largest, rel=5e-3)
    page.keyboard.press("Enter")
    settle(page)
    assert host.locator("th[aria-sort=ascending]").count() == 1


def test_rows_are_selected_together_found_and_filtered(page: Page) -> None:
    host = show(page, "table/typical")
    rows = host.locator("tbody tr:not([hidden])")
    rows.nth(1).click()
    rows.nth(4).click(modifiers=["Shift"])
    rows.nth(2).click(modifiers=["ControlOrMeta"])
    page.wait_for_function("(host) => host.dataset.selected === '1 3 4'", arg=host.element_handle())
    assert host.evaluate("(host) => host.table.goto(400)") is True
    settle(page)
    assert host.locator('tr[data-id="400"]').is_visible()
    host.get_by_role("searchbox").fill("rotated")
    page.wait_for_function(
        "(host) => { const left = host.table.rows; return left > 0 && left < 300; }", arg=host.element_handle()
    )
    settle(page)
    assert {cell.inner_text() for cell in host.locator("tbody tr:not([hidden]) td:nth-child(2)").all()} == {"rotated"}
    host.get_by_role("searchbox").fill("nothing like it")
    host.get_by_text("No feature passes the filter.").wait_for()


def test_rows_of_a_kernel_arrive_as_they_come_into_sight(page: Page) -> None:
    host = show(page, "table/kernel")
    host.locator('tr[data-id="0"]').wait_for()
    host.locator(".grid").evaluate("(grid) => { grid.scrollTop = 9000 * 28; }")
    host.locator('tr[data-id="9003"]').wait_for()
    assert host.evaluate("(host) => host.table.goto(15000)") is True
    host.locator('tr[data-id="15000"]').wait_for()
    dead = show(page, "table/failed")
    dead.get_by_role("alert").get_by_text("The kernel is gone").wait_for()


def test_a_heatmap_is_walked_and_zoomed_by_keys_and_says_the_cell(page: Page) -> None:
    host = show(page, "heatmap/typical")
    host.locator("canvas").focus()
    view = "(host) => host.plot.view"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    said = host.locator(".plot [role=status]")
    assert said.inner_text().startswith("Feature of A 33")
    for _ in range(4):
        page.keyboard.press("+")
    settle(page)
    rows = host.evaluate(view)["rows"]
    assert 0 < rows[0] <= 33 < rows[1] < 64
    page.keyboard.press("Enter")
    assert (host.get_attribute("data-picked") or "").startswith("33 33 ")
    for _ in range(40):
        page.keyboard.press("ArrowUp")
    settle(page)
    assert host.evaluate(view)["rows"][0] == 0  # the view went along
    page.keyboard.press("0")
    settle(page)
    assert host.evaluate(view) == {"rows": [0, 64], "cols": [0, 64]}


def test_a_huge_heatmap_turns_sharp_and_a_gone_kernel_is_told(page: Page) -> None:
    host = show(page, "heatmap/huge")
    assert host.evaluate("(host) => { host.plot.goto(20000, 20000); return host.plot.view.rows[0]; }") > 19_000
    page.wait_for_function("(host) => host.plot.sharp", arg=host.element_handle())
    host.locator("canvas").focus()
    page.keyboard.press("ArrowRight")
    assert "|cosine| 0." in host.locator(".plot [role=status]").inner_text()
    gone = show(page, "heatmap/kernel gone")
    gone.evaluate("(host) => host.plot.goto(100, 100)")
    gone.get_by_role("alert").get_by_text("stays as coarse as it was saved").wait_for()


def test_the_wheel_zooms_only_a_heatmap_that_was_chosen(page: Page) -> None:
    host = show(page, "heatmap/typical")
    canvas = host.locator("canvas")
    canvas.hover(position={"x": 350, "y": 200})
    page.mouse.wheel(0, -300)
    settle(page)
    assert host.evaluate("(host) => host.plot.view.rows") == [0, 64]
    canvas.click(position={"x": 350, "y": 200})
    page.mouse.wheel(0, -300)
    page.wait_for_function("(host) => host.plot.view.rows[1] - host.plot.view.rows[0] < 64", arg=host.element_handle())


def test_points_are_walked_and_selected_by_keys_and_boxes(page: Page) -> None:
    host = show(page, "scatter/typical")
    canvas = host.locator("canvas")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    first = host.locator(".plot [role=status]").inner_text()
    page.keyboard.press("ArrowRight")
    assert host.locator(".plot [role=status]").inner_text() != first
    page.keyboard.press("Enter")
    assert (host.get_attribute("data-selected") or "").startswith("1: ")
    page.keyboard.press("Escape")
    assert host.get_attribute("data-selected") == "0: "
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 60, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 10, box["y"] + box["height"] - 30, steps=4)
    page.mouse.up()
    assert int((host.get_attribute("data-selected") or "").split(":")[0]) > 380


def test_a_histogram_gives_a_range_and_curves_a_cursor(page: Page) -> None:
    host = show(page, "histogram/typical")
    host.locator("canvas").focus()
    page.keyboard.press("End")
    assert host.locator(".plot [role=status]").inner_text().startswith("0.975 to 1")
    for _ in range(3):
        page.keyboard.press("Shift+ArrowLeft")
    assert host.get_attribute("data-range") == "[0.9,1]"
    page.keyboard.press("Escape")
    assert host.get_attribute("data-range") == "null"
    host = show(page, "lines/typical")
    host.locator("canvas").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert "layer 2: " in host.locator(".plot [role=status]").inner_text()
    page.keyboard.press("Enter")
    assert host.get_attribute("data-picked") == "0.01"


def test_controls_are_one_tab_stop_each_with_arrows_inside(page: Page) -> None:
    host = show(page, "shell/controls")
    host.get_by_role("radio", name="Step").focus()
    page.keyboard.press("ArrowRight")
    assert host.get_attribute("data-said") == 'axis "tokens"'
    page.keyboard.press("Tab")  # past the other choices, onto the slider
    page.keyboard.press("ArrowRight")
    assert host.get_attribute("data-said") == "slider 0.71"
    host.get_by_role("tab", name="One").focus()
    page.keyboard.press("End")
    assert host.get_by_role("tabpanel", name="Three").is_visible()
    host.get_by_role("button", name="Actions").press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert host.get_attribute("data-said") == 'menu "flag"'
    assert host.get_by_role("menu").count() == 0
    chip = host.get_by_role("button", name="rotated")
    chip.click()
    assert chip.get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(page: Page, theme: str) -> None:
    found: dict[str, Any] = {}
    run = "() => axe.run().then(({ violations }) => violations.map((v) => [v.id, v.nodes[0].failureSummary]))"
    for kind in [*KINDS, "tokens/typical", "tokens/signed and NaN", "tokens/hostile"]:
        show(page, kind, theme)
        page.add_script_tag(path=GALLERY / "axe.js")
        found[kind] = page.evaluate(run)
    assert {kind: violations for kind, violations in found.items() if violations} == {}


def test_plots_and_controls_follow_the_theme_of_the_page(page: Page) -> None:
    host = show(page, "heatmap/typical", "light")
    corner = (
        "(host) => { const c = host.shadowRoot.querySelector('canvas');"
        " return [...c.getContext('2d').getImageData(c.width * 0.55, c.height * 0.2, 1, 1).data].slice(0, 3); }"
    )
    light = host.evaluate(corner)
    page.evaluate("() => { document.documentElement.dataset.theme = 'dark'; }")
    page.wait_for_function(f"(host) => ({corner})(host).every((part) => part < 120)", arg=host.element_handle())
    assert min(light) > 130
    assert host.locator(".panel").get_attribute("data-theme") == "dark"


@pytest.mark.parametrize("width", [320, 700, 1200])
def test_every_part_fits_its_width(page: Page, width: int) -> None:
    for kind in [*KINDS, "tokens/hostile"]:
        show(page, kind, width=width)
        wide = "(boxes) => boxes.flatMap((host) => [...host.shadowRoot.querySelectorAll('.panel, .toolbar, .body > *')]"
        wide += ".filter((part) => part.getBoundingClientRect().right > host.getBoundingClientRect().right + 1)"
        wide += ".map((part) => part.className))"
        assert page.locator(".host").evaluate_all(wide) == [], kind
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), kind


def test_texts_from_anywhere_stay_texts(page: Page) -> None:
    for kind in [
        "table/hostile",
        "tokens/hostile",
        "heatmap/hostile",
        "scatter/hostile",
        "lines/hostile",
        "shell/failed",
    ]:
        host = show(page, kind)
        assert host.locator("img, script").count() == 0
        assert page.evaluate("() => document.body.dataset.hacked ?? null") is None
    svg = show(page, "scatter/hostile").evaluate("(host) => host.plot.svg().text()")
    parsed = page.evaluate(
        "(text) => { const file = new DOMParser().parseFromString(text, 'image/svg+xml');"
        " return [file.documentElement.nodeName, file.querySelectorAll('parsererror, script, img').length]; }",
        svg,
    )
    assert parsed == ["svg", 0]


def test_pictures_and_tables_are_exported(page: Page) -> None:
    host = show(page, "heatmap/typical", "dark")
    kinds = (
        "async (host) => [(await host.plot.png()).type, host.plot.svg().type,"
        " (await host.plot.svg().text()).includes('<image')]"
    )
    assert host.evaluate(kinds) == ["image/png", "image/svg+xml", True]
    host = show(page, "table/typical")
    host.get_by_role("button", name="Export").click()
    with page.expect_download() as saved:
        host.get_by_role("menuitem", name="CSV").click()
    assert saved.value.suggested_filename == "features.csv"
    lines = Path(saved.value.path()).read_text().splitlines()
    assert lines[0] == "feature,cosine,rate,kind"
    assert len(lines) == 501
