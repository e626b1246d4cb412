"""Numbers reach a page as they are, in the narrowest form it has a typed array for, or not at all."""

import base64

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aquin_nb.widgets.pack import columns, embed, pack

TYPES = {"<f4": np.float32, "<f8": np.float64, "<i4": np.int32, "|u1": np.uint8, "<u2": np.uint16, "<u4": np.uint32}


def read(packed, raw):
    return np.frombuffer(raw, TYPES[packed["dtype"]]).reshape(packed["shape"])


@given(
    hnp.arrays(
        st.sampled_from(
            [np.float16, np.float32, np.float64, np.int8, np.int16, np.int32, np.uint8, np.uint16, np.bool_]
        ),
        hnp.array_shapes(max_dims=2, min_side=0, max_side=5),
    )
)
def test_every_array_comes_back(array):
    packed, (raw,) = pack(array)
    np.testing.assert_array_equal(read(packed, raw), array)
    np.testing.assert_array_equal(read(packed, base64.b64decode(embed(array)["$array"])), array)


def test_views_and_foreign_byte_orders_are_straightened():
    array = np.arange(12, dtype=">f8").reshape(3, 4)[::2, ::-1]
    packed, (raw,) = pack(array)
    np.testing.assert_array_equal(read(packed, raw), array)


def test_whole_numbers_that_do_not_fit_are_refused_not_wrapped():
    assert pack(np.array([2**31 - 1]))[0]["dtype"] == "<i4"
    with pytest.raises(OverflowError, match="float64"):
        pack(np.array([2**31]))
    with pytest.raises(TypeError, match="complex"):
        pack(np.zeros(1, complex))


def test_numbers_that_json_does_not_have_are_told():
    assert pack([float("nan"), float("inf"), -np.inf, np.float64(1.5), np.int64(3)])[0] == [
        {"$number": "NaN"}, {"$number": "Infinity"}, {"$number": "-Infinity"}, 1.5, 3,
    ]  # fmt: skip


def test_a_frame_goes_by_columns():
    frame = pd.DataFrame(
        {
            "feature": pd.array([3, None], "Int64"),
            "cosine": [0.5, np.nan],
            "bound": [1.0, 2.0],
            "dead": [True, False],
            "class": ["shared", None],
        }
    )
    found = columns(frame, wide=["bound"])
    assert found["rows"] == 2
    kinds = {name: getattr(values, "dtype", "texts") for name, values in found["columns"].items()}
    assert kinds == {"feature": np.int32, "cosine": np.float32, "bound": np.float64, "dead": np.uint8, "class": "texts"}
    assert found["columns"]["feature"].tolist() == [3, -1]
    assert np.isnan(found["columns"]["cosine"][1])
    assert found["columns"]["class"] == ["shared", None]
