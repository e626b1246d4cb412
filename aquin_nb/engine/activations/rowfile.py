"""Rows of a chunk, read into memory of the reader's own: mapped, each of their pages would fault in at each reading."""

from __future__ import annotations

import os
import struct
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import StoreError
from .chunks import NAMES, read_head


class RowFile:
    """The rows of one tensor of a chunk, open for reading until it is forgotten.

    Attributes:
        shape, dtype: of the tensor.

    Raises:
        StoreError: the file is missing or damaged, or holds no such tensor.
    """

    def __init__(self, path: Path, tensor: str) -> None:
        self._path = path
        try:
            with open(path, "rb") as stream:
                head, data = read_head(stream)
            about = head[tensor]
            self.shape, self.dtype = tuple(about["shape"]), NAMES[about["dtype"]]
            start, stop = (data + int(offset) for offset in about["data_offsets"])
            self._start = start
            self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            # Not at exit: a training that is stopped then still reads what it is judged on.
            weakref.finalize(self, os.close, self._fd).atexit = False
            size = os.fstat(self._fd).st_size
        except (OSError, ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
            raise self._damaged(error) from None
        if size < stop or stop - start != int(np.prod(self.shape)) * self.dtype.itemsize:
            raise self._damaged("it is cut short")

    def read(self, row: int, out: NDArray[np.uint8]) -> None:
        """Fill `out`, contiguous bytes, with the rows from `row` on.

        Raises:
            StoreError: the file cannot be read, or is shorter now than it was.
        """
        place = self._start + row * self.shape[1] * self.dtype.itemsize
        left = memoryview(out.data).cast("B")
        try:
            while left:
                if hasattr(os, "preadv"):
                    done = os.preadv(self._fd, [left], place)
                else:
                    os.lseek(self._fd, place, os.SEEK_SET)
                    part = os.read(self._fd, len(left))
                    left[: len(part)] = part
                    done = len(part)
                if not done:
                    raise self._damaged("it is cut short")
                left, place = left[done:], place + done
        except OSError as error:
            raise self._damaged(error) from None

    def _damaged(self, why: object) -> StoreError:
        return StoreError(f"{self._path} is damaged or missing ({why}); the other chunks are readable.")
