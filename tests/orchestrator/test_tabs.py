"""Several tabs of one browser share one stream, and none misses anything when the tab that held it goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import CHROMIUM, chromium
from senders import Sender, uuid7
from serving import Served, served

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Served]:
    with served(str(tmp_path / "board.db")) as one:
        yield one


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    with chromium() as page:
        yield page.context


def entered(context: Any, board: Served, *, hidden: bool = False) -> Any:
    """A tab of its own, with a token of its own; `hidden` can be made to look away."""
    page = context.new_page()
    if hidden:
        page.clock.install()
        page.add_init_script("Object.defineProperty(document, 'hidden', { get: () => window.away === true })")
    code = board.json("POST", "/v1/launch-codes", {}).body["code"]
    page.goto(f"{board.url}/#code={code}")
    page.locator(".link[data-state=live]").wait_for()
    return page


def streams(board: Served, count: int) -> None:
    deadline = time.monotonic() + 10
    while len(board.board.bus) != count:
        assert time.monotonic() < deadline, f"{len(board.board.bus)} streams, not {count}"
        time.sleep(0.02)


def test_three_tabs_share_one_stream_and_the_next_leads_when_the_first_goes(context: Any, board: Served) -> None:
    tabs = [entered(context, board) for _ in range(3)]
    streams(board, 1)
    sender = Sender()
    for number in range(2):
        board.send([sender.start(uuid7(), name=f"run {number}")])
        for tab in tabs:
            tab.get_by_text(f"run {number}").first.wait_for()
    tabs.pop(0).close()
    board.send([sender.start(uuid7(), name="in between")])
    for tab in tabs:
        tab.get_by_text("in between").first.wait_for()
    streams(board, 1)
    for tab in tabs:
        tab.close()
    streams(board, 0)


def test_a_tab_that_nobody_looks_at_lets_go_after_a_minute_and_comes_back_whole(context: Any, board: Served) -> None:
    tab = entered(context, board, hidden=True)
    streams(board, 1)
    tab.evaluate("window.away = true; document.dispatchEvent(new Event('visibilitychange'))")
    tab.clock.run_for(35_000)
    board.send([Sender().start(uuid7(), name="still told")])  # the server is not silent meanwhile
    tab.get_by_text("still told").first.wait_for(state="attached")
    tab.clock.run_for(20_000)
    streams(board, 1)
    tab.clock.run_for(10_000)
    streams(board, 0)
    board.send([Sender().start(uuid7(), name="while away")])
    assert tab.get_by_text("while away").count() == 0
    tab.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    tab.clock.run_for(1_000)
    tab.get_by_text("while away").first.wait_for()
    streams(board, 1)
    tab.close()


def test_a_tab_that_may_see_less_shares_with_no_other(context: Any, board: Served) -> None:
    whole = entered(context, board)
    code = board.new_token("read", room="street").json("POST", "/v1/launch-codes", {}).body["code"]
    narrow = context.new_page()
    narrow.goto(f"{board.url}/#code={code}")
    narrow.locator(".link[data-state=live]").wait_for()
    streams(board, 2)
    board.send([Sender(room="lab").start(uuid7(), name="of the lab")])
    whole.get_by_text("of the lab").first.wait_for()
    board.send([Sender(room="street").start(uuid7(), name="of the street")])
    narrow.get_by_text("of the street").first.wait_for()
    assert narrow.get_by_text("of the lab").count() == 0
    whole.close()
    narrow.close()
