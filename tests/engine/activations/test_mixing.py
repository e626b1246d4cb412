"""Mixtures: every document once, each corpus with its share of the text at any point, the same way every time."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquin_nb.engine.activations.corpus import open_corpus
from aquin_nb.engine.activations.mixing import mix
from aquin_nb.errors import CorpusError

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(a=LENGTHS, b=LENGTHS, c=LENGTHS, weights=st.tuples(*[st.floats(0.1, 10)] * 3), seed=st.integers(0, 5))
def test_shares_hold_at_any_point_to_within_a_document(a, b, c, weights, seed):
    letters = {"a": a, "b": b, "c": c}
    corpora = [open_corpus([letter * length for length in lengths]) for letter, lengths in letters.items()]
    corpus = mix(list(zip(corpora, weights, strict=True)), seed=seed)
    documents = list(corpus.documents())
    assert list(corpus.documents()) == documents
    for letter, lengths in letters.items():
        assert [len(document) for document in documents if document[0] == letter] == lengths
    given_by = {letter: list(accumulate(len(d) * (d[0] == letter) for d in documents)) for letter in letters}
    going = next(at for at in range(len(documents)) if any(given_by[x][at] == sum(letters[x]) for x in letters))
    for at in range(going):  # until a corpus has ended
        behind = [given_by[letter][at] / weight for letter, weight in zip(letters, weights, strict=True)]
        assert max(behind) - min(behind) <= 50 / min(weights) + 1e-9


def test_a_mixture_counts_blank_rows_and_names_its_parts_and_places(tmp_path):
    path = tmp_path / "code.txt"
    path.write_text("x = 1")
    corpus = mix([(open_corpus(["prose", " "]), 3), (open_corpus(path), 1)])
    assert sorted(corpus.documents()) == ["prose", "x = 1"]
    assert corpus.blank == 1
    assert corpus.name == f"75.0% a list of texts + 25.0% {path}"
    assert {corpus.place(0), corpus.place(1)} == {"row 1", f"{path}, line 1"}


def test_a_mixture_of_ids_is_one_of_ids():
    corpus = mix([(open_corpus([[1, 2], [3]]), 1), (open_corpus([[4, 5, 6]]), 1)])
    assert corpus.pretokenised
    assert sorted(row.tolist() for row in corpus.documents()) == [[1, 2], [3], [4, 5, 6]]
    with pytest.raises(CorpusError, match="Texts and token ids cannot be mixed"):
        mix([(open_corpus([[1, 2]]), 1), (open_corpus(["a"]), 1)])


def test_a_mixture_is_known_by_its_parts_weights_and_seed():
    def fingerprint(first=("a", "b"), weight=1.0, seed=0, order=None) -> str:
        corpus = mix([(open_corpus(list(first)), weight), (open_corpus(["c"]), 1)], seed=seed)
        return open_corpus(corpus, seed=order).fingerprint()

    assert fingerprint() == fingerprint()
    assert (
        len({fingerprint(), fingerprint("ax"), fingerprint(weight=2.0), fingerprint(seed=1), fingerprint(order=1)}) == 5
    )


def test_a_mixture_with_an_iterator_can_be_read_once():
    corpus = mix([(open_corpus(iter(["a"])), 1), (open_corpus(["b"]), 1)])
    assert corpus.once
    assert sorted(corpus.documents()) == ["a", "b"]
    with pytest.raises(CorpusError, match="only once"):
        corpus.documents(1)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "at least one"),
        ([(["a"], 1)], r"takes pairs \(corpus, weight\)"),
        (["ab"], "takes pairs"),
        ([(open_corpus(["a"]), 0)], "has the weight 0; a weight is a positive number"),
        ([(open_corpus(["a"]), float("inf"))], "the weight inf"),
        ([(open_corpus(["a"]), "1")], "the weight '1'"),
    ],
)
def test_parts_that_cannot_be_mixed_are_told(parts, message):
    with pytest.raises(CorpusError, match=message):
        mix(parts)


def test_a_mixtures_seed_is_checked():
    with pytest.raises(CorpusError, match="seed=None must be"):
        mix([(open_corpus(["a"]), 1)], seed=None)
