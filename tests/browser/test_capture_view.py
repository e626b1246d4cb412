"""The capture browser in Chromium: filters, selection, layers, a kernel that answers and one that dies, and access."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Locator, Page
from test_components import GALLERY, page, settle, show

__all__ = ["page"]

pytestmark = pytest.mark.browser

CAPTURES = ["typical", "one probe", "no probes", "NaN", "hostile", "files moved", "kernel gone", "two side by side"]


def status(host: Locator) -> str:
    return host.locator(".status").inner_text()


def see(page: Page, host: Locator, text: str) -> None:
    """Wait until the status line says it."""
    page.wait_for_function(
        "([host, text]) => host.shadowRoot.querySelector('.status').textContent.includes(text)",
        arg=[host.element_handle(), text],
    )


def chosen(host: Locator, of: str = "probes") -> list[int]:
    found: list[int] = host.evaluate("(host, of) => host.source.selected(of)?.ids ?? []", of)
    return found


def plot(host: Locator, part: str) -> Locator:
    return host.get_by_role("group", name=part, exact=True).locator("canvas").first


def drag_over(page: Page, canvas: Locator) -> None:
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + box["height"] - 50, steps=6)
    page.mouse.up()


def test_chips_and_words_filter_every_part(page: Page) -> None:
    host = show(page, "capture/typical", width=1200)
    see(page, host, "120 probes")
    host.get_by_role("button", name="code").click()
    see(page, host, "of 120 probes")
    kept = int(status(host).split(" of ")[0])
    assert 0 < kept < 120
    host.get_by_role("searchbox").fill("france")
    page.wait_for_function(
        "([host, kept]) => parseInt(host.shadowRoot.querySelector('.status').textContent) < kept",
        arg=[host.element_handle(), kept],
    )
    host.get_by_role("searchbox").fill("nothing like it")
    see(page, host, "0 of 120 probes")
    assert host.get_by_text("No probe is left by the filter.").filter(visible=True).count() == 2
    host.get_by_role("searchbox").fill("")
    see(page, host, f"{kept} of 120")


def test_a_box_in_the_projection_selects_probes_everywhere(page: Page) -> None:
    host = show(page, "capture/typical", width=1200)
    settle(page)
    drag_over(page, plot(host, "Projection"))
    see(page, host, "selected")
    ids = chosen(host)
    assert len(ids) > 20
    assert host.get_by_role("row", selected=True).count() > 0
    host.get_by_role("button", name="Select none").click()
    see(page, host, "120 probes")
    assert chosen(host) == []


def test_a_layer_is_selected_in_the_norms_and_shown(page: Page) -> None:
    host = show(page, "capture/typical", width=1200)
    settle(page)
    box = plot(host, "Norms").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] - 24, box["y"] + 60)
    see(page, host, "layer 11 selected")
    assert chosen(host, "layers") == [11]
    host.get_by_role("heading", name="Layer 9 in two dimensions").wait_for()  # the nearest one saved with the page


def test_the_slider_shows_another_layer_by_keys_and_selects_nothing(page: Page) -> None:
    host = show(page, "capture/typical", width=1200)
    host.get_by_role("heading", name="Layer 6 in two dimensions").wait_for()
    host.get_by_role("slider", name="Layer").focus()
    page.keyboard.press("ArrowLeft")
    host.get_by_role("heading", name="Layer 3 in two dimensions").wait_for()
    assert chosen(host, "layers") == []


def test_selected_from_python_or_a_linked_view(page: Page) -> None:
    host = show(page, "capture/typical", width=1200)
    host.evaluate("(host) => host.source.selectFromElsewhere({of: 'probes', ids: [70]})")
    see(page, host, "1 selected")
    host.get_by_role("heading", name="Probe 70").wait_for()
    assert host.locator('tr[data-id="70"]').get_attribute("aria-selected") == "true"


def test_more_probes_than_a_page_holds_are_asked_for_and_survive_the_kernel(page: Page) -> None:
    host = show(page, "capture/huge, a kernel answers", width=1200)
    see(page, host, "100,000 probes")
    host.get_by_text("probe text 3", exact=True).wait_for()
    host.get_by_role("searchbox").fill("any")
    see(page, host, "14,285 of 100,000 probes")
    host.get_by_role("searchbox").fill("")
    see(page, host, "100,000 probes")
    host.get_by_role("slider", name="Layer").focus()
    page.keyboard.press("ArrowRight")
    host.get_by_role("heading", name="Layer 7 in two dimensions").wait_for()
    host.evaluate("(host) => host.source.become('gone', 'The kernel is gone.')")
    see(page, host, "500 saved with the page, evenly spaced · The kernel is gone.")
    host.get_by_role("searchbox").fill("france")
    see(page, host, "100 of 100,000")
    assert host.get_by_role("alert").inner_text() == ""


def test_what_cannot_be_shown_is_said(page: Page) -> None:
    host = show(page, "capture/files moved", width=700)
    host.get_by_text("layer_3.pt is missing though the manifest names it").wait_for()
    assert host.get_by_role("group", name="Projection").count() == 0
    assert host.get_by_role("grid", name="Probes").is_visible()
    host = show(page, "capture/NaN", width=700)
    host.get_by_text("2 probes with NaN or infinity at some layer: 3, 17").wait_for()
    host.get_by_text("2 with NaN or infinity cannot be placed.").wait_for()


def test_hostile_texts_stay_texts(page: Page) -> None:
    host = show(page, "capture/hostile", width=700)
    host.get_by_text("Manifest", exact=True).click()
    settle(page)
    assert page.evaluate("() => document.body.dataset.hacked") is None
    assert host.locator("img, script").count() == 0


def test_two_captures_share_what_is_selected(page: Page) -> None:
    host = show(page, "capture/two side by side", width=1200)
    settle(page)
    drag_over(page, host.get_by_role("group", name="Projections").locator("canvas").nth(1))
    see(page, host, "selected")
    assert len(chosen(host)) > 20
    host.get_by_role("radio", name="That differ").click()
    see(page, host, "2 of 120 probes")
    assert host.get_by_role("gridcell", name="missing").count() == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(page: Page, theme: str) -> None:
    found: dict[str, Any] = {}
    for state in CAPTURES:
        show(page, f"capture/{state}", theme, width=700)
        page.wait_for_timeout(200)  # colours of a theme settle
        page.add_script_tag(path=GALLERY / "axe.js")
        run = "() => axe.run().then(({ violations }) => violations.map((v) => [v.id, v.nodes[0].failureSummary]))"
        found[state] = page.evaluate(run)
    assert {state: violations for state, violations in found.items() if violations} == {}


@pytest.mark.parametrize("width", [320, 700])
def test_the_view_fits_its_width(page: Page, width: int) -> None:
    for state in CAPTURES:
        host = show(page, f"capture/{state}", width=width)
        wide = "(host) => [...host.shadowRoot.querySelectorAll('.panel, .toolbar, .body > *, .part')]"
        wide += ".filter((part) => part.scrollWidth > part.clientWidth + 1).map((part) => part.className)"
        assert host.evaluate(wide) == [], state
