"""Ranks that train one dictionary together: which rows and which latents are whose, and the sums between them."""

from __future__ import annotations

import torch
from torch import Tensor


class Mesh:
    """One process alone: every sum is already complete. `distributed.DeviceMesh` is the one for several."""

    data_size = 1
    data_rank = 0
    latent_size = 1
    latent_rank = 0

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.data_rank == 0 and self.latent_rank == 0

    def over_latents(self, tensor: Tensor) -> Tensor:
        """Sum over the ranks that hold other latents of the same rows."""
        return tensor

    def over_rows(self, tensor: Tensor) -> Tensor:
        """Sum over the ranks that hold the same latents for other rows."""
        return tensor

    def gather_latents(self, tensor: Tensor, dim: int) -> Tensor:
        """The latent ranks' tensors side by side along `dim`."""
        return tensor

    def gather(self, tensor: Tensor) -> Tensor:
        """Every rank's flat tensor one after another, in rank order; they may differ in length."""
        return tensor

    def rows(self, batch: Tensor) -> Tensor:
        """This rank's rows of a batch that every rank has whole."""
        return batch

    def latents(self, tensor: Tensor, dim: int = 0) -> Tensor:
        """This rank's latents of a tensor that every rank has whole."""
        return tensor

    def agree(self, flag: bool) -> bool:
        """Whether any rank says so."""
        return flag

    def wait(self) -> None:
        """Return when every rank is here."""


ALONE = Mesh()


def split(size: int, parts: int, part: int) -> slice:
    """The `part`-th of `parts` runs of `size` items, lengths as even as can be.

    >>> [split(10, 3, i) for i in range(3)]
    [slice(0, 4, None), slice(4, 7, None), slice(7, 10, None)]
    """
    bounds = torch.linspace(0, size, parts + 1, dtype=torch.float64).ceil().long().tolist()
    return slice(bounds[part], bounds[part + 1])
