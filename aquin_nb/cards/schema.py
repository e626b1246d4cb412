"""JSON Schema of every card kind, for the front end's types, the board and other programs.

`python -m aquin_nb.cards.schema` rewrites the committed files beside this module; a test compares them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from .align import SaeAlignCard
from .base import Card
from .diff import SaeDiffCard, SaeTrajectoryCard
from .kinds import (
    ActivationCaptureCard,
    ActivationStoreCard,
    AnyCard,
    SaeSweepCard,
    SaeTrainCard,
    SessionCard,
)

FOLDER = Path(__file__).parent / "schema"
KINDS: tuple[type[Card], ...] = (
    ActivationCaptureCard,
    ActivationStoreCard,
    SaeTrainCard,
    SaeSweepCard,
    SaeDiffCard,
    SaeTrajectoryCard,
    SaeAlignCard,
    SessionCard,
)


class _AsWritten(GenerateJsonSchema):
    """A card on disk always carries its defaults, so readers may count on every field."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        return True


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema (draft 2020-12) by file stem: one a kind, and `anyCard` for the union of all.

    They describe cards as written: fields with a default are always there.

    >>> sorted(schemas())[:5]
    ['activationCapture', 'activationStore', 'anyCard', 'saeAlign', 'saeDiff']
    """
    found = {str(kind.model_fields["kind"].default): _schema(kind) for kind in KINDS}
    found["anyCard"] = _schema(AnyCard) | {"title": "AnyCard"}
    for schema in found.values():
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return found


def _schema(of: Any) -> dict[str, Any]:
    return TypeAdapter(of).json_schema(mode="serialization", schema_generator=_AsWritten)


def texts() -> dict[str, str]:
    """File name to the exact text that is committed; keys are sorted, so that it depends on the models alone."""
    return {
        f"{stem}.json": json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for stem, schema in schemas().items()
    }


def write(folder: Path = FOLDER) -> list[Path]:
    """Write every schema into `folder` and remove schemas of kinds that are no more; the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = texts()
    for stale in set(folder.glob("*.json")) - {folder / name for name in wanted}:
        stale.unlink()
    for name, text in wanted.items():
        # Not files.whole_file: cards import nothing else of ours, and a half-written schema fails its test.
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in wanted]


if __name__ == "__main__":
    sys.stdout.write("".join(f"{os.path.relpath(path)}\n" for path in write()))
