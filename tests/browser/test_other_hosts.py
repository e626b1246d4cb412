"""The explorer of an alignment in Notebook 7 and in marimo: drawn, in step with Python, and answered."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import lab
import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Locator
from torch.nn.functional import normalize

import aquin_nb
from aquin_nb.engine.sae import SaeConfig, SparseAutoencoder

pytestmark = pytest.mark.browser
GONE = "The kernel that made this was restarted or shut down."
APP = """\
import marimo
app = marimo.App()

@app.cell
def _():
    import threading
    import marimo as mo
    import aquin_nb
    alignment = aquin_nb.open_alignment(PATH)
    view = alignment.widget()
    return alignment, mo, threading, view

@app.cell
def _(mo, view):
    mo.ui.anywidget(view)
    return

@app.cell
def _(alignment, threading):
    def speak():
        alignment.select([7])
        one = alignment.frames["pairs"].iloc[0]
        alignment.annotate(int(one["a"]), int(one["b"]), "flagged")
    threading.Timer(3, speak).start()
    return
"""


@pytest.fixture
def alignment(tmp_path: Path) -> Path:
    folder = tmp_path / "align"
    folder.mkdir()
    saved = []
    for seed in (0, 1):
        W = normalize(torch.randn(300, 16, generator=torch.Generator().manual_seed(seed)), dim=1)
        cfg = SaeConfig("topk", d_in=16, d_sae=300, d_out=16, k=4, name=f"seed {seed}")
        sae = SparseAutoencoder(cfg, W.T.contiguous(), W, torch.zeros(300), torch.zeros(16))
        saved.append(sae.save(folder / f"{seed}.pt"))
    return Path(aquin_nb.sae_align(*saved, output=folder / "out", name="two seeds").path)


@contextlib.contextmanager
def serving(home: Path, path: str, *command: str) -> Iterator[str]:
    """Run a server on a port of its own until its `path` answers; yields its address."""
    if importlib.util.find_spec(command[0]) is None or lab.CHROMIUM is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            f"{command[0]} and Chromium are what `make test` installs"
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {"AQUIN_HOME": str(home / "aquin"), "IPYTHONDIR": str(home / "ipython"), "HOME": str(home)}
    env |= {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    with open(home / "log", "w") as log:
        full = [sys.executable, "-m", *(part.replace("PORT", str(port)) for part in command)]
        server = subprocess.Popen(full, env=env, stdout=log, stderr=subprocess.STDOUT, cwd=home)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(address + path, timeout=2).read()
                break
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start: {(home / 'log').read_text()[-2000:]}")
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def walk_on(view: Locator) -> None:
    """Go to the next pair and flag it, with the keyboard."""
    tab = view.get_by_role("tab", name="Features")
    tab.focus()
    tab.press("j")
    tab.press("f")
    view.get_by_text("Kept beside the alignment.").wait_for(timeout=20_000)


def test_notebook_7_shows_a_result_and_its_widget_in_step(tmp_path: Path, alignment: Path) -> None:
    show = f"import aquin_nb\nalignment = aquin_nb.open_alignment({str(alignment)!r})\nalignment"
    notebook = new_notebook(
        cells=[new_code_cell(cell) for cell in (show, "alignment.widget()", "alignment.select([9])")]
    )
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "t.ipynb")
    token = secrets.token_hex(8)
    command = ["notebook", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=PORT"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={tmp_path}"]
    command += ["--JupyterNotebookApp.expose_app_in_browser=True"]
    with serving(tmp_path, f"/api/status?token={token}", *command) as address, lab.chromium() as page:
        page.goto(f"{address}/notebooks/t.ipynb?token={token}")
        page.wait_for_function(lab.READY, timeout=120_000)
        page.locator(".jp-CodeCell .cm-content").first.click()
        views = page.locator(".jp-OutputArea")
        for index in range(3):
            page.keyboard.press("Shift+Enter")
            if index < 2:
                views.nth(index).get_by_role("tab", name="Features").wait_for(timeout=60_000)
        for index in (0, 1):
            views.nth(index).get_by_text("a 9 ").filter(visible=True).first.wait_for(timeout=20_000)
        walk_on(views.nth(0))
        for index in (0, 1):
            views.nth(index).get_by_role("button", name="flagged 1").wait_for(timeout=20_000)
        kernel = page.request.get(f"{address}/api/kernels?token={token}").json()[0]["id"]
        page.request.post(f"{address}/api/kernels/{kernel}/restart?token={token}")
        for index in (0, 1):
            views.nth(index).get_by_text(GONE).first.wait_for(timeout=20_000)
        assert page.foreign == []  # type: ignore[attr-defined]


def test_marimo_shows_the_widget_in_step(tmp_path: Path, alignment: Path) -> None:
    (tmp_path / "app.py").write_text(APP.replace("PATH", repr(str(alignment))))
    command = ["marimo", "run", "--headless", "--port=PORT", "--no-token", str(tmp_path / "app.py")]
    with serving(tmp_path, "/health", *command) as address, lab.chromium() as page:
        page.goto(address)
        view = page.locator("marimo-anywidget").first
        view.get_by_role("tab", name="Features").wait_for(timeout=60_000)
        view.get_by_text("a 7 ").first.wait_for(timeout=30_000)
        view.get_by_role("button", name="flagged 1").wait_for(timeout=20_000)
        walk_on(view)
        view.get_by_role("button", name="flagged 2").wait_for(timeout=20_000)
        assert page.foreign == []  # type: ignore[attr-defined]
