"""A trained dictionary: its tensors, a config, encode and decode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...errors import DictionaryError
from .kernels import decode_sparse, top_k
from .record import SaeConfig


class SparseAutoencoder:
    """x̂ = f W_dec + b_dec with sparse non-negative f = σ(pre), pre = (x - b_dec) W_enc + b_enc.

    A transcoder does not subtract b_dec, and adds x W_skip when it has one. Works on raw activations: any scale used in
    training has been folded into the weights. σ by architecture:

        topk                   the k largest of relu(pre) in each row
        relu                   relu(pre)
        jumprelu               pre where pre > threshold, else 0
        batchtopk, matryoshka  the same, with the one threshold that lets k latents a row through on average, so that a
                               row's features do not depend on its batch
        gated                  relu(exp(r_mag) · (pre - b_enc) + b_mag) where pre > 0

    Attributes:
        W_enc: [d_in, d_sae] float32.
        W_dec: [d_sae, d_out] float32.
        b_enc: [d_sae] float32 (the gate's bias in a gated dictionary).
        b_dec: [d_out] float32.
        threshold: [d_sae] float32, or None. b_mag, r_mag: [d_sae], gated only. W_skip: [d_in, d_out], or None.
        cfg: `SaeConfig`.

    >>> sae = SparseAutoencoder.random(SaeConfig("topk", d_in=8, d_sae=32, d_out=8, k=4))
    >>> f = sae.encode(torch.ones(2, 8)); f.shape, bool(((f > 0).sum(-1) <= 4).all())
    (torch.Size([2, 32]), True)
    """

    def __init__(
        self,
        cfg: SaeConfig,
        W_enc: Tensor,
        W_dec: Tensor,
        b_enc: Tensor,
        b_dec: Tensor,
        *,
        threshold: Tensor | None = None,
        b_mag: Tensor | None = None,
        r_mag: Tensor | None = None,
        W_skip: Tensor | None = None,
    ) -> None:
        self.cfg, self.W_enc, self.W_dec, self.b_enc, self.b_dec = cfg, W_enc, W_dec, b_enc, b_dec
        self.threshold, self.b_mag, self.r_mag, self.W_skip = threshold, b_mag, r_mag, W_skip
        self.path: Path | None = None
        needed = REQUIRED.get(cfg.architecture, ())
        for name, shape in shapes(cfg).items():
            tensor = getattr(self, name)
            if tensor is None and name in needed:
                raise DictionaryError(f"A {cfg.architecture} dictionary needs {name}.")
            if tensor is not None and tuple(tensor.shape) != shape:
                raise DictionaryError(f"{name} has shape {tuple(tensor.shape)}, the config says {shape}.")

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor it has, by name."""
        return {name: tensor for name in shapes(self.cfg) if (tensor := getattr(self, name)) is not None}

    @classmethod
    def random(cls, cfg: SaeConfig, seed: int = 0) -> SparseAutoencoder:
        """Untrained: unit decoder rows, tied encoder, zero biases; the baseline to compare a training with."""
        generator = torch.Generator().manual_seed(seed)
        W_dec = normalize(torch.randn(cfg.d_sae, cfg.d_out, generator=generator, dtype=torch.float32), dim=1)
        W_enc = W_dec.T.contiguous()
        if cfg.transcoder:
            W_enc = normalize(torch.randn(cfg.d_in, cfg.d_sae, generator=generator, dtype=torch.float32), dim=0)
        extra = {name: _zeros(cfg.d_sae) for name in REQUIRED.get(cfg.architecture, ())}
        return cls(cfg, W_enc, W_dec, _zeros(cfg.d_sae), _zeros(cfg.d_out), **extra)

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
        out = SparseAutoencoder(self.cfg, **{name: tensor.to(device) for name, tensor in self.tensors().items()})
        out.path = self.path
        return out

    def to_jumprelu(self) -> SparseAutoencoder:
        """A BatchTopK or Matryoshka dictionary as JumpReLU: the same function, in the form other tools read.

        Raises:
            DictionaryError: another architecture, whose function a threshold cannot express.
        """
        if self.cfg.architecture not in ("batchtopk", "matryoshka", "jumprelu"):
            raise DictionaryError(
                f"A {self.cfg.architecture} dictionary is no JumpReLU: its active latents do not follow from a"
                " threshold alone. batchtopk and matryoshka can be converted."
            )
        return self.renamed(architecture="jumprelu", k=None)

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
        return 0.0 if self.cfg.transcoder else self.b_dec

    def encode(self, x: Tensor) -> Tensor:
        """[.., d_in] -> dense non-negative activations [.., d_sae] float32."""
        kind = self.cfg.architecture
        if kind == "topk":
            rows = x.reshape(-1, x.shape[-1])
            values, indices = self.encode_sparse(rows)
            dense = torch.zeros(rows.shape[0], self.cfg.d_sae, dtype=torch.float32, device=self.device)
            return dense.scatter_(1, indices, values).view(*x.shape[:-1], self.cfg.d_sae)
        pre = self.pre_activations(x)
        if kind == "relu":
            return pre.relu_()
        if kind == "gated":
            assert self.r_mag is not None
            assert self.b_mag is not None
            magnitude = ((pre - self.b_enc) * self.r_mag.exp() + self.b_mag).relu_()
            return magnitude.mul_(pre > 0)
        assert self.threshold is not None
        return pre.mul_(pre > self.threshold).relu_()

    def encode_sparse(self, x: Tensor, limit: int | None = None) -> tuple[Tensor, Tensor]:
        """The active latents of each row: (values [n, m] float32 ≥ 0, indices [n, m] int64), strongest first.

        m is k for `topk`; for the others, whose rows differ in it, it is `limit` (required there). Slots of rows with
        fewer active latents hold 0.
        """
        if self.cfg.k is not None and self.cfg.architecture == "topk":
            values, indices = top_k(self.pre_activations(x), min(limit or self.cfg.k, self.cfg.k))
        elif limit is not None:
            values, indices = top_k(self.encode(x), min(limit, self.cfg.d_sae))
        else:
            raise DictionaryError(
                f"encode_sparse of a {self.cfg.architecture} dictionary needs limit=, the number of latents to keep."
            )
        values, order = values.relu_().sort(dim=-1, descending=True)
        return values, indices.gather(-1, order)

    def decode(self, f: Tensor) -> Tensor:
        """[.., d_sae] activations -> [.., d_out] float32; without the skip connection, which needs the input."""
        return f.to(self.device, torch.float32) @ self.W_dec + self.b_dec

    def reconstruct(self, x: Tensor) -> Tensor:
        """[n, d_in] -> [n, d_out] float32; for `topk` without the dense [n, d_sae] activations."""
        if self.cfg.architecture == "topk":
            out = decode_sparse(*self.encode_sparse(x), self.W_dec) + self.b_dec
        else:
            out = self.decode(self.encode(x))
        return out if self.W_skip is None else out + x.to(self.device, torch.float32) @ self.W_skip

    def save(self, path: str | Path) -> Path:
        """Write tensors and plain values to `path` (`.pt`), whole or not at all, and return it."""
        from .formats import save_dictionary

        return save_dictionary(self, Path(path))

    def renamed(self, **changes: object) -> SparseAutoencoder:
        """The same weights under a config with some fields replaced."""
        out = SparseAutoencoder(replace(self.cfg, **changes), **self.tensors())  # type: ignore[arg-type]
        out.path = self.path
        return out


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.float32)


REQUIRED = {
    "jumprelu": ("threshold",),
    "batchtopk": ("threshold",),
    "matryoshka": ("threshold",),
    "gated": ("b_mag", "r_mag"),
}


def shapes(cfg: SaeConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor a dictionary may have, and its shape."""
    return {
        "W_enc": (cfg.d_in, cfg.d_sae),
        "W_dec": (cfg.d_sae, cfg.d_out),
        "b_enc": (cfg.d_sae,),
        "b_dec": (cfg.d_out,),
        "threshold": (cfg.d_sae,),
        "b_mag": (cfg.d_sae,),
        "r_mag": (cfg.d_sae,),
        "W_skip": (cfg.d_in, cfg.d_out),
    }
