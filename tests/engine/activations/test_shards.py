"""Ranks that read a part each: nothing twice, nothing left out, nobody waiting for a batch that does not come."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stream import numbered, numbers, stored

from aquin_nb.engine.activations import sources
from aquin_nb.engine.activations.stream import ShuffledStream
from aquin_nb.errors import StoreError


def ranks(source, batch_size: int, world: int, **options) -> list[ShuffledStream]:
    return [ShuffledStream(source, batch_size, shard=(rank, world), **options) for rank in range(world)]


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(8, 600),
    world=st.integers(1, 5),
    per_rank=st.integers(1, 20),
    buffer=st.sampled_from([None, 1, 60, 150]),
    share=st.sampled_from([0.0, 0.1]),
    chunk_rows=st.sampled_from([None, 17, 200]),
    seed=st.integers(0, 3),
)
def test_every_row_once_an_epoch_over_all_ranks(
    tmp_path_factory, count, world, per_rank, buffer, share, chunk_rows, seed
):
    x = numbered(count)
    documents = torch.arange(count) // 3
    source = x if chunk_rows is None else stored(tmp_path_factory.mktemp("s") / "s", x, chunk_rows, documents)
    parts = ranks(source, per_rank * world, world, buffer_rows=buffer, held_out=share, seed=seed)
    whole = ShuffledStream(source, per_rank * world, held_out=share, seed=seed)
    held = numbers([whole.held_out()])
    for part in parts:
        assert (part.rows, part.held_out_rows) == (whole.rows, whole.held_out_rows)
        assert numbers([part.held_out()]) == held, "what is held out is so for all"
    assert len({(part.batch_size, part.batches_per_epoch) for part in parts}) == 1
    first = parts[0]
    for epoch in (0, 1):
        seen = [list(part.epoch(epoch)) for part in parts]
        assert {len(batches) for batches in seen} == {first.batches_per_epoch}
        assert {batch.shape for batches in seen for batch in batches} <= {(first.batch_size // world, 2)}
        rows = [row for batches in seen for row in numbers(batches)]
        assert len(rows) == len(set(rows)) == first.batches_per_epoch * first.batch_size
        assert len(rows) > whole.rows - world - first.batch_size, "only the last part of a batch is left over"
        assert not set(rows) & set(held)
        skipped = [numbers(part.epoch(epoch, 1)) for part in parts]
        assert skipped == [numbers(batches[1:]) for batches in seen]


def test_a_rank_reads_only_its_own_pieces(tmp_path, monkeypatch):
    store = stored(tmp_path / "s", numbered(4000), 300, torch.arange(4000) // 7)
    asked: list[set[int]] = []
    fill = sources._StoreRows.fill

    def counted(self, rows, out, places):
        asked[-1].update(rows.tolist())
        fill(self, rows, out, places)

    monkeypatch.setattr(sources._StoreRows, "fill", counted)
    for part in ranks(store, 60, 3, buffer_rows=200):
        asked.append(set())
        given = numbers(part.epoch(0)) + numbers(part.epoch(1))
        assert set(given) <= asked[-1]
    assert sum(map(len, asked)) == len(set().union(*asked)), "no row is read by two"
    assert max(map(len, asked)) - min(map(len, asked)) <= 1


def test_ranks_have_rows_from_all_over_the_store(tmp_path):
    store = stored(tmp_path / "s", numbered(20_000), 3000)
    for part in ranks(store, 200, 2, held_out=0, buffer_rows=2000):
        rows = np.array(numbers(part.epoch(0)))
        of_quarter = np.bincount(rows * 4 // 20_000, minlength=4) / len(rows)
        assert (abs(of_quarter - 0.25) < 0.08).all()


def test_one_rank_of_one_is_the_stream_without_shards():
    x = numbered(900)
    for buffer in (None, 100):
        a, b = (ShuffledStream(x, 20, buffer_rows=buffer, **more) for more in ({}, {"shard": (0, 1)}))
        assert numbers(a.epoch(1)) == numbers(b.epoch(1))


def test_data_smaller_than_a_batch_are_shared_too():
    parts = ranks(numbered(11), 64, 2, held_out=0)
    assert [part.batch_size for part in parts] == [10, 10]
    assert parts[0].notes == ["Only 11 rows to train on: a batch holds them all, not 64."]
    rows = [row for part in parts for row in numbers(part.epoch(0))]
    assert len(set(rows)) == 10


@pytest.mark.parametrize(
    ("count", "batch", "shard", "message"),
    [
        (100, 9, (0, 2), r"batch_size \(9\) does not split over 2 ranks"),
        (100, 1, (0, 2), r"batch_size \(1\) are fewer than the 2 ranks"),
        (3, 8, (0, 4), r"rows of the activations \(3\) are fewer than the 4 ranks"),
        (100, 8, (2, 2), r"shard=\(2, 2\) is no rank of a world"),
        (100, 8, (-1, 2), r"shard=\(-1, 2\) is no rank of a world"),
        (100, 8, (0, 0), r"shard=\(0, 0\) is no rank of a world"),
    ],
)
def test_what_does_not_split_is_refused(count, batch, shard, message):
    with pytest.raises(StoreError, match=message):
        ShuffledStream(numbered(count), batch, held_out=0, shard=shard)
