"""Every view in every state of the gallery: nothing for axe to find, in light and dark, narrow and wide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lab
import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.browser

WIDGETS = Path(__file__).parents[2] / "widgets"
GALLERY = WIDGETS / ".gallery"
KINDS = ["align", "capture", "diff", "inspect", "session", "standing", "sweep", "train", "trajectory"]
PARTS = ["shell", "table", "scatter", "heatmap", "histogram", "lines", "tokens"]  # tests/browser/test_components.py
UNDER = {"captures": "capture", "tokens": "inspect"}  # whose samples are shown with others, or under another name

# What is huge is made of the same elements as what is not: axe would look at each of them.
AXE = """(rules) => axe.run({ include: [['main']], exclude: [...document.querySelectorAll('article')].filter(({ id }) =>
    /\\d{2,}k|\\d,\\d{3}|huge/.test(id)).map(({ id }) => [`#${CSS.escape(id)}`]) },
  { resultTypes: ['violations'], runOnly: { type: rules[0].startsWith('wcag') ? 'tag' : 'rule', values: rules } })
  .then(({ violations }) => violations.map((v) => [v.id, v.nodes.length, v.nodes[0].target, v.nodes[0].failureSummary]))
"""
ALL = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LOOKS = ["color-contrast", "target-size", "scrollable-region-focusable"]  # what theme and width can change
WIDER = """(boxes) => boxes.flatMap((host) => [...host.shadowRoot.querySelectorAll('.panel, .toolbar, .body > *')]
  .filter((part) => part.getBoundingClientRect().right > host.getBoundingClientRect().right + 1)
  .map((part) => `${host.parentElement.id}: ${part.className}`))"""
SETTLED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 150))))"


@pytest.fixture(scope="module")
def page(gallery: Path) -> Iterator[Page]:
    with lab.chromium() as opened:
        opened.emulate_media(reduced_motion="reduce")  # nothing is measured in the middle of a transition
        yield opened


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_has_nothing_for_axe_and_fits(page: Page, kind: str) -> None:
    wrong: list[str] = []
    page.once("pageerror", lambda error: wrong.append(str(error)))
    page.set_viewport_size({"width": 1240, "height": 900})
    page.goto(f"{(GALLERY / 'index.html').as_uri()}?only={kind}&theme=light&width=1200")
    assert page.locator(".host").count() > 3
    page.add_script_tag(path=GALLERY / "axe.js")
    for theme, width, rules in (("light", 1200, ALL), ("dark", 320, LOOKS)):
        page.set_viewport_size({"width": width + 40, "height": 900})
        page.evaluate(
            "([theme, width]) => { document.documentElement.dataset.theme = theme;"
            " document.querySelector('main').style.setProperty('--width', `${width}px`); }",
            [theme, width],
        )
        page.evaluate(SETTLED)
        assert page.evaluate(AXE, rules) == [], (theme, width)
        assert page.locator(".host").evaluate_all(WIDER) == [], (theme, width)
    assert page.evaluate("() => document.body.dataset.hacked ?? null") is None
    assert wrong == []
    assert page.foreign == []  # type: ignore[attr-defined]


def test_no_view_is_left_out(page: Page) -> None:
    page.goto(f"{(GALLERY / 'index.html').as_uri()}?only=none")
    found = {name.split("/")[0] for name in page.evaluate("() => aquinGallery.samples")}
    assert found == {*KINDS, *PARTS}
    entries = {path.stem for path in (WIDGETS / "src" / "entries").glob("*.ts")}
    assert {UNDER.get(name, name) for name in entries - {"table"}} == set(KINDS)
