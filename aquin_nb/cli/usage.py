"""What is wrong with a command line, in one sentence that names the nearest right one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from typing import Any

import typer

from ..errors import AquinError

Misused: Any = typer.BadParameter.__mro__[1]
"""The base of all that a parser finds wrong; typer does not export it."""


class UsageError(AquinError):
    """A command line that cannot be followed: nothing was tried."""


class NotLoaded(UsageError):
    """A verb before `load`."""


def in_terminal_words(said: str, options: Collection[str]) -> str:
    """What a verb says to whoever calls it in Python, for whoever types: arguments as options, calls as commands.

    >>> in_terminal_words("say which by name= or output=.", {"--name", "--output"})
    'say which by --name or --output.'
    """

    def option(found: re.Match[str]) -> str:
        name = "--" + found[1].replace("_", "-")
        return name if name in options else found[0]

    said = re.sub(
        r"session\.sae\.resume\('([^']*)'\) or aquin_nb\.sae_resume\('[^']*'\)", r"`aquin-nb sae resume \1`", said
    )
    said = re.sub(r"aquin_nb\.sae_resume\('([^']*)'\)", r"`aquin-nb sae resume \1`", said)
    return re.sub(r"(?<![\w.-])([a-z][a-z_]*)=(?=[\s,.;:)]|$)", option, said)


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
