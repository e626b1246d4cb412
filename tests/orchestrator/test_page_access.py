"""The board for people who use a keyboard or a screen reader: nothing for axe to find, views included."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo_cards import cards
from lab import CHROMIUM, chromium
from senders import Sender, uuid7
from serving import Served, served

from aquin_nb.cards import SaeTrainCard
from aquin_nb.widgets.pack import embed
from aquin_nb.widgets.views.train import train_data

AXE = Path(__file__).parents[2] / "widgets" / "node_modules" / "axe-core" / "axe.min.js"
RUN = """() => axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) =>
  violations.map((v) => [v.id, v.nodes.length, v.nodes[0].target, v.nodes[0].failureSummary]))"""

CONFIG = {"batch_size": 512, "seed": 0, "dead_after_tokens": 10_000}  # what the demonstration leaves out

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None or not AXE.exists(), reason="chromium or axe-core is not installed"),
]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(str(tmp_path_factory.mktemp("board") / "board.db")) as one:
        sender = Sender()
        for kind, told in cards().items():
            card, named = uuid7(), {"tool": kind, "kind": kind, "name": told["name"], "session": "an ablation"}
            events = [sender.event("tool.start", card, named | {"card": told})]
            if kind == "saeTrain":
                data = embed(train_data(SaeTrainCard.model_validate(told | {"config": told["config"] | CONFIG}), None))
                body = json.dumps(data, allow_nan=False).encode()
                name = hashlib.sha256(body).hexdigest()
                assert one.ask("PUT", f"/v1/blobs/{name}", body).status == 201
                events.append(sender.event("card.artifact", card, {"role": "view", "name": "train", "sha256": name}))
            events.append(sender.event("tool.result", card, {"status": "completed", "card": told}))
            one.send(events)
        one.send([sender.event("tool.start", uuid7(), {"tool": "sae.train", "kind": "saeTrain", "name": "going"})])
        yield one


@pytest.mark.parametrize(("dark", "width"), [(False, 1200), (True, 320)])
def test_axe_finds_nothing_on_the_board(board: Served, dark: bool, width: int) -> None:
    with chromium(dark=dark) as page:
        page.set_viewport_size({"width": width, "height": 900})
        code = board.json("POST", "/v1/launch-codes", {}).body["code"]
        page.goto(f"{board.url}/#code={code}")
        page.locator(".link[data-state=live]").wait_for()
        page.locator("article").nth(len(cards())).wait_for()
        page.locator("details.view summary:visible").first.click()
        page.locator("details.view .panel").wait_for()
        page.locator("details.all summary:visible").first.click()
        page.wait_for_timeout(300)
        page.evaluate(f"() => {{ {AXE.read_text(encoding='utf-8')} }}")
        assert violations(page) == []
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        for key in ("x", "j", "x", "c"):
            page.keyboard.press(key)
        assert violations(page) == [], "while cards are compared"
        assert page.foreign == []  # type: ignore[attr-defined]


def violations(page: Any) -> Any:
    return page.evaluate(RUN)
