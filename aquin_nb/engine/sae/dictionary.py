"""A trained dictionary: four tensors, a config, encode and decode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ...errors import DictionaryError
from .config import SaeConfig
from .kernels import decode_sparse, top_k


class SparseAutoencoder:
    """x ≈ f(x) W_dec + b_dec with sparse non-negative f(x) = σ((x - b_dec) W_enc + b_enc).

    σ is ReLU, preceded by keeping the k largest pre-activations of each row for `topk`. Works on raw activations:
    any scale used in training has been folded into the weights.

    Attributes:
        W_enc: [d_in, d_sae] float32.
        W_dec: [d_sae, d_out] float32, unit rows.
        b_enc: [d_sae] float32.
        b_dec: [d_out] float32, subtracted from the input and added to the output.
        cfg: `SaeConfig`.

    >>> sae = SparseAutoencoder.random(SaeConfig("topk", d_in=8, d_sae=32, d_out=8, k=4))
    >>> f = sae.encode(torch.ones(2, 8)); f.shape, bool(((f > 0).sum(-1) <= 4).all())
    (torch.Size([2, 32]), True)
    """

    def __init__(self, cfg: SaeConfig, W_enc: Tensor, W_dec: Tensor, b_enc: Tensor, b_dec: Tensor) -> None:
        shapes = {
            "W_enc": (W_enc, (cfg.d_in, cfg.d_sae)),
            "W_dec": (W_dec, (cfg.d_sae, cfg.d_out)),
            "b_enc": (b_enc, (cfg.d_sae,)),
            "b_dec": (b_dec, (cfg.d_out,)),
        }
        for name, (tensor, shape) in shapes.items():
            if tuple(tensor.shape) != shape:
                raise DictionaryError(f"{name} has shape {tuple(tensor.shape)}, the config says {shape}.")
        self.cfg, self.W_enc, self.W_dec, self.b_enc, self.b_dec = cfg, W_enc, W_dec, b_enc, b_dec
        self.path: Path | None = None

    @classmethod
    def random(cls, cfg: SaeConfig, seed: int = 0) -> SparseAutoencoder:
        """Untrained: unit decoder rows, tied encoder, zero biases; the baseline to compare a training with."""
        generator = torch.Generator().manual_seed(seed)
        W_dec = torch.nn.functional.normalize(torch.randn(cfg.d_sae, cfg.d_out, generator=generator), dim=1)
        return cls(cfg, W_dec.T.contiguous(), W_dec, torch.zeros(cfg.d_sae), torch.zeros(cfg.d_out))

    def __repr__(self) -> str:
        c = self.cfg
        kind = f"topk k={c.k}" if c.architecture == "topk" else c.architecture
        place = f", layer {c.layer} of {c.model}" if c.model else ""
        return f"SparseAutoencoder({c.name or 'unnamed'}: {kind}, {c.d_in} → {c.d_sae}{place})"

    @property
    def device(self) -> torch.device:
        return self.W_dec.device

    def to(self, device: torch.device | str) -> SparseAutoencoder:
        """A copy on another device (the same object when it is there already)."""
        if torch.device(device) == self.device:
            return self
        moved = [t.to(device) for t in (self.W_enc, self.W_dec, self.b_enc, self.b_dec)]
        out = SparseAutoencoder(self.cfg, *moved)
        out.path = self.path
        return out

    def check_input(self, d_in: int, what: str) -> None:
        """Raise `DictionaryError` when `what` has vectors of another width."""
        if d_in != self.cfg.d_in:
            raise DictionaryError(
                f"The dictionary {self.cfg.name or self.path or ''} has d_in {self.cfg.d_in}"
                f"{f' (trained on {self.cfg.model})' if self.cfg.model else ''}, but {what} has width {d_in}."
                " Bind a dictionary that was trained on this model."
            )

    def pre_activations(self, x: Tensor) -> Tensor:
        """[.., d_in] any float dtype -> [.., d_sae] float32, before the activation function."""
        self.check_input(x.shape[-1], "the input")
        return (x.to(self.device, torch.float32) - self._input_bias()) @ self.W_enc + self.b_enc

    def _input_bias(self) -> Tensor | float:
        return self.b_dec if self.cfg.d_in == self.cfg.d_out else 0.0

    def encode(self, x: Tensor) -> Tensor:
        """[.., d_in] -> dense non-negative activations [.., d_sae] float32."""
        if self.cfg.architecture == "relu":
            return self.pre_activations(x).relu_()
        rows = x.reshape(-1, x.shape[-1])
        values, indices = self.encode_sparse(rows)
        dense = torch.zeros(rows.shape[0], self.cfg.d_sae, device=self.device)
        return dense.scatter_(1, indices, values).view(*x.shape[:-1], self.cfg.d_sae)

    def encode_sparse(self, x: Tensor, limit: int | None = None) -> tuple[Tensor, Tensor]:
        """The active latents of each row: (values [n, m] float32 ≥ 0, indices [n, m] int64), strongest first.

        m is k for `topk`; for `relu` it is `limit` (required there). Slots of rows with fewer active latents hold 0.
        """
        if self.cfg.k is not None and self.cfg.architecture == "topk":
            m = min(limit or self.cfg.k, self.cfg.k)
        elif limit is not None:
            m = min(limit, self.cfg.d_sae)
        else:
            raise DictionaryError("encode_sparse of a relu dictionary needs limit=, the number of latents to keep.")
        values, indices = top_k(self.pre_activations(x), m)
        values, order = values.relu_().sort(dim=-1, descending=True)
        return values, indices.gather(-1, order)

    def decode(self, f: Tensor) -> Tensor:
        """[.., d_sae] activations -> [.., d_out] float32."""
        return f.to(self.device, torch.float32) @ self.W_dec + self.b_dec

    def reconstruct(self, x: Tensor) -> Tensor:
        """[n, d_in] -> [n, d_out] float32; for `topk` without the dense [n, d_sae] activations."""
        if self.cfg.architecture == "topk":
            return decode_sparse(*self.encode_sparse(x), self.W_dec) + self.b_dec
        return self.decode(self.encode(x))

    def save(self, path: str | Path) -> Path:
        """Write tensors and plain values to `path` (`.pt`), whole or not at all, and return it."""
        from .formats import save_dictionary

        return save_dictionary(self, Path(path))

    def renamed(self, **changes: object) -> SparseAutoencoder:
        """The same weights under a config with some fields replaced."""
        out = SparseAutoencoder(
            replace(self.cfg, **changes),  # type: ignore[arg-type]
            self.W_enc,
            self.W_dec,
            self.b_enc,
            self.b_dec,
        )
        out.path = self.path
        return out
