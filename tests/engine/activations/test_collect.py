"""Collection: what is stored is the residual stream at its stated origin, whole or stopped half way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest
import torch

from aquin_nb.control import Control
from aquin_nb.engine.activations.collect import collect
from aquin_nb.engine.activations.contexts import contexts
from aquin_nb.engine.activations.corpus import Corpus, open_corpus, packaged_sample
from aquin_nb.engine.activations.store import Chunk, Store
from aquin_nb.errors import Cancelled, CorpusError, ModelError, NoSpace, OutOfMemory, OutputError, StoreError


@pytest.fixture(scope="module")
def sample() -> Corpus:
    """The packaged sample, shortened: its first documents."""
    return open_corpus(list(islice(packaged_sample().documents(), 6)))


def everything(store: Store) -> Chunk:
    return Chunk(*(torch.cat(parts) for parts in zip(*(store.read(n) for n in range(len(store.chunks))), strict=True)))


def test_stored_rows_are_the_residuals_at_their_origin(tiny, sample, tmp_path):
    store = collect(
        tiny, sample, 2, tokens=700, output=tmp_path / "s", context_size=32, dtype="float32", chunk_rows=300
    )
    assert (store.rows, store.complete, store.layer, store.d_in) == (700, True, 2, tiny.d_model)
    assert store.verify() == 700
    found = everything(store)
    expected = []
    for tokens, documents, _ in contexts(tiny, sample, 32, batch_size=1):
        residual = tiny.residuals(tokens, [2])[2]
        for place in tokens.analysed[0].nonzero().flatten().tolist():
            origin = int(tokens.ids[0, place]), int(documents[0, place]), place
            expected.append((residual[0, place], *origin))
        if len(expected) >= 700:
            break
    assert torch.allclose(found.x, torch.stack([row[0] for row in expected[:700]]), atol=2e-5)
    assert found.token_ids.tolist() == [row[1] for row in expected[:700]]
    assert found.documents.tolist() == [row[2] for row in expected[:700]]
    assert found.positions.tolist() == [row[3] for row in expected[:700]]
    assert not set(found.token_ids.tolist()) & {tiny.bos_id, tiny.eos_id}
    assert min(found.positions.tolist()) == 1


def test_the_manifest_says_what_it_is(tiny, sample, tmp_path):
    store = collect(tiny, sample, 4, tokens=200, output=tmp_path / "s", context_size=64)
    manifest = json.loads((tmp_path / "s/manifest.json").read_text())
    assert manifest["schema_version"] == 2
    assert manifest["kind"] == "activations"
    assert manifest["model"]["fingerprint"] == tiny.info.fingerprint
    assert manifest["model"]["tokenizer_fingerprint"] == tiny.info.tokenizer_fingerprint
    assert manifest["sites"] == [{"hook": "blocks.4.hook_resid_post", "layer": 4, "d_in": tiny.d_model}]
    assert manifest["context_size"] == 64
    assert manifest["batch_size"] == 32
    assert manifest["corpus"] == {"name": sample.name, "why": "asked for", "fingerprint": sample.fingerprint()}
    assert "BOS" in manifest["exclusions"]
    assert manifest["dtype"] == "float16"
    assert store.statistics["rows"] == 200
    assert store.statistics["outliers"] == 0
    assert store.notes == []


def test_the_same_collection_gives_the_same_bytes(tiny, sample, tmp_path):
    for name in "ab":
        collect(tiny, sample, 1, tokens=500, output=tmp_path / name, chunk_rows=200)
    for chunk in Store(tmp_path / "a").chunks:
        assert (tmp_path / "a" / chunk.file).read_bytes() == (tmp_path / "b" / chunk.file).read_bytes()


def test_several_sites_come_from_one_pass_and_lie_in_one_store(tiny, sample, tmp_path):
    hooks = ["blocks.0.hook_resid_post", "blocks.2.hook_mlp_out", "blocks.3.hook_resid_post"]
    settings = {"tokens": 300, "context_size": 16, "dtype": "float32", "batch_size": 4}
    together = collect(tiny, sample, [0, "blocks.2.hook_mlp_out", 3, 0], output=tmp_path / "s", **settings)
    assert [site.hook for site in together.sites] == hooks
    for hook in hooks:
        alone = collect(tiny, sample, hook, output=tmp_path / hook, **settings)
        assert torch.equal(everything(together.at(hook)).x, everything(alone).x)
    assert together.at(2).hook == "blocks.2.hook_mlp_out"
    assert together.at(3).statistics["rows"] == 300


def test_a_module_path_is_a_site(tiny, sample, tmp_path):
    store = collect(tiny, sample, "model.layers.3.mlp", tokens=60, output=tmp_path / "s", dtype="float32")
    same = collect(tiny, sample, "blocks.3.hook_mlp_out", tokens=60, output=tmp_path / "t", dtype="float32")
    assert torch.equal(everything(store).x, everything(same).x)


def test_embedding_models_give_one_vector_a_text(embedder, tmp_path):
    texts = ["the dog ran away .", "a cat sat on the mat", "the cat slept " * 20]
    store = collect(embedder, open_corpus(texts), 1, tokens=50, output=tmp_path / "s", context_size=32, dtype="float32")
    found = everything(store)
    assert store.unit == "text"
    assert found.documents.tolist() == [0, 1, 2, 2]  # the third is longer than 32 tokens
    assert found.positions.tolist() == [0, 0, 0, 1]
    assert found.token_ids.tolist() == [-1] * 4
    tokens = embedder.tokenize(texts[:2])
    assert torch.allclose(found.x[:2], embedder.pooled(tokens, [1])[1], atol=1e-6)
    assert store.notes == ["a list of texts gave 4 of the 50 texts asked for."]


def test_a_short_corpus_is_used_up_and_noted(tiny, tmp_path):
    store = collect(tiny, open_corpus(["a few words here", " "]), 0, tokens=1000, output=tmp_path / "s")
    assert store.complete
    assert 1 <= store.rows < 20
    assert f"gave {store.rows} of the 1,000 tokens" in store.notes[0]
    assert "1 blank document" in store.notes[1]


def test_a_corpus_below_one_batch_is_an_error_and_leaves_nothing(tiny, tmp_path):
    with pytest.raises(CorpusError, match="4,096 are needed for one batch"):
        collect(tiny, open_corpus(["a few words"]), 0, tokens=5000, minimum=4096, output=tmp_path / "s")
    assert not (tmp_path / "s").exists()
    with pytest.raises(CorpusError, match="no token to analyse"):
        collect(tiny, open_corpus(["<|eos|>"]), 0, tokens=10, output=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_progress_counts_tokens_and_cancelling_keeps_what_was_collected(tiny, sample, tmp_path):
    seen = []
    control = Control(lambda tick: (seen.append(tick), control.cancel() if tick.done > 300 else None))
    with pytest.raises(Cancelled):
        collect(tiny, sample, 1, tokens=2000, output=tmp_path / "s", context_size=64, batch_size=1, control=control)
    assert {(tick.stage, tick.total, tick.unit) for tick in seen} == {("collect", 2000, "tokens")}
    done = [tick.done for tick in seen]
    assert done == sorted(done)
    assert done[0] == 0
    store = Store(tmp_path / "s")
    assert (store.rows, store.complete) == (done[-1], False)
    assert store.verify() == done[-1]


def test_values_that_are_not_finite_name_site_and_document(tiny, sample, tmp_path, monkeypatch):
    real = type(tiny).activations

    def broken(self, tokens, sites):
        out = real(self, tokens, sites)
        out["blocks.2.hook_resid_post"][-1, -1, 5] = float("nan")
        return out

    monkeypatch.setattr(type(tiny), "activations", broken)
    with pytest.raises(StoreError, match=r"NaN or infinity at blocks.2.hook_resid_post in row \d"):
        collect(tiny, sample, 2, tokens=100, output=tmp_path / "s", context_size=32)


def test_auto_takes_bfloat16_where_float16_is_too_small(tiny, sample, tmp_path, monkeypatch):
    real = type(tiny).activations
    monkeypatch.setattr(type(tiny), "activations", lambda *args: {n: x * 1e5 for n, x in real(*args).items()})
    assert collect(tiny, sample, 2, tokens=50, output=tmp_path / "auto").dtype == torch.bfloat16
    with pytest.raises(StoreError, match=r"does not fit float16, .* Load the model with dtype='bfloat16'"):
        collect(tiny, sample, 2, tokens=50, output=tmp_path / "half", dtype="float16")
    assert Store(tmp_path / "half").rows == 0


def test_a_kill_loses_a_twentieth(tiny, sample, tmp_path, monkeypatch):
    from aquin_nb.engine.activations import collect as module

    monkeypatch.setattr(module, "CHUNKS", 3)
    store = collect(tiny, sample, 1, tokens=3300, output=tmp_path / "a", context_size=64)
    assert [chunk.rows for chunk in store.chunks] == [1100, 1100, 1100]
    store = collect(tiny, sample, 1, tokens=2100, output=tmp_path / "b", context_size=64)
    assert [chunk.rows for chunk in store.chunks] == [1000, 1000, 100]


def test_out_of_memory_goes_through_and_keeps_what_was_collected(tiny, sample, tmp_path, monkeypatch):
    real, calls = type(tiny).activations, []

    def limited(self, tokens, sites):
        calls.append(1)
        if len(calls) == 3:
            raise OutOfMemory("try batch_size=1")
        return real(self, tokens, sites)

    monkeypatch.setattr(type(tiny), "activations", limited)
    with pytest.raises(OutOfMemory, match="batch_size=1"):
        collect(tiny, sample, 2, tokens=1000, output=tmp_path / "s", context_size=32, batch_size=2)
    store = Store(tmp_path / "s")
    assert not store.complete
    assert 100 < store.rows <= 124


def test_bad_requests_are_refused_before_anything_is_written(tiny, sample, tmp_path):
    output = tmp_path / "s"
    with pytest.raises(ModelError, match="layer"):
        collect(tiny, sample, 99, tokens=10, output=output)
    with pytest.raises(CorpusError, match="tokens=0"):
        collect(tiny, sample, 0, tokens=0, output=output)
    with pytest.raises(StoreError, match="dtype='int8'"):
        collect(tiny, sample, 0, tokens=10, output=output, dtype="int8")
    with pytest.raises(ModelError, match="context_size=9999"):
        collect(tiny, sample, 0, tokens=10, output=output, context_size=9999)
    with pytest.raises(NoSpace, match="needs about"):
        collect(tiny, sample, 0, tokens=10**15, output=output)
    assert not output.exists()
    output.mkdir()
    (output / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="already holds other files"):
        collect(tiny, sample, 0, tokens=10, output=output)
    assert [path.name for path in output.iterdir()] == ["mine.txt"]


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file of a store; the moment at which a collection began is no part of it."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    manifest = json.loads(found.pop("manifest.json"))
    del manifest["created_at"]
    return found | {"manifest": json.dumps(manifest, sort_keys=True).encode()}


def stopping_at(rows: int) -> Control:
    control = Control(lambda tick: control.cancel() if tick.done >= rows else None)
    return control


SETTINGS = {"tokens": 1500, "context_size": 32, "batch_size": 3, "chunk_rows": 170}


@pytest.mark.parametrize("pack", [True, False])
def test_a_collection_goes_on_from_wherever_it_stopped(tiny, sample, tmp_path, pack):
    whole = collect(tiny, sample, [1, 4], output=tmp_path / "whole", pack=pack, **SETTINGS)
    for number, stop in enumerate((1, 169, 170, 171, 600, 1490)):
        control = stopping_at(stop)
        folder = tmp_path / str(number)
        with pytest.raises(Cancelled):
            collect(tiny, sample, [1, 4], output=folder, pack=pack, control=control, resume=True, **SETTINGS)
        assert not Store(folder).complete
        went_on = collect(tiny, sample, [1, 4], output=folder, pack=pack, resume=True, **SETTINGS)
        assert went_on.complete
        assert bytes_of(folder) == bytes_of(whole.path)


def test_a_complete_store_grows_to_what_a_longer_collection_gives(tiny, sample, tmp_path):
    longer = collect(tiny, sample, 1, output=tmp_path / "longer", **SETTINGS)
    collect(tiny, sample, 1, output=tmp_path / "s", **SETTINGS | {"tokens": 500})
    grown = collect(tiny, sample, 1, output=tmp_path / "s", resume=True, **SETTINGS)
    assert bytes_of(grown.path) == bytes_of(longer.path)


def test_ranks_with_uneven_shares_have_chunks_of_one_size(tiny, sample, tmp_path, monkeypatch):
    from aquin_nb.engine.activations import collect as module

    monkeypatch.setattr(module, "CHUNKS", 1)
    for rank in range(2):
        store = collect(tiny, sample, 0, tokens=2003, output=tmp_path / "s", context_size=64, part=(rank, 2))
    assert [chunk.rows for chunk in store.chunks] == [1001, 1, 1001]


@pytest.mark.parametrize("kept", [690, 601, 310])
def test_a_trimmed_store_is_collected_to_its_end_again(tiny, sample, tmp_path, kept):
    """Cut in the middle of a chunk, several forward batches after the last place that is known."""
    settings = {"tokens": 700, "context_size": 32, "batch_size": 2, "chunk_rows": 300}
    whole, store = (collect(tiny, sample, [1, 2], output=tmp_path / name, **settings) for name in "ab")
    store.trim(kept)
    again = collect(tiny, sample, [1, 2], output=tmp_path / "b", resume=True, **settings)
    assert again.chunks == whole.chunks
    assert again.verify() == 700


def test_what_is_resumed_must_be_the_same_collection(tiny, sample, tmp_path):
    collect(tiny, sample, 1, output=tmp_path / "s", **SETTINGS | {"tokens": 400})
    before = bytes_of(tmp_path / "s")
    again = {"output": tmp_path / "s", "resume": True}
    with pytest.raises(StoreError, match=r"other settings: .*sites"):
        collect(tiny, sample, 2, **again, **SETTINGS)
    with pytest.raises(StoreError, match=r"other settings: .*corpus"):
        collect(tiny, packaged_sample(), 1, **again, **SETTINGS)
    with pytest.raises(StoreError, match="other settings: context_size"):
        collect(tiny, sample, 1, **again, **SETTINGS | {"context_size": 33})
    with pytest.raises(StoreError, match="400 rows already"):
        collect(tiny, sample, 1, **again, **SETTINGS | {"tokens": 300})
    with pytest.raises(OutputError, match="earlier result"):
        collect(tiny, sample, 1, output=tmp_path / "s", **SETTINGS)
    assert bytes_of(tmp_path / "s") == before


def test_ranks_share_the_documents_and_the_last_makes_one_store(tiny, sample, tmp_path):
    folder, world, settings = tmp_path / "s", 3, {"context_size": 32, "dtype": "float32"}
    for rank in (2, 0, 1):
        store = collect(tiny, sample, 2, tokens=700, output=folder, part=(rank, world), **settings)
        assert store.complete == (rank == 1)
    assert sorted(path.name for path in folder.iterdir()) == ["chunks", "manifest.json"]
    found = everything(store)
    assert store.rows == 700
    assert store.verify() == 700
    places = list(zip(found.documents.tolist(), found.positions.tolist(), found.token_ids.tolist(), strict=True))
    documents = [document for document, _, _ in places]
    assert set(documents[:234]) <= {0, 3}
    assert set(documents[234:467]) <= {1, 4}
    assert set(documents[467:]) <= {2, 5}


def test_a_measured_batch_is_kept_for_the_resumed_run(tiny, sample, tmp_path, monkeypatch):
    from aquin_nb.engine.activations import batching

    monkeypatch.setattr(batching, "WORTHWHILE", 0)
    times = {8: 3.0, 16: 2.0, 32: 1.99, 64: 1.0}
    monkeypatch.setattr(batching, "_seconds_a_token", lambda model, sites, rows, size: times[rows])
    collect(tiny, sample, 1, tokens=300, output=tmp_path / "s")
    assert Store(tmp_path / "s").manifest["batch_size"] == 64
    monkeypatch.setattr(batching, "WORTHWHILE", 10**9)
    grown = collect(tiny, sample, 1, tokens=600, output=tmp_path / "s", resume=True)
    assert (grown.rows, grown.manifest["batch_size"]) == (600, 64)


def test_an_iterator_can_be_collected_once_and_not_gone_on_with(tiny, sample, tmp_path):
    collect(tiny, open_corpus(iter(list(sample.documents()))), 1, output=tmp_path / "s", **SETTINGS | {"tokens": 1490})
    again = open_corpus(iter(list(sample.documents())))
    with pytest.raises(CorpusError, match="only once"):
        collect(tiny, again, 1, output=tmp_path / "s", resume=True, **SETTINGS | {"tokens": 3000})


KILLED = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from aquin_nb.engine.activations.collect import collect
from aquin_nb.engine.activations.corpus import packaged_sample
from aquin_nb.engine.models import load_model
model = load_model("tiny", device="cpu", dtype="float32", backend="huggingface")
collect(model, packaged_sample(), 0, tokens=250_000, output=Path({folder!r}), chunk_rows=500)
"""


def test_sigkill_while_collecting_leaves_the_first_rows_of_an_uninterrupted_run(tiny, tmp_path):
    folder = tmp_path / "killed"
    code = KILLED.format(root=str(Path(__file__).parents[3]), folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 120
        while not (folder / "chunks/chunk_000003.safetensors").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    killed = Store(folder)
    assert not killed.complete
    assert killed.verify() >= 1500
    whole = collect(tiny, packaged_sample(), 0, tokens=1500, output=tmp_path / "whole", chunk_rows=500)
    for n in range(3):
        for a, b in zip(killed.read(n), whole.read(n), strict=True):
            assert torch.equal(a, b)
