"""Sums on disk, and base against checkpoint from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aquin_nb.engine.analysis import contrast as module
from aquin_nb.engine.analysis import sums as sums_module
from aquin_nb.engine.analysis.cohorts import cohort_frame, cohorts, members
from aquin_nb.engine.analysis.contrast import contrast
from aquin_nb.engine.analysis.drivers import driving_probes
from aquin_nb.engine.analysis.significance import false_discovery, sign_flip
from aquin_nb.engine.analysis.sums import Sums, SumsWriter
from aquin_nb.errors import AquinError, NoSpace, ProbeError, StoreError


def written(folder, table, order=None):
    """`Sums` of a dense [probes, features] table; a feature fires on as many tokens as its sum, rounded up."""
    with SumsWriter(folder) as writer:
        for probe in range(len(table)) if order is None else order:
            seen = np.flatnonzero(table[probe])
            writer.add(probe, seen, table[probe][seen], np.ceil(table[probe][seen]).astype(int))
    return Sums.open(folder)


@pytest.fixture
def pair(tmp_path):
    """Sixty probes of ten tokens; features 0-4 rise, 5 falls, the others change at random, 38 and 39 are silent."""
    rng = np.random.default_rng(0)
    base = rng.exponential(2, size=(60, 40)) * (rng.random((60, 40)) < 0.7)
    tuned = np.maximum(0, base + 0.3 * rng.normal(size=base.shape) * (base > 0))
    tuned[:, :5] += 0.8
    tuned[:, 5] *= 0.3
    base[:, 38:] = tuned[:, 38:] = 0
    base, tuned = base.astype(np.float32), tuned.astype(np.float32)
    return base, tuned, written(tmp_path / "a", base), written(tmp_path / "b", tuned, rng.permutation(60))


ROWS = np.full(60, 10)


def test_means_rates_and_p_are_those_of_the_dense_tables(pair):
    base, tuned, a, b = pair
    found = contrast(a, b, ROWS, 40)
    frame = found.frame
    np.testing.assert_allclose(frame["mean_base"], base.sum(0) / 600, rtol=1e-6)
    np.testing.assert_allclose(frame["delta"], (tuned.astype(float) - base).sum(0) / 600, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(frame["rate_checkpoint"], np.ceil(tuned).sum(0) / 600)
    on = base[:, :38].sum(0) / np.ceil(base[:, :38]).sum(0)
    np.testing.assert_allclose(frame["mean_on_base"][:38], on, rtol=1e-6)
    assert frame["mean_on_base"][38:].isna().all()
    assert frame["p"][38:].isna().all()
    change = tuned.astype(float) - base
    expected = [sign_flip(d[d != 0], np.array([0, (d != 0).sum()]))[0] for d in change.T[:38]]
    np.testing.assert_allclose(frame["p"][:38], expected, rtol=1e-9)
    np.testing.assert_allclose(frame["q"][:38], false_discovery(np.array(expected)), rtol=1e-9)
    assert found.tested == 38


def test_planted_changes_are_found_and_nothing_else(pair):
    found = contrast(*pair[2:], ROWS, 40, threshold=0.02)
    assert found.frame.loc[found.frame["changed"], "feature"].tolist() == [0, 1, 2, 3, 4, 5]
    assert found.threshold == 0.02
    assert found.over == (found.frame["delta"].abs() >= 0.02).sum()
    strict = contrast(*pair[2:], ROWS, 40, threshold=1.0)
    assert strict.changed == 0


def test_reading_in_small_pieces_changes_nothing(pair, monkeypatch):
    whole = contrast(*pair[2:], ROWS, 40).frame
    monkeypatch.setattr(sums_module, "ENTRIES", 50)
    monkeypatch.setattr(module, "ENTRIES", 130)
    assert len(list(pair[2].pieces())) > 10
    pd.testing.assert_frame_equal(contrast(*pair[2:], ROWS, 40).frame, whole, rtol=1e-12)


def test_equal_models_have_no_p_and_no_complaint(pair):
    found = contrast(pair[2], pair[2], ROWS, 40)
    assert found.changed == found.over == found.tested == 0
    assert found.frame["p"].isna().all()
    assert found.notes == []


@pytest.mark.parametrize(
    ("probes", "said"), [(5, "5 probes are too few"), (8, "have to reach it together"), (60, None)]
)
def test_too_few_probes_are_said(pair, probes, said):
    found = contrast(*pair[2:], ROWS, 40, among=np.arange(60) < probes)
    assert found.probes == probes
    assert (len(found.notes) == 1 and said in found.notes[0]) if said else found.notes == []
    if probes == 5:
        assert found.changed == 0 < found.over


@pytest.mark.parametrize("wrong", [{"fdr": 0}, {"fdr": 1.2}, {"fdr": None}, {"threshold": -1}, {"threshold": np.inf}])
def test_levels_that_are_none(pair, wrong):
    with pytest.raises(AquinError, match=r"fdr=|threshold="):
        contrast(*pair[2:], ROWS, 40, **wrong)


def test_cohorts_are_diffs_of_their_own_probes(pair):
    labels = [{"lang": "en" if at % 2 else "fr"} for at in range(60)]
    found = cohorts(*pair[2:], ROWS, 40, labels, "lang", threshold=0.02, fdr=0.05)
    assert [one.name for one in found] == ["fr", "en"]
    alone = contrast(*pair[2:], ROWS, 40, among=np.arange(60) % 2 == 1, threshold=0.02)
    assert found[1].contrast.frame.equals(alone.frame)
    frame = cohort_frame(found)
    assert len(frame) == 2 * 38
    whole = contrast(*pair[2:], ROWS, 40).frame["delta"]
    np.testing.assert_allclose(frame.groupby("feature")["delta"].mean(), whole[:38], rtol=1e-6)


@pytest.mark.parametrize(
    ("metadata", "by", "said"),
    [
        ([{}, {}], "lang", "no metadata at all"),
        ([{"language": "en"}], "lang", "Did you mean language"),
        ([{"lang": ["en"]}], "lang", r"row 1: lang is a list"),
        ([{"lang": n} for n in range(51)], "lang", "51 different values"),
    ],
)
def test_keys_that_make_no_cohorts(metadata, by, said):
    with pytest.raises(ProbeError, match=said):
        members(metadata, by)


def test_driving_probes_share_the_change(pair):
    base, tuned, a, b = pair
    metadata = [{"kind": at % 3} for at in range(60)]
    frame = driving_probes(a, b, ROWS, 5, [f"text {at}" for at in range(60)], metadata)
    assert frame["share"].sum() == pytest.approx(1)
    assert frame["delta"].abs().is_monotonic_decreasing
    first = int(frame["probe"][0])
    assert frame.loc[0, "delta"] == pytest.approx((tuned[first, 5] - base[first, 5]) / 10)
    assert frame.loc[0, "kind"] == first % 3
    assert driving_probes(a, b, ROWS, 39, [""] * 60, metadata).empty


def test_damaged_sums_are_named(pair, tmp_path):
    (tmp_path / "a" / "total.npy").write_bytes((tmp_path / "a" / "total.npy").read_bytes()[:200])
    with pytest.raises(StoreError, match=r"total\.npy|not of the same length"):
        Sums.open(tmp_path / "a")
    (tmp_path / "b" / "end.npy").unlink()
    with pytest.raises(StoreError, match=r"end\.npy"):
        Sums.open(tmp_path / "b")


def test_no_probes_leave_readable_sums(tmp_path):
    with SumsWriter(tmp_path):
        pass
    assert list(Sums.open(tmp_path).pieces()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_is_told_in_words(tmp_path):
    (tmp_path / "total.npy").symlink_to("/dev/full")
    values = np.arange(20_000)
    with pytest.raises(NoSpace, match="No space left"), SumsWriter(tmp_path) as writer:
        writer.add(0, values, values, values)
