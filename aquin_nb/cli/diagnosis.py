"""`doctor`: is everything here that is needed, and what to do where it is not."""

from __future__ import annotations

import dataclasses

import typer

from .invocation import DONE, FAILED, Done
from .verb import LOOK, verb

MARKS = {"ok": ("ok  ", "32"), "warn": ("warn", "33"), "fail": ("fail", "1;31")}
"""What stands before a check, and its colour in a terminal."""
BELOW = 16


def add(app: typer.Typer) -> None:
    """Add `doctor` to the commands."""
    verb(app, "doctor", "aquin-nb doctor", LOOK)(doctor)


def doctor() -> Done:
    """Look at versions, device, disk, Jupyter, browser, hub and board, and say what to do."""
    from .checks import checks
    from .output import hanging, lively

    found, lines = list(checks()), list[str]()
    for one in found:
        mark, colour = MARKS[one.status]
        line = hanging(f"{mark}  {one.name:9s} {one.found}", BELOW)
        lines.append(f"\x1b[{colour}m{mark}\x1b[0m{line[len(mark) :]}" if lively() else line)
        if one.advice:
            lines.append(hanging(f"{'':{BELOW}s}→ {one.advice}", BELOW + 2))
    failed = [one.name for one in found if one.status == "fail"]
    told = {"checks": [dataclasses.asdict(one) for one in found], "failed": failed}
    return Done("\n".join(lines), found, data=told, exit_code=FAILED if failed else DONE)
