"""What is wrong with a command line, in one sentence that names the nearest right one."""

from __future__ import annotations

import difflib
from typing import Any

import typer

from ..errors import AquinError

Misused: Any = typer.BadParameter.__mro__[1]
"""The base of all that a parser finds wrong; typer does not export it."""


class UsageError(AquinError):
    """A command line that cannot be followed: nothing was tried."""


class NotLoaded(UsageError):
    """A verb before `load`."""


def sentence(error: Any) -> str:
    """A parser's complaint with the nearest known words and, where the command is known, its example."""
    said = str(error.format_message()).rstrip(".")
    near = getattr(error, "possibilities", None)
    if near:
        said = f"{said.split(' (Possible')[0].split(' Did you mean')[0].rstrip('.')}. Did you mean {' or '.join(near)}"
    elif hasattr(error, "option_name") and error.ctx is not None:
        known = [name for one in error.ctx.command.params for name in getattr(one, "opts", ())]
        if found := difflib.get_close_matches(error.option_name, known, n=2, cutoff=0.5):
            said += f". Did you mean {' or '.join(found)}"
    said += "" if said.endswith("?") else "?" if ". Did you mean" in said else "."
    if error.ctx is None:
        return said
    example = (error.ctx.command.epilog or "").strip()
    return f"{said} {example}" if example else f"{said} See {error.ctx.command_path} --help."
