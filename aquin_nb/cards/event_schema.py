"""JSON Schema of events, and what keeps it readable: a change that would refuse what was told before is refused.

`python -m aquin_nb.cards.event_schema` rewrites the committed files beside this module, unless the change is one that
needs a new version; a test compares them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from .events import KNOWN, SCHEMA, Event

FOLDER = Path(__file__).parent / "event_schema" / f"v{SCHEMA}"


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema (draft 2020-12) by file stem: one a type, and `event` for the envelope of any."""
    found: dict[str, dict[str, Any]] = {}
    models: dict[str, type[Event]] = {"event": Event, **KNOWN}
    for stem, model in models.items():
        schema = TypeAdapter(model).json_schema(mode="validation")
        found[stem] = schema | {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return found


def texts() -> dict[str, str]:
    """File name to the exact text that is committed."""
    return {
        f"{stem}.json": json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for stem, schema in schemas().items()
    }


def incompatible(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Why something that fits `old` may not fit `new`, a sentence each; empty for a compatible change.

    It knows the keywords that pydantic writes for our models; one that it does not know counts when it changes.
    """
    return _compare(old, new, old, new, "event", set())


_ABOUT = {"title", "description", "default", "examples", "$schema", "$defs", "discriminator"}
_AT_MOST = ("maximum", "maxLength", "maxItems")
_AT_LEAST = ("minimum", "minLength", "minItems")


def _compare(
    old: dict[str, Any], new: dict[str, Any], old_root: Any, new_root: Any, at: str, seen: set[tuple[str, str]]
) -> list[str]:
    pair = (str(old.get("$ref", "")), str(new.get("$ref", "")))
    if any(pair):
        if pair in seen:
            return []
        seen = seen | {pair}
    old, new = _resolved(old, old_root), _resolved(new, new_root)
    if "anyOf" in old or "anyOf" in new:
        return _alternatives(old, new, old_root, new_root, at, seen)
    said: list[str] = []
    for key in _AT_MOST:
        if key in new and new[key] < old.get(key, float("inf")):
            said.append(f"{at}: {key} became {new[key]}")
    for key in _AT_LEAST:
        if key in new and new[key] > old.get(key, float("-inf")):
            said.append(f"{at}: {key} became {new[key]}")
    if "type" in new and old.get("type") != new["type"] and (old.get("type"), new["type"]) != ("integer", "number"):
        said.append(f"{at}: {old.get('type', 'anything')} became {new['type']}")
    values = _values(new)
    if values is not None:
        gone = [one for one in _values(old) or ["anything"] if one not in values]
        said += [f"{at}: {one!r} is no longer allowed" for one in gone]
    for name in sorted(set(new.get("required", [])) - set(old.get("required", []))):
        said.append(f"{at}: {name} became required")
    for name, schema in old.get("properties", {}).items():
        if name not in new.get("properties", {}):
            said.append(f"{at}.{name} was removed or renamed")
        else:
            said += _compare(schema, new["properties"][name], old_root, new_root, f"{at}.{name}", seen)
    for key in ("items", "additionalProperties"):
        a, b = old.get(key, True), new.get(key, True)
        if b is False and a is not False:
            said.append(f"{at}: {key} are refused now")
        elif isinstance(a, dict) and isinstance(b, dict):
            said += _compare(a, b, old_root, new_root, f"{at}[]", seen)
        elif isinstance(b, dict) and a is True:
            said.append(f"{at}: {key} became narrower")
    handled = {*_ABOUT, *_AT_MOST, *_AT_LEAST, "type", "const", "enum", "required", "properties", "items",
               "additionalProperties", "$ref"}  # fmt: skip
    for key in sorted(set(new) - handled):
        if old.get(key) != new[key]:
            said.append(f"{at}: {key} became {new[key]!r}")
    return said


def _alternatives(old: Any, new: Any, old_root: Any, new_root: Any, at: str, seen: set[tuple[str, str]]) -> list[str]:
    """Each alternative of the old one has to fit one of the new one's."""
    said = []
    for one in old.get("anyOf", [old]):
        if all(_compare(one, other, old_root, new_root, at, seen) for other in new.get("anyOf", [new])):
            said.append(f"{at}: {one.get('$ref') or one.get('type') or one} is no longer allowed")
    return said


def _values(schema: dict[str, Any]) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
    return schema


def write(folder: Path = FOLDER) -> list[Path]:
    """Write every schema into `folder`; the paths written.

    Raises:
        ValueError: one that is there would refuse events it used to allow; raise `SCHEMA` and keep the old files.
    """
    wanted, now = texts(), schemas()
    said = [f"{path.name}: its type was removed" for path in folder.glob("*.json") if path.name not in wanted]
    for stem, schema in now.items():
        path = folder / f"{stem}.json"
        if path.exists():
            said += [f"{path.name}: {one}" for one in incompatible(json.loads(path.read_text("utf-8")), schema)]
    if said:
        raise ValueError(f"Version {SCHEMA} of events would be broken: {'; '.join(said)}.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in wanted.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in wanted]


if __name__ == "__main__":
    sys.stdout.write("".join(f"{os.path.relpath(path)}\n" for path in write()))
