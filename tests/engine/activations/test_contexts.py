"""Rows of tokens: every token exactly once and in order, EOS between documents, and any place to go on from."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aquin_nb.engine.activations.contexts import ContextBatch, Cursor, contexts, exclusions
from aquin_nb.engine.activations.corpus import Corpus, open_corpus
from aquin_nb.engine.activations.mixing import mix
from aquin_nb.engine.models import Model
from aquin_nb.errors import CorpusError, ModelError

VOCABULARY = ["the", "old", "sea", "and", "a", "ship,", "42", "été", "naïve\nline"]
WORDS = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=60)
DOCUMENTS = st.lists(WORDS.map(" ".join), min_size=1, max_size=8)
BLANKS = st.sampled_from(["", "  \n"])
ROWS = st.lists(st.one_of(WORDS.map(" ".join), BLANKS), min_size=1, max_size=8).filter(
    lambda rows: "".join(rows).strip()
)
KINDS = ["list", "shuffled", "jsonl", "txt", "dataset", "streamed", "buffered", "parquet", "arrow", "mixed", "ids"]
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@contextmanager
def corpus_of(kind: str, rows: list[str], model: Model) -> Iterator[Corpus]:
    """The rows as a corpus of this kind; every one may hold blank documents."""
    from datasets import Dataset

    table = Dataset.from_dict({"text": rows})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.{kind}"
        seed = 5 if kind in ("shuffled", "buffered") else None
        if kind == "jsonl":
            path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows), encoding="utf-8")
        elif kind == "txt":
            path.write_text("\n\n".join(row + "\n" + "long " * 900 for row in rows), encoding="utf-8")
        elif kind == "parquet":
            table.to_parquet(str(path))
        elif kind == "arrow":
            table.save_to_disk(str(path))
        sources = {"dataset": table, "streamed": table.to_iterable_dataset(), "buffered": table.to_iterable_dataset()}
        if kind == "mixed":
            other = open_corpus(["the ship " * 20, " ", "a sea"])
            yield mix([(open_corpus(rows), 2), (other, 1)], seed=3)
        elif kind == "ids":  # a text that tokenises to nothing is a row with nothing but its frame
            frame = [index for index in (model.bos_id, model.eos_id) if index is not None]
            frame = frame or [*model.policy.prefix, *model.policy.suffix]
            yield open_corpus([{"input_ids": ids or frame} for ids in model.encode(rows)])
        else:
            yield open_corpus(path if path.exists() else sources.get(kind, rows), seed=seed)


def same(a: ContextBatch, b: ContextBatch) -> bool:
    pairs = [(a.tokens.ids, b.tokens.ids), (a.tokens.mask, b.tokens.mask), (a.tokens.analysed, b.tokens.analysed)]
    return a.cursor == b.cursor and all(torch.equal(x, y) for x, y in [*pairs, (a.documents, b.documents)])


def stream(batches: Iterator[ContextBatch]) -> list[tuple[int, int]]:
    """(document, id) of every token of the text, in order."""
    found: list[tuple[int, int]] = []
    for tokens, documents, _ in batches:
        text = documents >= 0
        found += zip(documents[text].tolist(), tokens.ids[text].tolist(), strict=True)
    return found


def some(batches: int) -> list[int]:
    """Numbers of batches to go on after, from 1: each of few; of many a dozen, the first and last among them."""
    return sorted({1 + (batches - 1) * part // 11 for part in range(12)}) if batches else []


@settings(max_examples=40, deadline=None)
@given(documents=DOCUMENTS, size=st.integers(2, 40), batch=st.integers(1, 5))
def test_every_token_of_every_document_appears_once_in_order(tiny, documents, size, batch):
    expected: list[tuple[int, int]] = []
    for index, ids in enumerate(tiny.encode(documents)):
        if index:
            expected.append((index - 1, tiny.eos_id))
        expected += [(index, token) for token in ids]
    found: list[tuple[int, int]] = []
    rows = 0
    for tokens, origin, _ in contexts(tiny, open_corpus(documents), size, batch_size=batch):
        assert tokens.ids.shape == origin.shape == tokens.mask.shape == tokens.analysed.shape
        assert (tokens.ids.dtype, origin.dtype) == (torch.int64, torch.int32)
        assert (tokens.ids[:, 0] == tiny.bos_id).all()
        assert (origin[:, 0] == -1).all()
        special = (tokens.ids == tiny.eos_id) | (tokens.ids == tiny.bos_id)
        assert torch.equal(tokens.analysed, tokens.mask & ~special)
        for ids, mask, document in zip(tokens.ids, tokens.mask, origin, strict=True):
            rows += 1
            real = int(mask.sum())
            assert mask[:real].all()
            assert (document[real:] == -1).all()
            found += list(zip(document[1:real].tolist(), ids[1:real].tolist(), strict=True))
    assert found == expected
    assert rows == -(-len(expected) // (size - 1))  # only the last row may be short


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(1, 60), min_size=1, max_size=6), size=st.integers(4, 30))
def test_embedding_rows_hold_one_document_each(embedder, counts, size):
    words = ["the", "dog", "ran", "far", "away"]
    documents = [" ".join(words[number % 5] for number in range(count)) for count in counts]
    found: dict[int, list[int]] = {}
    for tokens, origin, _ in contexts(embedder, open_corpus(documents), size, batch_size=3):
        assert torch.equal(tokens.analysed, tokens.mask)
        assert tokens.ids.shape[1] <= size
        for ids, mask, document in zip(tokens.ids, tokens.mask, origin, strict=True):
            real = int(mask.sum())
            assert ids[0] == embedder.tokenizer.cls_token_id
            assert ids[real - 1] == embedder.tokenizer.sep_token_id
            assert len(set(document[:real].tolist())) == 1
            assert (document[real:] == -1).all()
            found.setdefault(int(document[0]), []).extend(ids[1 : real - 1].tolist())
    assert list(found.values()) == embedder.encode(documents)


@SLOW
@given(documents=DOCUMENTS, size=st.integers(2, 40), bos=st.sampled_from([None, False, True]))
def test_unpacked_rows_hold_one_document_each_and_no_eos(tiny, documents, size, bos):
    batches = list(contexts(tiny, open_corpus(documents), size, batch_size=3, pack=False, bos=bos))
    room = size if bos is False else size - 1
    expected = [(number, ids) for number, ids in enumerate(tiny.encode(documents))]
    assert stream(iter(batches)) == [(number, token) for number, ids in expected for token in ids]
    rows = [row[row >= 0] for batch in batches for row in batch.documents]
    assert all(len(set(row.tolist())) == 1 for row in rows)
    assert len(rows) == sum(-(-len(ids) // room) for _, ids in expected)
    for tokens, _, _ in batches:
        assert bool((tokens.ids[:, 0] == tiny.bos_id).all()) is (bos is not False)
        assert not tokens.analysed[:, 0].any()


@SLOW
@given(
    kind=st.sampled_from(KINDS),
    rows=ROWS,
    size=st.integers(3, 40),
    batch=st.integers(1, 4),
    pack=st.booleans(),
    bos=st.sampled_from([None, False]),
    world=st.integers(1, 3),
)
def test_whatever_follows_a_batch_follows_its_cursor_bit_for_bit(tiny, kind, rows, size, batch, pack, bos, world):
    with corpus_of(kind, rows, tiny) as corpus:
        for rank in range(world):
            options = {"batch_size": batch, "pack": pack, "bos": bos, "shard": (rank, world)}
            whole = list(contexts(tiny, corpus, size, **options))
            for number in some(len(whole)):
                rest = list(contexts(tiny, corpus, size, start=whole[number - 1].cursor, **options))
                assert len(rest) == len(whole) - number
                assert all(map(same, rest, whole[number:]))


@SLOW
@given(
    kind=st.sampled_from([kind for kind in KINDS if kind != "txt"]),
    counts=st.lists(st.integers(0, 60), min_size=1, max_size=6).filter(any),
    size=st.integers(4, 30),
    batch=st.integers(1, 3),
    world=st.integers(1, 2),
)
def test_an_embedding_models_rows_go_on_from_any_cursor(embedder, kind, counts, size, batch, world):
    rows = [" ".join(["the", "dog", "ran"][number % 3] for number in range(count)) for count in counts]
    with corpus_of(kind, rows, embedder) as corpus:
        for rank in range(world):
            options = {"batch_size": batch, "shard": (rank, world)}
            whole = list(contexts(embedder, corpus, size, **options))
            for number in some(len(whole)):
                rest = list(contexts(embedder, corpus, size, start=whole[number - 1].cursor, **options))
                assert len(rest) == len(whole) - number
                assert all(map(same, rest, whole[number:]))


@SLOW
@given(kind=st.sampled_from(KINDS), rows=ROWS, size=st.integers(3, 20), world=st.integers(2, 4), pack=st.booleans())
def test_ranks_share_the_documents_without_overlap(tiny, kind, rows, size, world, pack):
    def of(batches: Iterator[ContextBatch]) -> dict[int, list[int]]:
        documents: dict[int, list[int]] = {}
        for number, token in stream(batches):
            if token != tiny.eos_id:
                documents.setdefault(number, []).append(token)
        return documents

    with corpus_of(kind, rows, tiny) as corpus:
        whole = of(contexts(tiny, corpus, size, pack=pack))
        found: dict[int, list[int]] = {}
        for rank in range(world):
            part = of(contexts(tiny, corpus, size, pack=pack, shard=(rank, world)))
            assert all(number % world == rank for number in part)
            found |= part
        assert found == whole


def test_a_document_much_longer_than_the_context_goes_on_within(tiny):
    corpus = open_corpus(["the old sea " * 400, "a ship"])
    whole = list(contexts(tiny, corpus, 16, batch_size=2))
    middle = len(whole) // 2
    cursor = whole[middle].cursor
    assert cursor.document == 0
    assert cursor.offset == (middle + 1) * 2 * 15
    assert same(next(contexts(tiny, corpus, 16, batch_size=2, start=cursor)), whole[middle + 1])


def test_pretokenised_rows_give_the_batches_of_their_texts(tiny, embedder):
    texts = {"tiny": ["the old sea", "a ship", "naïve été"], "embedder": ["the dog", "ran far away"]}
    for model, documents in ((tiny, texts["tiny"]), (embedder, texts["embedder"])):
        ids = model.encode(documents)
        policy = model.policy
        end = [policy.eos_id] if policy.eos_id is not None else list(policy.suffix)
        framed = [[*policy.prefix, *row, *end, *[policy.pad_id] * 5] for row in ids]
        expected = list(contexts(model, open_corpus(documents), 8, batch_size=2))
        for rows in (ids, framed, [{"input_ids": row} for row in framed]):
            found = list(contexts(model, open_corpus(rows), 8, batch_size=2))
            assert len(found) == len(expected)
            assert all(map(same, found, expected))


def test_an_id_beyond_the_vocabulary_is_told_with_its_row(tiny, tmp_path):
    path = tmp_path / "ids.jsonl"
    rows = [[5, 6], [], [7, 4096], [8]]
    path.write_text("\n".join(json.dumps({"input_ids": row}) for row in rows), encoding="utf-8")
    with pytest.raises(CorpusError, match=r"ids\.jsonl, line 3: token id 4096 is beyond the 4,096 tokens of tiny"):
        list(contexts(tiny, open_corpus(path)))


def test_a_tokenizer_of_another_model_is_told(tiny):
    class Larger(Model):
        def encode(self, texts):
            return [[*ids, 5000] for ids in super().encode(texts)]

    other = Larger(tiny.info, tiny.tokenizer, tiny.backend, tiny.policy)
    with pytest.raises(ModelError, match="gives the id 5000 and the model has 4,096 embeddings"):
        list(contexts(other, open_corpus(["text"])))
    framed = Model(tiny.info, tiny.tokenizer, tiny.backend, replace(tiny.policy, prefix=(4096,)))
    with pytest.raises(ModelError, match="gives the id 4096"):
        contexts(framed, open_corpus(["text"]))


def test_a_padding_token_without_an_embedding_is_not_given_to_the_model(tiny):
    odd = Model(tiny.info, tiny.tokenizer, tiny.backend, replace(tiny.policy, pad_id=4096))
    batch = next(contexts(odd, open_corpus(["the old sea", "a"]), pack=False))
    assert not batch.tokens.mask.all()
    assert batch.tokens.ids.max() < 4096


def test_bos_is_put_left_out_or_required(tiny):
    corpus = open_corpus(["the old sea"])
    without = Model(tiny.info, tiny.tokenizer, tiny.backend, replace(tiny.policy, bos_id=None, prefix=()))
    ids = tiny.encode(["the old sea"])[0]
    assert next(contexts(tiny, corpus, bos=True)).tokens.ids[0].tolist() == [tiny.bos_id, *ids]
    assert next(contexts(tiny, corpus, bos=False)).tokens.ids[0].tolist() == ids
    assert next(contexts(without, corpus)).tokens.ids[0].tolist() == ids
    with pytest.raises(ModelError, match="no BOS; leave bos out"):
        contexts(without, corpus, bos=True)


def test_what_is_analysed_can_be_chosen(tiny):
    corpus = open_corpus(["the", "sea"])
    (first, second) = tiny.encode(["the", "sea"])

    def analysed(**options) -> list[int]:
        batch = next(contexts(tiny, corpus, **options))
        return batch.tokens.ids[batch.tokens.analysed].tolist()

    text = [*first, *second]
    everything = [tiny.bos_id, *first, tiny.eos_id, *second]
    assert analysed() == text
    assert analysed(exclude=()) == everything
    assert analysed(exclude=("special",)) == [tiny.bos_id, *text]
    assert analysed(exclude=("bos",)) == analysed(exclude=("first",)) == everything[1:]
    assert analysed(exclude=("bos",), bos=False) == everything[1:]
    assert analysed(exclude=("first",), bos=False) == everything[2:]
    with pytest.raises(ModelError, match=r"exclude='specials': there are no such tokens\. Did you mean special"):
        contexts(tiny, corpus, exclude=("specials",))


def test_sizes_that_cannot_be_are_refused(tiny, embedder):
    corpus = open_corpus(["some text"])
    with pytest.raises(ModelError, match="context_size=600 is more than the 512"):
        contexts(tiny, corpus, 600)
    with pytest.raises(ModelError, match="use at least 2"):
        contexts(tiny, corpus, 1)
    with pytest.raises(ModelError, match="use at least 3"):
        contexts(embedder, corpus, 2)
    with pytest.raises(ModelError, match="batch_size=0"):
        contexts(tiny, corpus, batch_size=0)


@pytest.mark.parametrize("options", [{"pack": True}, {"bos": True}, {"bos": False}, {"exclude": ("bos",)}])
def test_an_embedding_model_takes_no_options_of_language_models(embedder, options):
    with pytest.raises(ModelError, match="is an embedding model"):
        contexts(embedder, open_corpus(["the dog"]), 8, **options)


def test_an_iterator_is_neither_shared_nor_gone_on_with(tiny):
    with pytest.raises(CorpusError, match="cannot be shared among 2 ranks; give a list or a file"):
        contexts(tiny, open_corpus(iter(["a", "b"])), shard=(0, 2))
    with pytest.raises(CorpusError, match="only once and not from document 1 on"):
        next(contexts(tiny, open_corpus(iter(["a", "b"])), start=Cursor(1, 0)))
    assert len(list(contexts(tiny, open_corpus(iter(["a", "b"])), start=Cursor(0, 0)))) == 1


def test_a_cursor_of_another_corpus_or_rank_is_refused(tiny):
    corpus = open_corpus(["the old sea", "a ship"])
    with pytest.raises(CorpusError, match="has only 2 documents and was to be read from number 3 on"):
        list(contexts(tiny, corpus, start=Cursor(3, 0)))
    for beyond in (Cursor(1, 50), Cursor(2, 1)):
        with pytest.raises(CorpusError, match="this is not the corpus"):
            list(contexts(tiny, corpus, start=beyond))
    with pytest.raises(CorpusError, match="is a place of rank 1 of 2, not of rank 0"):
        list(contexts(tiny, corpus, start=Cursor(1, 1), shard=(0, 2)))
    with pytest.raises(CorpusError, match="count from 0"):
        contexts(tiny, corpus, start=Cursor(-1, 0))
    with pytest.raises(CorpusError, match="a rank from 0 to 1"):
        contexts(tiny, corpus, shard=(2, 2))


def test_exclusions_are_said(tiny, embedder):
    without = Model(tiny.info, tiny.tokenizer, tiny.backend, replace(tiny.policy, bos_id=None, prefix=()))
    assert exclusions(tiny) == "Left out: BOS at position 0, other special tokens and padding."
    assert "the first token (rows have no BOS) at position 0" in exclusions(tiny, bos=False)
    assert "the first token (the tokenizer has no BOS) at position 0" in exclusions(without)
    assert exclusions(tiny, ()) == "Left out: padding."
    assert exclusions(tiny, ("special",)) == "Left out: special tokens in the text and padding."
    assert "mean over all" in exclusions(embedder)
