"""Memory of tensors that nobody holds any more, used again: new memory costs more than what is written into it."""

from __future__ import annotations

import weakref
from collections import deque

import numpy as np
import torch
from torch import Tensor

SPARE = 4
"""Blocks kept for the next tensor: as many as a stream has under way."""


class Reuse:
    """Gives tensors of one shape and dtype; the memory of one that is gone, with all views of it, serves another.

    >>> import torch
    >>> new = Reuse((2, 3), torch.float32)
    >>> first = new()
    >>> place = first.data_ptr()
    >>> del first
    >>> new().data_ptr() == place
    True
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self._shape, self._dtype = shape, dtype
        self._bytes = int(np.prod(shape)) * dtype.itemsize
        self._spare: deque[np.ndarray] = deque(maxlen=SPARE)

    def __call__(self) -> Tensor:
        """A tensor with whatever values its memory holds."""
        try:
            block = self._spare.popleft()
        except IndexError:
            block = np.empty(self._bytes, dtype=np.uint8)
        lent = block[:]  # what the tensor's storage holds, and lets go with its last view
        weakref.finalize(lent, self._spare.append, block).atexit = False
        return torch.from_numpy(lent).view(self._dtype).view(self._shape)
