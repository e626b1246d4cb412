"""What a command says: text for a person, or one JSON object and nothing else on standard output."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from typing import Any, Final, TextIO

from .invocation import Done

SCHEMA = 1
"""Version of the object of `--output-json`; keys may be added without a new one."""
ASCII: Final = str.maketrans(
    {"≥": ">=", "≤": "<=", "→": "->", "×": "x", "—": "-", "–": "-", "·": "|", "…": "...", "Δ": "D", "«": "<", "»": ">"}
    | dict(zip("▁▂▃▄▅▆▇█", "_.:-=+*#", strict=True))
)
"""What stands for our signs where a stream cannot encode them."""


def write(text: str, stream: TextIO | None = None) -> None:
    """Write lines to a stream (default: standard output) whatever it can encode.

    Raises:
        BrokenPipeError: who read it has gone.
    """
    stream = stream or sys.stdout
    text += "" if text.endswith("\n") else "\n"
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.translate(ASCII).encode(encoding, "replace").decode(encoding))
    stream.flush()


def complain(text: str) -> None:
    """One line about what went wrong, on standard error."""
    write(hanging(f"aquin-nb: {text}", stream=sys.stderr), sys.stderr)


def completed(verb: str, done: Done) -> dict[str, Any]:
    """The object for a command that was done."""
    card = done.card.model_dump(mode="json") if done.card is not None else None
    status = done.card.status if done.card is not None else "completed"
    return _object(verb, status, done.exit_code, card=card, path=done.path, data=done.data)


def failed(verb: str, error: BaseException, code: int, *, cancelled: bool = False) -> dict[str, Any]:
    """The object for a command that was not."""
    told = {"type": type(error).__name__, "message": str(error)}
    return _object(verb, "cancelled" if cancelled else "failed", code, error=told)


def _object(verb: str, status: str, code: int, **given: Any) -> dict[str, Any]:
    known = {"card": None, "path": None, "data": {}, "error": None} | given
    return {"schema_version": SCHEMA, "verb": verb, "status": status, "exit_code": code, **known}


def as_line(found: dict[str, Any]) -> str:
    """JSON in ASCII on one line, with null where a number is not finite."""
    try:
        return json.dumps(found, allow_nan=False, default=str)
    except ValueError:
        return json.dumps(_finite(found), allow_nan=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and value - value != 0 else value


def hush(stream: TextIO) -> None:
    """Let what is still to be written to a closed pipe vanish, also what Python writes at its end."""
    try:
        number = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def lively(*, colour: bool = True, stream: TextIO | None = None) -> bool:
    """Whether a stream (default: standard output) is a terminal, and one that is to be written in `colour`."""
    return (stream or sys.stdout).isatty() and not (colour and os.environ.get("NO_COLOR"))


def width(stream: TextIO | None = None) -> int:
    """Columns to write for: those that COLUMNS says, or of the terminal; 120 where there is none."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said) > 0:
        return int(said)
    try:
        return os.get_terminal_size((stream or sys.stdout).fileno()).columns or 120
    except (OSError, ValueError, AttributeError):
        return 120


def hanging(text: str, indent: int | None = None, stream: TextIO | None = None) -> str:
    """Lines that are wider than the terminal, broken between words and indented; anywhere else they stay whole.

    Args:
        indent: of what hangs below a line; default: two more than the line's own.
    """
    if not lively(colour=False, stream=stream):
        return text
    wide, lines = width(stream), list[str]()
    for line in text.splitlines():
        if len(line) <= wide or "\x1b" in line:
            lines.append(line)
            continue
        below = " " * (len(line) - len(line.lstrip()) + 2 if indent is None else indent)
        lines += textwrap.wrap(line, wide, subsequent_indent=below, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)
