"""`doctor`: is everything here that is needed, and what to do where it is not."""

from __future__ import annotations

import dataclasses
from io import StringIO

import typer

from .invocation import DONE, FAILED, Done
from .verb import verb

MARKS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("fail", "bold red")}


def add(app: typer.Typer) -> None:
    """Add `doctor` to the commands."""
    verb(app, "doctor", "aquin-nb doctor")(doctor)


def doctor() -> Done:
    """Look at versions, device, disk, Jupyter, browser, hub and board, and say what to do."""
    from rich.console import Console
    from rich.text import Text

    from .checks import checks
    from .output import lively, width

    found = list(checks())
    into = StringIO()
    console = Console(file=into, width=width(), force_terminal=lively(), highlight=False)
    for one in found:
        mark, style = MARKS[one.status]
        console.print(Text.assemble((mark, style), f"  {one.name:9s} {one.found}"), soft_wrap=True)
        if one.advice:
            console.print(Text(f"      {'':9s} → {one.advice}"), soft_wrap=True)
    failed = [one.name for one in found if one.status == "fail"]
    told = {"checks": [dataclasses.asdict(one) for one in found], "failed": failed}
    return Done(into.getvalue().rstrip("\n"), found, data=told, exit_code=FAILED if failed else DONE)
