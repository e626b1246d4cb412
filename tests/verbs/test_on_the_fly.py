"""A training without kept activations: the same card, nothing on disk, and a resume that is exact."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from aquin_nb import Session, sae_resume
from aquin_nb.errors import AquinError, Cancelled, CorpusError, SessionError, StoreError

SMALL = {"d_sae": 64, "k": 4, "batch_size": 64, "lr": 1e-2}


@pytest.fixture(scope="module")
def session() -> Session:
    return Session("tiny", device="cpu", dtype="float32")


def texts(count: int = 60) -> list[str]:
    return [f"The {i}th ship left the harbour at dawn, and {i * 7} gulls went with her to sea." for i in range(count)]


def test_it_trains_and_keeps_nothing(session: Session, home: Path) -> None:
    job = session.sae.train(
        3, corpus=texts(200), tokens=2000, keep_activations=False, config=SMALL | {"steps": 30, "name": "live"}
    )
    card = job.wait(120).card
    assert not (home / "activations").exists()
    assert (card.status, card.corpus.tokens, card.layer) == ("completed", 2000, 3)
    assert any("not kept" in note for note in card.notes)
    assert card.held_out is not None
    assert card.held_out.ce_clean is not None  # in the model, on documents that it never trained on
    assert [artifact.role for artifact in card.artifacts] == ["dictionary"]


def stopped(session: Session, name: str, **given: object) -> None:
    config = SMALL | {"steps": 400, "checkpoint_every": 20, "name": name}
    job = session.sae.train(3, tokens=1500, keep_activations=False, config=config, **given)
    while job.tick is None or job.tick.stage != "train" or job.tick.done < 30:
        assert job.status in ("queued", "running"), job
        time.sleep(0.005)
    job.cancel()
    with pytest.raises(Cancelled, match="resume"):
        job.wait(60)


def test_a_resume_from_a_file_opens_it_again_and_is_exact(session: Session, tmp_path: Path) -> None:
    corpus = tmp_path / "texts.jsonl"
    corpus.write_text("".join(json.dumps({"story": text}) + "\n" for text in texts()))
    stopped(session, "cut", corpus=corpus, text_key="story")
    resumed = session.sae.resume("cut").wait(120)
    config = SMALL | {"steps": 400, "checkpoint_every": 20, "name": "whole"}
    job = session.sae.train(3, corpus=corpus, text_key="story", tokens=1500, keep_activations=False, config=config)
    whole = job.wait(120)
    rows = torch.randn(50, 128)
    assert torch.equal(whole.dictionary.encode(rows), resumed.dictionary.encode(rows))
    assert torch.equal(whole.dictionary.reconstruct(rows), resumed.dictionary.reconstruct(rows))


def test_a_corpus_in_memory_is_asked_for_and_must_be_the_same(session: Session, home: Path) -> None:
    stopped(session, "memory", corpus=texts())
    with pytest.raises(SessionError, match="give the same again"):
        session.sae.resume("memory")
    with pytest.raises(StoreError, match="not the activations"):
        session.sae.resume("memory", corpus=[text.upper() for text in texts()]).wait(60)
    with pytest.raises(StoreError, match="goes on in a session"):
        sae_resume(home / "sae" / "user" / "tiny" / "memory" / "sae_layer3.pt")
    assert session.sae.resume("memory", corpus=texts()).wait(120).card.status == "completed"


@pytest.mark.parametrize(
    ("given", "kind", "problem"),
    [
        ({"corpus": iter(["One.", "Two."])}, CorpusError, "can be read only once"),
        ({"activations": torch.randn(100, 128)}, SessionError, "activations= are there already"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    session: Session, given: dict[str, object], kind: type[AquinError], problem: str
) -> None:
    with pytest.raises(kind, match=problem):
        session.sae.train(3, keep_activations=False, **given)
