"""Every test works in a home of its own, offline as far as the model hub is concerned."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# Before anything imports transformers: no test waits for a hub that is not there.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


# A shell that starts this in the background has interrupts ignored, and some tests press Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The first call of a torch operator loads its kernels, and CI shares two cores: a deadline would test the machine.
settings.register_profile("aquin", deadline=None)
settings.load_profile("aquin")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty $AQUIN_HOME."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("AQUIN_HOME", str(folder))
    return folder
