"""Every test works in a home of its own, offline as far as the model hub is concerned."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# Before anything imports transformers: no test waits for a hub that is not there.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Before anything imports torch, and for the kernels and processes that tests start: a worker takes a core, and threads
# that wait for one another would take those of the others. What needs more threads asks for them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts this in the background has interrupts ignored, and some tests press Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The first call of a torch operator loads its kernels, and CI shares two cores: a deadline would test the machine.
settings.register_profile("aquin", deadline=None)
settings.load_profile("aquin")


LONG = (
    *(f"tests/browser/test_{name}.py" for name in ("lab", "resume", "monitor", "kernel", "every_view")),
    "tests/notebooks/",
    *(f"tests/engine/{name}.py" for name in ("sae/test_distributed", "sae/test_resume", "sae/test_trainer")),
    "tests/engine/models/test_fetched_models.py",
    *(f"tests/test_{name}.py" for name in ("docs", "session", "binder", "cli_entry")),
)
"""What takes a core for a quarter of a minute and more, by the start of its name."""


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # it would put the files with few tests last, and those take longest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes long goes first where workers share the files: at the end it would leave the other cores idle."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty $AQUIN_HOME."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("AQUIN_HOME", str(folder))
    return folder
