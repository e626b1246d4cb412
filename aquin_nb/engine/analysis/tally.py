"""One model's pass through a dictionary: what fires on each row, sums of each probe, and what is left unexplained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag

from ..sae.dictionary import SparseAutoencoder
from ..sae.kernels import above, top_k
from .sums import SumsWriter

DENSE = 1 << 24  # entries of [rows, d_sae] held at a time


@dataclass(frozen=True)
class Active:
    """The latents that fire, row by row, ascending in each: row, feature int64 [n], value float32 [n]; on the CPU."""

    row: NDArray[np.int64]
    feature: NDArray[np.int64]
    value: NDArray[np.float32]


class Tally:
    """Running sums of one model's features; those of each probe go to `writer`."""

    def __init__(self, sae: SparseAutoencoder, writer: SumsWriter) -> None:
        self.sae, self.writer = sae, writer
        self.rows = 0
        self.error = self.square = 0.0
        self.sum = torch.zeros(sae.cfg.d_in, dtype=torch.float64)
        self._encoder = Encoder(sae)

    def add(self, x: Tensor, owner: NDArray[np.int64], probes: NDArray[np.int64]) -> Active:
        """Take rows [n, d_in], of which row i belongs to probes[owner[i]]; returns what fires on them."""
        step = self._encoder.rows
        parts = [
            self._encode(rows, start) for start, rows in zip(range(0, len(x), step), torch.split(x, step), strict=True)
        ]
        active = Active(*(np.concatenate([getattr(part, of) for part in parts]) for of in ("row", "feature", "value")))
        self._write(active, owner, probes)
        return active

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.square) and np.isfinite(self.error))

    @property
    def fvu(self) -> float | None:
        """None when the rows do not vary (a single one, or copies), and of a transcoder, which predicts other rows."""
        if self.sae.cfg.transcoder:
            return None
        variance = self.square - float(self.sum.square().sum()) / max(self.rows, 1)
        return self.error / variance if variance > 1e-6 * self.square else None

    def _encode(self, x: Tensor, start: int) -> Active:
        x = x.to(self.sae.device, torch.float32)
        row, feature, value = self._encoder(x)
        self.rows += len(x)
        self.square += float(x.square().sum(dtype=torch.float64))
        self.sum += x.sum(0, dtype=torch.float64).cpu()
        if not self.sae.cfg.transcoder:
            starts = torch.searchsorted(row, torch.arange(len(x), device=row.device))
            made = embedding_bag(feature, self.sae.W_dec, starts, per_sample_weights=value, mode="sum")
            self.error += float((x - made - self.sae.b_dec).square().sum(dtype=torch.float64))
        return Active((row + start).cpu().numpy(), feature.cpu().numpy(), value.cpu().numpy())

    def _write(self, active: Active, owner: NDArray[np.int64], probes: NDArray[np.int64]) -> None:
        d_sae = self.sae.cfg.d_sae
        ends = np.searchsorted(owner[active.row], np.arange(len(probes)), side="right")
        for probe, start, stop in zip(probes.tolist(), np.r_[0, ends[:-1]], ends, strict=True):
            feature, value = active.feature[start:stop], active.value[start:stop]
            fired = np.bincount(feature, minlength=d_sae)
            total = np.bincount(feature, value, minlength=d_sae)
            seen = np.flatnonzero(fired)
            self.writer.add(probe, seen, total[seen], fired[seen])


class Encoder:
    """Row, latent (int64, ascending) and value of all that fires on [n, d_in]: `sae.encode(x)` without its zeros.

    The dense product goes into one buffer that is kept: making it anew costs half as much as the product itself.
    """

    def __init__(self, sae: SparseAutoencoder) -> None:
        self._sae = sae
        self.rows = max(1, DENSE // sae.cfg.d_sae)
        self._buffer = torch.empty(0, sae.cfg.d_sae, dtype=torch.float32, device=sae.device)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """At most `rows` rows, float32 on the dictionary's device."""
        sae, kind = self._sae, self._sae.cfg.architecture
        if kind == "gated":
            f = sae.encode(x)
            row, latent = (f > 0).nonzero(as_tuple=True)
            return row, latent, f[row, latent]
        if kind == "topk":
            assert sae.cfg.k is not None
            values, latents = top_k(self._dense(x), sae.cfg.k)
            latents, order = latents.sort(dim=1)
            values = values.gather(1, order)
            row, at = (values > 0).nonzero(as_tuple=True)
            return row, latents[row, at], values[row, at]
        row, latent, value = above(self._dense(x), 0.0 if sae.threshold is None else sae.threshold.clamp(min=0))
        order = (row * sae.cfg.d_sae + latent).argsort()
        return row[order], latent[order], value[order]

    def _dense(self, x: Tensor) -> Tensor:
        if len(self._buffer) < len(x):
            self._buffer = self._buffer.new_empty(len(x), self._sae.cfg.d_sae)
        centred = x if self._sae.cfg.transcoder else x - self._sae.b_dec
        return torch.addmm(self._sae.b_enc, centred, self._sae.W_enc, out=self._buffer[: len(x)])
