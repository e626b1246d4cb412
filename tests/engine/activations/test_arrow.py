"""Corpora in Parquet, Arrow and saved datasets: the same documents, any row found again, damage and odd rows told."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aquin_nb.engine.activations.corpus import open_corpus
from aquin_nb.errors import CorpusError


def undecodable(rows: list[bytes]) -> pa.Table:
    raw = pa.array(rows, pa.binary())
    return pa.table({"text": pa.StringArray.from_buffers(len(raw), raw.buffers()[1], raw.buffers()[2])})


def in_ipc_file(path: Path, table: pa.Table, batch: int) -> Path:
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch)
    return path


def test_parquet_arrow_and_saved_datasets_give_the_same_documents(tmp_path):
    from datasets import Dataset, DatasetDict

    rows = [f"text {number}" for number in range(2500)]
    rows[7] = " "
    table = Dataset.from_dict({"id": list(range(2500)), "body": rows})
    table.to_parquet(str(tmp_path / "a.parquet"), batch_size=700)
    table.save_to_disk(str(tmp_path / "saved"))
    DatasetDict({"test": table}).save_to_disk(str(tmp_path / "splits"))
    in_ipc_file(tmp_path / "file.arrow", table.data.table, 900)
    for source in (
        tmp_path / "a.parquet",
        str(tmp_path / "saved"),
        tmp_path / "splits",
        tmp_path / "file.arrow",
        next((tmp_path / "saved").glob("*.arrow")),
        table.with_transform(lambda batch: batch),
    ):
        corpus = open_corpus(source, text_key="body", split="test")
        assert list(corpus.documents()) == [row for row in rows if row != " "], source
        assert corpus.blank == 1
        assert list(corpus.documents(start=2300)) == rows[2301:]
        assert corpus.place(2300).endswith("row 2302")
        with pytest.raises(CorpusError, match="no key 'text'; it has id, body"):
            open_corpus(source, split="test")


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_damaged_table_is_told(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"no table at all" * 10)
    with pytest.raises(CorpusError, match=f"a{suffix} cannot be read as"):
        open_corpus(path)


def test_a_text_that_cannot_be_decoded_is_named_wherever_it_stands(tmp_path):
    from datasets import Dataset, load_dataset

    bad = undecodable([b"row %d" % number for number in range(1500)] + [b"caf\xe9", b"more"])
    pq.write_table(bad, tmp_path / "a.parquet")
    in_ipc_file(tmp_path / "a.arrow", bad, 400)
    streamed = load_dataset("parquet", data_files=str(tmp_path / "a.parquet"), split="train", streaming=True)
    for source in (tmp_path / "a.parquet", tmp_path / "a.arrow", Dataset(bad), streamed):
        corpus = open_corpus(source)
        with pytest.raises(CorpusError, match="row 1501: not UTF-8 text"):
            list(corpus.documents())
    with pytest.raises(CorpusError, match="row 1: bytes where a text"):
        open_corpus(Dataset(pa.table({"text": pa.array([b"a"], pa.binary())})))
