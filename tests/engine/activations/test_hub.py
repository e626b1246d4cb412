"""The hub: streamed when it answers, given up within seconds when it does not, and every failure told."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from aquin_nb.engine.activations import hub
from aquin_nb.engine.activations.corpus import Corpus, open_corpus, packaged_sample
from aquin_nb.errors import CorpusError, NetworkError

ROWS = ["first text", "second text", "third text"]


def texts(corpus: Corpus) -> list[str]:
    once, again = list(corpus.documents()), list(corpus.documents())
    assert once == again
    return once


def streamed(rows: list[str] = ROWS, shards: int = 1) -> Any:
    from datasets import Dataset

    table = Dataset.from_dict({"text": rows, "id": list(range(len(rows)))})
    return table.to_iterable_dataset(num_shards=shards)


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
    import datasets

    seen = []

    def load(path, config, *, split, streaming):
        assert streaming
        seen.append((path, config, split))
        return streamed()

    monkeypatch.setattr(hub, "require", lambda name: None)
    monkeypatch.setattr(datasets, "load_dataset", load)
    corpus = open_corpus()
    assert corpus.name == "Skylion007/openwebtext"
    assert corpus.why.startswith("default; OpenWebText streamed")
    assert texts(corpus) == ROWS
    assert list(corpus.documents(start=2)) == ROWS[2:]
    assert texts(open_corpus("org/name:config", split="test")) == ROWS
    assert ("org/name", "config", "test") in seen
    with pytest.raises(CorpusError, match="org/name has no key 'body'; it has text, id"):
        open_corpus("org/name", text_key="body")


def test_a_seed_shuffles_shards_and_rows_of_the_hub(monkeypatch):
    import datasets

    rows = [f"text {number}" for number in range(200)]
    monkeypatch.setattr(hub, "require", lambda name: None)
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: streamed(rows, shards=4))
    a, same, b = (texts(open_corpus("org/name", seed=seed)) for seed in (1, 1, 2))
    assert a == same
    assert a != b
    assert a != rows
    assert sorted(a) == sorted(b) == sorted(rows)


def test_a_hub_corpus_is_known_by_its_name_split_and_first_row(monkeypatch):
    import datasets

    monkeypatch.setattr(hub, "require", lambda name: None)

    def fingerprint(name="org/name", rows=ROWS, **options) -> str:
        monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: streamed(rows))
        return open_corpus(name, **options).fingerprint()

    one = fingerprint()
    assert one == fingerprint()
    assert one == fingerprint(rows=[*ROWS, "one more"])  # what comes later is not fetched
    others = [fingerprint("org/other"), fingerprint(split="test"), fingerprint(rows=["x", *ROWS]), fingerprint(seed=1)]
    assert len({one, *others}) == 5


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
        return streamed()

    monkeypatch.setattr(hub, "require", lambda name: None)
    monkeypatch.setattr(datasets, "load_dataset", load)
    assert texts(open_corpus("org/name")) == ROWS
