"""Probes: short texts with metadata, from a file, a Python list, or the built-in topics."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ProbeError, did_you_mean
from .rows import json_rows, jsonl_rows, kind

TEXT_KEYS = ("text", "prompt")  # the first one present in a row is its text


@dataclass(frozen=True)
class Probe:
    """One text to look at, and what is known about it (labels, sources, ids): any JSON values, in the row's order."""

    text: str
    metadata: dict[str, Any] = field(default_factory=dict)


def read_probes(source: str | os.PathLike[str] | Sequence[object]) -> list[Probe]:
    """Probes from a `.json` list, a `.jsonl` file or a Python list.

    A row is one of

    - a string;
    - `{"text" or "prompt": ..., **metadata}`; with both keys `text` is the text and `prompt` is metadata;
    - `{"instruction": ..., "response": ..., **metadata}`: the text is the two joined by a blank line (the instruction
      alone when there is no response), and both are kept as metadata too;
    - a `Probe`.

    Every other key is kept as metadata, in order. Numpy scalars become Python numbers and tuples become lists, so
    that a probe reads back from a manifest as it was.

    Raises:
        ProbeError: the file is missing, empty, malformed or of another kind; a row has no text, a text that is not a
            string or is blank, or metadata that JSON cannot hold. The message names file and line (JSONL) or row
            (JSON, list), both counted from 1.

    >>> read_probes(["Water is wet.", {"prompt": "2 + 2 =", "answer": 4}])[1]
    Probe(text='2 + 2 =', metadata={'answer': 4})
    """
    if isinstance(source, (str, os.PathLike)):
        rows = _file_rows(os.fspath(source))
    elif isinstance(source, (Mapping, Probe)):
        raise ProbeError("A single probe was given where a list is expected; put it in a list: [probe].")
    elif isinstance(source, Sequence) and not isinstance(source, (bytes, bytearray)):
        rows = ((f"row {number}", row) for number, row in enumerate(source, 1))
    elif callable(getattr(source, "to_dict", None)):  # pandas
        name = type(source).__name__
        advice = "its .to_list()" if name == "Series" else "its .to_dict('records')"
        raise ProbeError(f"Probes come from a list, not from a {name}; give {advice}.")
    elif isinstance(source, Iterable) and not isinstance(source, (bytes, bytearray)):
        raise ProbeError(f"Probes come from a list, not from {kind(source)}; give list(...) of it.")
    else:
        raise ProbeError(
            f"Probes come from a .json or .jsonl path or a list of texts or dictionaries, not from {kind(source)}."
        )
    probes = [_probe(row, where) for where, row in rows]
    if not probes:
        where = f"{source} has no rows" if isinstance(source, (str, os.PathLike)) else "The list is empty"
        raise ProbeError(f"{where}; give at least one probe.")
    return probes


def builtin_probes(topic: str = "general knowledge", count: int = 6) -> list[Probe]:
    """The first `count` built-in probes of a topic, labels as metadata; each prefix is balanced over the labels.

    Raises:
        ProbeError: no such topic (nearest names), it has fewer than `count` probes, or either is of another type.

    >>> [probe.metadata["label"] for probe in builtin_probes("sentiment", 2)]
    ['positive', 'negative']
    """
    if not isinstance(topic, str):
        raise ProbeError(f"topic={topic!r:.60} is {kind(topic)}; name one of {', '.join(topics())}.")
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
        raise ProbeError(f"count={count!r:.60} is no whole number; say how many built-in probes, such as 6.")
    rows = _builtin().get(_normal(topic))
    if rows is None:
        raise ProbeError(f"There are no built-in probes on {topic!r}. {did_you_mean(_normal(topic), topics())}")
    if not 1 <= count <= len(rows):
        raise ProbeError(
            f"The topic {_normal(topic)!r} has {len(rows)} built-in probes and count={count} was asked for;"
            f" choose 1 to {len(rows)}, or give your own with prompts=."
        )
    return [_probe(row, f"{topic} {number}") for number, row in enumerate(rows[:count], 1)]


def topics() -> list[str]:
    """Names of the built-in topics."""
    return list(_builtin())


@cache
def _builtin() -> dict[str, list[dict[str, Any]]]:
    text = resources.files(__package__).joinpath("probes.json").read_text(encoding="utf-8")
    loaded: dict[str, list[dict[str, Any]]] = json.loads(text)
    return loaded


def _normal(topic: str) -> str:
    return " ".join(topic.replace("_", " ").replace("-", " ").lower().split())


def _file_rows(name: str) -> Iterator[tuple[str, object]]:
    path = Path(name).expanduser()
    if path.suffix.lower() not in (".json", ".jsonl") and not path.exists():
        raise ProbeError(f"There is no probe file {name!r}. To probe one text, put it in a list: [{name[:40]!r}].")
    if not path.is_file():
        raise ProbeError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; give a .json or .jsonl file.")
    if path.suffix.lower() not in (".json", ".jsonl"):
        raise ProbeError(f"{path} has the extension {path.suffix!r}; probes are read from .json and .jsonl files.")
    if path.stat().st_size == 0:
        raise ProbeError(f"{path} is empty; write one probe a row.")
    return (json_rows if path.suffix.lower() == ".json" else jsonl_rows)(path, ProbeError)


def _probe(row: object, where: str) -> Probe:
    if isinstance(row, Probe):
        if reserved := [key for key in TEXT_KEYS[:1] if key in row.metadata]:
            raise ProbeError(f"{where}: metadata has the key {reserved[0]!r}, which is the probe's text; rename it.")
        return Probe(_text(row.text, where), _metadata(row.metadata, where))
    if isinstance(row, str):
        return Probe(_text(row, where))
    if not isinstance(row, Mapping):
        raise ProbeError(f"{where}: {kind(row)} where a text or an object with a text is expected.")
    key = next((key for key in TEXT_KEYS if key in row), None)
    if key is not None:
        rest = {name: value for name, value in row.items() if name != key}
        return Probe(_text(row[key], where, key), _metadata(rest, where))
    if "instruction" in row:
        text = _text(row["instruction"], where, "instruction")
        response = row.get("response")
        if response is not None and not isinstance(response, str):
            raise ProbeError(f"{where}: response is {kind(response)}, not a text.")
        if response and response.strip():
            text = f"{text}\n\n{_text(response, where, 'response')}"
        return Probe(text, _metadata(row, where))
    found = ", ".join(str(name) for name in row) or "none"
    raise ProbeError(f"{where}: no text. A row needs text, prompt, or instruction and response; keys found: {found}.")


def _text(value: object, where: str, key: str = "text") -> str:
    if not isinstance(value, str):
        raise ProbeError(f"{where}: {key} is {kind(value)}, not a text.")
    if not value.strip():
        raise ProbeError(f"{where}: {key} is blank; fill it in or remove the row.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ProbeError(f"{where}: {key} holds half of a surrogate pair, which is no character.") from None
    return value


def _metadata(row: Mapping[Any, object], where: str) -> dict[str, Any]:
    clean: dict[str, Any] = {}
    for key, value in row.items():
        if not isinstance(key, str):
            raise ProbeError(f"{where}: the metadata key {key!r} is not a text.")
        try:
            text = json.dumps(value, allow_nan=False, ensure_ascii=False, default=_plain)
            (key + text).encode("utf-8")
            clean[key] = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            reason = "NaN or infinity; use null" if "Out of range float" in str(error) else str(error)
            raise ProbeError(f"{where}: metadata {key!r} cannot be kept as JSON ({reason}).") from None
    return clean


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not a JSON value")
