"""`aquin_nb.sae_train` and `aquin_nb.sae_resume`: a training without a session, on activations that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from .. import home
from ..cards import SaeTrainCard
from ..engine.sae import SaeConfig, TrainConfig
from ..engine.sae.loggers import require_loggers
from ..engine.sae.trainer import require_memory
from ..errors import DictionaryError, StoreError
from ..jobs import Job, JobQueue
from ..live import LiveTraining, Together
from ..progress import attend
from ..results import SaeTrain
from .sources import Rows, open_rows
from .training import (
    Training,
    compute_device,
    default_path,
    require_free,
    require_same_config,
    resume_rows,
    resumed_card,
    run,
    sae_config,
    saved_state,
)

Config = TrainConfig | dict[str, Any] | str | Path


@overload
def sae_train(activations: Mapping[int, Any], config: Config | Sequence[Config] | None = None) -> list[SaeTrain]: ...
@overload
def sae_train(activations: Any, config: Config | None = None) -> SaeTrain: ...
@overload
def sae_train(activations: Any, config: Sequence[Config]) -> list[SaeTrain]: ...
def sae_train(activations: Any, config: Config | Sequence[Config] | None = None) -> SaeTrain | list[SaeTrain]:
    """Train a dictionary on activations that are there; returns when it is done. In a notebook the monitor is live.

    Args:
        activations: a float tensor or array [n, d_in], the folder of an activation store or a capture; a pair
            (inputs, targets) of them for a transcoder; or a dict {layer: activations} of the same tokens, for one
            dictionary a layer over one pass.
        config: `TrainConfig`, a dict of its settings, or a TOML, JSON or YAML file. A list of them trains one
            dictionary each over one pass of the same batches (same batch_size, seed and held_out) and returns a list.

    Interrupting stops it with a dictionary so far and a checkpoint; `sae_resume(output)` goes on.

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
    trainings = _plan(job, plans)
    job.output = trainings[0].path
    results: SaeTrain | list[SaeTrain] = _done(job, trainings, several or isinstance(activations, Mapping))
    return results


def sae_resume(output: str | Path, activations: Any = None, *, config: Config | None = None) -> SaeTrain:
    """Go on with a training that was stopped or killed, from its last checkpoint, to the same end.

    On a CPU with as many threads, the weights come out bit for bit as they would have without the stop.

    Args:
        output: the `.pt` that the training was to write, or its folder of checkpoints.
        activations: only for a run on a tensor in memory: the same tensor, or pair or dict of them. A store is found
            again.
        config: when given, it is checked to be the one that the run began with.

    Raises:
        StoreError: nothing to resume, no readable checkpoint, or other activations.
        DictionaryError: `config` differs; names what changed.

    >>> sae_resume("runs/sae.pt")   # doctest: +SKIP
    """
    if not isinstance(output, str | Path) or not Path(output).name:
        raise StoreError(f"output is the .pt that the training was to write, not {output!r}.")
    path = Path(output).expanduser()
    if path.suffix == ".checkpoints":
        path = path.with_suffix(".pt")
    state, problems = saved_state(path)
    require_same_config(state, config)
    rows, sources = resume_rows(state, _by_layer(activations) if activations is not None else ())
    settings = TrainConfig(**state["config"])
    cfg = SaeConfig.from_dict(state["cfg"])
    require_columns(rows, cfg)
    card = resumed_card(state, cfg, rows)
    card.notes += problems
    job: Job[Any] = Job(
        f"resume {cfg.name}", lambda control: run([training], control, compute_device(settings.device)), None, path
    )
    training = Training(settings, cfg, rows, path, LiveTraining(job, card), resume=state, sources=sources)
    results: SaeTrain = _done(job, [training], several=False)
    return results


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
    for layer in activations:
        if not isinstance(layer, int) or isinstance(layer, bool) or layer < 0:
            raise StoreError(f"A dict of activations has whole numbers of layers as keys, not {layer!r}.")
    return [replace(open_rows(given), layer=layer) for layer, given in activations.items()]


def _require_one_pass(configs: Sequence[TrainConfig]) -> None:
    for name in ("batch_size", "seed", "held_out", "device"):
        values = {getattr(config, name) for config in configs}
        if len(values) > 1:
            raise DictionaryError(f"Dictionaries trained in one pass share {name}; these have {sorted(values)}.")


def _plan(job: Job[Any], plans: Sequence[tuple[Rows, TrainConfig]]) -> list[Training]:
    fallback, trainings, taken = home.run_name("train"), list[Training](), set[Path]()
    for number, (rows, config) in enumerate(plans, start=1):
        name = config.name or (fallback if len(plans) == 1 else f"{fallback}-{number}")
        path = Path(config.output).expanduser() if config.output else default_path(rows, name)
        if path in taken:
            raise DictionaryError(f"Two dictionaries would go to {path}: give each config its own name or output.")
        taken.add(path)
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
        require_memory(cfg, config.resolved(rows.total), compute_device(config.device))
        card = SaeTrainCard(name=name, layer=rows.layer, hook=rows.hook, model=rows.model)
        trainings.append(Training(config, cfg, rows, path, LiveTraining(job, card)))
    return trainings


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
    JobQueue("training").add(job)
    results = attend(job)
    return results if several else results[0]
