"""The stream: every training row once an epoch, no held-out row ever, the same again from the same seed."""

from __future__ import annotations

import hashlib
import json
import re
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from aquin_nb.engine.activations.manifest import SiteInfo
from aquin_nb.engine.activations.store import Store
from aquin_nb.engine.activations.stream import ShuffledStream
from aquin_nb.engine.activations.writer import StoreWriter
from aquin_nb.errors import StoreError


def numbered(count: int) -> torch.Tensor:
    """Rows [n, 2] that say their own number."""
    return torch.arange(count, dtype=torch.float32)[:, None].repeat(1, 2)


def stored(
    folder, x: torch.Tensor, chunk_rows: int, documents: torch.Tensor | None = None, dtype: str = "float32"
) -> Store:
    about = {"model": {}, "unit": "token", "corpus": {}, "exclusions": ""}
    site = SiteInfo("h", 0, x.shape[1])
    with StoreWriter(folder, [site], dtype=dtype, about=about, chunk_rows=chunk_rows) as writer:
        zeros = torch.zeros(len(x), dtype=torch.int64)
        writer.add({site.hook: x}, zeros, zeros if documents is None else documents, zeros)
        return writer.close()


def spoiled(store: Store, row: int, value: float) -> Store:
    """The store with one value of a row replaced, as no writer of ours would."""
    for chunk in store.chunks:
        if row < chunk.rows:
            parts = load_file(store.path / chunk.file)
            parts["x.0"][row, 1] = value
            save_file(parts, store.path / chunk.file)
            return Store(store.path)
        row -= chunk.rows
    raise IndexError(row)


def numbers(batches) -> list[int]:
    return [int(value) for batch in batches for value in batch[:, 0]]


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 400),
    chunk_rows=st.integers(15, 150),
    batch=st.integers(1, 50),
    buffer=st.integers(1, 500),
    share=st.sampled_from([0.0, 0.05, 0.3, 0.9]),
    seed=st.integers(0, 2**64),
    document=st.sampled_from([None, 0, 1, 3, 11, 1000]),
)
def test_each_training_row_once_an_epoch_and_no_held_out_row(
    tmp_path_factory, count, chunk_rows, batch, buffer, share, seed, document
):
    x = numbered(count)
    documents = torch.arange(count) // (document or 1)
    if document == 0:
        documents = documents.float().sqrt().long()  # longer and longer ones
    folder = tmp_path_factory.mktemp("s") / "s"
    source = x if document is None else stored(folder, x, chunk_rows, documents)
    stream = ShuffledStream(source, batch, seed=seed, held_out=share, buffer_rows=buffer)
    held = numbers([stream.held_out()])
    assert held == sorted(set(held))
    assert len(held) == stream.held_out_rows
    assert stream.rows + len(held) == count
    assert stream.rows >= 1
    assert (len(held) > 0) == (share > 0 and count > 1)
    for epoch in (0, 1):
        batches = list(stream.epoch(epoch))
        assert all(part.shape == (stream.batch_size, 2) and part.dtype == torch.float32 for part in batches)
        assert len(batches) == stream.batches_per_epoch
        seen = numbers(batches)
        assert len(seen) == len(set(seen))
        assert stream.rows - len(seen) == stream.rows % stream.batch_size
        assert not set(seen) & set(held)
        assert set(seen) <= set(range(count))
    again = ShuffledStream(source, batch, seed=seed, held_out=share, buffer_rows=buffer)
    assert numbers(again.epoch(1)) == seen
    if document is not None and len(documents.unique()) >= 20:
        assert not set(documents[held].tolist()) & set(documents[seen].tolist())
        assert not any("blocks of" in note for note in stream.notes)


def test_a_store_and_its_tensor_are_the_same_stream(tmp_path):
    x = numbered(300)
    a = ShuffledStream(stored(tmp_path / "a", x, 70), 32, seed=4, held_out=0)
    b = ShuffledStream(x, 32, seed=4, held_out=0)
    assert numbers(a.epoch(0)) == numbers(b.epoch(0))
    assert a.notes == []


def test_the_order_does_not_depend_on_the_chunks_even_when_the_buffer_is_small(tmp_path):
    x, documents = numbered(3000), torch.arange(3000) // 40
    sizes = {"a": 700, "b": 33, "c": 3000}
    orders = [
        numbers(ShuffledStream(stored(tmp_path / name, x, size, documents), 20, buffer_rows=400).epoch(2))
        for name, size in sizes.items()
    ]
    assert orders[0] == orders[1] == orders[2]


@pytest.mark.parametrize(
    ("buffer", "first", "digest"),
    [
        (None, [1458, 1153, 2162, 2728, 912], "20ed1dd92d9a801e"),
        (400, [2655, 912, 2583, 414, 2857], "c7243eefffe1d8ef"),
    ],
)
def test_the_order_of_a_seed_never_changes(tmp_path, buffer, first, digest):
    """Trainings that an earlier version began are resumed in the middle of an epoch."""
    store = stored(tmp_path / "s", numbered(3000), 700, torch.arange(3000) // 30)
    stream = ShuffledStream(store, 50, seed=11, buffer_rows=buffer)
    order = [row for epoch in (0, 1) for row in numbers(stream.epoch(epoch))]
    assert order[:5] == first
    assert hashlib.sha256(repr(order).encode()).hexdigest()[:16] == digest
    held = repr(numbers([stream.held_out()]))
    assert hashlib.sha256(held.encode()).hexdigest()[:16] == "6f74f7bbae70abfe"


def test_a_document_is_held_out_whole_or_not_at_all(tmp_path):
    lengths = torch.tensor([3, 50, 10, 7, 400, 20, 1, 30, 12, 90]).repeat(12)  # one in ten is longer than all wanted
    documents = torch.arange(len(lengths)).repeat_interleave(lengths)
    x = numbered(len(documents))
    shares = []
    for seed in range(8):
        stream = ShuffledStream(stored(tmp_path / str(seed), x, 500, documents), 50, seed=seed)
        held = documents[numbers([stream.held_out()])]
        assert len(held) == int(lengths[held.unique()].sum())
        assert stream.notes == []
        shares.append(stream.held_out_rows / len(x))
    assert min(shares) > 0.02
    assert max(shares) <= 0.05 * 1.25
    assert len(set(shares)) > 1


def test_memorised_neighbours_do_not_pass_for_learning(tmp_path):
    """Copies of one vector within each document: a look-up table of the training rows must know no held-out one."""
    documents = torch.arange(2000) // 20
    x = documents.float()[:, None].repeat(1, 2)
    stream = ShuffledStream(stored(tmp_path / "s", x, 300, documents), 100)
    assert not set(numbers([stream.held_out()])) & set(numbers(stream.epoch(0)))


def test_few_documents_are_held_out_in_blocks_and_it_is_said(tmp_path):
    stream = ShuffledStream(stored(tmp_path / "s", numbered(40_000), 9000, torch.arange(40_000) // 4000), 100)
    assert stream.notes == [
        "The texts are fewer than 20 documents: blocks of 256 neighbouring rows are held out, so held-out figures"
        " flatter."
    ]
    held = numbers([stream.held_out()])
    assert all(set(range(row // 256 * 256, min(row // 256 * 256 + 256, 40_000))) <= set(held) for row in held[::50])
    assert len(held) == stream.held_out_rows == pytest.approx(2000, rel=0.25)


def test_iterating_goes_through_epochs_with_new_orders():
    stream = ShuffledStream(numbered(64), 16, held_out=0)
    first, second = numbers(islice(iter(stream), 4)), numbers(islice(iter(stream), 4, 8))
    other = numbers(islice(iter(stream), 8))
    assert sorted(first) == list(range(64))
    assert first != second
    assert other[:64] == first
    assert sorted(other[64:]) == list(range(64))


def test_held_out_rows_do_not_depend_on_the_chunks_and_a_choice_of_them_is_stable(tmp_path):
    x = numbered(2000)
    a = ShuffledStream(stored(tmp_path / "a", x, 300), 10, seed=9)
    b = ShuffledStream(stored(tmp_path / "b", x, 71), 99, seed=9)
    assert torch.equal(a.held_out(), b.held_out())
    assert 60 < a.held_out_rows < 140  # 5 % of 2,000, four standard deviations
    few = a.held_out(20)
    assert torch.equal(few, b.held_out(20))
    assert len(few) == 20
    assert set(numbers([few])) <= set(numbers([a.held_out()]))
    assert numbers([few]) != numbers([a.held_out()])[:20]  # a sample of all, not the first ones
    assert numbers([ShuffledStream(x, 10, seed=10).held_out()]) != numbers([a.held_out()])


def test_less_than_a_batch_is_said():
    stream = ShuffledStream(numbered(6), 4096)
    assert (stream.rows, stream.held_out_rows, stream.batch_size) == (5, 1, 5)
    assert stream.notes == ["Only 5 rows to train on: a batch holds them all, not 4,096."]
    assert len(numbers(stream.epoch(0))) == 5


@pytest.mark.parametrize("buffer", [None, 200])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_batches_in_half_precision_are_those_in_float32_rounded(tmp_path, buffer, dtype):
    x = torch.randn(900, 3, generator=torch.Generator().manual_seed(0))
    store = stored(tmp_path / "s", x, 200, torch.arange(900) // 5)
    for source in (store, x):
        full, half = (ShuffledStream(source, 40, buffer_rows=buffer, dtype=kind) for kind in (torch.float32, dtype))
        pairs = list(zip(full.epoch(1), half.epoch(1), strict=True))
        assert all(torch.equal(a.to(dtype), b) and b.dtype == dtype for a, b in pairs)
        assert half.held_out().dtype == torch.float32


def test_other_dtypes_and_values_that_do_not_fit_are_refused():
    with pytest.raises(StoreError, match=r"dtype=torch.int64 is none that batches can have: float32, bfloat16 or fl"):
        ShuffledStream(numbered(9), 3, dtype=torch.int64)
    with pytest.raises(StoreError, match="too large for float16"):
        list(ShuffledStream(numbered(100_000), 3, dtype=torch.float16).epoch(0))


def test_a_batch_may_be_changed_without_harm():
    x = numbered(20)
    stream = ShuffledStream(x, 20, held_out=0)
    next(iter(stream)).zero_()
    assert sorted(numbers(stream.epoch(0))) == list(range(20))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ShuffledStream(torch.zeros(0, 3), 2), "no rows"),
        (lambda: ShuffledStream(torch.zeros(3), 2), "float tensor"),
        (lambda: ShuffledStream(torch.zeros(3, 2, dtype=torch.int64), 2), "float tensor"),
        (lambda: ShuffledStream(torch.tensor([[1.0], [float("nan")]]), 2), "NaN"),
        (lambda: ShuffledStream(torch.zeros(3, 0), 2), "float tensor"),
        (lambda: ShuffledStream((), 2), "An empty tuple"),
        (lambda: ShuffledStream((torch.zeros(3, 2), "folder"), 2), "activations.1.: got 'folder'"),
        (lambda: ShuffledStream(torch.zeros(3, 2), 0), "batch_size=0"),
        (lambda: ShuffledStream(torch.zeros(3, 2), 1, held_out=1.0), "held_out=1.0"),
    ],
)
def test_what_cannot_be_streamed_is_told(make, message):
    with pytest.raises(StoreError, match=message):
        make()


def test_a_damaged_chunk_is_named_when_it_is_met(tmp_path):
    store = stored(tmp_path / "s", numbered(100), 30)
    path = store.path / "chunks/chunk_000002.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StoreError, match="chunk_000002"):
        list(ShuffledStream(store, 10).epoch(0))


def test_a_few_long_documents_among_short_ones_are_held_out_in_blocks(tmp_path):
    documents = torch.cat([torch.arange(4).repeat_interleave(2000), torch.arange(4, 34)])
    stream = ShuffledStream(stored(tmp_path / "s", numbered(len(documents)), 900, documents), 100)
    assert stream.notes[0].startswith("A few documents make up most of the texts: blocks of 125 neighbouring rows")
    assert stream.held_out_rows == pytest.approx(400, rel=0.3)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 300),
    chunk_rows=st.sampled_from([17, 64, 300]),
    batch=st.integers(1, 40),
    buffer=st.sampled_from([1, 60, 150, None]),
    share=st.sampled_from([0.0, 0.1]),
    store=st.booleans(),
    number=st.integers(0, 3),
    data=st.data(),
)
def test_starting_later_is_the_same_as_dropping_batches(
    tmp_path_factory, count, chunk_rows, batch, buffer, share, store, number, data
):
    x = torch.randn(count, 3, generator=torch.Generator().manual_seed(count))
    documents = torch.arange(count) // 5
    source = stored(tmp_path_factory.mktemp("s") / "s", x, chunk_rows, documents) if store else x

    def fresh() -> ShuffledStream:
        return ShuffledStream(source, batch, seed=7, held_out=share, buffer_rows=buffer)

    whole = list(fresh().epoch(number))
    per_epoch = fresh().batches_per_epoch
    assert len(whole) == per_epoch
    skip = data.draw(st.integers(0, per_epoch + 2))
    rest = list(fresh().epoch(number, skip))
    assert len(rest) == max(0, per_epoch - skip)
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[skip:], strict=True))
    start = data.draw(st.integers(0, 3 * per_epoch))
    pairs = zip(islice(fresh().batches(start), 5), islice(iter(fresh()), start, start + 5), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_rows_of_skipped_batches_are_not_read(tmp_path):
    """A row that nothing may read without an error shows what is read."""
    documents = torch.arange(2000) // 10
    sound = ShuffledStream(stored(tmp_path / "sound", numbered(2000), 300, documents), 50, buffer_rows=200)
    batches = [numbers([part]) for part in sound.epoch(0)]
    spoilt = spoiled(stored(tmp_path / "spoilt", numbered(2000), 300, documents), batches[9][3], float("nan"))
    stream = ShuffledStream(spoilt, 50, buffer_rows=200)
    assert [numbers([part]) for part in stream.epoch(0, skip=10)] == batches[10:]
    with pytest.raises(StoreError, match="holds NaN"):
        list(stream.epoch(0, skip=9))


@pytest.mark.parametrize("where", [{"number": -1}, {"number": 0, "skip": -2}])
def test_a_position_before_the_start_is_refused(where):
    with pytest.raises(StoreError, match="must not be negative"):
        ShuffledStream(numbered(9), 2).epoch(**where)


def test_a_tensor_is_not_copied():
    """What the stream reads is the caller's own memory."""
    x = numbered(1000)
    stream = ShuffledStream(x, 100)
    batches = stream.epoch(0)
    next(batches)
    x += 5000
    assert all(row >= 5000 for row in numbers(batches))


def test_bad_values_in_a_tensor_are_named_by_row():
    x = torch.zeros(5000, 900)
    x[118, 3], x[119, 0], x[4999, 899] = float("nan"), float("inf"), float("-inf")
    with pytest.raises(
        StoreError, match=r"Row 118 \(counted from 0\) of the activations holds NaN \(3 rows of 5,000 do"
    ):
        ShuffledStream(x, 10)
    with pytest.raises(StoreError, match=r"Row 0 .* holds infinity \(2 rows of 4,881 do"):
        ShuffledStream(x[119:], 10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_large_finite_values_are_no_fault(dtype):
    peak = min(torch.finfo(dtype).max, torch.finfo(torch.float32).max)
    x = torch.full((40, 64), peak, dtype=dtype)  # the sum overflows
    batches = torch.cat(list(ShuffledStream(x, 10, held_out=0).epoch(0)))
    assert torch.equal(batches, x.float())
    if dtype is torch.float64:
        with pytest.raises(StoreError, match="holds a number too large for float32"):
            ShuffledStream(x * 2, 10)


@pytest.mark.parametrize("buffer", [None, 40])
@pytest.mark.parametrize(("value", "word"), [(float("nan"), "NaN"), (float("-inf"), "infinity")])
def test_bad_values_in_a_store_are_named_by_chunk_and_row(tmp_path, buffer, value, word):
    store = spoiled(stored(tmp_path / "s", numbered(100), 30), 67, value)
    stream = ShuffledStream(store, 10, held_out=0, buffer_rows=buffer)
    with pytest.raises(StoreError, match=rf"chunk_000002.safetensors holds {word} in its row 7, row 67 of the store"):
        list(stream.epoch(0))


def test_bad_values_among_held_out_rows_are_named(tmp_path):
    x, documents = numbered(300), torch.arange(300) // 10
    held = numbers([ShuffledStream(stored(tmp_path / "a", x, 70, documents), 10).held_out()])
    store = spoiled(stored(tmp_path / "b", x, 70, documents), held[4], float("inf"))
    with pytest.raises(StoreError, match=f"row {held[4]} of the store"):
        ShuffledStream(store, 10).held_out()


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(2, 300),
    kinds=st.lists(st.sampled_from(["tensor", "half tensor", "store", "half store"]), min_size=2, max_size=3),
    chunk_rows=st.lists(st.integers(11, 320), min_size=3, max_size=3),
    batch=st.integers(1, 40),
    buffer=st.sampled_from([1, 90, None]),
    skip=st.integers(0, 4),
    seed=st.integers(0, 9),
)
def test_sources_side_by_side_keep_their_rows_together(
    tmp_path_factory, count, kinds, chunk_rows, batch, buffer, skip, seed
):
    folder, documents = tmp_path_factory.mktemp("s"), torch.arange(count) // 3
    parts, sources = [], []
    for place, kind in enumerate(kinds):
        x = numbered(count).repeat(1, place + 1) + 300 * place  # whole numbers that float16 holds
        dtype = torch.float16 if "half" in kind else torch.float32
        parts.append(x)
        if "tensor" in kind:
            sources.append(x.to(dtype))
        else:
            name = str(dtype).removeprefix("torch.")
            sources.append(stored(folder / str(place), x, chunk_rows[place], documents, name))
    stream = ShuffledStream(tuple(sources), batch, seed=seed, buffer_rows=buffer)
    assert stream.widths == [2, 4, 6][: len(kinds)]
    assert stream.d_in == 2
    joined = torch.cat(parts, 1)
    batches = list(stream.epoch(1, skip))
    for got in [*batches, stream.held_out()]:
        assert got.dtype == torch.float32
        assert torch.equal(got, joined[got[:, 0].long()])
    first = ShuffledStream(sources[0], batch, seed=seed, buffer_rows=buffer)
    assert torch.equal(first.held_out(), stream.held_out()[:, :2])
    assert len(batches) == max(0, stream.batches_per_epoch - skip)
    assert numbers(batches) == numbers(first.epoch(1, skip))


def test_one_source_in_a_list_is_that_source():
    x = numbered(50)
    stream = ShuffledStream([x], 10)
    assert stream.widths == [2]
    assert numbers(stream.epoch(0)) == numbers(ShuffledStream(x, 10).epoch(0))


def test_sources_with_other_numbers_of_rows_are_refused(tmp_path):
    with pytest.raises(StoreError, match=r"activations\[0\] has 5,000 and activations\[1\] 4,990"):
        ShuffledStream((numbered(5000), numbered(4990)), 10)
    store = stored(tmp_path / "s", numbered(40), 10)
    with pytest.raises(StoreError, match=rf"activations\[0\] has 41 and {store.path} 40"):
        ShuffledStream((numbered(41), store), 10)


@pytest.mark.parametrize("row", [0, 333, 999])
def test_stores_of_other_tokens_are_refused_by_chunk(tmp_path, row):
    documents = torch.arange(1000) // 4
    a = stored(tmp_path / "a", numbered(1000), 250, documents)
    documents[row] = 7000
    b = stored(tmp_path / "b", numbered(1000), 90, documents)
    chunks = rf"chunk_00000{row // 250}.safetensors\) has documents {row // 4}, .*chunk_0000{row // 90:02d}.*7000"
    with pytest.raises(StoreError, match=rf"row {row} of .*{chunks}"):
        ShuffledStream((a, b), 10)


def test_bad_values_name_the_source(tmp_path):
    bad = numbered(30)
    bad[4, 0] = float("nan")
    with pytest.raises(StoreError, match=r"Row 4 .* of activations\[1\] holds NaN"):
        ShuffledStream((numbered(30), bad), 5)
    stores = [stored(tmp_path / name, numbered(30), 9) for name in "ab"]
    with pytest.raises(StoreError, match=r"b/chunks/chunk_000002.safetensors holds NaN in its row 2, row 20"):
        list(ShuffledStream((stores[0], spoiled(stores[1], 20, float("nan"))), 5, held_out=0).epoch(0))


def test_a_stopped_collection_is_said(tmp_path):
    about = {"model": {}, "unit": "token", "corpus": {}, "exclusions": ""}
    writer = StoreWriter(tmp_path / "s", [SiteInfo("h", 0, 2)], dtype="float32", about=about)
    zeros = torch.zeros(1500, dtype=torch.int64)
    writer.add({"h": numbered(1500)}, zeros, torch.arange(1500), zeros)
    store = writer.close(complete=False)
    assert ShuffledStream(store, 10).notes == [f"{store.path} is incomplete: its collection was stopped at 1,500 rows."]


def test_a_fingerprint_tells_whether_data_are_the_same(tmp_path):
    def fingerprint(source, **options) -> str:
        return ShuffledStream(source, 10, **options).fingerprint()

    x = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
    other = x.clone()
    other[17, 2] += 1e-3
    stores = [stored(tmp_path / str(place), rows, 100) for place, rows in enumerate((x, x, other))]
    prints = [fingerprint(source) for source in (x, other, x.half(), x.bfloat16(), x.reshape(600, 3), x.roll(1, 0))]
    prints += [fingerprint(source) for source in (stores[0], stores[2], (x, other), (other, x), (x, stores[0]))]
    assert all(re.fullmatch("[0-9a-f]{64}", part) for part in prints)
    assert len(set(prints)) == len(prints)
    assert fingerprint(x.clone(), seed=8, held_out=0) == fingerprint(x.t().contiguous().t()) == prints[0]
    assert fingerprint(stores[1]) == fingerprint(stores[0])


def test_a_large_tensor_is_known_by_evenly_spaced_rows():
    x = torch.zeros(66_000, 1024)  # 270 MB
    before = ShuffledStream(x, 10).fingerprint()
    x[1, 0] = 1  # between two of the 4,096 rows
    assert ShuffledStream(x, 10).fingerprint() == before
    for row in (0, -1):
        x[row, 1023] = 1
        after = ShuffledStream(x, 10).fingerprint()
        assert after != before
        before = after


def test_a_description_is_plain_values(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = stored(Path("s"), numbered(30), 9)
    tensor = {"kind": "tensor", "shape": [30, 2], "dtype": "bfloat16"}
    assert ShuffledStream(numbered(30).bfloat16(), 5).describe() == tensor
    assert ShuffledStream(store, 5).describe() == {"kind": "store", "path": str(tmp_path / "s")}
    both = ShuffledStream([store, numbered(30).bfloat16()], 5).describe()
    assert both == {"kind": "several", "parts": [{"kind": "store", "path": str(tmp_path / "s")}, tensor]}
    assert json.loads(json.dumps(both)) == both
