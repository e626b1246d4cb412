"""The committed JSON Schemas are the models' own, and every card fits its schema's fields."""

from __future__ import annotations

import json

from aquin_nb.cards import SessionCard
from aquin_nb.cards.schema import FOLDER, KINDS, schemas, texts, write


def test_the_committed_schemas_are_fresh():
    committed = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert committed == texts(), "run `python -m aquin_nb.cards.schema` and commit aquin_nb/cards/schema"


def test_writing_removes_schemas_of_kinds_that_are_no_more(tmp_path):
    (tmp_path / "old.json").write_text("{}")
    assert {path.name for path in write(tmp_path)} == {path.name for path in tmp_path.iterdir()} == set(texts())


def test_the_union_tells_kinds_apart():
    union = schemas()["anyCard"]
    assert set(union["discriminator"]["mapping"]) == {kind.model_fields["kind"].default for kind in KINDS}


def test_a_written_card_has_every_field_of_its_schema():
    schema = schemas()["session"]
    written = json.loads(SessionCard(name="x").model_dump_json())
    assert set(schema["required"]) == set(schema["properties"]) == set(written)
