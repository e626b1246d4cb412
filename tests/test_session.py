"""A session on the bundled model: every verb for real, and every refusal in words."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

import aquin_nb
from aquin_nb import errors
from aquin_nb.engine.models import finetune
from aquin_nb.records import HISTORY_DTYPES
from aquin_nb.results import open_training

QUICK = {"tokens": 4000, "steps": 60, "d_sae": 256, "k": 8, "batch_size": 256}
TEXTS = ["In the beginning God created the heavens and the earth."] * 90


@pytest.fixture(scope="module")
def session() -> aquin_nb.Session:
    return aquin_nb.Session("tiny", dtype="float32")


@pytest.fixture(scope="module")
def trained(session: aquin_nb.Session, tmp_path_factory: pytest.TempPathFactory) -> aquin_nb.SaeTrain:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AQUIN_HOME", str(tmp_path_factory.mktemp("trained")))
        job = session.sae.train(3, name="first", **QUICK)
        assert job.status in ("queued", "running")
        return job.wait(300)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finetune("tiny", TEXTS, tmp_path_factory.mktemp("ckpt") / "c.pt", steps=4, layers=[2, 3]).path


def test_training_writes_the_contract(trained: aquin_nb.SaeTrain) -> None:
    assert trained.path.parts[-4:] == ("user", "tiny", "first", "sae_layer3.pt")
    assert list(trained.history.columns) == list(HISTORY_DTYPES)
    assert trained.history["fvu"].iloc[-1] < trained.history["fvu"].iloc[0]
    assert trained.verdict in ("usable", "weak", "smoke test only")
    assert trained.reasons
    assert trained.dictionary.W_enc.shape == (128, 256)
    card = trained.card
    assert card.status == "completed"
    assert card.config is not None
    assert card.config.k == 8
    assert card.corpus is not None
    assert card.corpus.tokens == 4000
    assert "sample" in card.corpus.why
    assert any("BOS at position 0" in note for note in card.notes)
    again = open_training(trained.path)
    pd.testing.assert_frame_equal(again.history, trained.history)
    assert again.card == card


def test_train_again_on_the_stored_activations(session: aquin_nb.Session, trained: aquin_nb.SaeTrain) -> None:
    (store,) = [a.path for a in trained.card.artifacts if a.role == "activations"]
    quick = {k: v for k, v in QUICK.items() if k != "tokens"}
    second = session.sae.train(activations=store, seed=1, name="second", **quick).wait(300)
    assert second.card.layer == 3
    alignment = session.sae.align(trained, second)
    assert len(alignment.frame) == len(alignment.frames["pairs"]) == 256
    assert 0 < alignment.mean_cosine < 1
    assert alignment.objective == pytest.approx(alignment.frame["cosine"].sum())
    assert alignment.gap == 0
    assert len(pd.read_csv(alignment.path / "pairs.csv")) == 256
    with pytest.raises(errors.StoreError, match="holds no site of layer 2"):
        session.sae.train(2, activations=store)


def test_capture_bind_inspect(session: aquin_nb.Session, trained: aquin_nb.SaeTrain, home: Path) -> None:
    session.load_sae(path=trained.path)
    rows = [
        {"text": "The cat sat.", "label": 1},
        {"instruction": "Say hi.", "response": "Hi!", "split": "test"},
        "Plain.",
    ]
    capture = session.capture_activations(rows, encode_sae=True, name="mine")
    assert capture.path == home / "captures" / "mine"
    assert list(capture.layers) == list(range(6))
    assert capture.layers[2].shape == (3, 128)
    assert capture.frame["label"].tolist()[0] == 1
    assert capture.frame["split"].tolist()[1] == "test"
    assert capture.features is not None
    assert capture.features.shape == (3, 256)
    again = aquin_nb.open_capture(capture.path)
    assert torch.equal(again.layers[2], capture.layers[2])
    assert again.card == capture.card
    inspection = session.inspect("In the beginning God created the heavens.", top=3)
    assert inspection.frame.groupby("position").size().max() <= 3
    assert inspection.frame["position"].min() == 1, "position 0 is BOS and is left out"
    assert "<table" in inspection.html(live=False)
    smoke = session.sae.train(3, activations=capture.path, steps=20, d_sae=64, name="probes").wait(120)
    assert smoke.verdict == "smoke test only"


def test_diff(session: aquin_nb.Session, trained: aquin_nb.SaeTrain, checkpoint: Path) -> None:
    session.load_sae(path=trained.path)
    prompts = [*TEXTS[:2], "The function returns a list."]
    diff = session.sae.diff(checkpoint, prompts)
    assert list(diff.frame.columns) == [
        "feature", "mean_base", "mean_checkpoint", "delta", "mean_on_base", "mean_on_checkpoint", "rate_base",
        "rate_checkpoint", "probes", "p", "q", "changed",
    ]  # fmt: skip
    assert diff.n_changed == diff.frame["changed"].sum() == 0
    assert diff.card.n_over == (diff.frame["delta"].abs() >= diff.card.threshold).sum() > 0
    assert any("3 probes are too few" in note for note in diff.card.notes)
    assert diff.max_abs_delta == pytest.approx(diff.frame["delta"].abs().max())
    assert diff.card.model is not None
    assert diff.card.model.checkpoint is not None
    assert diff.card.model.checkpoint.step == 4
    # Against hand-made means: the base model's features over the analysed tokens.
    model, sae = session.model, trained.dictionary
    tokens = model.tokenize(prompts)
    f = sae.encode(model.residuals(tokens, [3])[3][tokens.analysed])
    mean_base = torch.tensor(diff.frame["mean_base"].to_numpy())
    torch.testing.assert_close(mean_base, f.double().mean(0), rtol=1e-5, atol=1e-6)
    assert diff.card.n_tokens == len(f)


def test_a_checkpoint_of_zero_steps_changes_nothing(
    session: aquin_nb.Session, trained: aquin_nb.SaeTrain, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    folder = Path(aquin_nb.__file__).parent / "engine" / "models" / "tiny"
    state = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    torch.save({"step": 0, "state_dict": state}, tmp_path / "same.pt")
    diff = session.sae.diff(tmp_path / "same.pt", TEXTS[:1], sae=trained)
    assert diff.n_changed == 0
    assert diff.max_abs_delta == 0
    assert diff.card.same == "weights"
    assert "No change: the checkpoint's weights equal" in repr(diff)
    assert "No change" in diff.html()


def test_results_have_a_face_and_save(trained: aquin_nb.SaeTrain, tmp_path: Path) -> None:
    bundle = trained._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert "<script" in bundle["text/html"]
    assert "<script" not in trained.freeze()._repr_html_()
    assert "FVU" in trained.freeze()._repr_html_()
    assert len(trained.figure().data) >= 3
    assert json.loads(trained.save(tmp_path / "a.json").read_text())["kind"] == "saeTrain"
    assert trained.save(tmp_path / "a.html").read_text().lower().startswith("<!doctype html>")
    assert len(pd.read_csv(trained.save(tmp_path / "a.csv"))) == len(trained.history)
    with pytest.raises(errors.OutputError, match=r"\.html, \.json or \.csv"):
        trained.save(tmp_path / "a.docx")


def test_cancel_while_training_keeps_what_was_written(session: aquin_nb.Session) -> None:
    job = session.sae.train(3, name="stopped", **(QUICK | {"steps": 100_000}))
    job.on_change(lambda j: j.cancel() if j.tick and j.tick.stage == "train" and j.tick.done > 30 else None)
    with pytest.raises(errors.Cancelled, match=r"of 100,000\. The dictionary so far is in"):
        job.wait(300)
    assert job.status == "cancelled"
    sae = session.load_sae(user="stopped")
    assert not sae.cfg.complete
    assert sae.cfg.step > 30


def test_a_cancelled_training_goes_on_where_it_was(session: aquin_nb.Session, home: Path) -> None:
    """To the weights of one that was never stopped, bit for bit on one thread, and its cross-entropy is measured."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        long = QUICK | {"steps": 400, "config": {"ema": 0.9, "checkpoint_every": 50}}
        job = session.sae.train(3, name="again", **long)
        job.on_change(lambda j: j.cancel() if j.tick and j.tick.stage == "train" and j.tick.done > 60 else None)
        with pytest.raises(errors.Cancelled, match=r"session\.sae\.resume\('again'\)"):
            job.wait(300)
        with pytest.warns(UserWarning, match="a training that was stopped at step"):
            stopped = session.load_sae(user="again").cfg.step
        result = session.sae.resume("again").wait(300)
        (store,) = [a.path for a in result.card.artifacts if a.role == "activations"]
        whole = session.sae.train(
            activations=store, name="whole", **{k: v for k, v in long.items() if k != "tokens"}
        ).wait(300)
    finally:
        torch.set_num_threads(before)
    assert result.card.resumed_from == [stopped]
    for name, tensor in whole.dictionary.tensors().items():
        assert torch.equal(tensor, result.dictionary.tensors()[name]), name
    columns = result.history.columns.drop("tokens_per_second")
    pd.testing.assert_frame_equal(result.history[columns], whole.history[columns])
    assert result.card.held_out is not None
    assert whole.card.held_out is not None
    assert result.card.held_out.ce_recovered == pytest.approx(whole.card.held_out.ce_recovered, nan_ok=True)
    with pytest.raises(errors.StoreError, match="complete: there is nothing to resume"):
        session.sae.resume("again")
    with pytest.raises(errors.StoreError, match="no stopped training 'nobody' of tiny"):
        session.sae.resume("nobody")


def test_arguments_win_over_a_file_of_settings(session: aquin_nb.Session, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('d_sae = 64\nk = 4\nsteps = 9\nlr = 0.5\nlr_schedule = "cosine"\n')
    result = session.sae.train(
        3, config=tmp_path / "c.toml", epochs=0.1, lr=2e-3, batch_size=128, tokens=1500, name="both"
    ).wait(300)
    beside = json.loads(result.path.with_suffix(".config.json").read_text())["config"]
    found = {name: beside[name] for name in ("d_sae", "k", "lr", "lr_schedule", "batch_size", "steps")}
    assert found == {"d_sae": 64, "k": 4, "lr": 2e-3, "lr_schedule": "cosine", "batch_size": 128, "steps": 1}


@pytest.mark.parametrize("architecture", ["batchtopk", "relu", "jumprelu", "gated", "matryoshka"])
def test_every_architecture_from_text_to_verdict(
    session: aquin_nb.Session, trained: aquin_nb.SaeTrain, architecture: str
) -> None:
    (store,) = [a.path for a in trained.card.artifacts if a.role == "activations"]
    quick = {name: value for name, value in QUICK.items() if name not in ("tokens", "k")}
    result = session.sae.train(activations=store, architecture=architecture, name=architecture, **quick).wait(300)
    assert result.card.status == "completed"
    assert result.dictionary.cfg.architecture == architecture
    assert result.verdict in ("usable", "weak", "smoke test only")
    assert (session.load_sae(user=architecture).encode(torch.randn(3, 128)) >= 0).all()


def test_cancel_while_collecting_keeps_a_readable_store(session: aquin_nb.Session, home: Path) -> None:
    from aquin_nb.engine.activations.store import Store

    job = session.sae.train(3, name="early", **(QUICK | {"tokens": 60_000}))
    job.on_change(lambda j: j.cancel() if j.tick and j.tick.stage == "collect" and j.tick.done > 4000 else None)
    with pytest.raises(errors.Cancelled, match="The activations so far are in"):
        job.wait(300)
    store = Store(home / "activations" / "tiny" / "early" / "layer3")
    assert not store.complete
    assert store.rows > 4000
    assert store.verify() == store.rows


def test_one_model_a_session(session: aquin_nb.Session) -> None:
    session.load_model("tiny")
    with pytest.raises(errors.SessionError, match=r'locked to tiny\. Open another one for gpt2: Session\("gpt2"\)'):
        session.load_model("gpt2")


def test_refusals_come_at_once(session: aquin_nb.Session, trained: aquin_nb.SaeTrain, tmp_path: Path) -> None:
    with pytest.raises(errors.ModelError, match="tiny"):
        aquin_nb.Session("tinny")
    with pytest.raises(errors.ModelError, match=r"0 to 5"):
        session.sae.train(6)
    with pytest.raises(errors.CorpusError, match="missing"):
        session.sae.train(3, corpus=tmp_path / "missing.txt")
    with pytest.raises(errors.OutputError, match="exists already"):
        session.sae.train(3, output=trained.path)
    with pytest.raises(errors.OutputError, match=r"ending in \.pt"):
        session.sae.train(3, output=tmp_path / "folder")
    with pytest.raises(errors.DictionaryError, match="larger than d_sae"):
        session.sae.train(3, d_sae=16, k=17)
    with pytest.raises(errors.SessionError, match="do not go with them"):
        session.sae.train(3, activations=tmp_path, corpus="x.txt")
    with pytest.raises(errors.StoreError):
        session.sae.train(3, activations=tmp_path)
    with pytest.raises(errors.SessionError, match="exactly one"):
        session.load_sae()
    with pytest.raises(errors.DictionaryError, match="no dictionary 'nobody' of tiny"):
        session.load_sae(user="nobody")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("x")
    with pytest.raises(errors.OutputError, match="other files"):
        session.capture_activations(output=tmp_path / "taken")
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"text": \n')
    with pytest.raises(errors.ProbeError, match="line 2"):
        session.capture_activations(tmp_path / "bad.jsonl")
    with pytest.raises(errors.ProbeError):
        session.capture_activations([{"label": 1}])


def test_dictionaries_of_another_width_are_refused(session: aquin_nb.Session, tmp_path: Path) -> None:
    from aquin_nb.engine.sae import SaeConfig

    wrong = aquin_nb.SparseAutoencoder.random(
        SaeConfig("topk", d_in=96, d_sae=32, d_out=96, k=2, layer=1, model="other")
    )
    path = wrong.save(tmp_path / "wrong.pt")
    with pytest.raises(errors.DictionaryError, match=r"d_in 96 \(trained on other\), but tiny has width 128"):
        session.load_sae(path=path)


def test_a_corpus_shorter_than_a_batch(session: aquin_nb.Session, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("Only a few words here.")
    with pytest.raises(errors.CorpusError):
        session.sae.train(3, corpus=tmp_path / "short.txt").wait(60)


def test_a_checkpoint_of_another_model(session: aquin_nb.Session, trained: aquin_nb.SaeTrain, tmp_path: Path) -> None:
    session.load_sae(path=trained.path)
    torch.save({"step": 1, "state_dict": {"transformer.h.0.weight": torch.zeros(2)}}, tmp_path / "gpt.pt")
    with pytest.raises(errors.CheckpointError, match=r"gpt\.pt"):
        session.sae.diff(tmp_path / "gpt.pt", TEXTS[:1])


def test_nothing_is_bound() -> None:
    fresh = aquin_nb.Session("tiny", backend="huggingface", dtype="float32")
    with pytest.raises(errors.SessionError, match="No dictionary is bound"):
        fresh.inspect("x")
    assert fresh.card.kind == "session"
    assert fresh.card.model is not None
    assert fresh.card.model.backend == "huggingface"


def test_a_checkpoint_that_was_written_again_is_read_again(
    session: aquin_nb.Session, trained: aquin_nb.SaeTrain, tmp_path: Path
) -> None:
    session.load_sae(path=trained.path)
    path = finetune("tiny", TEXTS, tmp_path / "a.pt", steps=2, layers=[3]).path
    first = session.sae.diff(path, TEXTS[:1])
    path.unlink()
    finetune("tiny", TEXTS, path, steps=5, layers=[3], learning_rate=1e-3)
    second = session.sae.diff(path, TEXTS[:1])
    assert first.card.model is not None
    assert second.card.model is not None
    assert (first.card.model.checkpoint.step, second.card.model.checkpoint.step) == (2, 5)
    assert second.max_abs_delta > first.max_abs_delta


def test_a_single_vector_has_no_variance_and_the_diff_says_so(
    session: aquin_nb.Session, trained: aquin_nb.SaeTrain, checkpoint: Path
) -> None:
    diff = session.sae.diff(checkpoint, ["a"], sae=trained)
    assert diff.card.n_tokens == 1
    assert diff.card.fvu_base is None
    assert any("no variance" in note for note in diff.card.notes)


def test_one_name_holds_several_layers_and_survives_a_second_try(session: aquin_nb.Session) -> None:
    for layer in (1, 2):
        session.sae.train(layer, name="both", **QUICK).wait(300)
    assert session.load_sae("both", layer=2).cfg.layer == 2
    with pytest.raises(errors.DictionaryError, match="layers 1, 2; pass layer="):
        session.load_sae("both")
    stopped = session.sae.train(4, name="both", **(QUICK | {"tokens": 60_000}))
    stopped.on_change(lambda j: j.cancel() if j.tick and j.tick.done > 2000 else None)
    with pytest.raises(errors.Cancelled):
        stopped.wait(300)
    assert session.sae.train(4, name="both", **QUICK).wait(300).card.layer == 4


def test_two_jobs_cannot_write_one_dictionary(session: aquin_nb.Session) -> None:
    first = session.sae.train(3, name="same", **QUICK)
    with pytest.raises(errors.OutputError, match="has not finished"):
        session.sae.train(3, name="same", **QUICK)
    first.wait(300)
    with pytest.raises(errors.OutputError, match="exists already"):
        session.sae.train(3, name="same", **QUICK)


def test_activations_keep_the_model_they_came_from(session: aquin_nb.Session, checkpoint: Path) -> None:
    capture = session.capture_activations(["A first text.", "Another text."], checkpoint=checkpoint, layers=[3])
    result = session.sae.train(3, activations=capture, steps=5, d_sae=64).wait(60)
    assert result.card.model is not None
    assert result.card.model.checkpoint is not None
    assert result.card.model.checkpoint.step == 4
    assert result.dictionary.cfg.model_fingerprint == capture.manifest["model"]["fingerprint"]
    with pytest.warns(UserWarning, match="other weights"):
        session.load_sae(path=result)
    manifest = json.loads((capture.path / "manifest.json").read_text())
    manifest["model"]["name"] = "other"
    (capture.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(errors.StoreError, match="collected from other"):
        session.sae.train(3, activations=capture.path)


def test_a_place_that_cannot_be_written_is_refused_before_the_work(session: aquin_nb.Session, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(errors.OutputError, match="cannot be written"):
        session.sae.train(3, output=tmp_path / "file" / "x.pt")
    with pytest.raises(errors.OutputError, match="too long"):
        session.sae.train(3, name="n" * 300)
    with pytest.raises(errors.OutOfMemory, match=r"At most d_sae="):
        session.sae.train(3, d_sae=10**12)


def test_a_process_that_ends_stops_its_job_first(tmp_path: Path) -> None:
    code = (
        "import time, aquin_nb\n"
        "s = aquin_nb.Session('tiny')\n"
        "j = s.sae.train(3, tokens=500, steps=100000, d_sae=256, name='ends', corpus='packaged')\n"
        "while j.tick is None or j.tick.stage != 'train': time.sleep(0.05)\n"
    )
    env = os.environ | {"AQUIN_HOME": str(tmp_path), "OMP_NUM_THREADS": "2"}  # Python ends pools before it ends jobs
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    sae = aquin_nb.load_dictionary(tmp_path / "sae" / "user" / "tiny" / "ends" / "sae_layer3.pt")
    assert not sae.cfg.complete


def test_an_interrupt_keeps_the_probes_captured_so_far(session: aquin_nb.Session) -> None:
    import signal
    import threading

    def press() -> None:
        while signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            time.sleep(0.01)
        time.sleep(0.8)
        os.kill(os.getpid(), signal.SIGINT)

    texts = [f"Text number {i} about something else entirely." for i in range(20_000)]
    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(errors.Cancelled):
        session.capture_activations(texts, name="half", layers=[1])
    capture = aquin_nb.open_capture(Path(os.environ["AQUIN_HOME"]) / "captures" / "half")
    assert 0 < len(capture.frame) < 20_000
    assert capture.layers[1].shape[0] == len(capture.frame)
    assert not capture.manifest["complete"]


def test_a_capture_of_another_site_says_so(session: aquin_nb.Session) -> None:
    capture = session.capture_activations(["A text.", "Another one."], layers=[2], site="hook_mlp_out")
    tokens = session.model.tokenize(["A text.", "Another one."])
    read = session.model.activations(tokens, ["blocks.2.hook_mlp_out"])["blocks.2.hook_mlp_out"]
    last = tokens.mask.sum(1) - 1
    torch.testing.assert_close(capture.layers[2], read[torch.arange(2), last].float())
    assert "hook_mlp_out" in repr(capture)
    with pytest.raises(errors.ModelError, match="hook_mlp_in"):
        session.capture_activations(["A text."], site="hook_mlp_in")


def test_rows_that_do_not_vary_have_no_fvu_and_their_card_opens_again(session: aquin_nb.Session) -> None:
    capture = session.capture_activations(["The same text."] * 4, layers=[3])
    result = session.sae.train(activations=capture, steps=5, d_sae=64).wait(60)
    assert result.card.latest.fvu is None
    assert any("do not vary" in reason for reason in result.reasons)
    assert open_training(result.path).card == result.card


def test_an_interrupt_that_comes_too_late_is_not_swallowed() -> None:
    import signal

    from aquin_nb.progress import visible

    def work() -> None:
        with visible("Quick"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
