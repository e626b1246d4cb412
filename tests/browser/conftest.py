"""What is dear is made once: a JupyterLab for a process (each test has a notebook of its own), and the gallery."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import lab
import pytest

WIDGETS = Path(__file__).parents[2] / "widgets"


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Lab]:
    """A running server over an empty folder; its kernels share a home."""
    if lab.CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed; make test installs Debian's package as root")
        pytest.skip("chromium was not found; install it to run the browser tests")
    home, root = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("notebooks")
    running = lab.Lab(root, tmp_path_factory.mktemp("lab"), {"AQUIN_HOME": str(home)})
    yield running
    running.close()


@pytest.fixture(scope="session")
def gallery() -> Path:
    """The folder of the gallery, built by the first process of a run that asks: nobody finds it half written."""
    if lab.CHROMIUM is None or shutil.which("node") is None or not (WIDGETS / "node_modules" / "axe-core").exists():
        if os.environ.get("CI"):
            pytest.fail("chromium, node and widgets/node_modules are needed; make test installs them")
        pytest.skip("chromium, node or widgets/node_modules was not found; run `make front` to get the latter")
    folder, run = WIDGETS / ".gallery", os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    folder.mkdir(exist_ok=True)
    with (folder / "built").open("a+") as built:
        fcntl.flock(built, fcntl.LOCK_EX)
        built.seek(0)
        if built.read() != run:
            subprocess.run(["node", "build.mjs", "--gallery"], cwd=WIDGETS, check=True, stdout=subprocess.DEVNULL)
            built.truncate(0)
            built.write(run)
    return folder
