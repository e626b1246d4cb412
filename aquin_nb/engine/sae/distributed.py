"""One dictionary trained by several processes: data parallel, tensor parallel or both, started by torchrun.

    torchrun --nproc-per-node 2 -m aquin_nb.engine.sae.distributed CONFIG.toml STORE --data 1 --latent 2

Every rank reads the same batches in the same order and works on its rows and its latents of them; docs/distributed.md
says what is exchanged and what that costs.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh as Groups
from torch.distributed.device_mesh import init_device_mesh

from ... import __version__
from ...control import Control, Tick
from ...errors import AquinError, Cancelled, DictionaryError, OutputError, StoreError
from ...files import require_writable, whole_file, write_json
from ..activations.store import Store
from ..activations.stream import ShuffledStream
from ..numerics import fast_dtype
from .changes import changes, overlaid
from .checkpoints import Checkpoints
from .config import LOW_NOTE, SELECTED, TrainConfig
from .history import COLUMNS, Point
from .idle import idle
from .locks import Lock
from .loggers import Logger, open_loggers
from .mesh import ALONE, Mesh
from .record import SaeConfig
from .trainer import Interrupted, Member, TrainOutcome, fit

TIMEOUT = timedelta(minutes=10)
"""How long a rank waits for another. A rank that ends is noticed at once (its connections close, and torchrun ends the
others), so this only bounds a machine that fell silent; writing a large checkpoint must fit into it."""

PROGRESS_SECONDS = 5.0


class LostRank(AquinError):
    """Another rank ended or fell silent in the midst of a distributed training."""


class DeviceMesh(Mesh):
    """`data` × `latent` processes: rank r has the rows of data rank r // latent and the latents of latent rank
    r % latent, so that ranks which share rows, and exchange most, are neighbours.

    Tensors are reduced where they are (NCCL on a GPU, gloo on a CPU). Yes-or-no questions go over gloo always: asking
    them does not make a GPU wait.

    Raises:
        LostRank: by every method that exchanges something, when another rank is gone.
    """

    def __init__(self, groups: Groups, device: torch.device) -> None:
        """`groups` has the dimensions "data" and "latent"; `device` holds the tensors of this rank."""
        self.device = device
        self._rows, self._latents = groups.get_group("data"), groups.get_group("latent")
        self.data_size, self.latent_size = groups.shape
        self.data_rank, self.latent_rank = groups.get_local_rank("data"), groups.get_local_rank("latent")

    @classmethod
    def from_environment(
        cls,
        data: int | None = None,
        latent: int | None = None,
        *,
        device: str = "auto",
        timeout: timedelta = TIMEOUT,
    ) -> DeviceMesh:
        """The mesh of the processes that torchrun started; each GPU process takes the GPU of its LOCAL_RANK.

        Args:
            data, latent: ranks of each kind; one of them follows from the other, and data parallel is the default.
            device: "auto" is the GPU where there is one; of "cuda:1" only the kind counts.

        Raises:
            DictionaryError: not under torchrun, data · latent is not the number of processes, or too few GPUs.
        """
        missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
        if missing:
            raise DictionaryError(
                f"A distributed training is started with torchrun, which sets {', '.join(missing)}: torchrun"
                " --nproc-per-node 2 -m aquin_nb.engine.sae.distributed CONFIG STORE."
            )
        shape = _shape(int(os.environ["WORLD_SIZE"]), data, latent)
        place = _place(device)
        backend = "gloo" if place.type == "cpu" else "cpu:gloo,cuda:nccl"
        with _exchange():
            dist.init_process_group(backend, timeout=timeout)
            groups = init_device_mesh(place.type, shape, mesh_dim_names=("data", "latent"))
        return cls(groups, place)

    def over_latents(self, tensor: Tensor) -> Tensor:
        return _sum(tensor, self._latents) if self.latent_size > 1 else tensor

    def over_rows(self, tensor: Tensor) -> Tensor:
        return _sum(tensor, self._rows) if self.data_size > 1 else tensor

    def gather_latents(self, tensor: Tensor, dim: int) -> Tensor:
        if self.latent_size == 1:
            return tensor
        return torch.cat(_all(tensor, self.latent_size, self._latents), dim=dim)

    def gather(self, tensor: Tensor) -> Tensor:
        if self.alone:
            return tensor
        world = self.data_size * self.latent_size
        sizes = torch.cat(_all(torch.tensor([tensor.numel()]), world)).tolist()
        padded = tensor.new_zeros(max(sizes))
        padded[: tensor.numel()] = tensor
        return torch.cat([part[:size] for part, size in zip(_all(padded, world), sizes, strict=True)])

    def rows(self, batch: Tensor) -> Tensor:
        return batch.chunk(self.data_size)[self.data_rank]

    def latents(self, tensor: Tensor, dim: int = 0) -> Tensor:
        return tensor.chunk(self.latent_size, dim)[self.latent_rank].clone()

    def agree(self, flag: bool) -> bool:
        votes = torch.tensor(int(flag))
        with _exchange():
            dist.all_reduce(votes, dist.ReduceOp.MAX)
        return bool(votes)

    def close(self) -> None:
        """Give the connections back; the other ranks may go on with what needs no exchange."""
        dist.destroy_process_group()


@contextmanager
def _exchange() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        cause = re.sub(r"^\[[^]]*\] *", "", str(error).splitlines()[0]).split(". ")[0]
        raise LostRank(f"Another rank ended or could not be reached; its own message says why ({cause}).") from error


def _sum(tensor: Tensor, group: dist.ProcessGroup) -> Tensor:
    dense = tensor.contiguous()
    with _exchange():
        dist.all_reduce(dense, group=group)
    return tensor if dense is tensor else tensor.copy_(dense)


def _all(tensor: Tensor, count: int, group: dist.ProcessGroup | None = None) -> list[Tensor]:
    """The tensors, of one shape, of all ranks of a group."""
    sent = tensor.contiguous()
    if sent.dtype == torch.bool:
        return [part.bool() for part in _all(sent.byte(), count, group)]
    parts = [torch.empty_like(sent) for _ in range(count)]
    with _exchange():
        dist.all_gather(parts, sent, group=group)
    return parts


def _shape(world: int, data: int | None, latent: int | None) -> tuple[int, int]:
    if latent is None:
        latent = 1 if data is None else max(1, world // max(1, data))
    if data is None:
        data = max(1, world // max(1, latent))
    if data < 1 or latent < 1 or data * latent != world:
        raise DictionaryError(
            f"{data} data ranks × {latent} latent ranks need {data * latent} processes, and torchrun started {world}:"
            " let --data times --latent be the number of processes."
        )
    return data, latent


def _place(device: str) -> torch.device:
    kind = device.split(":")[0]
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cpu":
        return torch.device("cpu")
    if kind != "cuda" or not torch.cuda.is_available():
        raise DictionaryError(f"device: {device!r} is not one that processes can share work on here; use auto or cpu.")
    local = int(os.environ.get("LOCAL_RANK") or device.partition(":")[2] or 0)
    if local >= torch.cuda.device_count():
        raise DictionaryError(
            f"Process {local} of this machine has no GPU of its own: it has {torch.cuda.device_count()}. Start as many"
            " processes as there are GPUs (--nproc-per-node gpu), or set device to cpu."
        )
    place = torch.device("cuda", local)
    torch.cuda.set_device(place)
    return place


@dataclass
class Progress:
    """What the first rank says while it trains: a line every few seconds, with the figures of the last point, and
    every point to the loggers."""

    loggers: list[Logger] = field(default_factory=list)
    figures: str = ""
    said: float = 0.0

    def start(self, config: TrainConfig) -> None:
        for logger in self.loggers:
            logger.start(config.model_dump(mode="json"))

    def point(self, point: Point, density: list[int], advice: list[str]) -> None:
        self.figures = (
            f", fvu {point.fvu:.4f}, l0 {point.l0:.1f}, {point.dead:,} dead, {point.tokens_per_second:,.0f} rows/s"
        )
        for logger in self.loggers:
            logger.log(point.step, {name: float(value) for name, value in point._asdict().items()}, density)

    def tick(self, tick: Tick) -> None:
        now = time.monotonic()
        if tick.done == tick.total or now - self.said >= PROGRESS_SECONDS:
            self.said = now
            _say(f"{tick.stage} {tick.done:,}/{tick.total:,} {tick.unit}{self.figures}")

    def finish(self, status: str, outcome: TrainOutcome | None = None) -> None:
        for logger in self.loggers:
            logger.finish({"status": status, "verdict": outcome.verdict.word if outcome is not None else ""})
            for note in logger.notes:
                _say(note)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def train(config: TrainConfig, store: Path, targets: Path | None, mesh: Mesh, *, resume: bool = False) -> None:
    """Train, or go on training, the dictionary that `config.output` names; every rank of `mesh` calls it.

    The first rank writes checkpoints while it trains, and in the end, or when any rank is interrupted, the dictionary,
    `<name>.history.csv` and `<name>.config.json`.

    Args:
        store: an activation store that every rank can read. targets: a second one, for a transcoder.
        resume: go on from the last checkpoint, which any number of ranks may have written.

    Raises:
        Cancelled: interrupted; what to do to go on.
        DictionaryError: an uneven split, or settings that a resumed run did not begin with.
        StoreError, OutputError, OutOfMemory, LostRank: see there.
    """
    path, lock = _output(config, mesh, resume=resume)
    try:
        _train(config, path, store, targets, mesh, resume=resume)
    finally:
        lock.release()


def _train(config: TrainConfig, path: Path, store: Path, targets: Path | None, mesh: Mesh, *, resume: bool) -> None:
    device = mesh.device if isinstance(mesh, DeviceMesh) else _place(config.device)
    state = _state(path, mesh, device) if resume else None
    began = TrainConfig(**state["config"]) if state is not None else config
    mesh.require_even(began.d_sae, began.batch_size)
    stores = [Store(store)] if targets is None else [Store(store), Store(targets)]
    stream = ShuffledStream(
        stores[0] if targets is None else stores, began.batch_size, seed=began.seed, held_out=began.held_out
    )
    about = {
        "data": {"fingerprint": stream.fingerprint(), "source": stream.describe(), "rows": stream.rows},
        "versions": {"aquin-nb": __version__, "torch": str(torch.__version__)},
    }
    if state is not None:
        _require_same(state, began, config, stream)
        resolved = overlaid(began, config)
    else:
        resolved = config.resolved(stream.rows, dtype=_dtype(config, stream, mesh, device))
    if mesh.first and state is None:
        low = [LOW_NOTE] if config.dtype == "auto" and resolved.dtype == "bfloat16" else []
        for note in [*low, *idle(config)]:
            _say(note)
    cfg = _shape_and_source(resolved, path.stem, stores)
    checkpoints = Checkpoints.beside(path, resolved.checkpoint_every, resolved.keep_checkpoints)
    progress = Progress(open_loggers(resolved.loggers, path.with_suffix(".logs"), cfg.name) if mesh.first else [])
    progress.start(resolved)
    control = Control(progress.tick if mesh.first else None)
    member = Member(
        cfg,
        resolved,
        checkpoints,
        on_point=progress.point if mesh.first else None,
        resume=state,
        about=about,
        inputs=slice(0, cfg.d_in),
        outputs=slice(cfg.d_in, None) if cfg.transcoder else slice(0, cfg.d_in),
    )
    del state  # its tensors are a second copy of everything
    record = {"config": resolved.model_dump(mode="json")} | about
    with _cancelled_by_signals(control):
        try:
            outcomes = fit(stream, [member], device=device, control=control, mesh=mesh)
        except Interrupted as stop:
            for outcome in stop.outcomes:
                _save(path, outcome, record)
            progress.finish("cancelled")
            raise Cancelled(
                f"{stop} The dictionary so far is in {path}; the same command with --resume goes on."
            ) from None
        except AquinError:
            progress.finish("failed")
            raise
        for outcome in outcomes:
            _save(path, outcome, record)
            checkpoints.remove()
            progress.finish("completed", outcome)


@contextmanager
def _cancelled_by_signals(control: Control) -> Iterator[None]:
    """SIGINT and SIGTERM ask for a stop at the next step; torchrun and batch systems may send them more than once."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_: control.cancel())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _output(config: TrainConfig, mesh: Mesh, *, resume: bool) -> tuple[Path, Lock]:
    """The place of the dictionary, kept off other processes by the first rank."""
    if config.output is None:
        raise OutputError('The config names no place for the dictionary; add output = "runs/sae.pt".')
    path = Path(config.output).expanduser()
    if path.suffix != ".pt":
        raise OutputError(f"{path}: output of a training is a file ending in .pt.")
    if not resume and (path.exists() or Checkpoints.beside(path).files()):
        raise OutputError(f"{path} or its checkpoints exist. Choose another output, or go on with --resume.")
    require_writable(path)
    lock, problem = Lock(path), None
    try:
        if mesh.first:
            lock.take()
    except OutputError as error:
        problem = error
    if mesh.agree(problem is not None):
        raise problem or OutputError(f"{path} is being written by another process; the first rank's message says more.")
    return path, lock


def _state(path: Path, mesh: Mesh, device: torch.device) -> dict[str, Any]:
    kept = Checkpoints.beside(path)
    if mesh.first:
        kept.tidy()
    state, problems = kept.latest()
    for problem in problems if mesh.first else []:
        _say(problem)
    steps = mesh.gather(torch.tensor([state["step"]], device=device)).tolist()
    if min(steps) != max(steps):
        raise StoreError(
            f"The ranks found different last checkpoints in {kept.folder} (steps {sorted(set(steps))}): the folder must"
            " be the same on every machine."
        )
    if mesh.first:  # the others have read theirs
        kept.set_aside(state["step"])
    return state


def _require_same(state: dict[str, Any], began: TrainConfig, config: TrainConfig, stream: ShuffledStream) -> None:
    if state["data"]["fingerprint"] != stream.fingerprint():
        raise StoreError(
            f"These are not the activations that the run began with ({state['data']['source']}): their contents differ."
        )
    if changed := changes(began, config, stream.rows):
        raise DictionaryError(
            f"A run goes on with the settings it began with; changed: {'; '.join(changed)}. Set them back, or train"
            " anew with another output."
        )


def _dtype(
    config: TrainConfig, stream: ShuffledStream, mesh: Mesh, device: torch.device
) -> Literal["float32", "bfloat16"]:
    """What "auto" means: bfloat16 where it is fast on every rank."""
    slow = config.dtype == "auto" and fast_dtype(device, stream.d_in) != torch.bfloat16
    return "float32" if mesh.agree(slow) else "bfloat16"


def _shape_and_source(config: TrainConfig, name: str, stores: Sequence[Store]) -> SaeConfig:
    first, last = stores[0], stores[-1]
    return SaeConfig(
        architecture=config.architecture,
        d_in=first.d_in,
        d_sae=config.d_sae,
        d_out=last.d_in,
        k=config.k if config.architecture in SELECTED else None,
        name=config.name or name,
        model=str(first.model.get("name", "")),
        model_fingerprint=str(first.model.get("fingerprint", "")),
        mode="embedding" if first.model.get("mode") == "embedding" else "llm",
        layer=first.layer,
        hook=first.hook,
        hook_out=last.hook,
        transcoder=len(stores) > 1,
        groups=config.groups,
        corpus=str(first.corpus.get("name", "")),
    )


def _save(path: Path, outcome: TrainOutcome, about: dict[str, Any]) -> None:
    try:
        outcome.dictionary.save(path)
    except OutputError as error:
        if outcome.keep is not None and (kept := outcome.keep()) is not None:
            error.args = (f"{error} All of the training is in {kept}: the same command with --resume writes it.",)
        raise
    with whole_file(path.with_suffix(".history.csv")) as temporary, open(temporary, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        rows.writerows([("" if value != value else value) for value in point] for point in outcome.history)
    write_json(path.with_suffix(".config.json"), about)
    for sentence in (*outcome.advice, *outcome.notes, *outcome.verdict.reasons):
        _say(sentence)
    _say(f"{path}: {outcome.verdict.word}")


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the command line says: 0 when done, 1 for an error a person can act on, 130 when interrupted.

    Only the first rank's code is 130: torchrun ends all ranks once one has failed, and the first is the last to finish.
    """
    parser = argparse.ArgumentParser(
        prog="torchrun --nproc-per-node N -m aquin_nb.engine.sae.distributed",
        description="Train one dictionary with several processes.",
    )
    parser.add_argument("config", type=Path, help="a TrainConfig in TOML, JSON or YAML; output in it names the .pt")
    parser.add_argument("store", type=Path, help="folder of an activation store")
    parser.add_argument("--targets", type=Path, help="activation store that a transcoder predicts, row by row")
    parser.add_argument("--data", type=int, help="ranks that share each batch's rows (default: all of them)")
    parser.add_argument("--latent", type=int, help="ranks that share the latents (default: 1)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint, of any number of ranks")
    args = parser.parse_args(argv)
    first = os.environ.get("RANK", "0") == "0"
    who = "" if "RANK" not in os.environ else f"rank {os.environ['RANK']}: "
    try:
        config = TrainConfig.read(args.config)
        if "RANK" in os.environ or (args.data or 1) * (args.latent or 1) > 1:
            mesh = DeviceMesh.from_environment(args.data, args.latent, device=config.device)
            train(config, args.store, args.targets, mesh, resume=args.resume)
            mesh.close()
        else:
            train(config, args.store, args.targets, ALONE, resume=args.resume)
    except Cancelled as error:
        if first:
            _say(str(error))
        return 130 if first else 0
    except AquinError as error:
        _say(f"{who}{error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
