"""A real JupyterLab on loopback and a real Chromium, driven through the application object and the DOM."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]

# The "idle" dot in the page is not enough: Run All has been seen to do nothing while it was shown.
READY = """() => {
  const panel = window.jupyterapp?.shell?.currentWidget, kernel = panel?.sessionContext?.session?.kernel;
  return panel?.sessionContext?.isReady && kernel?.connectionStatus === 'connected' && kernel.status === 'idle'
    && panel.content?.model?.cells?.length > 0;
}"""
OPEN = "() => window.jupyterapp?.shell?.currentWidget?.content?.model?.cells?.length > 0"


class Lab:
    """A JupyterLab server over `root`, with settings, runtime files and kernels of its own."""

    def __init__(self, root: Path, home: Path, environment: dict[str, str]) -> None:
        self.root, self.home = root, home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        token = secrets.token_hex(16)
        self.url, self.query = f"http://127.0.0.1:{port}", f"token={token}"
        settings = home / "settings"
        news = settings / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
        news.parent.mkdir(parents=True)
        news.write_text('{"fetchNews": "false", "checkForUpdates": false}')
        env = os.environ | environment | {"JUPYTERLAB_SETTINGS_DIR": str(settings), "IPYTHONDIR": str(home / "ipython")}
        env |= {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
        env["JUPYTERLAB_WORKSPACES_DIR"] = str(home / "workspaces")
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
        command += [f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
        command += [f"--ServerApp.root_dir={root}", "--LabApp.expose_app_in_browser=True"]
        command += ["--LabApp.extension_manager=readonly"]
        self._log = open(home / "lab.log", "w")  # noqa: SIM115  closed in close()
        self._process = subprocess.Popen(command, env=env, stdout=self._log, stderr=subprocess.STDOUT, cwd=root)
        deadline = time.monotonic() + 90
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.url}/api/status?{self.query}", timeout=2).read()
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"JupyterLab did not start: {(home / 'lab.log').read_text()[-2000:]}")
            time.sleep(0.2)

    def close(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._log.close()


class Notebook:
    """An open notebook, worked by cell number."""

    def __init__(self, page: Page, lab: Lab, name: str) -> None:
        self.page, self.lab, self.name = page, lab, name

    def open(self, *, kernel: bool = True) -> None:
        """Load or reload the page; with `kernel` wait until it is ready to run cells."""
        self.page.goto(f"{self.lab.url}/lab/tree/{self.name}?reset&{self.lab.query}")
        self.page.wait_for_function(READY if kernel else OPEN, timeout=120_000)

    def command(self, name: str, **arguments: Any) -> None:
        run = "([name, args]) => window.jupyterapp.commands.execute(name, args).then(() => true)"
        self.page.evaluate(run, [name, arguments])

    def start(self, index: int) -> None:
        """Run one cell and do not wait for it."""
        self.page.evaluate(
            """(index) => { const notebook = window.jupyterapp.shell.currentWidget.content;
                notebook.activeCellIndex = index; notebook.deselectAll();
                window.jupyterapp.commands.execute('notebook:run-cell'); return true; }""",
            index,
        )

    def run(self, index: int, timeout: float = 180) -> None:
        """Run one cell and wait until it has finished."""
        self.start(index)
        done = """(index) => { const notebook = window.jupyterapp.shell.currentWidget.content;
            const cell = notebook.widgets[index];
            return cell.model.executionCount !== null && !cell.promptNode?.textContent?.includes('*')
              && cell.model.executionState !== 'running'; }"""
        self.page.wait_for_timeout(100)
        self.page.wait_for_function(done, arg=index, timeout=timeout * 1000)

    def save(self) -> None:
        self.command("docmanager:save")

    def output(self, index: int) -> Any:
        """The output area of a cell, scrolled into view: Lab draws only what is near the window."""
        self.page.evaluate(
            """(index) => { const notebook = window.jupyterapp.shell.currentWidget.content;
                notebook.activeCellIndex = index;
                return notebook.scrollToItem(index, 'start').catch(() => null).then(() => true); }""",
            index,
        )
        return self.page.locator(f'.jp-Cell[data-windowed-list-index="{index}"] .jp-OutputArea').first

    def see(self, index: int, text: str | re.Pattern[str], *, within: str = "", timeout: float = 60) -> None:
        """Wait until a cell's output (an element `within` it) shows `text`; Lab may scroll away, so look again."""
        deadline = time.monotonic() + timeout
        # What a finished result hides when it comes to life holds the same words: any visible one will do.
        while self._place(index, within).get_by_text(text).filter(visible=True).count() == 0:
            if time.monotonic() > deadline:
                shown = self.output(index).inner_text()
                raise AssertionError(f"cell {index} does not show {text!r} but:\n{shown[:2000]}")
            self.page.wait_for_timeout(300)

    def _place(self, index: int, within: str) -> Any:
        output = self.output(index)
        return output.locator(within) if within else output

    def shut_kernel_down(self) -> None:
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown().then(() => true)")


@contextlib.contextmanager
def chromium(dark: bool = False, width: int = 1300, height: int = 1000, scale: float = 1) -> Iterator[Page]:
    """A page in headless Chromium; what it asks from other hosts is refused and listed in `page.foreign`."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        scheme = "dark" if dark else "light"
        size: Any = {"width": width, "height": height}
        page = browser.new_context(color_scheme=scheme, viewport=size, device_scale_factor=scale).new_page()
        foreign: list[str] = []

        def route(route: Any) -> None:
            if route.request.url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:", "file:")):
                route.continue_()
            else:
                foreign.append(route.request.url)
                route.abort()

        page.route("**/*", route)
        page.foreign = foreign  # type: ignore[attr-defined]
        try:
            yield page
        finally:
            browser.close()
