"""What the views of a diff and of a trajectory carry, and what they answer: sizes, exact counts, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import aquin_nb
from aquin_nb import errors
from aquin_nb.cards import CheckpointRef, ModelRef, SaeDiffCard, SaeTrajectoryCard, TrajectoryStop
from aquin_nb.engine.sae import SaeConfig
from aquin_nb.widgets.pack import embed
from aquin_nb.widgets.views.codes import from_codes, log_codes
from aquin_nb.widgets.views.diff import MOST, SAMPLE, WHOLE, compared, diff_answers, diff_data, driving, most_changed
from aquin_nb.widgets.views.trajectory import trajectory_answers, trajectory_data

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
TEXTS = [f"In the beginning God created number {word}." for word in NUMBERS]
REF = CheckpointRef(path="run/step8.pt", step=8, fingerprint="cd")


def features(n: int, fdr: float = 0.05, threshold: float = 0.03) -> tuple[SaeDiffCard, pd.DataFrame]:
    rng = np.random.default_rng(0)
    base = rng.gamma(0.3, 1.0, n) * (rng.random(n) > 0.2)
    frame = pd.DataFrame({"feature": np.arange(n), "mean_base": base})
    frame["mean_checkpoint"] = np.maximum(0.0, base + rng.normal(0, 0.05, n))
    frame["delta"] = frame["mean_checkpoint"] - frame["mean_base"]
    frame["rate_base"], frame["rate_checkpoint"] = rng.random(n) ** 4, rng.random(n) ** 4
    frame["probes"] = rng.integers(0, 1000, n)
    frame["q"] = rng.random(n) ** 30
    frame.loc[frame["probes"] < 6, "q"] = np.nan
    frame["changed"] = (frame["q"] <= fdr) & (frame["delta"].abs() >= threshold)
    card = SaeDiffCard(
        name="d", n_features=n, n_changed=int(frame["changed"].sum()), threshold=threshold, fdr=fdr,
        max_abs_delta=float(frame["delta"].abs().max()),
    )  # fmt: skip
    return card, frame


def size(data: object) -> int:
    return len(json.dumps(embed(data), ensure_ascii=False, separators=(",", ":")).encode())


def changed(packed: dict, card: SaeDiffCard) -> int:
    """As widgets/src/diff/features.ts counts."""
    q = from_codes(packed["codes"]["q"]).astype(np.float32)
    reach = np.abs(packed["numbers"]["delta"]) >= np.float32(card.threshold)
    return int((reach & (q <= np.float32(card.fdr * (1 + 1e-5)))).sum())


@pytest.fixture(scope="module")
def diff(tmp_path_factory: pytest.TempPathFactory) -> aquin_nb.SaeDiff:
    session = aquin_nb.Session("tiny", dtype="float32")
    sae = aquin_nb.SparseAutoencoder.random(SaeConfig("topk", d_in=128, d_sae=256, d_out=128, k=8))
    session.bind(sae, layer=3)
    folder = tmp_path_factory.mktemp("diff")
    from transformers import AutoModelForCausalLM

    tiny = Path(aquin_nb.__file__).parent / "engine" / "models" / "tiny"
    state = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32).state_dict()
    name = "model.layers.2.mlp.down_proj.weight"
    torch.save({"step": 8, "state_dict": state | {name: state[name] * 1.4}}, folder / "c.pt")
    prompts = [{"text": text, "kind": "ab"[i % 2]} for i, text in enumerate(TEXTS)]
    return session.sae.diff(folder / "c.pt", prompts, by="kind", output=folder / "diff")


def test_codes_keep_three_digits_and_what_is_no_number() -> None:
    values = np.r_[0.0, np.inf, np.nan, np.geomspace(1e-7, 1e3, 999)]
    back = from_codes(log_codes(values))
    assert back[0] == 0
    assert back[1] == np.inf
    assert np.isnan(back[2])
    np.testing.assert_allclose(back[3:], values[3:], rtol=2e-4)


@pytest.mark.parametrize("limit", [0.05, 0.01, 1e-3, 0.3])
def test_a_limit_parts_coded_values_as_it_parts_the_values(limit: float) -> None:
    rng = np.random.default_rng(1)
    values = np.r_[limit, limit * 1.01, limit * 0.999, rng.random(5000) ** 20]
    found = from_codes(log_codes(values, exact=limit)).astype(np.float32)
    wrong = (found <= np.float32(limit * (1 + 1e-5))) != (values <= limit)
    assert not wrong.any()


@pytest.mark.parametrize("n", [0, 1, 1024, 4608, WHOLE])
def test_the_page_counts_what_the_card_counts(n: int) -> None:
    card, frame = (features(max(n, 1))[0], features(max(n, 1))[1].iloc[:n])
    data = diff_data(card.model_copy(update={"n_features": n}), frame)
    assert data["features"]["complete"]
    assert data["features"]["rows"] == n
    assert changed(data["features"], card) == int(frame["changed"].sum())


def test_a_digest_of_4608_features_is_small_with_and_without_drivers() -> None:
    card, frame = features(4608)
    assert size(diff_data(card, frame)) < 120_000
    row = {
        "probe": 1,
        "position": 2,
        "before": "x" * 60,
        "token": "y",
        "after": "z" * 60,
        "base": 1.0,
        "checkpoint": 2.0,
    }
    whole = {"title": "f", "total": 1, "probes": [{"text": "w" * 900, "metadata": {}}] * 40, "tokens": [row] * 8}
    data = diff_data(card, frame, lambda _feature: whole)
    assert data["drivers"]
    assert size(data) < 120_000
    assert list(data["drivers"]) == [
        str(frame["feature"].iloc[at]) for at in most_changed(frame)[: len(data["drivers"])]
    ]


def test_of_very_many_features_the_page_holds_those_that_changed_most_and_a_sample() -> None:
    card, frame = features(WHOLE + 30_000)
    data = diff_data(card, frame)
    held, sample = data["features"], data["sample"]
    assert not held["complete"]
    assert held["rows"] == MOST
    assert sample["rows"] == SAMPLE
    kept = set(held["numbers"]["feature"].tolist())
    assert kept == set(frame["feature"].iloc[most_changed(frame)[:MOST]])
    assert not kept & set(sample["numbers"]["feature"].tolist())
    assert changed(held, card) == min(MOST, card.n_changed)
    assert size(data) < 180_000


def test_pages_of_the_kernel_are_all_features_once() -> None:
    card, frame = features(70_000)
    answer = diff_answers(card, frame, lambda _feature: {})["features"]
    seen, start = 0, 0
    while start < card.n_features:
        page = answer({"start": start})
        assert page["total"] == card.n_features
        assert page["first"] == start
        seen += changed(page, card)
        start += page["rows"]
    assert start == card.n_features
    assert seen == card.n_changed


@pytest.mark.parametrize("start", [-1, 4608, 1.5, "0", None, True, 10**30, [0]])
def test_a_page_that_asks_for_nonsense_is_told_so(start: object) -> None:
    card, frame = features(4608)
    with pytest.raises(errors.AquinError, match="start must be a whole number from 0 to 4,607"):
        diff_answers(card, frame, lambda _feature: {})["features"]({"start": start})


def test_not_finite_features_come_last_and_stay_in_the_page() -> None:
    card, frame = features(10)
    frame.loc[3, ["mean_base", "delta", "q"]] = np.nan
    frame.loc[4, ["mean_checkpoint", "delta"]] = np.inf
    frame["changed"] = False
    data = diff_data(card, frame)
    assert most_changed(frame)[-1] == 3
    assert np.isnan(from_codes(data["features"]["codes"]["mean_base"])[3])
    assert from_codes(data["features"]["codes"]["mean_checkpoint"])[4] == np.inf
    assert "NaN" not in json.dumps(embed(data["features"]), allow_nan=False)


def test_a_diff_of_version_0_1_has_no_q() -> None:
    card, frame = features(20)
    old = frame.drop(columns=["q", "probes"])
    data = diff_data(card.model_copy(update={"fdr": None}), old)
    assert "q" not in data["features"]["codes"]
    assert "probes" not in data["features"]["numbers"]


def test_the_real_diff_answers_everything_the_view_asks(diff: aquin_nb.SaeDiff) -> None:
    kind, data = diff._view()
    answers = diff._answers()
    assert kind == "diff"
    assert data["compared"] == "c.pt (step 8)"
    assert changed(data["features"], diff.card) == diff.n_changed
    top = next(iter(data["drivers"]))
    found = answers["drivers"]({"feature": int(top)})
    assert found["title"].startswith(f"Feature {top} ")
    assert found["tokens"][0]["token"]
    assert {probe["metadata"]["kind"] for probe in found["probes"]} <= {"a", "b"}
    assert data["drivers"][top]["tokens"] == found["tokens"]
    part = answers["cohort"]({"cohort": "a"})
    want = diff.cohorts()
    np.testing.assert_array_equal(part["numbers"]["delta"], want[want["cohort"] == "a"]["delta"].to_numpy(np.float32))
    with pytest.raises(errors.AquinError, match="no cohort 'zebra'"):
        answers["cohort"]({"cohort": "zebra"})
    with pytest.raises(errors.AquinError, match="feature must be a whole number from 0 to 255"):
        answers["drivers"]({"feature": 256})
    assert answers["words"]({})["words"][top][0] == found["tokens"][0]["token"]


def test_selected_features_and_probes_are_frames(diff: aquin_nb.SaeDiff) -> None:
    diff.select([7, 3])
    assert diff.selected["feature"].tolist() == [7, 3]
    diff.select([1], of="probes")
    assert diff.selected[["probe", "text", "kind"]].values.tolist() == [[1, TEXTS[1], "b"]]
    diff.select([10**6], of="probes")
    assert diff.selected.empty


def test_a_moved_diff_still_shows_its_numbers(diff: aquin_nb.SaeDiff, tmp_path: Path) -> None:
    shutil.copytree(diff.path, tmp_path / "moved")
    (tmp_path / "moved" / "probes.jsonl").unlink()
    moved = aquin_nb.open_diff(tmp_path / "moved")
    assert moved._view()[1]["drivers"] == {}
    with pytest.raises(errors.StoreError, match=r"probes\.jsonl cannot be read"):
        moved._answers()["drivers"]({"feature": 1})


def test_hostile_probes_are_data(diff: aquin_nb.SaeDiff) -> None:
    hostile = "</script><script>alert(1)</script>"
    probes = pd.DataFrame({"probe": [0], "base": [1.0], "checkpoint": [np.nan], "delta": [np.inf], "share": [1.0]})
    probes = probes.assign(tokens=3, text=hostile * 100, note=hostile, none=None)
    found = driving(hostile, probes, pd.DataFrame(columns=["probe", "token"]))
    row = found["probes"][0]
    assert row["checkpoint"] is None
    assert row["delta"] is None
    assert row["text"].endswith("…")
    assert row["metadata"] == {"note": hostile}


def test_a_lora_adapter_is_named_as_one(tmp_path: Path) -> None:
    model = ModelRef(
        name="tiny", source="bundled", mode="llm", n_layers=6, d_model=128, dtype="float32", device="cpu",
        backend="transformer-lens", fingerprint="ab" * 32, checkpoint=REF,
    )  # fmt: skip
    assert compared(SaeDiffCard(name="d", model=model)) == "step8.pt (step 8)"
    (tmp_path / "adapter_config.json").write_text('{"r": 16}')
    adapter = model.model_copy(update={"checkpoint": REF.model_copy(update={"path": str(tmp_path), "step": 0})})
    assert compared(SaeDiffCard(name="d", model=adapter)) == f"{tmp_path.name} (LoRA adapter of rank 16, merged)"
    (tmp_path / "adapter_config.json").write_text("{broken")
    assert compared(SaeDiffCard(name="d", model=adapter)) == f"{tmp_path.name} (adapter, merged)"


def steps(n: int, stops: int) -> tuple[SaeTrajectoryCard, pd.DataFrame]:
    rng = np.random.default_rng(2)
    parts = [
        pd.DataFrame(
            {"step": 10 * at, "feature": np.arange(n), "mean_base": 1.0, "delta": rng.normal(0, 1, n), "changed": False}
        )
        for at in range(stops)
    ]
    card = SaeTrajectoryCard(name="t", n_features=n)
    card.stops = [
        TrajectoryStop(step=10 * at, checkpoint=REF, n_changed=0, n_over=0, mean_abs_delta=0.1, max_abs_delta=0.2)
        for at in range(stops)
    ]
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["step", "feature", "mean_base"])
    return card, frame


def test_a_trajectory_carries_curves_changed_first_and_its_kernel_has_all() -> None:
    card, frame = steps(9000, 4)
    frame.loc[frame["feature"] == 17, "changed"] = True
    paths = trajectory_data(card, frame)["paths"]
    assert not paths["complete"]
    assert paths["feature"][0] == 17
    assert paths["changed"][0].tolist() == [1, 1, 1, 1]
    np.testing.assert_allclose(paths["delta"][0], frame[frame["feature"] == 17]["delta"], rtol=1e-6)
    assert size(trajectory_data(card, frame)) < 130_000
    whole = trajectory_answers(card, frame)["paths"]({})["paths"]
    assert whole["complete"]
    assert sorted(whole["feature"].tolist()) == list(range(9000))


@pytest.mark.parametrize(("n", "stops"), [(0, 2), (3, 1)])
def test_small_trajectories(n: int, stops: int) -> None:
    card, frame = steps(n, stops)
    paths = trajectory_data(card, frame)["paths"]
    assert paths["rows"] == n
    assert paths["delta"].shape == (n, stops)
    assert paths["complete"]
