"""Which part of a row is its document: texts that can be encoded, and lists of token ids."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from aquin_nb.engine.activations.corpus import open_corpus
from aquin_nb.errors import CorpusError


def write(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_row_that_is_no_text_is_named(tmp_path):
    for odd, message in (
        (b"bytes", "row 2: bytes where a text is expected"),
        ("a\ud800", "row 2: character 2 is half"),
    ):
        for source in (["a", odd], [{"text": "a"}, {"text": odd}]):
            with pytest.raises(CorpusError, match=message):
                list(open_corpus(source).documents())
    with pytest.raises(CorpusError, match=r"line 2: character 1 is half of a surrogate pair"):
        list(open_corpus(write(tmp_path / "a.jsonl", ["a", "\ud800"])).documents())


IDS = [[5, 6, 7], [], [8], [9, 10]]


def test_rows_of_token_ids_are_found_by_their_key_or_their_kind(tmp_path):
    from datasets import Dataset, Features, List, Value

    table = Dataset.from_dict({"input_ids": IDS, "attention_mask": [[1] * len(row) for row in IDS]})
    table.to_parquet(str(tmp_path / "a.parquet"))
    for source in (
        IDS,
        table,
        table.to_iterable_dataset(),
        tmp_path / "a.parquet",
        write(tmp_path / "a.jsonl", [{"input_ids": row} for row in IDS]),
        table.with_format("torch"),
    ):
        corpus = open_corpus(source)
        assert corpus.pretokenised
        documents = list(corpus.documents())
        assert [document.tolist() for document in documents] == [row for row in IDS if row]
        assert {document.dtype for document in documents} == {np.dtype(np.int64)}
        assert corpus.blank == 1
    both = [{"text": "a", "input_ids": [1], "codes": [2]}]
    assert list(open_corpus(both).documents()) == ["a"]
    assert next(open_corpus(both, token_key="codes").documents()).tolist() == [2]
    fixed = Dataset.from_dict({"input_ids": [[1, 2], [3, 4]]}, Features({"input_ids": List(Value("int32"), length=2)}))
    assert [row.tolist() for row in open_corpus(fixed).documents()] == [[1, 2], [3, 4]]
    assert next(open_corpus(iter([{"ids": [1]}]), token_key="ids").documents()).tolist() == [1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([1, -3], "-3 is no token id"),
        ([1, 2.5], r"a list with 2\.5 in it where a list of token ids"),
        ([1, None], "a list with None in it"),
        ([[1], [2]], r"a list with \[1\] in it"),
        ([1, 2**70], "a list with a number beyond 64 bits"),
        ("text", "a text where a list of token ids"),
        (7, "a number where a list of token ids"),
    ],
)
def test_a_row_that_is_no_list_of_ids_is_named(tmp_path, row, message):
    path = write(tmp_path / "a.jsonl", [{"input_ids": [1]}, {"input_ids": row}])
    with pytest.raises(CorpusError, match=rf"a\.jsonl, line 2: {message}"):
        list(open_corpus(path).documents())


def test_ids_are_not_guessed_where_a_text_key_was_asked_for():
    with pytest.raises(CorpusError, match=r"no key 'body'; it has input_ids.*tokenised already: token_key='input_ids'"):
        open_corpus([{"input_ids": [1]}], text_key="body")
    with pytest.raises(CorpusError, match=r"no key 'codes'.*by token_key="):
        open_corpus([{"input_ids": [1]}], token_key="codes")
