"""Fidelity: an identity loses nothing, zeros everything, a trained dictionary lies between; rows nobody trained on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from aquin_nb.control import Control, Tick
from aquin_nb.engine.activations.collect import collect
from aquin_nb.engine.activations.corpus import open_corpus
from aquin_nb.engine.activations.manifest import SiteInfo
from aquin_nb.engine.activations.store import Store
from aquin_nb.engine.activations.stream import ShuffledStream
from aquin_nb.engine.activations.writer import StoreWriter
from aquin_nb.engine.analysis.fidelity import Fidelity, fidelity, held_out_rows
from aquin_nb.engine.models import Model, load_model
from aquin_nb.engine.sae import SaeConfig, SparseAutoencoder
from aquin_nb.errors import Cancelled, CorpusError, DictionaryError, ModelError, StoreError

LAYER = 3
TEXTS = [
    "In the beginning God created the heaven and the earth. And the earth was without form, and void.",
    "A dog is a kind of animal that people keep.",
    "x",
    "",
]


class Rebuilt:
    """A dictionary by its one method."""

    def __init__(self, fn: Any) -> None:
        self.fn, self.seen = fn, list[Tensor]()

    def reconstruct(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return self.fn(x)


SAME, ZERO = Rebuilt(lambda x: x), Rebuilt(torch.zeros_like)


@pytest.fixture(scope="module")
def plain() -> Model:
    return load_model("tiny", device="cpu", dtype="float32", backend="huggingface")


@pytest.fixture(scope="module")
def documents() -> list[str]:
    """The bundled sample in documents of about 200 tokens."""
    return [text[at : at + 700] for text in open_corpus().documents() for at in range(0, len(text), 700)]


@pytest.fixture(scope="module")
def store(plain: Model, documents: list[str], tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("stores") / "tiny"
    return collect(plain, open_corpus(documents), LAYER, tokens=12_000, output=folder, dtype="float32", chunk_rows=1000)


def test_an_identity_costs_nothing(plain: Model) -> None:
    result = fidelity(plain, SAME, LAYER, TEXTS)
    assert result.kl == 0
    assert result.ce_spliced == result.ce_clean
    assert result.ce_recovered == 1
    assert result.ce_zero > result.ce_clean + 1


def test_zeros_recover_nothing(plain: Model) -> None:
    result = fidelity(plain, ZERO, LAYER, TEXTS)
    assert result.ce_recovered == 0
    assert result.ce_spliced == result.ce_zero
    assert result.kl > 1


def test_figures_are_those_of_a_manual_hook(plain: Model) -> None:
    """Every figure, from the Hugging Face model alone: float64, one row at a time, no padding."""
    sae = SparseAutoencoder.random(SaeConfig("topk", d_in=128, d_sae=256, d_out=128, k=8))
    hf: Any = plain.backend.model  # type: ignore[attr-defined]
    assert plain.bos_id == 0

    def logits(ids: list[int], fn: Any) -> Tensor:
        def hook(module: Any, inputs: Any, output: Any) -> Any:
            out = output.clone()
            out[0, 1:] = fn(output[0, 1:])  # no text here holds a special token: all but BOS
            return out

        handle = hf.model.layers[LAYER].register_forward_hook(hook)
        with torch.no_grad():
            out = hf(torch.tensor([ids])).logits[0, 1:-1].double().log_softmax(-1)
        handle.remove()
        return out

    totals, count = torch.zeros(4, dtype=torch.float64), 0
    for text in TEXTS[:2]:
        ids = [0, *plain.encode([text])[0]]
        runs = [logits(ids, fn) for fn in (lambda x: x, sae.reconstruct, torch.zeros_like)]
        totals += torch.stack(
            [-log_p.gather(1, torch.tensor(ids[2:])[:, None]).sum() for log_p in runs]
            + [(runs[0].exp() * (runs[0] - runs[1])).sum()]
        )
        count += len(ids) - 2
    clean, spliced, zero, kl = (totals / count).tolist()
    got = fidelity(plain, sae, LAYER, TEXTS)
    assert got.tokens == count
    assert (got.ce_clean, got.ce_spliced, got.ce_zero, got.kl) == pytest.approx((clean, spliced, zero, kl), rel=1e-5)
    assert got.ce_recovered == pytest.approx(1 - (spliced - clean) / (zero - clean), rel=1e-4)


def test_backends_agree(plain: Model) -> None:
    sae = SparseAutoencoder.random(SaeConfig("topk", d_in=128, d_sae=256, d_out=128, k=8))
    lens = load_model("tiny", device="cpu", dtype="float32", backend="transformer-lens")
    assert fidelity(lens, sae, LAYER, TEXTS) == fidelity(plain, sae, LAYER, TEXTS)


def test_only_what_training_sees_is_spliced(plain: Model) -> None:
    """BOS, position 0, other special tokens and padding never reach the dictionary."""
    assert plain.bos_id is not None
    assert plain.eos_id is not None
    rows = [[plain.bos_id, 5, 6, plain.eos_id, 7, 8, 9], [plain.bos_id, 10, 11]]
    sae = Rebuilt(lambda x: x)
    result = fidelity(plain, sae, LAYER, rows)
    tokens = plain.batch(rows)
    torch.testing.assert_close(sae.seen[0], plain.residuals(tokens, [LAYER])[LAYER][tokens.analysed])
    assert len(sae.seen[0]) == 7
    assert result.tokens == 4  # 5→6, 7→8, 8→9 and 10→11; EOS is neither a place to predict from nor a target


def test_batches_do_not_change_the_figures(plain: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    sae = SparseAutoencoder.random(SaeConfig("relu", d_in=128, d_sae=256, d_out=128))
    together, alone = fidelity(plain, sae, LAYER, TEXTS), fidelity(plain, sae, LAYER, TEXTS, batch_size=1)
    monkeypatch.setattr("aquin_nb.engine.analysis.fidelity.POSITIONS_AT_ONCE", 3)
    pieces = fidelity(plain, sae, LAYER, TEXTS)
    for other in (alone, pieces):
        assert other.tokens == together.tokens
        for name in ("ce_clean", "ce_spliced", "ce_zero", "kl"):
            assert getattr(other, name) == pytest.approx(getattr(together, name), rel=1e-5)


def test_a_bfloat16_model_gives_near_figures(plain: Model) -> None:
    sae = SparseAutoencoder.random(SaeConfig("topk", d_in=128, d_sae=256, d_out=128, k=8))
    half = load_model("tiny", device="cpu", dtype="bfloat16", backend="huggingface")
    assert fidelity(half, SAME, LAYER, TEXTS).ce_recovered == 1
    ours, theirs = fidelity(half, sae, LAYER, TEXTS), fidelity(plain, sae, LAYER, TEXTS)
    assert ours.ce_clean == pytest.approx(theirs.ce_clean, rel=0.02)
    assert ours.kl == pytest.approx(theirs.kl, rel=0.1)


def test_equal_floors_leave_nothing_to_recover() -> None:
    assert math.isnan(Fidelity(tokens=1, ce_clean=2.0, ce_spliced=2.0, ce_zero=2.0, kl=0.0).ce_recovered)
    assert Fidelity(tokens=1, ce_clean=2.0, ce_spliced=3.0, ce_zero=6.0, kl=0.1).ce_recovered == 0.75


def test_max_tokens_is_kept(plain: Model) -> None:
    rows = [[0, *range(10, 30)]] * 4  # 21 tokens each, 19 scored
    assert fidelity(plain, SAME, LAYER, rows, max_tokens=42).tokens == 38
    assert fidelity(plain, SAME, LAYER, rows, max_tokens=45).tokens == 39  # of the third row BOS and three tokens
    assert fidelity(plain, SAME, LAYER, rows, max_tokens=None).tokens == 76


def test_progress_and_cancelling(plain: Model) -> None:
    ticks: list[Tick] = []
    fidelity(plain, SAME, LAYER, TEXTS, batch_size=1, control=Control(ticks.append))
    assert [(tick.stage, tick.done, tick.total) for tick in ticks] == [("evaluate", n, 4) for n in range(5)]
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        fidelity(plain, SAME, LAYER, TEXTS, control=control)


def trained(start: SparseAutoencoder, stream: ShuffledStream) -> SparseAutoencoder:
    """300 steps of Adam on squared error and L1."""
    weights = [tensor.clone().requires_grad_() for tensor in (start.W_enc, start.W_dec, start.b_enc, start.b_dec)]
    sae, adam = SparseAutoencoder(start.cfg, *weights), torch.optim.Adam(weights, lr=3e-3)
    for x, _ in zip(stream, range(300), strict=False):
        f = sae.encode(x)
        loss = (sae.decode(f) - x).square().sum(1).mean() + 0.1 * f.sum(1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return SparseAutoencoder(start.cfg, *(tensor.detach() for tensor in weights))


def test_a_trained_dictionary_lies_in_between(plain: Model, store: Store) -> None:
    stream = ShuffledStream(store, 256)
    random = SparseAutoencoder.random(SaeConfig("relu", d_in=128, d_sae=512, d_out=128))
    learned = trained(random, stream)
    rows = held_out_rows(plain, store, stream)
    before, ours = (fidelity(plain, sae, LAYER, rows) for sae in (random, learned))
    print(f"tiny layer {LAYER}, 300 steps: {ours}; untrained: {before}")
    assert before.ce_recovered < ours.ce_recovered < 1
    assert ours.ce_recovered > 0.8
    assert 0 < ours.kl < before.kl
    assert ours.ce_clean < ours.ce_spliced < ours.ce_zero


def test_held_out_rows_hold_exactly_what_training_does_not_see(
    plain: Model, store: Store, documents: list[str]
) -> None:
    """The documents are those of the stream, word for word; the rows are packed as a corpus is."""
    stream = ShuffledStream(store, 64)
    rows = held_out_rows(plain, store, stream, max_tokens=10**6)
    assert all(row[0] == plain.bos_id and len(row) == 128 for row in rows[:-1])
    assert len(rows[-1]) <= 128
    joined = [index for row in rows for index in row[1:]]
    held = {x.numpy().tobytes() for x in stream.held_out()}
    chunks = [store.read(chunk) for chunk in range(len(store.chunks))]
    stored = [(int(d), x.numpy().tobytes()) for chunk in chunks for d, x in zip(chunk.documents, chunk.x, strict=True)]
    expected: list[int] = []
    for document, ids in enumerate(plain.encode(documents)):
        of_it = [x in held for number, x in stored if number == document]
        if of_it and all(of_it):
            expected += ([plain.eos_id] if expected else []) + ids[: len(of_it)]  # type: ignore[list-item]
    assert joined == expected
    assert joined.count(plain.eos_id) >= 2  # type: ignore[arg-type]
    assert len(joined) - joined.count(plain.eos_id) == stream.held_out_rows  # type: ignore[arg-type]


def test_rows_are_taken_from_everywhere(plain: Model, store: Store) -> None:
    stream = ShuffledStream(store, 64, held_out=0.5)
    every = held_out_rows(plain, store, stream, max_tokens=10**6)
    some = held_out_rows(plain, store, stream, max_tokens=4 * 128)
    assert len(some) == 4
    places = [every.index(row) for row in some]
    assert places[0] == 0
    assert places[-1] == len(every) - 1
    assert places == sorted(places)


def test_blocks_and_nothing_held_out(plain: Model, tmp_path: Path, store: Store) -> None:
    """Few documents are held out in blocks of rows: each block is a text of its own."""
    text = " ".join(open_corpus().documents())[:30_000]
    few = collect(plain, open_corpus([text] * 3), LAYER, tokens=5000, output=tmp_path / "few", dtype="float32")
    stream = ShuffledStream(few, 64)
    assert "blocks" in stream.notes[0]
    joined = [index for row in held_out_rows(plain, few, stream) for index in row[1:]]
    assert len(joined) - joined.count(plain.eos_id) == stream.held_out_rows  # type: ignore[arg-type]
    assert held_out_rows(plain, store, ShuffledStream(store, 64, held_out=0)) == []


def test_what_a_store_does_not_keep_breaks_a_text(
    plain: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A special token inside a text; and, without BOS, the first token of each context."""
    about = {name: {} for name in ("corpus", "model")} | {"exclusions": ""}
    about |= {
        "unit": "token",
        "context_size": 6,
        "model": {"tokenizer_fingerprint": plain.info.tokenizer_fingerprint},
    }
    site = SiteInfo("h", LAYER, 1)
    with StoreWriter(tmp_path / "s", [site], dtype="float32", about=about) as writer:
        positions = torch.tensor([1, 2, 4, 5, 1, 2])  # nothing at 3
        writer.add({site.hook: torch.ones(6, 1)}, torch.tensor([11, 12, 14, 15, 16, 17]), torch.zeros(6), positions)
        store = writer.close()
    eos = plain.eos_id
    stream = ShuffledStream(store, 1, held_out=0.99)
    monkeypatch.setattr(stream, "is_held_out", lambda start, stop: torch.ones(stop - start, dtype=torch.bool).numpy())
    assert held_out_rows(plain, store, stream) == [[0, 11, 12, eos, 14, 15], [0, 16, 17]]
    monkeypatch.setattr(plain.policy.__class__, "frame", 0)
    monkeypatch.setattr(plain, "framed", list)
    assert held_out_rows(plain, store, stream) == [[11, 12, eos, 14, 15, eos], [16, 17]]


def test_errors_say_what_to_do(plain: Model, store: Store, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="layers 0 to 5"):
        fidelity(plain, SAME, 6, TEXTS)
    with pytest.raises(CorpusError, match="longer texts"):
        fidelity(plain, SAME, LAYER, ["", "x"])
    with pytest.raises(CorpusError, match=r"Write \[text\]"):
        fidelity(plain, SAME, LAYER, "one text")
    with pytest.raises(CorpusError, match="max_tokens=0"):
        fidelity(plain, SAME, LAYER, TEXTS, max_tokens=0)
    with pytest.raises(DictionaryError, match="d_in 64"):
        fidelity(plain, SparseAutoencoder.random(SaeConfig("relu", d_in=64, d_sae=8, d_out=64)), LAYER, TEXTS)
    with pytest.raises(DictionaryError, match=r"into \[\d+, 64\]"):
        fidelity(plain, Rebuilt(lambda x: x[:, :64]), LAYER, TEXTS)
    with pytest.raises(ModelError, match="context"):
        fidelity(plain, SAME, LAYER, [[5] * (plain.context + 1)])
    other = Store(store.path)
    other.model = {**other.model, "name": "gpt2", "tokenizer_fingerprint": "other"}
    with pytest.raises(StoreError, match="collected with gpt2"):
        held_out_rows(plain, other, ShuffledStream(store, 64))
    other.unit = "text"
    with pytest.raises(StoreError, match="no next token"):
        held_out_rows(plain, other, ShuffledStream(store, 64))
