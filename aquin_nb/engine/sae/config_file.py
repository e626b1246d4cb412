"""Settings of a training from a file: TOML, JSON or YAML, or the `.config.json` that a training wrote."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from ...errors import DictionaryError

WRITTEN = {"config", "versions", "data"}
"""What `<name>.config.json` holds."""


def read_settings(path: Path) -> dict[Any, Any]:
    """The table in a file.

    Raises:
        DictionaryError: the file is missing, not of the kind that its suffix says, or holds no table.
    """
    kind = path.suffix.lower().removeprefix(".").upper().replace("YML", "YAML")
    if kind not in ("TOML", "JSON", "YAML"):
        raise DictionaryError(f"{path}: a config file ends in .toml, .json, .yaml or .yml.")
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark of its encoding
    except (OSError, UnicodeDecodeError) as error:
        raise DictionaryError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    try:
        values = _parsed(text, kind)
    except Exception as error:  # three parsers, three kinds of error, one sentence
        raise DictionaryError(f"{path} is not valid {kind}: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise DictionaryError(f"{path} must hold a table of settings, not {type(values).__name__}.")
    return values


def asked_for(values: dict[Any, Any]) -> dict[Any, Any]:
    """The settings in a table; of one that a training wrote, without its name and place, which are taken."""
    written = values.get("config")
    if not isinstance(written, dict) or not set(values) <= WRITTEN:
        return values
    return {name: value for name, value in written.items() if name not in ("name", "output")}


def _parsed(text: str, kind: str) -> Any:
    if kind == "TOML":
        return tomllib.loads(text)
    if kind == "JSON":
        return json.loads(text, object_pairs_hook=_once)
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # untyped
        """YAML as `safe_load` reads it, but for keys given twice, of which that takes the last."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            _once([(self.construct_object(key, deep=True), None) for key, _ in node.value])
            return super().construct_mapping(node, deep)

    return yaml.load(text, Loader)


def _once(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    seen = dict[Any, Any]()
    for name, value in pairs:
        if name in seen:
            raise ValueError(f"{name!r} is given twice")
        seen[name] = value
    return seen
