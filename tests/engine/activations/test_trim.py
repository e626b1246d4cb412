"""Trimming: the first rows stay, the others go, and the collection can go on from there."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import LATER, SEVERAL, assert_holds, contents, write

from aquin_nb.engine.activations.store import Store
from aquin_nb.engine.activations.trim import trim
from aquin_nb.errors import StoreError


@settings(max_examples=10, deadline=None)
@given(total=st.integers(1, 45), data=st.data(), chunk_rows=st.integers(1, 12), step=st.integers(1, 13))
def test_the_first_rows_stay_and_the_collection_goes_on(tmp_path_factory, total, data, chunk_rows, step):
    folder, kept = tmp_path_factory.mktemp("trim"), data.draw(st.integers(1, total))
    options = {"chunk_rows": chunk_rows, "step": step, "sites": SEVERAL}
    whole = write(folder / "whole", total, **options)
    store = write(folder / "s", total, **options).at(LATER).trim(kept)
    assert (store.rows, store.complete, store.site) == (kept, True, LATER)
    assert_holds(store)
    assert store.statistics["rows"] == kept
    assert sorted(path.name for path in (folder / "s/chunks").iterdir()) == [
        chunk.file.removeprefix("chunks/") for chunk in store.chunks
    ]
    write(folder / "s", total, resume=True, **options)
    assert contents(folder / "s") == contents(whole.path)


def test_a_trimmed_store_is_that_of_a_smaller_collection(tmp_path):
    small = contents(write(tmp_path / "small", 23).path)
    write(tmp_path / "s", 65).trim(23)
    found = contents(tmp_path / "s")
    small.pop("manifest.json"), found.pop("manifest.json")
    assert found == small


def test_nothing_happens_when_all_rows_stay(tmp_path):
    store = write(tmp_path / "s", 25)
    before = contents(tmp_path / "s")
    assert store.trim(25).complete
    assert contents(tmp_path / "s") == before


@pytest.mark.parametrize("rows", [0, -3, 26])
def test_rows_that_there_are_not_are_refused(tmp_path, rows):
    store = write(tmp_path / "s", 25)
    with pytest.raises(StoreError, match=f"rows={rows} cannot be kept.* give 1 to 25"):
        store.trim(rows)
    assert_holds(Store(tmp_path / "s"))


def test_a_store_with_a_missing_chunk_is_brought_back(tmp_path):
    store = write(tmp_path / "s", 45)
    (store.path / "chunks/chunk_000002.safetensors").unlink()
    with pytest.raises(StoreError, match=r"chunk_000002.* is missing .*keep the rows before it"):
        Store(tmp_path / "s")
    with pytest.raises(StoreError, match="chunk_000002"):
        trim(tmp_path / "s", 21)
    assert trim(tmp_path / "s", 20).rows == 20
    assert_holds(Store(tmp_path / "s"))


def test_what_is_no_store_is_told(tmp_path):
    with pytest.raises(StoreError, match="not there"):
        trim(tmp_path / "nowhere", 3)
    assert not (tmp_path / "nowhere").exists()
