"""Probes: every row form, metadata kept exactly, and errors that name file and line."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquin_nb.engine.activations.probes import Probe, builtin_probes, read_probes, topics
from aquin_nb.errors import ProbeError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda key: key != "text")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
ROWS = st.lists(st.tuples(TEXTS, st.dictionaries(KEYS, VALUES, max_size=4)), min_size=1, max_size=5)


@settings(deadline=None)
@given(rows=ROWS, ascii_only=st.booleans())
def test_metadata_comes_back_as_it_was_from_all_three_sources(tmp_path_factory, rows, ascii_only):
    folder = tmp_path_factory.mktemp("rows")
    objects = [{"text": text, **metadata} for text, metadata in rows]
    dumped = [json.dumps(row, ensure_ascii=ascii_only) for row in objects]
    (folder / "rows.jsonl").write_text("\n".join(dumped), encoding="utf-8")
    (folder / "rows.json").write_text("[" + ",".join(dumped) + "]", encoding="utf-8")
    expected = [Probe(text, metadata) for text, metadata in rows]
    for source in (objects, expected, folder / "rows.jsonl", str(folder / "rows.json")):
        found = read_probes(source)
        assert found == expected
        assert [list(probe.metadata) for probe in found] == [list(metadata) for _, metadata in rows]


def test_row_forms():
    rows = [
        "plain",
        {"prompt": "asked", "id": 7},
        {"text": "wins", "prompt": "stays"},
        {"instruction": "Add 1 and 2.", "response": "3", "source": "hand"},
        {"instruction": "Only this."},
    ]
    assert read_probes(rows) == [
        Probe("plain"),
        Probe("asked", {"id": 7}),
        Probe("wins", {"prompt": "stays"}),
        Probe("Add 1 and 2.\n\n3", {"instruction": "Add 1 and 2.", "response": "3", "source": "hand"}),
        Probe("Only this.", {"instruction": "Only this."}),
    ]


def test_numpy_scalars_and_tuples_become_json():
    (probe,) = read_probes([{"text": "a", "score": np.float32(0.5), "span": (1, 2)}])
    assert probe.metadata == {"score": 0.5, "span": [1, 2]}
    assert type(probe.metadata["score"]) is float


def test_a_byte_order_mark_and_blank_lines_are_no_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes('\ufeff"one"\r\n\r\n{"text": "two\u2028lines"}\r\n'.encode())
    assert [probe.text for probe in read_probes(path)] == ["one", "two\u2028lines"]


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("rows.jsonl", '{"text": "a"}\n\n{"text": \n', ["rows.jsonl, line 3", "not JSON"]),
        ("rows.jsonl", '{"text": "a"}\n{"label": 1}', ["line 2", "no text", "label"]),
        ("rows.jsonl", '{"text": 3}', ["line 1", "text is a number"]),
        ("rows.jsonl", '{"prompt": "  "}', ["line 1", "prompt is blank"]),
        ("rows.jsonl", '{"text": "a", "x": NaN}', ["line 1", "'x'", "NaN"]),
        ("rows.jsonl", '"\\ud800"', ["line 1", "surrogate"]),
        ("rows.jsonl", "[1]", ["line 1", "a list"]),
        ("rows.jsonl", '{"instruction": "a", "response": 4}', ["line 1", "response"]),
        ("rows.jsonl", "", ["rows.jsonl", "empty"]),
        ("rows.json", "[]", ["rows.json", "no rows"]),
        ("rows.json", '{"text": "a"}', ["rows.json", "an object"]),
        ("rows.json", '["a",\n "b"', ["rows.json, line 2", "not JSON"]),
        ("rows.json", '["a", null]', ["rows.json, row 2", "null"]),
        ("rows.csv", "a,b", ["rows.csv", ".csv", ".jsonl"]),
    ],
)
def test_a_bad_file_is_told_with_its_place(tmp_path, name, content, parts):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ProbeError) as told:
        read_probes(path)
    assert all(part in str(told.value) for part in parts), told.value


def test_bytes_that_are_not_utf8_name_the_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'"ok"\n"caf\xe9"\n')
    with pytest.raises(ProbeError, match="line 2: not UTF-8"):
        read_probes(path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.jsonl", "not there"),
        ("The capital of France is", r"put it in a list"),
        ([], "empty"),
        ({"text": "a"}, "put it in a list"),
        (3, "a number"),
        ((text for text in ["a"]), r"not from a generator; give list\(\.\.\.\)"),
        ({"a", "b"}, r"not from a set; give list"),
        (pd.DataFrame({"text": ["a"]}), r"not from a DataFrame; give its \.to_dict\('records'\)"),
        (pd.Series(["a"]), r"not from a Series; give its \.to_list\(\)"),
        (["a", {"text": "b", "when": object()}], r"row 2: metadata 'when'"),
        ([{"text": "b", 4: "x"}], "row 1: the metadata key 4"),
        ([Probe("a", {"text": "b"})], "row 1: metadata has the key 'text'"),
    ],
)
def test_a_bad_argument_is_told(source, message):
    with pytest.raises(ProbeError, match=message):
        read_probes(source)


def test_builtin_topics_are_well_made():
    assert len(topics()) >= 8
    for topic in topics():
        probes = builtin_probes(topic, 24)
        assert len({probe.text for probe in probes}) == 24
        keys = {tuple(probe.metadata) for probe in probes}
        assert len(keys) == 1, topic  # the same labels on every probe of a topic
        assert keys != {()}, topic
    assert {probe.metadata["label"] for probe in builtin_probes("True_or-False", 2)} == {True, False}


def test_builtin_errors():
    with pytest.raises(ProbeError, match="Did you mean arithmetic"):
        builtin_probes("aritmetic")
    with pytest.raises(ProbeError, match="has 24 built-in probes and count=25"):
        builtin_probes("code", 25)
    with pytest.raises(ProbeError, match="count=0"):
        builtin_probes("code", 0)
    for count in (2.5, "3", None, True):
        with pytest.raises(ProbeError, match="is no whole number"):
            builtin_probes("code", count)
    for topic in (None, 3, ["code"]):
        with pytest.raises(ProbeError, match=r"topic=.* name one of"):
            builtin_probes(topic)
    assert len(builtin_probes("code", np.int64(3))) == 3
