"""Where only text is shown, in IPython in a terminal or a console on a kernel, everything still says what it is."""

from pathlib import Path
from typing import Any

import pytest

from aquin_nb.cards import SaeTrainCard, TrainSettings
from aquin_nb.control import Tick
from aquin_nb.jobs import Job, JobQueue
from aquin_nb.live import LiveJob
from aquin_nb.records import history_frame
from aquin_nb.results import SaeTrain
from aquin_nb.widgets.job import JobView

SETTINGS = TrainSettings(
    architecture="topk", d_in=8, d_out=8, d_sae=64, k=4, lr=1e-3, batch_size=4, steps=100, dead_after_tokens=10, seed=0
)
shells = pytest.importorskip("IPython.core.interactiveshell")


@pytest.fixture
def result() -> SaeTrain:
    return SaeTrain(
        Path("x.pt"), SaeTrainCard(name="x", status="completed", verdict="usable", config=SETTINGS), history_frame([])
    )


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    """IPython without a kernel."""
    shell = shells.InteractiveShell()
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: shell)
    return shell


def test_a_result_is_its_summary_and_says_how_its_view_is_seen(terminal: Any, result: SaeTrain) -> None:
    shown, _ = terminal.display_formatter.format(result)
    assert set(shown) == {"text/plain"}, "a view that nobody sees is not made"
    assert shown["text/plain"].startswith(result.summary())
    assert '.save("NAME.html")' in shown["text/plain"]
    assert repr(result) == result.summary()


def test_a_console_on_a_kernel_gets_the_same_words(result: SaeTrain) -> None:
    shown = result._repr_mimebundle_()
    assert '.save("NAME.html")' in shown["text/plain"]
    assert "text/html" in shown


def test_a_job_that_is_shown_in_a_terminal_goes_on_in_lines(
    terminal: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    monkeypatch.setattr("aquin_nb.live.INTERVAL_SECONDS", 0.0)
    job: Job[int] = Job("add", lambda control: 1, {"one": 0.5, "two": 0.5})
    LiveJob(job).display()
    assert shown[0]["text/plain"].startswith("<Job add: queued")
    assert "job.wait() gives its result" in shown[0]["text/plain"]
    for stage, done in (("one", 10), ("one", 11), ("one", 40), ("two", 0)):
        job._on_tick(Tick(stage, done, 100, "rows"))
    job._run()
    assert capsys.readouterr().out.splitlines() == [
        "add: 5% one 10 of 100 rows",
        "add: 20% one 40 of 100 rows",
        "add: 50% two 0 of 100 rows",
        "<Job add: completed, 100%>",
    ]


def test_a_live_view_without_widgets_is_text() -> None:
    view = JobView({"name": "add", "about": "", "status": "running", "notes": [], "problem": "",
                    "progress": {"stage": "", "done": 0, "total": 0, "unit": "", "fraction": 0.0, "rate": None,
                                 "eta_seconds": None}})  # fmt: skip
    try:
        assert repr(view) == "<JobView>"
        assert "needs a front end with widgets" in view.fallback_text()
        view.told = lambda: "<Job add: running, 0%>"
        assert view.fallback_text() == "<Job add: running, 0%>"
    finally:
        view.close()


def test_a_queue_is_its_jobs() -> None:
    queue = JobQueue("example")
    assert repr(queue) == "<JobQueue example: no jobs yet>"
    queue.submit("add", lambda control: 1).wait(10)
    assert repr(queue).startswith("<Job add: completed")
