"""A live stream: what a store would give, made while it is used; the same from the same seed, wherever one starts."""

from __future__ import annotations

import gc
import hashlib
import json
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aquin_nb.control import Control
from aquin_nb.engine.activations.columns import Column
from aquin_nb.engine.activations.contexts import contexts
from aquin_nb.engine.activations.corpus import Corpus, open_corpus
from aquin_nb.engine.activations.forwards import Forwards
from aquin_nb.engine.activations.live import LiveStream
from aquin_nb.engine.activations.stream import ShuffledStream
from aquin_nb.engine.activations.texts import Listed
from aquin_nb.errors import Cancelled, CorpusError, StoreError

MOST = 16


@dataclass
class Pass:
    """A forward pass of rows [n, 2] that hold their document and their number in it; `run` counts."""

    origins: list[tuple[int, int]]
    run: list[tuple[int, int]]

    @property
    def count(self) -> int:
        return len(self.origins)

    def rows(self) -> torch.Tensor:
        self.run += self.origins
        return torch.tensor(self.origins, dtype=torch.float32)


@dataclass
class Texts:
    """Documents of so many rows, cut into passes of at most 16 rows over their ends."""

    lengths: list[int]
    widths: list[int] = field(default_factory=lambda: [2])
    dtype: torch.dtype = torch.float32
    most: int = MOST
    notes: list[str] = field(default_factory=lambda: ["A note."])
    run: list[tuple[int, int]] = field(default_factory=list)
    begun: int = 0

    def passes(self, wanted: Callable[[int], bool]) -> Iterator[Pass]:
        self.begun += 1
        held: list[tuple[int, int]] = []
        for document, length in enumerate(self.lengths):
            if wanted(document):
                held += [(document, row) for row in range(length)]
            while len(held) >= MOST:
                yield Pass(held[:MOST], self.run)
                held = held[MOST:]
        if held:
            yield Pass(held, self.run)

    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.lengths).encode()).hexdigest()

    def describe(self) -> dict[str, object]:
        return {"lengths": self.lengths}


def origins(batches) -> list[tuple[int, int]]:
    return [tuple(map(int, row)) for batch in batches for row in batch.tolist()]


lengths = st.lists(st.integers(1, 40), min_size=45, max_size=60)
buffers = st.sampled_from([1, 200, 400, None])


@settings(max_examples=60, deadline=None)
@given(lengths=lengths, rows=st.integers(1, 900), batch=st.integers(1, 25), buffer=buffers, seed=st.integers(0, 9))
def test_an_epoch_is_the_first_rows_of_the_training_documents_each_once(lengths, rows, batch, buffer, seed):
    stream = LiveStream(Texts(lengths), batch, rows=rows, seed=seed, buffer_rows=buffer)
    training = [
        (document, row)
        for document, length in enumerate(lengths)
        if not stream.is_held_out(document)
        for row in range(length)
    ]
    wanted = set(training[:rows])
    for epoch in (0, 1):
        batches = list(stream.epoch(epoch))
        assert len(batches) == stream.batches_per_epoch
        assert all(part.shape == (stream.batch_size, 2) and part.dtype == torch.float32 for part in batches)
        seen = origins(batches)
        if len(training) >= rows:
            assert stream.rows == rows
            assert len(set(seen)) == len(seen) > rows - stream.batch_size
        assert set(seen) <= wanted
    again = LiveStream(Texts(lengths), batch, rows=rows, seed=seed, buffer_rows=buffer)
    assert origins(again.epoch(1)) == seen
    held = origins([stream.held_out()])
    assert all(stream.is_held_out(document) for document, _ in held)
    assert len(held) == stream.held_out_rows


@settings(max_examples=60, deadline=None)
@given(
    lengths=lengths, rows=st.integers(300, 1500), batch=st.integers(1, 25), buffer=buffers, start=st.integers(0, 150)
)
def test_starting_later_is_the_same_as_dropping_batches(lengths, rows, batch, buffer, start):
    """Over the end of an epoch, and over the end of the corpus, which has about 1,000 rows."""

    def fresh() -> LiveStream:
        return LiveStream(Texts(lengths), batch, rows=rows, seed=7, buffer_rows=buffer)

    whole = list(islice(fresh(), start, start + 40))
    later = list(islice(fresh().batches(start), 40))
    assert all(torch.equal(a, b) for a, b in zip(whole, later, strict=True))


def test_a_late_start_runs_the_forward_passes_of_one_buffer_and_no_others():
    texts = Texts([20] * 2000)
    stream = LiveStream(texts, 10, rows=30_000, buffer_rows=600)
    begin = next(stream.batches(2000))
    assert len(begin) == 10
    assert len(texts.run) < 600 * 1.5  # four thirds of a buffer, and what whole batches and passes add
    assert len(set(texts.run)) == len(texts.run)


def test_rows_that_fit_into_the_buffer_are_made_once_for_all_epochs():
    texts = Texts([20] * 50)
    stream = LiveStream(texts, 10, rows=700)
    for epoch in range(3):
        assert len(origins(stream.epoch(epoch))) == 700
    assert len(texts.run) < 700 + MOST
    assert origins(stream.epoch(0)) != origins(stream.epoch(1))


def test_a_look_at_the_first_batches_costs_nothing():
    """A training looks at the first 16,384 rows before its first step, and may do so again after the last."""
    texts = Texts([20] * 4000)
    stream = LiveStream(texts, 512, rows=60_000, buffer_rows=4000)
    looked = list(islice(stream.epoch(0), 16_384 // 512))
    looked[0].zero_()
    made = len(texts.run)
    every = stream.batches()
    first = list(islice(every, 33))
    assert torch.equal(first[1], looked[1])
    assert not torch.equal(first[0], looked[0])
    assert len(texts.run) <= made + 512 + 2 * MOST
    list(islice(every, 40))
    every.close()
    again = list(islice(stream.epoch(0), 16_384 // 512))
    assert torch.equal(torch.stack(again), torch.stack(first[:32]))
    assert len(set(texts.run)) == len(texts.run), "nothing was made twice"
    whole = list(LiveStream(Texts([20] * 4000), 512, rows=60_000, buffer_rows=4000).epoch(0))
    later = list(stream.epoch(0))
    assert all(torch.equal(a, b) for a, b in zip(whole, later, strict=True))


@pytest.mark.parametrize("rows", [500, 6000])
def test_its_memory_is_given_back_at_once(rows):
    """Not when the collector of garbage comes by, which does not know how large a buffer is."""
    gc.disable()
    try:
        stream = LiveStream(Texts([20] * 400), 100, rows=rows, buffer_rows=800)
        batches = stream.batches()
        assert len(list(islice(batches, 200))) == 200
        batches.close()
        gone = weakref.ref(stream)
        del stream, batches
        assert gone() is None
    finally:
        gc.enable()


def test_two_may_read_at_once():
    stream = LiveStream(Texts([20] * 400), 100, rows=6000, buffer_rows=800)
    a, b = stream.batches(), stream.batches()
    pairs = [(next(a), next(b)) for _ in range(100)]
    assert all(torch.equal(*pair) for pair in pairs)


def test_batches_mix_the_documents_of_a_buffer():
    texts = Texts([20] * 3000)
    stream = LiveStream(texts, 60, rows=50_000, buffer_rows=3000, held_out=0)
    batches = [np.array(origins([batch])) for batch in islice(stream.epoch(0), 100, 300)]
    spans = [np.ptp(batch[:, 0]) * 20 for batch in batches]
    assert np.median(spans) > 3000, "from more rows than the buffer has: it keeps a third of those before"
    assert np.mean([len(np.unique(batch[:, 0])) for batch in batches]) > 40
    assert np.mean([np.mean(np.diff(batch[:, 1]) == 1) for batch in batches]) < 0.1


class TestHeldOut:
    def test_one_document_in_twenty_and_one_of_every_twenty(self) -> None:
        stream = LiveStream(Texts([5] * 400), 10, rows=500)
        held = [document for document in range(400) if stream.is_held_out(document)]
        assert [document // 20 for document in held] == list(range(20))
        assert len({document % 20 for document in held}) > 5
        other = LiveStream(Texts([5] * 400), 10, rows=500, seed=1)
        assert [document for document in range(400) if other.is_held_out(document)] != held

    def test_held_out_rows_come_without_the_others_and_once(self) -> None:
        texts = Texts([7] * 1000)
        stream = LiveStream(texts, 10, rows=3000)
        texts.run.clear()
        few = stream.held_out(64)
        assert len(few) == 64
        assert len(texts.run) == 64
        assert torch.equal(stream.held_out(64), few)
        assert torch.equal(stream.held_out(30), few[:30])
        assert len(texts.run) == 64
        assert stream.held_out_rows == len(stream.held_out()) == 158  # 3,000 · 5 / 95
        few.zero_()
        assert stream.held_out(64).any()

    def test_a_corpus_with_fewer_gives_what_it_has(self) -> None:
        stream = LiveStream(Texts([7] * 40), 10, rows=5000)
        assert len(stream.held_out()) == stream.held_out_rows == 14

    def test_nothing_is_held_out_when_asked(self) -> None:
        stream = LiveStream(Texts([7] * 40), 10, rows=200, held_out=0)
        assert not any(map(stream.is_held_out, range(40)))
        assert stream.held_out().shape == (0, 2)
        assert stream.held_out_rows == 0


class TestSmallCorpora:
    def test_one_that_fits_into_the_buffer_is_counted_beforehand(self) -> None:
        stream = LiveStream(Texts([10] * 20), 10, rows=1000)
        assert (stream.rows, stream.batches_per_epoch) == (190, 19)
        assert stream.notes == ["A note.", "The corpus gives 190 of the 1,000 rows asked for."]
        assert len(set(origins(stream.epoch(0)))) == 190

    def test_a_larger_one_is_read_again_and_that_is_said(self) -> None:
        stream = LiveStream(Texts([10] * 200), 10, rows=5000, buffer_rows=200)
        assert (stream.rows, stream.batches_per_epoch) == (5000, 500)
        assert stream.notes == ["A note."]
        seen = origins(stream.epoch(0))
        assert len(seen) == 5000
        assert len(set(seen)) == stream.rows == 1900
        assert stream.batches_per_epoch == 500
        assert stream.notes[1:] == [
            "The corpus gives 1,900 of the 5,000 rows asked for.",
            "It was read again from its start until that was reached.",
        ]
        list(stream.epoch(1))
        assert len(stream.notes) == 3

    def test_less_than_a_batch(self) -> None:
        stream = LiveStream(Texts([10] * 2), 64, rows=100, held_out=0)
        assert stream.batch_size == 20
        assert "Only 20 rows to train on: a batch holds them all, not 64." in stream.notes
        assert len(origins(stream.epoch(0))) == 20

    def test_no_document_is_left(self) -> None:
        chosen = next(seed for seed in range(99) if LiveStream(Texts([5] * 3), 1, rows=9, seed=seed).is_held_out(0))
        with pytest.raises(StoreError, match=r"No document is left to train on: .* or held_out=0"):
            LiveStream(Texts([5]), 1, rows=9, seed=chosen)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 0}, "rows=0 must be at least 1"),
        ({"rows": 9, "held_out": 0.6}, "held_out=0.6 of a live stream at most 0.5"),
        ({"rows": 9, "held_out": 1.0}, r"held_out=1.0 in \[0, 1\)"),
        ({"rows": 9, "seed": -1}, "seed=-1 not negative"),
        ({"rows": 9, "dtype": torch.float64}, "dtype=torch.float64 is none that batches can have"),
    ],
)
def test_settings_that_do_not_go_together(options, message):
    with pytest.raises(StoreError, match=message):
        LiveStream(Texts([5] * 30), 4, **options)


def test_it_can_be_cancelled_and_says_how_far_it_is_while_it_fills_the_buffer():
    ticks = []

    def tick(report) -> None:
        ticks.append((report.stage, report.done, report.total))
        if report.done > 200:
            control.cancel()

    control = Control(tick)
    stream = LiveStream(Texts([20] * 400), 10, rows=6000, buffer_rows=800, control=control)
    with pytest.raises(Cancelled):
        next(stream.batches())
    assert ticks[0] == ("collect", MOST, ticks[0][2])
    assert 700 < ticks[0][2] <= 800
    assert ticks[-1][1] < 200 + 2 * MOST
    assert len(stream.held_out()) == stream.held_out_rows, "what is asked for later is given"
    assert len(next(stream.batches())) == 10


def test_a_description_and_a_fingerprint():
    stream = LiveStream(Texts([5] * 30), 4, rows=100)
    assert stream.describe() == {"kind": "live", "rows": 100, "lengths": [5] * 30}
    same = LiveStream(Texts([5] * 30), 4, rows=100, seed=8)
    others = [
        LiveStream(Texts([5] * 29 + [6]), 4, rows=100),
        LiveStream(Texts([5] * 30), 4, rows=99),
        LiveStream(Texts([5] * 30), 4, rows=100, held_out=0.1),
        LiveStream(Texts([5] * 30), 4, rows=100, buffer_rows=900),
    ]
    assert same.fingerprint() == stream.fingerprint()
    assert len({stream.fingerprint(), *(other.fingerprint() for other in others)}) == 5


class TestForwards:
    """Over a real model."""

    def test_rows_are_those_that_a_store_would_hold(self, tiny, tmp_path) -> None:
        corpus = open_corpus("packaged")
        sites = [1, "blocks.2.hook_mlp_out"]
        forwards = Forwards(tiny, corpus, sites, context_size=32, batch_size=4)
        assert forwards.widths == [128, 128]
        assert forwards.most == 128
        batches = contexts(tiny, corpus, 32, batch_size=4)
        for forward, batch in zip(islice(forwards.passes(lambda document: True), 5), batches, strict=False):
            found = tiny.activations(batch.tokens, sites)
            expected = torch.cat([x[batch.tokens.analysed] for x in found.values()], 1)
            assert forward.count == len(expected) <= forwards.most
            assert torch.equal(forward.rows(), expected)

    def test_documents_that_are_not_wanted_are_not_in_any_context(self, tiny) -> None:
        texts = [f"Word{number} and another. " * 9 for number in range(30)]
        wanted = [number for number in range(30) if number % 3]

        def rows(corpus, choose) -> torch.Tensor:
            forwards = Forwards(tiny, open_corpus(corpus), [0], context_size=16, batch_size=2)
            return torch.cat([forward.rows() for forward in forwards.passes(choose)])

        chosen = rows([texts[0], "  ", *texts[1:]], lambda document: bool(document % 3))
        assert torch.equal(chosen, rows([texts[number] for number in wanted], lambda document: True))
        assert not list(Forwards(tiny, open_corpus(texts), [0], context_size=16).passes(lambda document: False))

    def test_texts_of_an_embedding_model(self, embedder) -> None:
        texts = ["the dog sat on the mat .", "a cat ran far away .", "the cat slept ."]
        forwards = Forwards(embedder, open_corpus(texts), [2, 1], context_size=16, batch_size=2)
        x = torch.cat([forward.rows() for forward in forwards.passes(lambda document: True)])
        pooled = embedder.pooled(embedder.tokenize(texts), [2, 1])
        torch.testing.assert_close(x, torch.cat([pooled[2], pooled[1]], 1))
        assert (forwards.widths, forwards.most) == ([16, 16], 2)

    def test_a_corpus_that_can_be_read_once_is_refused(self, tiny) -> None:
        with pytest.raises(CorpusError, match=r"can be read only once, .* give a list or a file, or collect it first"):
            Forwards(tiny, open_corpus(iter(["One text."])), [1])

    def test_an_empty_corpus_is_told(self, tiny) -> None:
        blank = Corpus(Listed(["  "]), Column("text", tokens=False))
        with pytest.raises(CorpusError, match="holds no text"):
            list(Forwards(tiny, blank, [1]).passes(lambda document: True))

    def test_a_value_that_is_not_finite_names_site_and_text(self, tiny, monkeypatch) -> None:
        forwards = Forwards(tiny, open_corpus(["One text.", "Two texts.", "Three of them."]), [1, 2], context_size=16)
        activations = tiny.activations

        def spoilt(tokens, sites):
            found = activations(tokens, sites)
            found["blocks.2.hook_resid_post"][tokens.analysed][-1, 3] = 0
            found["blocks.2.hook_resid_post"][0, 1 + int(tokens.mask[0].sum()) - 2, 3] = float("nan")
            return found

        monkeypatch.setattr(tiny, "activations", spoilt)
        forward = next(forwards.passes(lambda document: document > 0))
        with pytest.raises(StoreError, match=r"NaN or infinity at blocks.2.hook_resid_post in row 3; load it with"):
            forward.rows()

    def test_what_decides_the_rows_is_in_the_fingerprint(self, tiny) -> None:
        texts = ["One text.", "Two texts."]
        base = Forwards(tiny, open_corpus(texts), [1], context_size=16)
        same = Forwards(tiny, open_corpus(texts), [tiny.site(1)], context_size=16)
        others = [
            Forwards(tiny, open_corpus(texts), [2], context_size=16),
            Forwards(tiny, open_corpus(texts), [1], context_size=17),
            Forwards(tiny, open_corpus(texts), [1], context_size=16, batch_size=2),
            Forwards(tiny, open_corpus(texts), [1], context_size=16, pack=False),
            Forwards(tiny, open_corpus(texts), [1], context_size=16, bos=False),
            Forwards(tiny, open_corpus(texts), [1], context_size=16, exclude=("bos",)),
            Forwards(tiny, open_corpus([*texts, "Three."]), [1], context_size=16),
        ]
        assert base.fingerprint() == same.fingerprint()
        assert len({base.fingerprint(), *(other.fingerprint() for other in others)}) == 8
        assert base.describe()["sites"] == ["blocks.1.hook_resid_post"]
        assert json.loads(json.dumps(base.describe())) == base.describe()


def test_it_is_a_stream_like_any_other():
    live, kept = LiveStream(Texts([5] * 99), 4, rows=100), ShuffledStream(torch.zeros(50, 2), 4)
    names = [name for name in dir(kept) if not name.startswith("_") and name != "is_held_out"]
    for name in names:
        assert type(getattr(live, name)) is type(getattr(kept, name)), name
