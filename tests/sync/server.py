"""A real orchestrator in a process of its own, killed and started again on the same port and database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Server:
    """`aquin-nb orchestrator serve` on `place`, a path or a postgresql:// URL.

    before: a command that is put before its own, such as one that enters a namespace.
    """

    def __init__(self, place: str | Path, *more: str, before: tuple[str, ...] = ()) -> None:
        self.place, self._more, self._before = str(place), more, before
        self.url, self.token, self.port = "", "", 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "aquin_nb.cli", "orchestrator", "serve", "--json", "--db", self.place]
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        env = os.environ | {"PYTHONPATH": paths} | ({"AQUIN_NB_TOKEN": self.token} if self.token else {})
        whole = [*self._before, *command, "--port", str(self.port), *self._more]
        self.process = subprocess.Popen(whole, stdout=subprocess.PIPE, text=True, env=env)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the orchestrator ended with status {self.process.wait(10)}"
        running = json.loads(line)
        self.url, self.token = running["url"], running["token"]
        self.port = int(self.url.rsplit(":", 1)[1])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def get(self, path: str) -> Any:
        asked = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(asked, timeout=60) as response:
            return json.load(response)

    def events(self, after: int = 0) -> Iterator[dict[str, Any]]:
        """All events behind a cursor, a page at a time."""
        while (page := self.get(f"/v1/events?after={after}&limit=1000"))["events"]:
            yield from page["events"]
            after = page["next"]

    def cards(self) -> list[dict[str, Any]]:
        """All cards, the newest first."""
        found: list[dict[str, Any]] = []
        before = ""
        while True:
            page = self.get(f"/v1/cards?limit=500{before}")
            found += page["cards"]
            if page["more"] is None:
                return found
            before = f"&before={page['more']}"

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
