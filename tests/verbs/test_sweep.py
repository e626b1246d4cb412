"""A sweep over layers of a real model, and retraining on what it kept: chosen by layer or hook, without the model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import aquin_nb
from aquin_nb.cli import main
from aquin_nb.errors import AquinError, Cancelled, DictionaryError, ModelError, OutputError, SessionError, StoreError

SMALL = {"d_sae": 64, "k": 8, "steps": 6}
MLP = "blocks.3.hook_mlp_out"


@pytest.fixture(scope="module")
def session() -> aquin_nb.Session:
    return aquin_nb.Session("tiny", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def kept(session: aquin_nb.Session, tmp_path_factory: pytest.TempPathFactory) -> aquin_nb.Activations:
    """Layers 1 and 3 of tiny, and what the MLP of block 3 adds: 700 rows."""
    folder = tmp_path_factory.mktemp("kept") / "store"
    return session.collect_activations("packaged", layers=[1, 3, MLP], tokens=700, output=folder).wait(120)


def test_a_sweep_trains_each_layer_on_the_same_tokens_and_is_found_again(session: aquin_nb.Session) -> None:
    sweep = session.sae.sweep([1, 3, MLP], corpus="packaged", tokens=700, name="three", **SMALL).wait(120)
    frame = sweep.frame
    assert frame["hook"].tolist() == ["blocks.1.hook_resid_post", "blocks.3.hook_resid_post", MLP]
    assert frame["fvu"].between(0, 1.5).all()
    assert frame["explained_variance"].tolist() == pytest.approx((1 - frame["fvu"]).tolist())
    assert sweep.card.corpus.tokens == 700
    assert "not the best one to inspect" in sweep.summary()
    assert (sweep[3].card.hook, sweep[MLP].card.hook) == ("blocks.3.hook_resid_post", MLP)
    with pytest.raises(SessionError, match=r"no dictionaries for 2; it has blocks\.1"):
        sweep[2]
    assert aquin_nb.open_sweep(sweep.path).frame.equals(frame)
    assert session.load_sae(user="three", layer=3).cfg.hook == "blocks.3.hook_resid_post"
    with pytest.raises(DictionaryError, match="holds dictionaries of layers 1, 3; pass layer="):
        session.load_sae(user="three")
    with pytest.warns(UserWarning, match="was trained on blocks.3.hook_mlp_out and is bound to the output of block 3"):
        session.load_sae(path=sweep[MLP])


def test_a_store_gives_its_layers_without_a_forward_pass(
    session: aquin_nb.Session, kept: aquin_nb.Activations, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.model.site(MLP)  # looks at the model once
    monkeypatch.setattr(type(session.model), "activations", _no_forward_pass)
    sweep = session.sae.sweep(activations=kept, name="all of it", **SMALL).wait(120)
    assert sweep.frame["hook"].tolist() == [site.hook for site in kept.store.sites]
    assert sweep.frame["mean_norm"].tolist() == [site.mean_norm for site in kept.card.sites]
    one = session.sae.sweep([MLP], activations=str(kept.path), name="one of it", **SMALL).wait(120)
    assert one.frame["fvu"].tolist() == [sweep[MLP].card.held_out.fvu]


def _no_forward_pass(*_: object, **__: object) -> None:
    raise AssertionError("the model was run")


def test_a_sweep_that_was_cancelled_goes_on_dictionary_by_dictionary(
    session: aquin_nb.Session, kept: aquin_nb.Activations
) -> None:
    config = SMALL | {"steps": 40, "checkpoint_every": 5, "batch_size": 64}
    whole = session.sae.sweep([1, MLP], activations=kept, config=config, name="whole").wait(120)
    job = session.sae.sweep([1, MLP], activations=kept, config=config, name="cut")
    job.on_change(lambda job: job.cancel() if job.progress > 0.2 else None)
    with pytest.raises(Cancelled, match=r"aquin_nb\.sae_resume.* and so for each"):
        job.wait(120)
    folder = whole.path.parent / "cut"
    cut = aquin_nb.open_sweep(folder)
    assert (cut.card.status, len(cut.card.members)) == ("cancelled", 2)
    for member in cut.card.members:
        resumed = aquin_nb.sae_resume(member.path)
        assert torch.equal(resumed.dictionary.W_dec, whole[member.hook].dictionary.W_dec)
    again = aquin_nb.open_sweep(folder)
    assert (again.card.status, again.card.error) == ("completed", None)
    assert again.frame.drop(columns="path").equals(whole.frame.drop(columns="path"))


def test_a_sweep_that_is_killed_leaves_its_table_of_contents(session: aquin_nb.Session, home: Path) -> None:
    job = session.sae.sweep([1, 3], corpus="packaged", tokens=300, name="killed", **SMALL)
    seen: list[str] = []
    card = home / "sae" / "user" / "tiny" / "killed" / "sweep.card.json"
    job.on_change(lambda job: seen.append(card.read_text()) if not seen and job.stage.startswith("train") else None)
    job.wait(120)
    early = json.loads(seen[0])
    assert (early["status"], [member["layer"] for member in early["members"]]) == ("running", [1, 3])
    assert early["members"][0]["fvu"] is None


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"layers": []}, ModelError, "name a layer or a hook"),
        ({"layers": [99]}, ModelError, "layer=99: tiny has layers 0 to 5"),
        ({"layers": None}, ModelError, "layer=None"),
        ({"layers": ["blocks.1.hook_nothing"]}, ModelError, "no site 'blocks.1.hook_nothing'"),
        ({"tokens": 0}, SessionError, "tokens must be a whole number of at least 1, not 0"),
        ({"activations": 42}, StoreError, "an activation store with the layers, not 42"),
        ({"activations": "nowhere"}, StoreError, "nowhere is not an activation store"),
        ({"activations": "nowhere", "tokens": 5}, SessionError, "do not go with them"),
        ({"config": {"name": "mine"}}, DictionaryError, "leave name out of config"),
        ({"k": 10**6}, DictionaryError, "larger than d_sae"),
        ({"corpus": "/nowhere.txt"}, AquinError, "no file /nowhere.txt"),
    ],
    ids=str,
)
def test_what_cannot_be_swept_is_said_at_once(
    session: aquin_nb.Session, home: Path, given: dict[str, object], error: type[AquinError], message: str
) -> None:
    with pytest.raises(error, match=message):
        session.sae.sweep(**({"layers": [1], "name": "bad"} | given))
    assert not (home / "sae").exists()


def test_a_name_that_is_taken_stays_as_it_is(session: aquin_nb.Session, kept: aquin_nb.Activations) -> None:
    session.sae.sweep([1], activations=kept, name="taken", **SMALL).wait(120)
    with pytest.raises(OutputError, match="already holds an earlier result"):
        session.sae.sweep([1], activations=kept, name="taken", **SMALL)
    with pytest.raises(StoreError, match=r"holds no site of layer 5"):
        session.sae.sweep([5], activations=kept, name="more", **SMALL)


def test_one_layer_of_a_store_is_chosen_by_layer_or_hook(session: aquin_nb.Session, kept: aquin_nb.Activations) -> None:
    with pytest.raises(StoreError, match=f"holds 3 sites: .*{MLP}. Say which to train on"):
        session.sae.train(activations=kept, **SMALL)
    result = session.sae.train(MLP, activations=kept, name="mlp", **SMALL).wait(120)
    assert (result.card.hook, result.card.layer, result.path.name) == (MLP, 3, f"sae_{MLP}.pt")
    assert any("Cross-entropy was not measured" in note for note in result.card.notes)


def test_retraining_needs_no_model(kept: aquin_nb.Activations, home: Path) -> None:
    code = (
        "import sys, aquin_nb\n"
        f"store, config = {str(kept.path)!r}, {SMALL!r}\n"
        "one, = aquin_nb.sae_train({3: store}, config)\n"
        f"two = aquin_nb.sae_train({{1: store, {MLP!r}: store}}, config)\n"
        "print([r.card.hook for r in [one, *two]], one.path, 'transformers' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "AQUIN_HOME": str(home)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"['blocks.3.hook_resid_post', 'blocks.1.hook_resid_post', '{MLP}']" in done.stdout
    assert str(home / "sae" / "user" / "tiny") in done.stdout
    assert "False" in done.stdout


def test_a_store_of_several_sites_wants_a_choice(kept: aquin_nb.Activations) -> None:
    with pytest.raises(StoreError, match=r"aquin_nb\.sae_train\(\{LAYER: PLACE\}\)"):
        aquin_nb.sae_train(kept.path, SMALL)
    with pytest.raises(StoreError, match="no site of layer 9; choose one of"):
        aquin_nb.sae_train({9: kept}, SMALL)
    with pytest.raises(StoreError, match=f"Did you mean {MLP}"):
        aquin_nb.sae_train({MLP[:-1]: kept}, SMALL)
    assert aquin_nb.sae_train(kept.store.at(1), SMALL).card.layer == 1


def test_quantity_tells_a_corpus_from_six_probes(session: aquin_nb.Session, kept: aquin_nb.Activations) -> None:
    from aquin_nb.engine.sae.verdict import MAX_FVU_USABLE, PROBE_SCALE_ROWS
    from aquin_nb.quantity import strength, volumes

    capture = session.capture_activations(count=6, layers=[1, 3], name="six")
    probes = session.sae.train(3, activations=capture, name="probes", **SMALL).wait(120)
    corpus = session.sae.train(3, activations=kept, name="corpus", batch_size=64, **SMALL).wait(120)
    of = {volume.name: volume for volume in volumes([corpus, probes, capture, kept])}
    assert {of[name].mode for name in ("corpus", kept.card.name)} == {"corpus"}
    assert of["corpus"].total == 700
    assert of["corpus"].training == 6 * 64
    assert of["corpus"].held_out + of["corpus"].unused == 700 - 6 * 64
    assert of[kept.card.name].kept == 2 * 700
    assert (of["probes"].mode, of["probes"].total, of["six"].kept) == ("probes", 6, 6)
    assert strength(corpus).held_out
    assert not strength(probes).held_out
    assert strength(probes).rows < 6 < PROBE_SCALE_ROWS
    figure = probes.strength_figure(corpus)
    assert {trace.name for trace in figure.data} == {"Smoke test only"}
    lines = [shape for shape in figure.layout.shapes if shape.type == "line"]
    assert (lines[0].x0, lines[1].y0) == (PROBE_SCALE_ROWS, 1 - MAX_FVU_USABLE)
    with pytest.raises(SessionError, match="takes trainings and sweeps; six is a Capture"):
        probes.strength_figure(capture)
    with pytest.raises(SessionError, match="not int"):
        probes.volume_figure(5)  # type: ignore[arg-type]


def test_the_terminal_sweeps_too(kept: aquin_nb.Activations, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sae", "sweep", "--model", "tiny", "--layers", f"1,{MLP}", "--activations", str(kept.path)]
    command += ["--name", "typed"]
    assert main([*command, "--d-sae", "64", "--k", "8", "--steps", "6"]) == 0
    printed = capsys.readouterr().out
    assert f"{MLP} 0." in printed
    assert "not the best one to inspect" in printed
    assert (home / "sae" / "user" / "tiny" / "typed" / "sweep.card.json").is_file()


def test_a_sweep_trains_where_it_is_told_to(session: aquin_nb.Session, kept: aquin_nb.Activations) -> None:
    with pytest.raises(DictionaryError, match="device: 'abacus' is no device"):
        session.sae.sweep([1], activations=kept, config={"device": "abacus"}, **SMALL)
