"""The page in a real Chromium: lets in once, shows what happens as it happens, and takes every text as text."""

from __future__ import annotations

import gzip
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo_cards import cards
from lab import CHROMIUM, chromium
from payloads import payloads
from senders import Sender, uuid7
from serving import Caller, Served, served, spawn

from aquin_nb.orchestrator.page import FILES

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]
REPORTS = """document.addEventListener('securitypolicyviolation', (event) => {
  (window.reports ??= []).push(event.blockedURI + event.sourceFile); });"""


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Served]:
    with served(str(tmp_path / "board.db")) as one:
        yield one


@pytest.fixture(scope="module")
def tab() -> Iterator[Any]:
    with chromium() as one:
        one.said = []
        one.on("console", lambda message: one.said.append(message.text))
        one.on("pageerror", lambda error: one.said.append(str(error)))
        one.on("dialog", lambda dialog: (one.said.append("dialog"), dialog.dismiss()))
        one.add_init_script(REPORTS)
        yield one


@pytest.fixture
def page(tab: Any) -> Any:
    tab.goto("about:blank")
    tab.said.clear()
    tab.foreign.clear()
    return tab


def enter(page: Any, board: Caller) -> None:
    code = board.json("POST", "/v1/launch-codes", {}).body["code"]
    page.goto(f"{board.url}/#code={code}")
    page.locator(".link[data-state=live]").wait_for()


def test_the_script_is_small_and_nothing_comes_from_elsewhere() -> None:
    script = FILES["board.js"][0].read_bytes()
    assert len(gzip.compress(script)) < 60_000
    text = b"".join(path.read_bytes() for path, _ in FILES.values()).replace(b"http://www.w3.org/2000/svg", b"")
    assert not re.search(rb"https?://\w", text)  # no address of another server
    for sink in (b"innerHTML", b"outerHTML", b"insertAdjacentHTML", b"document.write", b"eval(", b"new Function"):
        assert sink not in text


def test_a_code_lets_in_once_and_is_gone_from_the_address(page: Any, board: Served) -> None:
    board.send(Sender().run(uuid7()))
    enter(page, board)
    assert page.url == f"{board.url}/"
    page.get_by_text("a run").wait_for()
    page.reload()
    page.get_by_text("a run").wait_for()
    assert board.token not in page.content()
    assert page.evaluate("document.cookie + localStorage.length") == "0"
    assert page.foreign == []
    assert page.said == []


def test_without_a_code_nothing_is_shown_until_a_token_is_pasted(page: Any, board: Served) -> None:
    board.send(Sender().run(uuid7()))
    page.goto(f"{board.url}/#code=used-long-ago")
    page.get_by_role("alert").get_by_text("too old").wait_for()
    page.get_by_label("token").fill("aqn_wrong")
    page.get_by_role("button", name="Open").click()
    page.get_by_text("not valid here").wait_for()
    page.get_by_label("token").fill(board.token)
    page.get_by_role("button", name="Open").click()
    page.get_by_text("a run").wait_for()


def test_what_happens_is_painted_as_it_happens(page: Any, board: Served) -> None:
    enter(page, board)
    page.get_by_text("Nothing here yet").wait_for()
    sender, old, card = Sender(), uuid7(), uuid7()
    board.send([*sender.run(old), sender.start(card)])
    named = {"tool": "sae.train", "kind": "saeTrain", "session": "an ablation", "device": "the laptop"}
    board.send([sender.event("tool.start", card, named)])
    told = cards()["saeTrain"]
    board.send([sender.event("card.snapshot", card, {"card": told}), sender.progress(card, 250)])
    first = page.locator("article").first
    first.get_by_text("250 of 1,000").wait_for()
    first.get_by_text("an ablation on the laptop").wait_for()
    assert first.locator(".pill").inner_text() == "running"
    first.locator(".sync summary").click()
    first.get_by_text("Invoked").wait_for()
    board.json("PUT", f"/v1/producers/{sender.uuid}", {"alive": False, "pid": 1, "host": "elsewhere"})
    first.get_by_text("interrupted", exact=True).wait_for()
    failure = {"status": "failed", "error": {"type": "NoSpace", "message": "The disk is full."}}
    board.send([sender.progress(card, 260), sender.event("tool.result", card, failure)])
    first.get_by_text("The disk is full.").wait_for()
    assert first.locator(".rows").is_visible()
    board.send([sender.start(old, attempt=2)])
    page.locator("article").first.get_by_text("attempt 2").first.wait_for()
    assert page.locator("article").count() == 2


def test_a_page_goes_on_where_it_was_when_its_server_was_killed(page: Any, tmp_path: Path) -> None:
    place, sender, card = str(tmp_path / "board.db"), Sender(), uuid7()
    process, caller = spawn(place, "--port", "0")
    try:
        caller.send([sender.start(card), sender.progress(card, 1)])
        enter(page, caller)
        page.get_by_text("1 of 1,000").wait_for()
        process.kill()
        process.wait()
        page.get_by_text("not connected, trying again").wait_for()
        process, caller = spawn(place, "--port", str(caller.port))
        caller.send([sender.progress(card, 900)])
        page.get_by_text("900 of 1,000").wait_for()
        page.get_by_text("live", exact=True).wait_for()
    finally:
        process.kill()
        process.wait()


def run_of(sender: Sender, card: str, told: dict[str, Any], session: str, *, done: bool = True) -> list[Any]:
    named = {"tool": told["kind"], "kind": told["kind"], "name": told["name"], "session": session, "card": told}
    start = sender.event("tool.start", card, named)
    points = [
        sender.event("card.progress", card, {"point": {"step": step, "fvu": 1 / (1 + step), "l0": 32.0}})
        for step in range(1, 20)
    ]
    end = [sender.event("tool.result", card, {"status": "completed", "card": told | {"status": "completed"}})]
    return [start, *points, *(end if done else [])]


def test_cards_are_filtered_compared_and_linked_to(page: Any, board: Served) -> None:
    sender, first, second = Sender(), uuid7(), uuid7()
    told = cards()
    changed = told["saeTrain"] | {"name": "bible-64", "config": told["saeTrain"]["config"] | {"k": 64}}
    board.send(run_of(sender, first, told["saeTrain"], "an ablation"))
    board.send(run_of(sender, second, changed, "another", done=False))
    board.send([sender.event("tool.start", uuid7(), {"tool": "sae.diff", "kind": "saeDiff", "card": told["saeDiff"]})])
    enter(page, board)
    page.locator("article").nth(2).wait_for()
    page.keyboard.press("/")
    page.keyboard.type("kind:saeTrain k:64")
    page.get_by_text("1 of 3 cards").wait_for()
    assert page.locator("article:visible h2").all_inner_texts() == ["bible-64"]
    page.reload()
    page.get_by_text("1 of 3 cards").wait_for()
    assert page.get_by_label("Filter").input_value() == "kind:saeTrain k:64"
    page.get_by_label("Filter").fill("kind:saeTrain laver:5")
    page.get_by_text("No card here has “laver”.").wait_for()
    page.get_by_label("Filter").fill("kind:saeTrain")
    page.keyboard.press("Escape")
    for key in ("x", "j", "x", "c"):
        page.keyboard.press(key)
    page.get_by_role("heading", name="2 cards side by side").wait_for()
    assert page.locator("tr.differs th").all_inner_texts() == ["status", "config.k"]
    page.get_by_role("img", name="FVU over steps").wait_for()
    page.get_by_label("only what differs").check()
    assert page.locator("tbody tr.same").count() == 0
    shared = page.url
    assert board.token not in shared
    page.goto("about:blank")
    page.goto(shared)
    page.get_by_role("heading", name="2 cards side by side").wait_for()
    page.keyboard.press("Escape")
    page.locator("article:visible").first.wait_for()
    page.goto(f"{board.url}/#card={first}")
    page.locator(f"article[data-card='{first}'] details.all[open]").wait_for()
    page.keyboard.press("?")
    page.get_by_role("dialog").get_by_text("next card").wait_for()
    assert page.said == []


def test_cards_lie_by_session_when_asked(page: Any, board: Served) -> None:
    told = cards()["saeTrain"]
    for session in ("an ablation", "another", "an ablation"):
        board.send(run_of(Sender(), uuid7(), told, session))
    enter(page, board)
    page.get_by_label("by session").check()
    assert page.locator("section.group > h2").all_inner_texts() == ["an ablation · 2", "another · 1"]
    board.send(run_of(Sender(), uuid7(), told, "a third"))
    page.get_by_text("a third · 1").wait_for()
    assert page.locator("section.group > h2").first.inner_text() == "a third · 1"


def test_a_thousand_cards_are_found_by_the_filter_and_ask_for_no_thousand_curves(page: Any, board: Served) -> None:
    told, sender = cards()["saeTrain"], Sender()
    for at in range(0, 1000, 50):
        events = []
        for number in range(at, at + 50):
            one = told | {"name": f"run {number}", "layer": number}
            start = {"tool": "sae.train", "kind": "saeTrain", "name": one["name"], "card": one}
            events.append(sender.event("tool.start", uuid7(), start))
        board.send(events)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    enter(page, board)
    page.get_by_label("Filter").fill("layer<3")
    page.get_by_text("3 of 1,000 cards").wait_for()
    assert page.locator("article:visible h2").all_inner_texts() == ["run 2", "run 1", "run 0"]
    assert len([url for url in asked if url.endswith("points") or "/points?" in url]) < 60


def test_text_stays_text_on_every_kind_of_card(page: Any, board: Served) -> None:
    hostile = payloads()
    assert len(hostile) >= 200
    sender, left = Sender(), itertools.cycle(hostile)

    def poisoned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: poisoned(one) for key, one in value.items()} | {next(left)[:60]: next(left)}
        if isinstance(value, list):
            return [poisoned(one) for one in value] or [next(left)]
        return next(left) if isinstance(value, str) else value

    kinds = [*cards().items(), ("futureKind", {"name": "x", "parts": {"a": "b"}})]
    for number in range(60):
        kind, told = kinds[number % len(kinds)]
        card, text = uuid7(), poisoned(told) | {"kind": kind}
        start = {"tool": next(left), "kind": kind if number % 7 else next(left), "name": next(left), "card": text}
        step = {"stage": next(left), "unit": next(left), "done": 1, "total": 2}
        error, gone = {"type": next(left), "message": next(left)}, [{"path": next(left), "what": next(left)}]
        events = [
            sender.event("tool.start", card, start),
            sender.event("card.progress", card, {"progress": step, "point": {"step": 1, "fvu": "NaN"}}),
            sender.event("tool.result", card, {"status": "failed", "error": error, "card": text, "left_out": gone}),
        ]
        board.send(events if number % 3 else events[:2])
    room = Sender(room="<img src=x onerror=window.owned=1>")
    board.send(room.run(uuid7()))
    enter(page, board)
    page.wait_for_function("document.querySelectorAll('article').length === 61")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.wait_for_timeout(500)
    shown = page.inner_text("main")
    assert "<script>window.owned=1</script>" in shown
    assert page.evaluate("[window.owned ?? null, window.reports ?? null]") == [None, None]
    foreign = (
        "script, img, svg, iframe, object, embed, a:not(.permalink), form, style, link, base, meta, math, template"
    )
    foreign = f"main :is({foreign})"
    assert page.locator(foreign).count() == 0
    links = page.locator("a.permalink").evaluate_all("(all) => all.map((one) => one.getAttribute('href'))")
    assert len(links) == 61
    assert all(link.startswith("#") for link in links)
    assert page.foreign == []
    assert page.said == []
