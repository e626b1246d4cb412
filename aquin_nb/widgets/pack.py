"""Numbers on their way to a page: arrays and frames as bytes beside JSON. widgets/src/core/unpack.ts reads them."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

DTYPES: Final = ("<f4", "<f8", "<i4", "|u1", "<u2", "<u4")
"""What a page has typed arrays for; other dtypes are made one of these."""

_NARROWED: Final = {"f2": "<f4", "i8": "<i4", "i2": "<i4", "i1": "<i4", "u8": "<u4", "b1": "|u1"}


def columns(frame: pd.DataFrame, names: Iterable[str] | None = None, *, wide: Iterable[str] = ()) -> dict[str, Any]:
    """A frame as `{"rows": n, "columns": {name: ...}}`, one array or list a column.

    Floats become float32, those named in `wide` float64; whole numbers int32, a missing one -1; booleans uint8; all
    else texts, a missing one None.

    >>> columns(pd.DataFrame({"feature": [3], "class": ["shared"]}))["columns"]
    {'feature': array([3], dtype=int32), 'class': ['shared']}
    """
    wide = set(wide)
    found = {str(name): _column(frame[name], str(name) in wide) for name in (names or frame.columns)}
    return {"rows": len(frame), "columns": found}


def _column(values: pd.Series[Any], wide: bool) -> NDArray[Any] | list[str | None]:
    if pd.api.types.is_bool_dtype(values.dtype) and not values.hasnans:
        return values.to_numpy(np.uint8)
    if pd.api.types.is_integer_dtype(values.dtype):
        return values.fillna(-1).to_numpy(np.int32)
    if pd.api.types.is_float_dtype(values.dtype):
        return values.to_numpy(np.float64 if wide else np.float32, na_value=np.nan)
    return [None if missing else str(value) for value, missing in zip(values, values.isna(), strict=True)]


def pack(data: Any) -> tuple[Any, list[bytes]]:
    """JSON with numbered arrays, and their bytes: what a message carries.

    >>> pack({"x": np.zeros(2, np.float32)})
    ({'x': {'$array': 0, 'dtype': '<f4', 'shape': [2]}}, [b'\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00'])
    """
    buffers: list[bytes] = []

    def put(raw: bytes) -> int:
        buffers.append(raw)
        return len(buffers) - 1

    return _walk(data, put), buffers


def embed(data: Any) -> Any:
    """The same with each array as base64: what a page carries inside.

    >>> embed(np.arange(2, dtype=np.int32))
    {'$array': 'AAAAAAEAAAA=', 'dtype': '<i4', 'shape': [2]}
    """
    return _walk(data, lambda raw: base64.b64encode(raw).decode("ascii"))


def _walk(value: Any, put: Callable[[bytes], int | str]) -> Any:
    if isinstance(value, dict):
        return {str(key): _walk(item, put) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_walk(item, put) for item in value]
    if isinstance(value, np.ndarray):
        array = _narrowed(value)
        return {"$array": put(array.tobytes()), "dtype": array.dtype.str, "shape": list(array.shape)}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"$number": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    return value


def _narrowed(array: NDArray[Any]) -> NDArray[Any]:
    kind = f"{array.dtype.kind}{array.dtype.itemsize}"
    wanted = _NARROWED.get(kind, array.dtype.newbyteorder("<").str)
    if wanted not in DTYPES:
        raise TypeError(f"A page takes numbers, not arrays of {array.dtype}.")
    if kind in ("i8", "u8") and array.size and not _fits(array, np.dtype(wanted)):
        raise OverflowError(f"Whole numbers beyond {np.iinfo(wanted).max:,} do not fit; send them as float64.")
    return np.ascontiguousarray(array, dtype=wanted)


def _fits(array: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    return bool(array.min() >= limits.min and array.max() <= limits.max)
