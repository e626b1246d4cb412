"""Activations whose true directions are known, stores of them, and short trainings on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from aquin_nb.control import Control
from aquin_nb.engine.activations.manifest import SiteInfo
from aquin_nb.engine.activations.store import Store
from aquin_nb.engine.activations.stream import ShuffledStream
from aquin_nb.engine.activations.writer import StoreWriter
from aquin_nb.engine.sae import SaeConfig, TrainConfig
from aquin_nb.engine.sae.trainer import Member, TrainOutcome, fit

D, TRUE, ACTIVE = 32, 48, 3

ABOUT = {
    "model": {
        "name": "none",
        "source": "directory",
        "mode": "llm",
        "n_layers": 4,
        "d_model": D,
        "dtype": "float32",
        "device": "cpu",
        "backend": "none",
        "fingerprint": "f",
    },
    "layer": 3,
    "hook": "blocks.3.hook_resid_post",
    "unit": "token",
    "context_size": 8,
    "corpus": {"name": "planted", "why": "test"},
    "exclusions": "none",
}


def codes(rows: int, true: int = TRUE, active: int = ACTIVE, seed: int = 0) -> Tensor:
    """[rows, true] with `active` weights between 1 and 2 in each row, the others 0."""
    g = torch.Generator().manual_seed(seed)
    chosen = torch.rand(rows, true, generator=g).topk(active, dim=1).indices
    return torch.zeros(rows, true).scatter_(1, chosen, 1 + torch.rand(rows, active, generator=g))


def directions(true: int = TRUE, d: int = D, seed: int = 100) -> Tensor:
    """Random unit rows [true, d]."""
    return normalize(torch.randn(true, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def planted(rows: int = 6000, d: int = D, true: int = TRUE) -> Tensor:
    """Rows that are sums of 3 of the `directions` with positive weights, off centre."""
    return codes(rows, true) @ directions(true, d) + 0.5


def recovered(found: Tensor, true: Tensor) -> float:
    """Share of the true directions that some row of `found` has a cosine of at least 0.9 with."""
    best = (normalize(true, dim=1) @ normalize(found, dim=1).T).max(dim=1).values
    return float((best >= 0.9).float().mean())


def stored(folder: Path, x: Tensor, chunk_rows: int = 1000, about: dict[str, Any] | None = None) -> Store:
    """A store of x in float32, 20 rows a document."""
    about = ABOUT | (about or {})
    site = SiteInfo(about.pop("hook"), about.pop("layer"), x.shape[1])
    with StoreWriter(folder, [site], dtype="float32", about=about, chunk_rows=chunk_rows) as writer:
        number = torch.arange(len(x))
        writer.add({site.hook: x}, number % 50, number // 20, number % 20)
        return writer.close()


def settings(**changes: Any) -> TrainConfig:
    """A config that learns the planted directions in a second."""
    values = {"d_sae": TRUE, "k": ACTIVE, "batch_size": 256, "steps": 600, "lr": 3e-3, "dtype": "float32"}
    return TrainConfig(**(values | changes))


def member(config: TrainConfig, stream: ShuffledStream, **changes: Any) -> Member:
    """One dictionary of `fit`, of all columns of the stream unless `inputs` and `outputs` say otherwise."""
    resolved = config.resolved(stream.rows)
    inputs, outputs = (changes.get(name, slice(None)) for name in ("inputs", "outputs"))
    width = sum(stream.widths)
    cfg = SaeConfig(
        resolved.architecture,
        d_in=len(range(width)[inputs]),
        d_sae=resolved.d_sae,
        d_out=len(range(width)[outputs]),
        k=resolved.k,
        groups=resolved.groups,
        transcoder=inputs != outputs,
    )
    return Member(cfg, resolved, **changes)


def train(x: Tensor, control: Control | None = None, **changes: Any) -> TrainOutcome:
    """Train on the rows of x."""
    config = settings(**changes)
    stream = ShuffledStream(x, config.batch_size, seed=config.seed, held_out=config.held_out)
    return fit(stream, [member(config, stream)], control=control)[0]


def transcode(x: Tensor, y: Tensor, **changes: Any) -> TrainOutcome:
    """Train a transcoder from the rows of x to those of y."""
    config = settings(**changes)
    stream = ShuffledStream((x, y), config.batch_size, seed=config.seed)
    middle = x.shape[1]
    return fit(stream, [member(config, stream, inputs=slice(0, middle), outputs=slice(middle, None))])[0]


def assert_same(one: TrainOutcome, other: TrainOutcome) -> None:
    """Equal to the bit: every tensor, and every logged figure but the speed."""
    theirs = other.dictionary.tensors()
    for name, tensor in one.dictionary.tensors().items():
        assert torch.equal(tensor, theirs[name]), name
    assert_same_history(one.history, other.history)
    assert one.density == other.density


def assert_same_history(one: Sequence[Any], other: Sequence[Any]) -> None:
    assert [point[:-1] for point in one] == [point[:-1] for point in other]
