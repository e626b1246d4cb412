"""Ranks that train one dictionary together: which rows and which latents are whose, and the sums between them."""

from __future__ import annotations

from torch import Tensor

from ...errors import DictionaryError


class Mesh:
    """One process alone: every sum is already complete. `distributed.DeviceMesh` is the one for several.

    Every method but the properties and `rows`, `latents` and `require_even` is called by all ranks, in the same order.
    """

    data_size = 1
    data_rank = 0
    latent_size = 1
    latent_rank = 0

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.data_rank == 0 and self.latent_rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other rank."""
        return self.data_size * self.latent_size == 1

    def require_even(self, d_sae: int, batch_size: int) -> None:
        """Refuse what does not split into equal parts: ranks whose blocks differ would wait for one another forever.

        Raises:
            DictionaryError: both numbers, and near ones that would do.
        """
        for name, size, parts, what in (
            ("d_sae", d_sae, self.latent_size, "latent"),
            ("batch_size", batch_size, self.data_size, "data"),
        ):
            if size % parts:
                lower = size - size % parts
                near = f"{lower:,} or {lower + parts:,}" if lower else f"{parts:,}"
                raise DictionaryError(f"{name} ({size:,}) does not split over {parts} {what} ranks; {near} does.")

    def over_latents(self, tensor: Tensor) -> Tensor:
        """Sum, in place, over the ranks that hold other latents of the same rows."""
        return tensor

    def over_rows(self, tensor: Tensor) -> Tensor:
        """Sum, in place, over the ranks that hold the same latents for other rows."""
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
        """This rank's latents of a tensor that every rank has whole, in memory of their own."""
        return tensor

    def agree(self, flag: bool) -> bool:
        """Whether any rank says so."""
        return flag


ALONE = Mesh()
