"""What two ranks do, data parallel and then tensor parallel; `test_distributed.py` compares what they leave.

RANK=0 WORLD_SIZE=2 MASTER_ADDR=... MASTER_PORT=... python mesh_cases.py FOLDER
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import test_gradients as gradients
import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh

from aquin_nb.control import Control
from aquin_nb.engine.activations.stream import ShuffledStream
from aquin_nb.engine.sae.architectures import Batch, Now, Penalised, build
from aquin_nb.engine.sae.checkpoints import Checkpoints
from aquin_nb.engine.sae.config import TrainConfig
from aquin_nb.engine.sae.distributed import DeviceMesh, LostRank
from aquin_nb.engine.sae.mesh import ALONE, Mesh
from aquin_nb.engine.sae.parameters import Scaling, grad
from aquin_nb.engine.sae.record import SaeConfig
from aquin_nb.engine.sae.run import SHARED, Run
from aquin_nb.engine.sae.trainer import Interrupted, Member, TrainOutcome, fit
from aquin_nb.errors import DictionaryError

SELECTED, PENALISED = gradients.SELECTED, gradients.PENALISED
FIRST, SECOND, MIXED = range(9), range(40, 50), (1, 5, 17, 31, 32, 40, 41, 42, 43, 44, 63)
"""Dead latents: all with the first of two ranks, all with the second, with both."""


def gradient_cases() -> dict[str, dict[str, Any]]:
    """One step each: settings of the config, and `dead`, `sparse`, `transcoder`, `pre_act`."""
    cases: dict[str, dict[str, Any]] = {}
    for name in SELECTED:
        cases[f"{name}"] = {"architecture": name}
        for place, dead in (("first", FIRST), ("second", SECOND), ("both", MIXED)):
            cases[f"{name} dead on {place}"] = {"architecture": name, "dead": list(dead)}
        cases[f"{name} few dead"] = {"architecture": name, "dead": [3, 50]}
        cases[f"{name} transcoder skip"] = {"architecture": name, "transcoder": True, "skip": True, "dead": list(MIXED)}
        cases[f"{name} error variance"] = {"architecture": name, "error": "variance"}
        cases[f"{name} error row"] = {"architecture": name, "error": "row"}
    losses: list[dict[str, Any]] = [
        {"sparsity_loss": "lp"},
        {"sparsity_loss": "lp", "p": 0.5},
        {"sparsity_loss": "tanh", "tanh_scale": 2.0},
        {"sparsity_loss": "tanh-quadratic", "tanh_scale": 2.0, "frequency_scale": 0.1},
    ]
    for name in PENALISED:
        for sparse in (False, True):
            way = "sparse" if sparse else "dense"
            for loss in losses:
                label = f"{name} {way} {' '.join(map(str, loss.values()))}"
                cases[label] = {"architecture": name, "sparse": sparse, "unit_decoder": False, **loss}
            cases[f"{name} {way} transcoder skip"] = {
                "architecture": name,
                "sparse": sparse,
                "transcoder": True,
                "skip": True,
                "error": "variance",
            }
    for sparse in (False, True):
        way = "sparse" if sparse else "dense"
        cases[f"jumprelu {way} l0 pre-act"] = {
            "architecture": "jumprelu",
            "sparse": sparse,
            "sparsity_loss": "l0",
            "pre_act": 0.2,
            "dead": list(SECOND),
        }
    return cases


def gradient_difference(mesh: Mesh, case: dict[str, Any]) -> str:
    """What differs between this rank's gradients and its part of one process's, float64; empty when nothing does."""
    settings = dict(case)
    dead = torch.tensor(settings.pop("dead", []), dtype=torch.int64)
    sparse, transcoder = settings.pop("sparse", False), settings.pop("transcoder", False)
    now = replace(gradients.NOW, pre_act=settings.pop("pre_act", 0.0))
    config = gradients.config(settings.pop("architecture"), **settings)
    d_out = 7 if transcoder else gradients.D
    data = gradients.batch(config, d_out, transcoder=transcoder)

    def step(over: Mesh, batch: Batch, dead: Tensor, now: Now) -> tuple[Any, Any, dict[str, float]]:
        p = gradients.parameters(config, d_out)
        if over is not ALONE:
            for name, tensor in p.named().items():
                if name in p.extra:
                    p.extra[name] = tensor if name in SHARED else over.latents(tensor)
                else:
                    setattr(p, name, tensor if name in SHARED else over.latents(tensor))
        architecture = build(config, transcoder=transcoder, mesh=over)
        if isinstance(architecture, Penalised) and sparse:
            architecture.share = 0.0
        result = architecture.step(p, batch, dead, now)
        for parameter in p.all():
            over.over_rows(grad(parameter))
        return p, result, architecture.state()

    whole, expected, state = step(ALONE, data, dead, now)
    mine = Batch(mesh.rows(data.x), mesh.rows(data.y), mesh.rows(data.weights), data.total)
    marked = torch.zeros(gradients.F, dtype=torch.bool)
    marked[dead] = True
    own = mesh.latents(marked).nonzero().squeeze(1)
    part, result, own_state = step(mesh, mine, own, replace(now, dead=dead.numel()))
    wrong = []
    for name, tensor in whole.named().items():
        wanted = grad(tensor) if name in SHARED else mesh.latents(grad(tensor))
        if not torch.allclose(grad(part.named()[name]), wanted, rtol=1e-9, atol=1e-11):
            wrong.append(f"{name}: {float((grad(part.named()[name]) - wanted).abs().max()):.2e}")
    if not torch.allclose(result.residual, mesh.rows(expected.residual), rtol=1e-9, atol=1e-11):
        wrong.append("reconstruction")
    if not torch.equal(mesh.over_rows(result.fired), mesh.latents(expected.fired)):
        wrong.append("fired")
    if "share" in state and own_state != state:
        wrong.append("share")
    return ", ".join(wrong)


STEPS, KEPT = 25, 24


def training_cases() -> dict[str, dict[str, Any]]:
    """Trainings of `STEPS` steps; a state is kept after `KEPT`."""
    dead = {"dead_after_tokens": 64, "aux_k": 6, "k": 2}
    return {
        "topk": {"architecture": "topk", **dead},
        "batchtopk": {"architecture": "batchtopk", **dead},
        "matryoshka": {"architecture": "matryoshka", "groups": (10, 40, 96), **dead},
        "relu": {"architecture": "relu", "sparsity_coefficient": 0.5},
        # No pre-activation of these rows comes so near this threshold that rounding decides.
        "jumprelu": {"architecture": "jumprelu", "sparsity_coefficient": 0.5, "threshold": 0.2},
        "gated": {"architecture": "gated", "sparsity_coefficient": 0.5},
        "clip and ema": {"architecture": "topk", "grad_clip": 0.5, "ema": 0.9, **dead},
        "free decoder": {"architecture": "batchtopk", "unit_decoder": False, "optimizer": "adamw", "weight_decay": 0.1},
        "quadratic variance": {
            "architecture": "jumprelu",
            "sparsity_loss": "tanh-quadratic",
            "sparsity_coefficient": 0.05,
            "error": "variance",
        },
        "half norm": {"architecture": "relu", "sparsity_loss": "lp", "p": 0.5, "sparsity_coefficient": 0.02},
        "transcoder": {"architecture": "topk", "skip": True, **dead},
        "cancelled": {"architecture": "batchtopk", "ema": 0.9, **dead},
        "resumed": {"architecture": "matryoshka", "groups": (10, 40, 96), "ema": 0.9, **dead},
    }


def rows(n: int = 1500, d: int = 16) -> Tensor:
    g = torch.Generator().manual_seed(3)
    directions = torch.nn.functional.normalize(torch.randn(48, d, generator=g), dim=1)
    active = torch.rand(n, 48, generator=g)
    return (active * (active > 0.93)) @ directions + 0.05 * torch.randn(n, d, generator=g) + 0.3


def member(name: str, folder: Path, stream: ShuffledStream) -> Member:
    settings = {"d_sae": 96, "batch_size": 64, "steps": STEPS, "lr": 3e-3, "log_every": 5, "block_rows": 24}
    settings |= {"checkpoint_every": KEPT, "dtype": "float32", **training_cases()[name]}
    config = TrainConfig(**settings).resolved(stream.rows)
    transcoder = name == "transcoder"
    cfg = SaeConfig(config.architecture, 16, config.d_sae, 6 if transcoder else 16, k=config.k, transcoder=transcoder)
    return Member(
        cfg,
        config,
        Checkpoints(folder, config.checkpoint_every),
        inputs=slice(0, 16),
        outputs=slice(16, 22) if transcoder else slice(0, 16),
    )


def source(name: str) -> ShuffledStream:
    x = rows()
    both = (x, x[:, :6].square())
    return ShuffledStream(both if name == "transcoder" else x, 64, seed=1)


def trained(
    name: str, folder: Path, mesh: Mesh = ALONE, *, cancel_at: int = 0, resume: bool = False
) -> list[TrainOutcome]:
    """Train a case; with `cancel_at`, the last rank asks for a stop at that step."""
    stream = source(name)
    last = mesh.data_rank == mesh.data_size - 1 and mesh.latent_rank == mesh.latent_size - 1
    control = Control(lambda tick: control.cancel() if last and tick.done == cancel_at else None)
    one = member(name, folder, stream)
    if resume:
        one = replace(one, resume=Checkpoints(folder, None).latest()[0])
    try:
        return fit(stream, [one], mesh=mesh, control=control)
    except Interrupted as stop:
        return stop.outcomes


def everything(mesh: Mesh, folder: Path) -> None:
    found: dict[str, Any] = {name: gradient_difference(mesh, case) for name, case in gradient_cases().items()}
    for name in training_cases():
        if name == "resumed":  # what one process began, the mesh ends
            own = folder / f"{name} {mesh.data_rank + mesh.latent_rank}"
            trained(name, own, cancel_at=9)
            outcomes = trained(name, own, mesh, resume=True)
        else:
            outcomes = trained(name, folder / name, mesh, cancel_at=9 if name == "cancelled" else 0)
        for outcome in outcomes:
            left = {"tensors": outcome.dictionary.tensors(), "history": [tuple(point) for point in outcome.history]}
            torch.save(left | {"density": outcome.density}, folder / f"{name}.pt")
    found["diverged"] = _diverged(mesh)
    (folder / f"rank{mesh.data_rank + mesh.latent_rank}.json").write_text(json.dumps(found))


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    data = DeviceMesh.from_environment(2, 1, device="cpu")
    groups = init_device_mesh("cpu", (1, 2), mesh_dim_names=("data", "latent"))
    for name, mesh in (("data", data), ("latent", DeviceMesh(groups, torch.device("cpu")))):
        (folder / name).mkdir(exist_ok=True)
        everything(mesh, folder / name)
    (folder / "lost.txt").write_text(_lost(data))


def _diverged(mesh: Mesh) -> str:
    """What this rank says when one weight of the last rank is NaN as a checkpoint is due."""
    config = gradients.config("relu")
    parameters = gradients.parameters(config, dtype=torch.float32)
    cfg = SaeConfig("relu", gradients.D, gradients.F, gradients.D)
    run = Run(cfg, config, parameters, Scaling(1.0, 1.0, 1.0), torch.device("cpu"), mesh)
    if not mesh.first:
        run.p.enc[0, 0] = torch.nan
    try:
        run.require_finite()
    except DictionaryError as error:
        return str(error)
    return ""


def _lost(mesh: Mesh) -> str:
    """The last rank ends in the midst of a training; what the first one says of it."""

    def point(*_: object) -> None:
        sys.stderr.write("this rank fails\n")
        sys.exit(3)

    stream = source("topk")
    one = member("topk", Path(), stream)
    on_point: Callable[..., None] | None = None if mesh.first else point
    try:
        fit(stream, [replace(one, checkpoints=None, on_point=on_point)], mesh=mesh)
    except LostRank as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
