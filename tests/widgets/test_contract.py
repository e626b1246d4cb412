"""Python and TypeScript halves say the same: columns, traits, numbers, message fields, decimation."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

import aquin_nb
from aquin_nb.widgets import job, monitor, protocol
from aquin_nb.widgets.assets import STATIC, MissingBundle, bundle, packed
from aquin_nb.widgets.base import AquinWidget
from aquin_nb.widgets.desk import RATE, Desk, Served
from aquin_nb.widgets.selection import Selections

SOURCES = Path(__file__).parents[2] / "widgets" / "src"
PROTOCOL = (SOURCES / "core" / "protocol.ts").read_text(encoding="utf-8")


NAMED = {
    "monitor.js": 60_000,
    "job.js": 10_000,
    "result-table.js": 60_000,
    "bridge.js": 5_000,
}
BUNDLES = NAMED | {path.name: 60_000 for path in STATIC.glob("view-*.js")}  # bytes


def names(constant):
    found = re.search(rf"export const {constant} = \[([^\]]*)\]", PROTOCOL)
    return tuple(re.findall(r'"(\w+)"', found[1]))


def value(constant):
    return int(re.search(rf"export const {constant} = (\d+);", PROTOCOL)[1])


def fields(interface):
    body = re.search(rf"interface {interface} [^{{]*{{(.*?)\n}}", PROTOCOL, re.DOTALL)[1]
    return set(re.findall(r"^\s+(\w+):", body, re.MULTILINE))


def test_constants_agree():
    assert names("COLUMNS") == protocol.COLUMNS
    assert (*protocol.COLUMNS, re.search(r'WIRE = \[...COLUMNS, "(\w+)"\]', PROTOCOL)[1]) == protocol.WIRE
    assert names("METRICS") == protocol.METRICS
    assert value("MAX_POINTS") == protocol.MAX_POINTS
    assert value("BEAT_SECONDS") == protocol.BEAT_SECONDS


def test_traits_agree():
    ours = {
        name
        for owner in (monitor.TrainingMonitor, AquinWidget)
        for name in owner.class_own_traits(sync=True)
        if not name.startswith("_")
    }
    assert ours == set(names("TRAITS")) == fields("MonitorTraits")


def test_a_job_says_what_its_view_reads():
    source = (SOURCES / "job.ts").read_text(encoding="utf-8")
    body = re.search(r"interface JobState \{(.*?)\n\}", source, re.DOTALL)[1]
    progress = re.search(r"interface Progress \{(.*?)\n\}", (SOURCES / "core" / "progress.ts").read_text(), re.DOTALL)[
        1
    ]
    theirs = [set(re.findall(r"^\s+(\w+):", text, re.MULTILINE)) for text in (body, progress)]
    ours = [{*job.JobState.__annotations__, "cancellable", "cancelling"}, {*job.Progress.__annotations__}]
    assert theirs == ours


def test_messages_have_the_fields_that_the_front_end_reads():
    from view_samples import train_card

    widget = monitor.TrainingMonitor(train_card())
    sent = []
    widget.send = lambda message, buffers=(): sent.append(message)
    widget._pace.close()
    for kind in ("hello", None):
        if kind:
            widget._handle_custom_msg({"type": kind}, [])
        else:
            widget.push([range(11)])
    widget._beat()
    snapshot, append, beat = sent
    assert set(snapshot) == fields("State") | fields("Snapshot")
    assert set(append) == fields("State") | fields("Append")
    assert set(beat) == fields("Beat")


def messages(union):
    """Fields of each member of a TypeScript union of messages: those that must be there, and those that may."""
    source = (SOURCES / "core" / "kernel.ts").read_text(encoding="utf-8")
    members = re.findall(
        r"\| \{(.*?)\}[;\n]", re.search(rf"export type {union} =(.*?);\n\n", source, re.DOTALL)[1] + "\n"
    )
    found = {}
    for member in members:
        fields = re.findall(r"(\w+)(\??): ", re.sub(r"Record<[^>]*>", "unknown", member))
        found[re.search(r'type: "(\w+)"', member)[1]] = (
            {name for name, may in fields if not may},
            {name for name, may in fields if may},
        )
    return found


def test_what_a_view_and_its_kernel_say_has_the_fields_that_the_other_reads():
    heard, answered = {}, threading.Event()

    def send(content, buffers=None):
        heard.setdefault(content["type"], set()).update(content)
        if content["type"] in ("answer", "failed"):
            answered.set()

    served = Served({"sum": lambda params: {"sum": sum(params["of"])}}, Selections(("features",)))
    desk = Desk(send, {"v": served}.get, lambda error, doing: pytest.fail(doing))
    said = {
        "hello": {"view": "v"},
        "ask": {"view": "v", "id": "1", "what": "sum", "params": {"of": [1, 2]}},
        "select": {"view": "v", "selection": {"of": "features", "ids": [3]}},
        "drop": {"id": "9"},
    }
    assert {kind: {"type", *fields} for kind, fields in said.items()} == {
        kind: must for kind, (must, _) in messages("ToDesk").items()
    }
    for kind, fields in said.items():
        desk.receive({"type": kind, **fields})
    assert answered.wait(10)
    answered.clear()
    desk.receive({"type": "ask", "view": "v", "id": "2", "what": "no such thing"})
    assert answered.wait(10)
    desk.push("v", "state", 1)
    desk.close()
    assert served.selections.last.ids == (3,)
    theirs = messages("FromDesk")
    assert set(heard) == set(theirs)
    for kind, (must, may) in theirs.items():
        assert must <= heard[kind] <= must | may, kind


def test_nothing_is_built_from_widgets_that_other_hosts_lack():
    """marimo shows anywidgets alone, and a FigureWidget brings five megabytes with each instance."""
    package = Path(aquin_nb.__file__).parent
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(import|from) ipywidgets", text, re.MULTILINE), path
        assert "FigureWidget(" not in text, path
    for path in STATIC.glob("*.js"):
        assert "plotly" not in path.read_text(encoding="utf-8").lower(), path.name


def test_pushes_are_few_enough_for_a_notebook_server():
    assert RATE <= 25


@pytest.mark.parametrize("name", BUNDLES)
def test_bundles_are_small_and_alone(name):
    code = bundle(name)
    assert len(packed(name) if name.startswith("view-") else code.encode()) <= BUNDLES[name]
    code = code.replace("http://www.w3.org/2000/svg", "")  # names what an exported picture is; nothing is asked there
    for forbidden in ("http://", "https://", "fetch(", "XMLHttpRequest", "import(", "innerHTML", "eval(", "import "):
        assert forbidden not in code, forbidden


def test_there_is_no_other_bundle():
    board = "board.js"  # the board's page has its own rules: tests/orchestrator/test_page.py
    assert {path.name for path in STATIC.glob("*.js")} == {*BUNDLES, board}


def test_every_view_has_its_bundle():
    entries = {path.stem for path in (SOURCES / "entries").glob("*.ts")} - {"table"}
    assert {f"view-{kind}.js" for kind in entries} == {path.name for path in STATIC.glob("view-*.js")}


def test_a_missing_bundle_says_how_to_build_it():
    with pytest.raises(MissingBundle, match="make front"):
        bundle("no-such.js")


def test_the_lock_file_names_no_registry():
    lock = (SOURCES.parent / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock


def test_sources_never_write_markup():
    for path in SOURCES.rglob("*.ts"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", text), path.name
        assert text.count("\n") <= 400 or path.name == "cards.gen.ts", path.name
