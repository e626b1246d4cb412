"""Corpora: every kind of source, the same order on every pass, and errors that name file and line."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from aquin_nb.engine.activations import hub
from aquin_nb.engine.activations.corpus import Corpus, open_corpus, packaged_sample
from aquin_nb.errors import CorpusError, NetworkError

ROWS = ["first text", "second text", "third text"]


def texts(corpus: Corpus) -> list[str]:
    once, again = list(corpus.documents()), list(corpus.documents())
    assert once == again
    return once


def test_files_lists_and_datasets_give_the_same_documents(tmp_path):
    from datasets import Dataset, DatasetDict

    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"id": 1, "body": row}) for row in ROWS), encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps([{"body": row} for row in ROWS]), encoding="utf-8")
    table = Dataset.from_dict({"id": [1, 2, 3], "body": ROWS})
    for source in (
        tmp_path / "a.jsonl",
        str(tmp_path / "a.json"),
        ROWS,
        tuple({"body": row} for row in ROWS),
        table,
        table.to_iterable_dataset(),
        DatasetDict({"train": table}),
    ):
        corpus = open_corpus(source, text_key="body")
        assert texts(corpus) == ROWS
        assert corpus.why == "asked for"


def test_paragraphs_of_a_plain_text_are_gathered_into_documents(tmp_path):
    paragraphs = [f"Paragraph {number}. " + "words " * 100 for number in range(30)]
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(paragraphs) + "\n\n\n", encoding="utf-8")
    documents = texts(open_corpus(path))
    assert "\n\n".join(documents).split() == " ".join(paragraphs).split()
    assert 4 <= len(documents) <= 5
    assert all(len(document) >= 4000 for document in documents[:-1])
    assert all(document.startswith("Paragraph") for document in documents)


def test_blank_rows_are_left_out_and_counted():
    corpus = open_corpus(["", "a", None, "  ", "b"])
    assert texts(corpus) == ["a", "b"]
    assert corpus.blank == 3


def test_an_iterator_is_read_once_and_says_so():
    corpus = open_corpus(iter(ROWS))
    assert list(corpus.documents()) == ROWS
    with pytest.raises(CorpusError, match="already been read"):
        list(corpus.documents())


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.jsonl", b"", ["a.jsonl", "empty"]),
        ("a.jsonl", b"\n \n", ["a.jsonl", "no text"]),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b"\n', ["a.jsonl, line 2", "not JSON"]),
        ("a.jsonl", b'{"body": "a", "id": 3}', ["line 1", "no key 'text'", "body, id", "text_key="]),
        ("a.jsonl", b'{"text": "a"}\n{"text": 5}', ["line 2", "a number"]),
        ("a.jsonl", b'"ok"\n"caf\xe9"', ["line 2", "UTF-8"]),
        ("a.json", b'{"text": "a"}', ["a.json", "an object"]),
        ("a.json", b'["a",\n\n oops]', ["a.json, line 3", "not JSON"]),
        ("a.json", b'["a", {"body": 1}]', ["a.json, row 2", "body"]),
        ("a.txt", b"abc\n\x00\x01\x02", ["a.txt, line 2", "zero byte"]),
        ("a.csv", b"a,b", ["a.csv", ".jsonl"]),
    ],
)
def test_a_bad_file_is_told_with_its_place(tmp_path, name, content, parts):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CorpusError) as told:
        list(open_corpus(path).documents())
    assert all(part in str(told.value) for part in parts), told.value


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.jsonl", "no file missing.jsonl"),
        (Path("folder/of/texts"), "There is no file"),
        ("This is a text, not a name.", "go into a list"),
        ([], "no text"),
        ([3], "row 1: a number"),
        (b"bytes", "not bytes"),
        ({"test": []}, "no split 'train'; it has test"),
    ],
)
def test_a_bad_argument_is_told(source, message):
    with pytest.raises(CorpusError, match=message):
        open_corpus(source)


def test_a_dataset_without_the_key_names_its_columns():
    from datasets import Dataset

    with pytest.raises(CorpusError, match="no key 'text'; it has body, id"):
        open_corpus(Dataset.from_dict({"body": ["a"], "id": [1]}))


def test_offline_falls_back_to_the_packaged_sample_at_once_and_says_why(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub, "_bounded", lambda *_: pytest.fail("nothing is asked of the network"))
    corpus = open_corpus()
    assert corpus.name == "packaged sample"
    assert "OpenWebText" in corpus.why
    assert "HF_HUB_OFFLINE" in corpus.why
    assert sum(map(len, corpus.documents())) > 500_000
    for same in (packaged_sample(), open_corpus("packaged")):
        assert next(same.documents()) == next(corpus.documents())
        assert same.why == "asked for"
    with pytest.raises(NetworkError, match=r'HF_HUB_OFFLINE.*Offline: give .*corpus="packaged"'):
        open_corpus("some-org/some-texts:config")


def test_a_hub_that_never_answers_is_given_up_within_seconds(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_DATASETS_OFFLINE", raising=False)
    monkeypatch.setattr(hub, "REACH_SECONDS", 0.2)

    asked, answer = [], threading.Event()

    def hang(self, name, *, timeout):
        asked.append((name, timeout))
        answer.wait(60)

    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", hang)
    corpus = open_corpus()
    assert not answer.is_set()  # it was not waited for
    answer.set()
    assert asked == [("Skylion007/openwebtext", 0.2)]
    assert corpus.name == "packaged sample"
    assert "no answer within" in corpus.why


def test_the_hub_is_streamed_when_it_answers(monkeypatch):
    seen = []

    def rows(name, split="train"):
        seen.append((name, split))
        yield from ({"text": row} for row in ROWS)

    monkeypatch.setattr(hub, "require", lambda name: None)
    monkeypatch.setattr(hub, "rows", rows)
    corpus = open_corpus()
    assert corpus.name == "Skylion007/openwebtext"
    assert corpus.why.startswith("default; OpenWebText streamed")
    assert texts(corpus) == ROWS
    assert texts(open_corpus("org/name:config", split="test")) == ROWS
    assert ("org/name:config", "test") in seen


@pytest.mark.parametrize(
    ("failure", "kind", "message"),
    [
        (FileNotFoundError("no such dataset"), CorpusError, "split 'train', cannot be opened: no such dataset"),
        (ValueError("Bad split: train"), CorpusError, "Bad split"),
        (ConnectionResetError("gone"), NetworkError, "failed: gone. Offline: give"),
    ],
)
def test_what_goes_wrong_on_the_hub_is_told(monkeypatch, failure, kind, message):
    import datasets

    def fail(*args, **kwargs):
        raise failure

    monkeypatch.setattr(hub, "require", lambda name: None)
    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(kind, match=message):
        open_corpus("org/name")


def test_a_dataset_that_is_a_script_is_read_from_its_converted_copy(monkeypatch):
    import datasets

    def load(path, config, *, split, streaming, revision=None):
        assert (path, config, split, streaming) == ("org/name", None, "train", True)
        if revision is None:
            raise RuntimeError("Dataset scripts are no longer supported, but found name.py")
        assert revision == "refs/convert/parquet"
        return [{"text": row} for row in ROWS]

    monkeypatch.setattr(hub, "require", lambda name: None)
    monkeypatch.setattr(datasets, "load_dataset", load)
    assert texts(open_corpus("org/name")) == ROWS
