"""Decimation, axes and pictures."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aquin_nb.widgets.axis import axis_for, linear_ticks, log_ticks
from aquin_nb.widgets.decimate import keep_rows
from aquin_nb.widgets.png import encode, line_png


@given(st.integers(0, 3000), st.integers(11, 400), st.integers(0, 5))
def test_decimation_keeps_ends_and_extremes_within_the_limit(rows, limit, seed):
    values = np.random.default_rng(seed).normal(size=(4, rows))
    kept = keep_rows(np.arange(rows, dtype=float), values, limit)
    assert len(kept) <= max(limit, 11)
    assert (np.diff(kept) > 0).all()
    if rows:
        assert (kept[0], kept[-1]) == (0, rows - 1)
        assert np.array_equal(values[:, kept].max(axis=1), values.max(axis=1))
        assert np.array_equal(values[:, kept].min(axis=1), values.min(axis=1))


def test_uneven_steps_keep_an_even_density():
    steps = np.concatenate([np.arange(0, 100_000, 1000.0), np.arange(100_000, 110_000.0)])
    kept = steps[keep_rows(steps, np.sin(steps)[None], 300)]
    assert (kept < 100_000).sum() == 100


def test_all_gaps_still_decimate():
    assert len(keep_rows(np.arange(1000.0), np.full((4, 1000), np.nan), 100)) <= 100


def test_ticks_are_round_and_inside():
    assert linear_ticks(0.13, 0.92, 3) == (0.2, 0.4, 0.6, 0.8)
    assert log_ticks(90, 4100, 3) == (100, 1000)
    assert all(0.021 <= tick <= 0.024 for tick in log_ticks(0.021, 0.024, 3))


def test_axis_rules():
    early = np.array([40.0, 3.0] + [0.5] * 20)
    assert axis_for(early, "linear", clip=1).high < 1.2
    assert axis_for(early, "auto").log
    assert not axis_for(np.array([32.0, 32.0]), "auto").log
    assert axis_for(np.array([0.0, 0.0]), "linear", floor=0).low == 0
    flat = axis_for(np.array([31.99, 32.01]), "auto", span=0.1)
    assert flat.low < 30.5
    assert flat.high > 33.5
    assert axis_for(np.array([np.nan, np.inf]), "log") is None


def pixels(png):
    """Decode our own kind of PNG: RGBA, no filter."""
    width, height = struct.unpack(">II", png[16:24])
    start = png.index(b"IDAT")
    (length,) = struct.unpack(">I", png[start - 4 : start])
    rows = np.frombuffer(zlib.decompress(png[start + 4 : start + 4 + length]), np.uint8).reshape(height, 1 + 4 * width)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 4)


def test_png_round_trip():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    assert np.array_equal(pixels(encode(image)), image)


def test_marks_are_dashed_upright_lines_below_the_curve():
    x = np.linspace(0, 1, 11)
    image = pixels(line_png(x, x * 0, width=200, height=100, colour=(10, 20, 30), marks=(0.5, 1.5)))
    upper = image[:90, :, 3] > 0
    assert np.flatnonzero(upper.any(axis=0)).tolist() == [99, 100]
    assert 0.4 < upper[:, 99].mean() < 0.6


def test_a_line_is_where_it_should_be_and_gaps_are_empty():
    x = np.linspace(0, 1, 101)
    y = np.full(101, 0.5)
    y[40:60] = np.nan
    image = pixels(line_png(x, y, width=200, height=100, colour=(10, 20, 30)))
    alpha = image[..., 3]
    assert alpha[50, 20] == 255
    assert alpha[:, 100].max() == 0
    assert alpha[:40].max() == alpha[60:].max() == 0
    assert tuple(image[50, 20, :3]) == (10, 20, 30)
