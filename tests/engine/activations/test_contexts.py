"""Packing: every token exactly once and in order, EOS between documents, BOS first and never analysed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aquin_nb.engine.activations.contexts import contexts, exclusions
from aquin_nb.engine.activations.corpus import open_corpus
from aquin_nb.errors import ModelError

VOCABULARY = ["the", "old", "sea", "and", "a", "ship,", "42", "été", "naïve\nline"]
WORDS = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=60)
DOCUMENTS = st.lists(WORDS.map(" ".join), min_size=1, max_size=8)


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
    for tokens, origin in contexts(tiny, open_corpus(documents), size, batch_size=batch):
        assert tokens.ids.shape == origin.shape == tokens.mask.shape == tokens.analysed.shape
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
    for tokens, origin in contexts(embedder, open_corpus(documents), size, batch_size=3):
        assert torch.equal(tokens.analysed, tokens.mask)
        assert tokens.ids.shape[1] <= size
        for ids, mask, document in zip(tokens.ids, tokens.mask, origin, strict=True):
            real = int(mask.sum())
            assert ids[0] == embedder.tokenizer.cls_token_id
            assert ids[real - 1] == embedder.tokenizer.sep_token_id
            assert len(set(document[:real].tolist())) == 1
            found.setdefault(int(document[0]), []).extend(ids[1 : real - 1].tolist())
    assert list(found.values()) == embedder.encode(documents)


def test_sizes_that_cannot_be_are_refused(tiny, embedder):
    corpus = open_corpus(["some text"])
    with pytest.raises(ModelError, match="context_size=600 is more than the 512"):
        next(contexts(tiny, corpus, 600))
    with pytest.raises(ModelError, match="use at least 2"):
        next(contexts(tiny, corpus, 1))
    with pytest.raises(ModelError, match="use at least 3"):
        next(contexts(embedder, corpus, 2))
    with pytest.raises(ModelError, match="batch_size=0"):
        next(contexts(tiny, corpus, batch_size=0))


def test_exclusions_are_said(tiny, embedder):
    assert "BOS at position 0" in exclusions(tiny)
    assert "mean over all" in exclusions(embedder)
