"""Rows of JSON and JSONL files, with their places for error messages; what probes and corpora have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ...errors import AquinError


def lines(path: Path, error: type[AquinError]) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 file (a byte order mark is no text), counted from 1, read one at a time.

    Only line feeds end a line: a JSON string may hold U+2028 and its like.

    Raises:
        error: the file cannot be read, or a line is not UTF-8 (its number).
    """
    try:
        with open(path, "rb") as stream:
            for number, raw in enumerate(stream, 1):
                try:
                    yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as wrong:
                    reason = f"not UTF-8 text ({wrong.reason})"
                    raise error(f"{path}, line {number}: {reason}; save the file as UTF-8.") from None
    except OSError as wrong:
        raise error(f"{path} cannot be read: {wrong.strerror or wrong}.") from wrong


def jsonl_rows(path: Path, error: type[AquinError]) -> Iterator[tuple[str, object]]:
    """(where, row) of each line of a JSONL file; blank lines are none.

    Raises:
        error: see `lines`; or a line is not JSON (its number).
    """
    for number, line in lines(path, error):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as wrong:
            reason = f"{wrong.msg}, column {wrong.colno}" if isinstance(wrong, json.JSONDecodeError) else str(wrong)
            raise error(f"{where}: not JSON ({reason}).") from None
        yield where, row


def json_rows(path: Path, error: type[AquinError]) -> Iterator[tuple[str, object]]:
    """(where, row) of each item of the list in a JSON file.

    Raises:
        error: see `lines`; or the file is not JSON (line and column), or holds no list.
    """
    text = "".join(line for _, line in lines(path, error))
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as wrong:
        where = f", line {wrong.lineno}, column {wrong.colno}" if isinstance(wrong, json.JSONDecodeError) else ""
        reason = wrong.msg if isinstance(wrong, json.JSONDecodeError) else str(wrong)
        raise error(f"{path}{where}: not JSON ({reason}). One object a line is .jsonl.") from None
    if not isinstance(rows, list):
        raise error(f"{path} holds {kind(rows)} where a list is expected.")
    for number, row in enumerate(rows, 1):
        yield f"{path}, row {number}", row


def kind(value: object) -> str:
    """What a value is, in words for someone who writes JSON or Python."""
    names: dict[type, str] = {type(None): "null", dict: "an object", list: "a list", str: "a text", bytes: "bytes"}
    names |= {bool: "true/false", int: "a number", float: "a number"}
    return names.get(type(value), f"a {type(value).__name__}")
