"""The directions of a dictionary's features, as unit rows, and which features have none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ....errors import DictionaryError
from ...sae.dictionary import SparseAutoencoder

Side = Literal["decoder", "encoder"]

TINY = 1e-8
"""Share of the median length below which a row has no direction."""

NAMED = 8
"""Features that a message names."""


@dataclass(frozen=True)
class Directions:
    """Unit rows of the usable features of a dictionary.

    ids: int64 [m], which features they are. rows: float32 [m, d] of length 1. total: features looked at.
    silent: features whose row has no length. broken: features whose row holds NaN or infinity.
    """

    ids: np.ndarray
    rows: Tensor
    total: int
    silent: np.ndarray
    broken: np.ndarray

    @property
    def left_out(self) -> int:
        return len(self.silent) + len(self.broken)


def directions(sae: SparseAutoencoder, side: Side, limit: int | None = None) -> Directions:
    """Decoder rows, or encoder columns, of the first `limit` features.

    Lengths are taken in float64, so that rows of length 1 are so to float32's rounding.

    Raises:
        DictionaryError: no feature has a direction.
    """
    W = (sae.W_dec if side == "decoder" else sae.W_enc.T)[:limit].detach().float().cpu()
    finite = torch.isfinite(W).all(dim=1)
    norms = torch.linalg.vector_norm(torch.where(finite[:, None], W, 0.0), dim=1, dtype=torch.float64)
    floor = TINY * float(norms[finite].median()) if bool(finite.any()) else 0.0
    usable = finite & (norms > floor)
    ids = usable.nonzero().squeeze(1)
    if ids.numel() == 0:
        raise DictionaryError(
            f"{named(sae)} has no latent with a direction: every {side} row of the {len(W):,} is zero, NaN or infinite."
        )
    rows = W[ids].div_(norms[ids, None].float())
    broken = (~finite).nonzero().squeeze(1).numpy()
    silent = (finite & ~usable).nonzero().squeeze(1).numpy()
    return Directions(ids.numpy(), rows, len(W), silent, broken)


def named(sae: SparseAutoencoder) -> str:
    """The dictionary as a message calls it."""
    return f"the dictionary {sae.cfg.name or sae.path or 'without a name'}"


def listed(ids: np.ndarray) -> str:
    """ "3, 7 and 12 more"."""
    shown = ", ".join(str(int(i)) for i in ids[:NAMED])
    return f"{shown} and {len(ids) - NAMED:,} more" if len(ids) > NAMED else shown
