"""PostgreSQL's programs, where Debian puts them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def run(command: list[str], folder: Path) -> None:
    """As the user postgres where we are root, whom PostgreSQL refuses."""
    if os.geteuid() == 0:
        command = ["runuser", "-u", "postgres", "--", *command]
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, timeout=60)
