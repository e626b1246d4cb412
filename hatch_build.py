"""Build hook: bundle the front end before a wheel or sdist is made, unless the bundles are already there.

A release sdist carries the bundles, so installing from it needs no Node. From a git checkout Node is needed once
(`make front`); without it the build stops here and says so, instead of making a wheel whose widgets are blank.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FrontEndHook(BuildHookInterface):
    """Runs `npm ci && npm run build` in widgets/ when aquin_nb/widgets/static holds no bundle."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        static = root / "aquin_nb" / "widgets" / "static"
        if any(static.glob("*.js")):
            return
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeError(
                "aquin_nb/widgets/static holds no bundles and npm was not found. Install Node 20 or newer and run"
                " `make front`, or install from a release wheel or sdist, which carry the bundles."
            )
        for command in ([npm, "ci", "--no-fund", "--no-audit"], [npm, "run", "build"]):
            subprocess.run(command, cwd=root / "widgets", check=True)
