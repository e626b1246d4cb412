"""Corpora: every kind of source, the same order on every pass, and errors that name file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from aquin_nb.engine.activations.corpus import Corpus, open_corpus
from aquin_nb.errors import CorpusError

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


def write(path: Path, rows: list[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def in_ipc_file(path: Path, table: pa.Table, batch: int) -> Path:
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch)
    return path


def test_a_folder_or_a_pattern_is_its_files_in_the_order_of_their_names(tmp_path, monkeypatch):
    write(tmp_path / "deep/b.jsonl", ["three"])
    write(tmp_path / "deep/a.jsonl", ["one", "two"])
    write(tmp_path / "deep/er/c.jsonl", ["four"])
    (tmp_path / "deep/empty.jsonl").touch()
    write(tmp_path / "deep/.hidden/d.jsonl", ["never"])
    (tmp_path / "deep/README.md").write_text("no corpus")
    assert texts(open_corpus(tmp_path / "deep")) == ["one", "two", "three", "four"]
    assert texts(open_corpus(f"{tmp_path}/deep/*.jsonl")) == ["one", "two", "three"]
    monkeypatch.chdir(tmp_path)
    assert texts(open_corpus("deep/**/*.jsonl")) == ["one", "two", "three", "four"]
    assert open_corpus("deep").place(2) == "deep/b.jsonl, line 1"


def test_a_folder_that_is_no_corpus_says_why(tmp_path):
    write(tmp_path / "two/a.jsonl", ["one"])
    (tmp_path / "two/b.txt").write_text("two")
    (tmp_path / "none").mkdir()
    (tmp_path / "blank").mkdir()
    (tmp_path / "blank/a.txt").touch()
    (tmp_path / "state.json").write_text("{}")
    for source, message in (
        (tmp_path / "two", r"two holds \.jsonl and \.txt files; name those of one kind, such as .*two/\*\.jsonl"),
        (tmp_path / "none", "none holds no corpus"),
        (tmp_path / "blank", "blank is empty"),
        (tmp_path, "looks like a saved dataset and cannot be opened as one"),
        (f"{tmp_path}/*.jsonl", r"No file matches .*\*\.jsonl"),
        (f"{tmp_path}/a**b", "is no pattern for files"),
        ("Which text is this?", "Texts themselves go into a list"),
        ("A long text. " * 500, "Texts themselves go into a list"),
    ):
        with pytest.raises(CorpusError, match=message):
            open_corpus(source)


def sources_of(rows: list[str], folder: Path) -> dict[str, object]:
    from datasets import Dataset

    table = Dataset.from_dict({"text": rows})
    table.to_parquet(str(folder / "a.parquet"), batch_size=100)
    (folder / "a.json").write_text(json.dumps(rows))
    (folder / "a.txt").write_text("\n\n".join(row + "." * 4000 for row in rows))
    half = len(rows) // 2
    write(folder / "parts/a.jsonl", rows[:half])
    write(folder / "parts/b.jsonl", rows[half:])
    return {
        "list": rows,
        "dict values": dict(enumerate(rows)).values(),
        "folder": folder / "parts",
        "json": folder / "a.json",
        "txt": folder / "a.txt",
        "dataset": table,
        "stream": table.to_iterable_dataset(num_shards=3),
        "parquet": folder / "a.parquet",
        "arrow": in_ipc_file(folder / "a.arrow", table.data.table, 100),
    }


def test_a_seed_shuffles_the_same_way_every_time(tmp_path):
    rows = [f"text {number}" for number in range(400)]
    for name, source in sources_of(rows, tmp_path).items():
        plain = texts(open_corpus(source))
        a, b = open_corpus(source, seed=1), open_corpus(source, seed=2)
        shuffled = texts(a)
        assert shuffled == texts(open_corpus(open_corpus(source), seed=1)), name
        assert len({tuple(plain), tuple(shuffled), tuple(texts(b))}) == 3, name
        assert sorted(shuffled) == sorted(plain), name
        assert list(a.documents(start=390)) == shuffled[390:], name
    for where in (a.place(0), open_corpus(tmp_path / "parts", seed=1).place(0)):
        assert where.split(",")[0].endswith((".arrow", ".jsonl"))


def test_files_of_text_and_lists_are_shuffled_fully(tmp_path):
    # Each row comes first about equally often: no buffer, no nearness to where it stood.
    rows = [f"text {number}" for number in range(20)]
    sources = sources_of(rows, tmp_path)
    for name in ("list", "folder", "json", "txt", "dataset"):
        firsts = [next(open_corpus(sources[name], seed=seed).documents()).strip(".") for seed in range(60)]
        assert len(set(firsts)) > 12, name
        assert max(firsts.count(row) for row in rows) < 12, name


@pytest.mark.parametrize("seed", [-1, 1.5, True, "1"])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(CorpusError, match="must be a whole number of at least 0"):
        open_corpus(["a"], seed=seed)


def test_a_fingerprint_tells_corpora_apart_and_knows_them_again(tmp_path):
    rows = [f"text {number}" for number in range(300)]
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    found = {name: open_corpus(source).fingerprint() for name, source in sources_of(rows, tmp_path / "here").items()}
    again = {name: open_corpus(source).fingerprint() for name, source in sources_of(rows, tmp_path / "there").items()}
    assert found == again  # wherever the files lie
    assert len(set(found.values())) == len(found)
    changed = [*rows[:-1], "text x"]
    other = {name: open_corpus(source).fingerprint() for name, source in sources_of(changed, tmp_path / "here").items()}
    alike = {name for name, fingerprint in other.items() if fingerprint == found[name]}
    assert alike == {"dict values", "stream"}  # only first rows of these are looked at
    one = open_corpus([{"text": "a", "body": "b"}])
    assert one.fingerprint() != open_corpus([{"text": "a", "body": "b"}], text_key="body").fingerprint()
    assert one.fingerprint() != open_corpus(one, seed=0).fingerprint()
    assert open_corpus(iter("ab")).fingerprint() == open_corpus(iter("cd")).fingerprint()


def test_a_large_file_is_known_by_blocks_of_it(tmp_path):
    path, content = tmp_path / "a.jsonl", b'"word"\n' * 1_000_000
    path.write_bytes(content)
    before = open_corpus(path).fingerprint()
    assert before == open_corpus(path).fingerprint()
    for place in (2, 6_999_996):
        path.write_bytes(content[:place] + b"x" + content[place + 1 :])
        assert open_corpus(path).fingerprint() != before


def test_a_pass_can_start_at_any_document_and_blank_ones_have_no_number():
    corpus = open_corpus(["", "a", " ", "b", "c"])
    for start in range(4):
        assert list(corpus.documents(start)) == ["a", "b", "c"][start:]
    assert corpus.blank == 2
    assert [corpus.place(number) for number in range(3)] == ["row 2", "row 4", "row 5"]
    with pytest.raises(CorpusError, match="has only 3 documents and was to be read from number 4 on"):
        list(corpus.documents(4))
    with pytest.raises(CorpusError, match="has no document 3"):
        corpus.place(3)
    with pytest.raises(CorpusError, match="count from 0"):
        corpus.documents(-1)
    with pytest.raises(CorpusError, match="read only once and not from document 1 on"):
        open_corpus(iter(["a", "b"])).documents(1)
    with pytest.raises(CorpusError, match="cannot be looked up"):
        open_corpus(iter(["a"])).place(0)


def test_a_table_is_asked_for_one_column():
    import pandas as pd

    frame = pd.DataFrame({"text": ROWS})
    assert texts(open_corpus(frame["text"])) == ROWS
    with pytest.raises(CorpusError, match=r"one column of a DataFrame; give frame\['text'\]"):
        open_corpus(frame)
