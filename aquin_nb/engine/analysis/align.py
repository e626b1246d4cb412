"""Two dictionaries side by side: which feature of one is which feature of the other, by decoder direction."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...control import Control
from ...errors import DictionaryError
from ..sae.dictionary import SparseAutoencoder
from .assignment import match_directions

HISTOGRAM_BINS = 40
SHARED, UNRELATED = 0.7, 0.3
KINDS = ("shared", "drifted", "weak")


@dataclass
class Alignment:
    """frame: `a, b, cosine, kind`, one row a pair, sorted by a.

    `kind` is shared (cosine ≥ 0.7), weak (< 0.3) or drifted (between).
    """

    frame: pd.DataFrame
    n_a: int
    n_b: int
    zero_a: int
    zero_b: int
    objective: float
    bound: float
    gap: float
    seconds: float
    notes: list[str] = field(default_factory=list)

    @property
    def mean_cosine(self) -> float:
        return float(self.frame["cosine"].mean())

    def histogram(self) -> list[int]:
        """Pairs in `HISTOGRAM_BINS` equal bins of cosine from -1 to 1."""
        counts, _ = np.histogram(self.frame["cosine"].clip(-1, 1), bins=HISTOGRAM_BINS, range=(-1, 1))
        return [int(c) for c in counts]


def align(
    a: SparseAutoencoder, b: SparseAutoencoder, *, max_features: int | None = None, control: Control | None = None
) -> Alignment:
    """Match the decoder rows of two dictionaries one to one by cosine, so that the sum of cosines is largest.

    Latents whose decoder row has no length are left out and counted. `max_features` keeps the first that many of each
    dictionary.

    Raises:
        DictionaryError: the dictionaries write to spaces of different width, or one has no usable latent.
    """
    if max_features is not None and (not isinstance(max_features, int) or max_features < 1):
        raise DictionaryError(f"max_features must be a whole number of at least 1, not {max_features!r}.")
    if a.cfg.d_out != b.cfg.d_out:
        raise DictionaryError(
            f"{_name(a)} writes vectors of width {a.cfg.d_out} and {_name(b)} of width {b.cfg.d_out}: their features"
            " live in different spaces, and a cosine between them would mean nothing."
        )
    notes: list[str] = []
    ids_a, rows_a, zero_a = _directions(a, max_features)
    ids_b, rows_b, zero_b = _directions(b, max_features)
    if max_features is not None and max(a.cfg.d_sae, b.cfg.d_sae) > max_features:
        notes.append(f"Only the first {max_features:,} features of each dictionary were matched (max_features).")
    if a.cfg.model_fingerprint and b.cfg.model_fingerprint and a.cfg.model_fingerprint != b.cfg.model_fingerprint:
        notes.append(
            "The two dictionaries were trained on different weights: a low cosine can mean that the basis moved,"
            " not that a feature was lost."
        )
    if a.cfg.layer != b.cfg.layer:
        notes.append(f"The dictionaries read different layers ({a.cfg.layer} and {b.cfg.layer}).")
    found = match_directions(rows_a, rows_b, progress=control)
    cosine = np.clip(found.cosine, -1.0, 1.0)  # float32 unit rows are longer than 1 by rounding
    frame = pd.DataFrame(
        {
            "a": ids_a.numpy()[found.rows],
            "b": ids_b.numpy()[found.cols],
            "cosine": cosine,
            "kind": np.select([cosine >= SHARED, cosine < UNRELATED], ["shared", "weak"], "drifted"),
        }
    )
    copies = float((cosine > 0.9999).mean())
    if copies >= 0.01 and not (a is b or torch.equal(rows_a, rows_b)):
        notes.append(
            f"{copies:.0%} of the pairs have a cosine above 0.9999: they probably share an initialisation, and match"
            " through it rather than through what was learnt. Train one with another seed to compare learning."
        )
    return Alignment(
        frame, a.cfg.d_sae, b.cfg.d_sae, zero_a, zero_b, found.objective, found.bound, found.gap, found.seconds, notes
    )


def _directions(sae: SparseAutoencoder, limit: int | None) -> tuple[Tensor, Tensor, int]:
    """Latent ids and their unit decoder rows, those without a direction left out."""
    W = sae.W_dec[:limit].detach().float().cpu()
    norms = W.norm(dim=1)
    usable = torch.isfinite(norms) & (norms > 1e-8 * norms[torch.isfinite(norms)].median())
    ids = usable.nonzero().squeeze(1)
    if ids.numel() == 0:
        raise DictionaryError(f"{_name(sae)} has no latent with a direction.")
    return ids, W[ids] / norms[ids, None], int((~usable).sum())


def _name(sae: SparseAutoencoder) -> str:
    return f"the dictionary {sae.cfg.name or sae.path or 'without a name'}"
