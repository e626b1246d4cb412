"""What views ask of a kernel: every question is answered once, by the result it was put to, or told why not."""

import threading

import numpy as np
import pytest

from aquin_nb.errors import SelectionError
from aquin_nb.widgets.desk import Desk, Served
from aquin_nb.widgets.selection import Selection, Selections


class Page:
    """The other side of a comm: what it received, and a wait for more."""

    def __init__(self, *results, **answers):
        self.heard, self.more, self.failures = [], threading.Condition(), []
        self.served = {"v": Served(answers, Selections(results or ("features",)))}
        self.desk = Desk(self.take, self.served.get, lambda error, doing: self.failures.append((error, doing)))

    def take(self, content, buffers=None):
        with self.more:
            self.heard.append((content, buffers))
            self.more.notify_all()

    def ask(self, what, view="v", name="1", **params):
        self.desk.receive({"type": "ask", "view": view, "id": name, "what": what, "params": params})
        return self.next()

    def next(self):
        with self.more:
            assert self.more.wait_for(lambda: self.heard, 10), "no answer came"
            return self.heard.pop(0)


@pytest.fixture
def page(request):
    pages = []

    def make(*results, **answers):
        pages.append(Page(*results, **answers))
        return pages[-1]

    yield make
    for one in pages:
        one.desk.close()


def test_an_answer_carries_arrays_as_bytes(page):
    message, buffers = page(rows=lambda params: {"x": np.arange(params["n"])}).ask("rows", n=3)
    assert message == {"type": "answer", "id": "1", "data": {"x": {"$array": 0, "dtype": "<i4", "shape": [3]}}}
    assert buffers == [np.arange(3, dtype="<i4").tobytes()]


def test_a_refusal_is_told_in_its_own_words_and_a_defect_by_its_name(page):
    def refuse(params):
        raise SelectionError("No such row.")

    def break_down(params):
        return {"x": [][0]}

    asked = page(refuse=refuse, break_down=break_down)
    assert asked.ask("refuse")[0] == {"type": "failed", "id": "1", "error": "No such row."}
    assert asked.ask("break_down")[0]["error"].startswith("IndexError in break_down: ")
    assert "versions" in asked.ask("unheard")[0]["error"]
    assert "run the cell again" in asked.ask("refuse", view="another")[0]["error"]


def test_a_question_that_was_dropped_is_not_answered(page):
    begun, go_on = threading.Event(), threading.Event()

    def slow(params):
        begun.set()
        go_on.wait(10)
        return {}

    asked = page(slow=slow, quick=lambda params: {"done": True})
    asked.desk.receive({"type": "ask", "view": "v", "id": "slow", "what": "slow"})
    assert begun.wait(10)
    asked.desk.receive({"type": "drop", "id": "slow"})
    go_on.set()
    assert asked.ask("quick", name="quick")[0]["id"] == "quick"
    asked.desk._workers.shutdown()
    assert asked.heard == []


def test_a_page_that_says_hello_gets_the_state(page):
    asked = page("features", "probes")
    asked.desk.push("v", "state", {"step": 1})
    assert asked.next()[0]["data"] == {"step": 1}
    asked.served["v"].selections.set(Selection("probes", (4,)))
    asked.desk.receive({"type": "hello", "view": "v"})
    there = asked.next()[0]
    assert there["known"]
    assert there["pushes"] == {"state": {"step": 1}}
    assert there["selections"] == [{"of": "features", "ids": []}, {"of": "probes", "ids": [4]}]
    asked.desk.receive({"type": "hello", "view": "long gone"})
    assert asked.next()[0]["known"] is False


def test_the_last_push_always_arrives(page):
    asked = page()
    for step in range(2000):
        asked.desk.push("v", "state", step)
    asked.desk.close()
    steps = [content["data"] for content, _ in asked.heard]
    assert steps[-1] == 1999
    assert len(steps) <= 40
    assert steps == sorted(steps)


def test_what_is_pushed_reaches_every_kind_of_page_and_those_that_come_later():
    served, pages = Served({}, Selections(("features",))), [{}, {}]
    stops = [served.attach(page.__setitem__) for page in pages]
    served.push("state", {"step": 1})
    served.selections.set(Selection("features", (4,)))
    late = {}
    served.attach(late.__setitem__)
    assert late == {"state": {"step": 1}}
    stops[1]()
    served.push("state", {"step": 2})
    served.selections.set(Selection("features", (5,)))
    assert pages[0] == {"state": {"step": 2}, "select:features": {"of": "features", "ids": [5]}}
    assert pages[1] == {"state": {"step": 1}, "select:features": {"of": "features", "ids": [4]}}


def test_rubbish_from_a_page_raises_nothing_and_selects_nothing(page):
    asked = page()
    wrong = [[-1], [1.5], [True], "3", None, {"a": 1}, ["1"]]
    for message in (
        None,
        7,
        "hello",
        {},
        {"type": "ask"},
        {"type": "drop", "id": "9"},
        {"type": "select", "view": "v"},
    ):
        asked.desk.receive(message)
    for ids in wrong:
        asked.desk.receive({"type": "select", "view": "v", "selection": {"of": "features", "ids": ids}})
    asked.desk.receive({"type": "select", "view": "v", "selection": {"of": "layers", "ids": [1]}})
    assert asked.served["v"].selections.last.ids == ()
    assert len(asked.failures) == len(wrong) + 1
    asked.desk.receive({"type": "select", "view": "v", "selection": {"of": "features", "ids": [3, 1]}})
    assert asked.served["v"].selections.last.ids == (3, 1)
