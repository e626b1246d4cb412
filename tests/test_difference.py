"""Diffs and trajectories as a person makes them: results, what is on disk, and every refusal in words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM

import aquin_nb
from aquin_nb import errors
from aquin_nb.cli import main
from aquin_nb.engine.sae import SaeConfig

SAMPLE = Path(aquin_nb.__file__).parent / "engine" / "models" / "tiny" / "sample.jsonl"


@pytest.fixture(scope="module")
def session() -> aquin_nb.Session:
    made = aquin_nb.Session("tiny", dtype="float32")
    made.bind(aquin_nb.SparseAutoencoder.random(SaeConfig("topk", d_in=128, d_sae=256, d_out=128, k=8)), layer=3)
    return made


@pytest.fixture(scope="module")
def prompts() -> list[dict[str, str]]:
    """Sixteen texts of each of two kinds, different ones."""
    rows = [json.loads(line) for line in SAMPLE.read_text("utf-8").splitlines()]
    kinds = ("bible", "wordnet")
    return [{"text": r["text"][:160], "kind": k} for k in kinds for r in [r for r in rows if r["source"] == k][:16]]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A run that turns up one block's MLP, at step 8 and at step 2."""
    folder = tmp_path_factory.mktemp("run")
    state = AutoModelForCausalLM.from_pretrained(SAMPLE.parent, dtype=torch.float32).state_dict()
    name, paths = "model.layers.2.mlp.down_proj.weight", []
    for step in (8, 2):
        changed = state | {name: state[name] * (1 + step / 20)}
        torch.save({"step": step, "state_dict": changed}, folder / f"{step}.pt")
        paths.append(folder / f"{step}.pt")
    return paths


@pytest.fixture(scope="module")
def diff(
    session: aquin_nb.Session, checkpoints: list[Path], prompts: list[dict[str, str]], tmp_path_factory
) -> aquin_nb.SaeDiff:
    return session.sae.diff(checkpoints[0], prompts, by="kind", output=tmp_path_factory.mktemp("out") / "diff")


def test_changed_is_q_and_size(diff: aquin_nb.SaeDiff) -> None:
    frame, card = diff.frame, diff.card
    rule = (frame["q"].fillna(1) <= card.fdr) & (frame["delta"].abs() >= card.threshold)
    assert (frame["changed"] == rule).all()
    assert diff.n_changed == rule.sum() > 0
    assert card.n_over is not None
    assert card.n_over >= card.n_changed
    assert card.n_tested == frame["q"].notna().sum()
    assert [one.changed for one in card.top] == sorted((one.changed for one in card.top), reverse=True)
    assert card.top[0].tokens
    assert diff.advice in ("keep", "align", "retrain")
    assert card.advice_reason


def test_a_stricter_rule_leaves_fewer(
    session: aquin_nb.Session, checkpoints: list[Path], prompts: list[dict[str, str]], diff: aquin_nb.SaeDiff
) -> None:
    strict = session.sae.diff(checkpoints[0], prompts, threshold=0.1, fdr=0.001)
    assert (strict.card.threshold, strict.card.fdr) == (0.1, 0.001)
    assert strict.n_changed < diff.n_changed
    np.testing.assert_allclose(strict.frame["p"], diff.frame["p"])


def test_it_opens_again_with_all_it_had(diff: aquin_nb.SaeDiff) -> None:
    again = aquin_nb.open_diff(diff.path)
    assert again.card == diff.card
    pd.testing.assert_frame_equal(again.frame, diff.frame)
    feature = diff.card.top[0].feature
    pd.testing.assert_frame_equal(again.drivers(feature).frame, diff.drivers(feature).frame)
    pd.testing.assert_frame_equal(again.drivers(feature).tokens, diff.drivers(feature).tokens)
    pd.testing.assert_frame_equal(again.cohorts(), diff.cohorts())
    assert again.summary() == diff.summary()


def test_it_opens_and_shows_without_torch(diff: aquin_nb.SaeDiff) -> None:
    code = (
        "import sys, aquin_nb\n"
        "for name in ('torch', 'transformers', 'scipy'): sys.modules[name] = None\n"
        f"diff = aquin_nb.open_diff({str(diff.path)!r})\n"
        "diff.drivers(diff.card.top[0].feature)._repr_html_(), diff.cohorts(), diff._repr_mimebundle_()\n"
        "diff.figure(), diff.cohort_figure('kind')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_drivers_of_a_feature(diff: aquin_nb.SaeDiff, prompts: list[dict[str, str]]) -> None:
    top = diff.card.top[0]
    drivers = diff.drivers(top.feature)
    frame = drivers.frame
    assert frame["share"].sum() == pytest.approx(1)
    whole = (frame["delta"] * frame["tokens"]).sum() / diff.card.n_tokens
    assert whole == pytest.approx(top.delta, rel=1e-4)
    assert [prompts[at]["text"] for at in frame["probe"]] == frame["text"].tolist()
    assert [prompts[at]["kind"] for at in frame["probe"]] == frame["kind"].tolist()
    change = (drivers.tokens["checkpoint"] - drivers.tokens["base"]).abs()
    assert change.is_monotonic_decreasing
    assert change.iloc[0] > 0
    first = drivers.tokens.iloc[0]
    assert first["before"] + first["token"] + first["after"] in prompts[first["probe"]]["text"]
    assert str(top.feature) in repr(drivers)
    with pytest.raises(errors.DictionaryError, match="features 0 to 255"):
        diff.drivers(256)


def test_cohorts(diff: aquin_nb.SaeDiff) -> None:
    frame = diff.cohorts()
    assert frame["cohort"].unique().tolist() == ["bible", "wordnet"]
    card = {one.cohort: one for one in diff.card.cohorts}
    assert card["bible"].n_prompts == card["wordnet"].n_prompts == 16
    assert sum(one.n_tokens for one in diff.card.cohorts) == diff.card.n_tokens
    for name, part in frame.groupby("cohort"):
        assert part["changed"].sum() == card[name].n_changed
        listed = part.set_index("feature")["delta"].reindex(diff.card.cohort_features)
        np.testing.assert_allclose(listed, card[name].deltas)
    assert "kind bible:" in diff.summary()
    assert "By kind" in diff.html(live=False)
    with pytest.raises(errors.ProbeError, match="Did you mean kind"):
        diff.cohorts("kinds")


def test_cohorts_can_be_asked_for_later(
    session: aquin_nb.Session, checkpoints: list[Path], prompts: list[dict[str, str]], diff: aquin_nb.SaeDiff
) -> None:
    plain = session.sae.diff(checkpoints[0], prompts)
    with pytest.raises(errors.ProbeError, match="without by="):
        plain.cohorts()
    pd.testing.assert_frame_equal(plain.cohorts("kind"), diff.cohorts())
    assert set(plain.frames) == {"features"}
    assert set(diff.frames) == {"features", "cohorts"}


def test_a_trajectory_goes_by_steps(
    session: aquin_nb.Session, checkpoints: list[Path], prompts: list[dict[str, str]], diff: aquin_nb.SaeDiff
) -> None:
    found = session.sae.trajectory(checkpoints, prompts, threshold=diff.card.threshold)
    assert found.steps["step"].tolist() == [2, 8]
    last = found.frame[found.frame["step"] == 8].set_index("feature")
    alone = diff.frame.set_index("feature").loc[last.index]
    np.testing.assert_allclose(last["delta"], alone["delta"])
    assert last["changed"].sum() == diff.n_changed == found.steps["n_changed"].iloc[-1]
    assert len(found.figure().data) > 3
    again = aquin_nb.open_trajectory(found.path)
    assert again.card == found.card
    pd.testing.assert_frame_equal(again.frame, found.frame)
    assert "step 8:" in repr(found)
    assert sorted(path.name for path in found.path.iterdir()) == ["card.json", "features.csv"]


def test_checkpoints_without_different_steps_are_numbered(
    session: aquin_nb.Session, checkpoints: list[Path], prompts: list[dict[str, str]]
) -> None:
    found = session.sae.trajectory([checkpoints[0], checkpoints[0]], prompts[:8])
    assert found.steps["step"].tolist() == [1, 2]
    assert any("numbered in the order given" in note for note in found.card.notes)
    for wrong in ([], checkpoints[0], str(checkpoints[0])):
        with pytest.raises(errors.CheckpointError, match="a list of checkpoints"):
            session.sae.trajectory(wrong, prompts)  # type: ignore[arg-type]


def test_what_fails_leaves_nothing_behind(
    session: aquin_nb.Session, checkpoints: list[Path], prompts: list[dict[str, str]], tmp_path: Path
) -> None:
    nothing = session.model.tokenizer.decode([session.model.bos_id])
    place = tmp_path / "out" / "diff"
    with pytest.raises(errors.ProbeError, match=r"row 33 \("):
        session.sae.diff(checkpoints[0], [*prompts, nothing], output=place)
    with pytest.raises(errors.ProbeError, match="no probe has this metadata key"):
        session.sae.diff(checkpoints[0], prompts, by="language", output=place)
    with pytest.raises(errors.AquinError, match="fdr=2"):
        session.sae.diff(checkpoints[0], prompts, fdr=2, output=place)
    assert not list((tmp_path / "out").iterdir())


def test_a_result_without_its_probes_says_so(
    session: aquin_nb.Session, checkpoints: list[Path], prompts: list[dict[str, str]], tmp_path: Path
) -> None:
    made = session.sae.diff(checkpoints[0], prompts[:8], output=tmp_path / "diff")
    (tmp_path / "diff" / "probes.jsonl").unlink()
    again = aquin_nb.open_diff(made.path)
    with pytest.raises(errors.StoreError, match=r"probes\.jsonl cannot be read"):
        again.drivers(0)
    (tmp_path / "diff" / "features.csv").write_text("a,b\n1,2\n")
    with pytest.raises(errors.StoreError, match="it has no column changed, delta, feature"):
        aquin_nb.open_diff(made.path)


def test_in_a_terminal(
    session: aquin_nb.Session, checkpoints: list[Path], prompts: list[dict[str, str]], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "probes.json").write_text(json.dumps(prompts))
    sae = str(session.bound()[0].renamed(layer=3, model="tiny").save(tmp_path / "sae.pt"))
    rest = ["--model", "tiny", "--dtype", "float32", "--sae", sae, "--output"]
    probes, (last, first) = str(tmp_path / "probes.json"), map(str, checkpoints)
    assert main(["sae", "diff", last, probes, *rest, str(tmp_path / "diff"), "--by", "kind", "--fdr", "0.01"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("SaeDiff diff-")
    assert "q ≤ 0.01" in shown
    assert "kind wordnet:" in shown
    assert main(["sae", "trajectory", probes, last, first, *rest, str(tmp_path / "run"), "--threshold", "0.01"]) == 0
    assert "step 2: " in capsys.readouterr().out
    assert main(["sae", "diff", str(tmp_path / "nothing.pt"), probes, *rest, str(tmp_path / "no")]) == 1
    assert "No checkpoint at" in capsys.readouterr().err


def test_an_embedding_model_is_compared_by_text(tmp_path: Path) -> None:
    folder, texts = embedding_model(tmp_path / "bert")
    session = aquin_nb.Session(str(folder), dtype="float32")
    sae = aquin_nb.SparseAutoencoder.random(SaeConfig("topk", d_in=16, d_sae=64, d_out=16, k=4))
    state = {name: value.clone() for name, value in session.model.backend.model.state_dict().items()}
    state["encoder.layer.1.output.LayerNorm.weight"][:4] *= 3
    torch.save({"step": 5, "state_dict": state}, tmp_path / "c.pt")
    found = session.sae.diff(tmp_path / "c.pt", texts, sae=sae, layer=1)
    assert found.card.n_tokens == found.card.n_prompts == len(texts)
    assert found.card.n_changed > 0
    x = session.model.pooled(session.model.tokenize(texts), [1])[1]
    np.testing.assert_allclose(found.frame["mean_base"], sae.encode(x).mean(0), atol=1e-4)
    drivers = found.drivers(found.card.top[0].feature)
    assert drivers.tokens.empty
    assert len(drivers.frame) > 0
    assert "24 texts" in repr(found)


def embedding_model(folder: Path) -> tuple[Path, list[str]]:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["the", "a", "cat", "dog", "tree", "river", "sat", "ran", "fell", "on", "in", "by", "old", "red", "slow"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: index for index, word in enumerate([*special, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **names).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=32, pad_token_id=0, **shape)
    BertModel(config).save_pretrained(folder)
    rng = np.random.default_rng(0)
    return folder, [" ".join(rng.choice(words, size=5 + at % 7)) for at in range(24)]
