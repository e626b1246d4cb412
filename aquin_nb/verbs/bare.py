"""`aquin_nb.sae_train` and `aquin_nb.sae_resume`: a training without a session, on activations that are there."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from torch import Tensor

from .. import home
from ..cards import SaeTrainCard
from ..engine.sae import SaeConfig, TrainConfig
from ..engine.sae.loggers import require_loggers
from ..engine.sae.memory import require_memory
from ..errors import DictionaryError, StoreError
from ..jobs import Job, JobQueue
from ..live import LiveTraining, Together
from ..progress import attend
from ..results import SaeTrain
from ..telling import tell_job
from .devices import compute_device
from .resuming import device_again, resume_rows, resumed_card, resumed_config, saved_state
from .sources import Rows, open_rows
from .training import (
    Places,
    Training,
    default_path,
    require_free,
    run,
    sae_config,
)

Config = TrainConfig | dict[str, Any] | str | Path


@overload
def sae_train(activations: Mapping[Any, Any], config: Config | Sequence[Config] | None = None) -> list[SaeTrain]: ...
@overload
def sae_train(activations: Any, config: Config | None = None) -> SaeTrain: ...
@overload
def sae_train(activations: Any, config: Sequence[Config]) -> list[SaeTrain]: ...
def sae_train(activations: Any, config: Config | Sequence[Config] | None = None) -> SaeTrain | list[SaeTrain]:
    """Train a dictionary on activations that are there; returns when it is done. In a notebook the monitor is live.

    Args:
        activations: a float tensor or array [n, d_in], the folder of an activation store or a capture, or the result
            that wrote it; a pair (inputs, targets) of them for a transcoder; or a dict {layer: activations} of the same
            tokens, for one dictionary a layer over one pass. Of a store of several sites the keys, layers or hooks, say
            which: {10: folder}, or {5: folder, 10: folder, "blocks.10.hook_mlp_out": folder}. A store is trained on
            without its model, which need not be on this machine.
        config: `TrainConfig`, a dict of its settings, or a TOML, JSON or YAML file. A list of them trains one
            dictionary each over one pass of the same batches (same batch_size, seed and held_out) and returns a list.

    Interrupting stops it with a dictionary so far and a checkpoint; `sae_resume(output)` goes on. After
    `aquin_nb.connect()` the run is a card on the board; several dictionaries of one call are one card.

    Raises:
        StoreError, DictionaryError, OutputError, OutOfMemory, NoSpace, Cancelled.

    >>> result = sae_train(torch.randn(4096, 64), {"d_sae": 256, "k": 8, "steps": 200})   # doctest: +SKIP
    >>> result.dictionary.encode(torch.randn(2, 64)).shape                                # doctest: +SKIP
    torch.Size([2, 256])
    """
    several = isinstance(config, Sequence) and not isinstance(config, str)
    given: list[Any] = list(config) if isinstance(config, Sequence) and not isinstance(config, str) else [config]
    if not given:
        raise DictionaryError("The list of configs is empty.")
    configs = [TrainConfig.read({} if one is None else one) for one in given]
    sources = _by_layer(activations)
    _require_one_pass(configs)
    plans = [(rows, one) for rows in sources for one in configs]
    job: Job[Any] = Job("train", lambda control: run(trainings, control, compute_device(configs[0].device)))
    with Places() as places:
        trainings = _plan(job, plans, places)
        places.hand_over(job)
    job.output = trainings[0].path
    results: SaeTrain | list[SaeTrain] = _done(job, trainings, several or isinstance(activations, Mapping))
    return results


def sae_resume(output: str | Path, activations: Any = None, *, config: Config | None = None) -> SaeTrain:
    """Go on with a training that was stopped or killed, from its last checkpoint, to the same end.

    On a CPU with as many threads, the weights come out bit for bit as they would have without the stop.

    Args:
        output: the `.pt` that the training was to write, or its folder of checkpoints.
        activations: for a run on a tensor in memory, the same tensor, or pair or dict of them. A store is found again
            where it was; give its folder when that has moved.
        config: when given, it is checked to be the one that the run began with; checkpoint_every, keep_checkpoints,
            loggers, device and block_rows may be others and are followed.

    Raises:
        StoreError: nothing to resume, no readable checkpoint, or other activations.
        DictionaryError: `config` differs; names what changed.

    >>> sae_resume("runs/sae.pt")   # doctest: +SKIP
    """
    job, training = _resuming(output, activations, config)
    results: SaeTrain = _done(job, [training], several=False)
    return results


def resumed(output: str | Path) -> LiveTraining:
    """Begin to go on with a stopped training, as `sae_resume` does, and return its face at once.

    Raises:
        StoreError: as `sae_resume`.
    """
    job, training = _resuming(output)
    _begin(job, training)
    return training.live


def _resuming(output: str | Path, activations: Any = None, config: Config | None = None) -> tuple[Job[Any], Training]:
    if not isinstance(output, str | Path) or not Path(output).name:
        raise StoreError(f"output is the .pt that the training was to write, not {output!r}.")
    path = Path(output).expanduser()
    if path.suffix == ".checkpoints":
        path = path.with_suffix(".pt")
    with Places() as places:
        places.take(path)
        state, problems = saved_state(path)
        settings = resumed_config(state, config, path)
        device = device_again(settings)
        rows, sources = resume_rows(state, _by_layer(activations) if activations is not None else ())
        cfg = SaeConfig.from_dict(state["cfg"])
        require_columns(rows, cfg)
        card = resumed_card(state, cfg, rows)
        card.notes += problems
        job: Job[Any] = Job(f"resume {cfg.name}", lambda control: run([training], control, device), None, path)
        training = Training(settings, cfg, rows, path, LiveTraining(job, card), resume=state, sources=sources)
        del state  # the training's alone: its tensors are a second copy of everything
        places.hand_over(job)
    return job, training


def require_columns(rows: Rows, cfg: SaeConfig) -> None:
    """Refuse activations of another width than the run's.

    Raises:
        StoreError: both widths.
    """
    if (rows.d_in, rows.d_out) != (cfg.d_in, cfg.d_out):
        raise StoreError(
            f"The run reads vectors of width {cfg.d_in} and gives {cfg.d_out}; these activations are {rows.d_in} and"
            f" {rows.d_out}."
        )


def _by_layer(activations: Any) -> list[Rows]:
    if not isinstance(activations, Mapping):
        return [open_rows(activations)]
    if not activations:
        raise StoreError("The dict of activations is empty: give {layer: activations}.")
    return [_at(layer, given) for layer, given in activations.items()]


def _at(layer: Any, given: Any) -> Rows:
    """Those of a layer, or of a hook of a store; a tensor is of the layer that it is said to be of."""
    if isinstance(layer, str) and not isinstance(given, tuple | list | Tensor | np.ndarray):
        return open_rows(given, layer)
    number = _layer(layer)
    rows = open_rows(given, number)
    return rows if rows.hook and rows.target is None else replace(rows, layer=number)


def _layer(given: Any) -> int:
    number = operator.index(given) if hasattr(given, "__index__") and not isinstance(given, bool) else -1
    if number < 0:
        raise StoreError(f"A dict of activations has whole numbers of layers as keys, not {given!r}.")
    return number


def _require_one_pass(configs: Sequence[TrainConfig]) -> None:
    for name in ("batch_size", "seed", "held_out", "device"):
        values = {getattr(config, name) for config in configs}
        if len(values) > 1:
            raise DictionaryError(f"Dictionaries trained in one pass share {name}; these have {sorted(values)}.")


def _plan(job: Job[Any], plans: Sequence[tuple[Rows, TrainConfig]], places: Places) -> list[Training]:
    fallback, trainings, taken = home.run_name("train"), list[Training](), set[Path]()
    for number, (rows, config) in enumerate(plans, start=1):
        name = config.name or (fallback if len(plans) == 1 else f"{fallback}-{number}")
        path = Path(config.output).expanduser() if config.output else default_path(rows, name)
        if path.resolve() in taken:
            raise DictionaryError(f"Two dictionaries would go to {path}: give each config its own name or output.")
        taken.add(path.resolve())
        require_free(path)
        require_loggers(config.loggers)
        cfg = sae_config(
            config,
            name,
            d_in=rows.d_in,
            model=rows.model,
            layer=rows.layer,
            hook=rows.hook,
            corpus=rows.corpus.name,
            target=rows.target,
        )
        card = SaeTrainCard(name=name, layer=rows.layer, hook=rows.hook, model=rows.model)
        trainings.append(Training(config, cfg, rows, path, LiveTraining(job, card)))
    device = compute_device(plans[0][1].device)
    require_memory([(t.cfg, t.config.resolved(t.rows.total)) for t in trainings], device)
    for training in trainings:
        places.take(training.path)
        require_free(training.path)  # again: it may have been taken meanwhile
    return trainings


def _begin(job: Job[Any], training: Training) -> None:
    # A run without a name is known by its cell; one that goes on, by the name of what it goes on with.
    name = training.config.name or (training.cfg.name if training.resume is not None else "")
    job.card = training.live.card
    tell_job(job, "sae.train", "saeTrain", name or "")
    JobQueue("training").add(job)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _done(job: Job[Any], trainings: Sequence[Training], several: bool) -> Any:
    names = [training.cfg.name for training in trainings]
    job.name = f"{job.name.split()[0]} {', '.join(names)}"
    if len(trainings) > 1:
        for training in trainings:
            others = [name for name in names if name != training.cfg.name]
            training.notes.append(f"Trained in one pass with {_few(others)}: a cancel stops all of them.")
        job.show_as(Together([training.live for training in trainings]))
    _begin(job, trainings[0])
    results = attend(job)
    return results if several else results[0]
