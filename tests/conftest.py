"""Every test works in a home of its own, offline as far as the model hub is concerned."""

import os
from pathlib import Path

import pytest

# Before anything imports transformers: no test waits for a hub that is not there.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty $AQUIN_HOME."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("AQUIN_HOME", str(folder))
    return folder
