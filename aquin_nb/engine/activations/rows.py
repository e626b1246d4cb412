"""Rows of JSON and JSONL files, with their places for error messages; what probes and corpora have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ...errors import AquinError


def raw_lines(path: Path, error: type[AquinError]) -> Iterator[tuple[int, int, bytes]]:
    """(number from 1, offset in bytes, line as it stands) of a file, read one at a time.

    Only line feeds end a line: a JSON string may hold U+2028 and its like.

    Raises:
        error: the file cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            start = 0
            for number, raw in enumerate(stream, 1):
                yield number, start, raw
                start += len(raw)
    except OSError as wrong:
        raise error(f"{path} cannot be read: {wrong.strerror or wrong}.") from wrong


def decoded(raw: bytes, start: int, where: str, error: type[AquinError]) -> str:
    """UTF-8 bytes that stand at offset `start` of a file as text; a byte order mark at its beginning is no text.

    Raises:
        error: not UTF-8.
    """
    try:
        return raw.decode("utf-8" if start else "utf-8-sig")
    except UnicodeDecodeError as wrong:
        raise error(f"{where}: not UTF-8 text ({wrong.reason}); save the file as UTF-8.") from None


def lines(path: Path, error: type[AquinError]) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 file, counted from 1, read one at a time.

    Raises:
        error: the file cannot be read, or a line is not UTF-8 (its number).
    """
    for number, start, raw in raw_lines(path, error):
        yield number, decoded(raw, start, f"{path}, line {number}", error)


def parsed(line: str, where: str, error: type[AquinError]) -> object:
    """The JSON value of one line.

    Raises:
        error: the line is not JSON.
    """
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as wrong:
        reason = f"{wrong.msg}, column {wrong.colno}" if isinstance(wrong, json.JSONDecodeError) else str(wrong)
        raise error(f"{where}: not JSON ({reason}).") from None


def jsonl_rows(path: Path, error: type[AquinError]) -> Iterator[tuple[str, object]]:
    """(where, row) of each line of a JSONL file; blank lines are none.

    Raises:
        error: see `lines` and `parsed`.
    """
    for number, line in lines(path, error):
        if line.strip():
            where = f"{path}, line {number}"
            yield where, parsed(line, where, error)


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
