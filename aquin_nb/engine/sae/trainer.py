"""The training loop: batches in, a dictionary and its history out."""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...control import Control
from ...errors import AquinError, Cancelled, DictionaryError, OutOfMemory, OutputError
from ...files import human_bytes
from ..activations.prefetch import prefetch
from ..activations.stream import Stream
from .advice import advise
from .checkpoints import Checkpoints, failed, with_latest
from .config import SELECTED, TrainConfig
from .dictionary import SparseAutoencoder
from .export import dictionary
from .history import Point
from .mesh import ALONE, Mesh
from .metrics import Metrics, evaluate
from .parameters import Parameters, Scaling, initial, scaling
from .record import SaeConfig
from .run import Run, Snapshot
from .verdict import Verdict, cut_short, judge

SAMPLE_ROWS = 16_384
MIN_HELD_OUT = 32

OnPoint = Callable[[Point, list[int], list[str]], None]
"""Called with each logged point, its density histogram and the advice so far, from the training thread."""


@dataclass
class TrainOutcome:
    """What a run leaves: the dictionary on CPU, the logged points, the held-out figures and the verdict."""

    dictionary: SparseAutoencoder
    history: list[Point]
    density: list[int]
    held_out: Metrics | None
    verdict: Verdict
    dead: int
    advice: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Member:
    """One dictionary of a training.

    cfg: its shape and provenance. config: a resolved `TrainConfig`. inputs, outputs: columns of a batch.
    resume: the state to continue from. about: plain values that checkpoints carry along. on_checkpoint: called with
    the step and the file, or the sentence that says why there is none.
    """

    cfg: SaeConfig
    config: TrainConfig
    checkpoints: Checkpoints | None = None
    on_point: OnPoint | None = None
    on_checkpoint: Callable[[int, Path | str], None] | None = None
    resume: Snapshot | None = None
    about: dict[str, Any] = field(default_factory=dict)
    inputs: slice = field(default_factory=lambda: slice(None))
    outputs: slice = field(default_factory=lambda: slice(None))


class Interrupted(Cancelled):
    """A cancelled training; `outcomes` holds each dictionary as it was when the cancel arrived."""

    def __init__(self, outcomes: list[TrainOutcome], step: int, steps: int) -> None:
        super().__init__(f"Cancelled at step {step:,} of {steps:,}.")
        self.outcomes = outcomes


def fit(
    stream: Stream,
    members: Sequence[Member],
    *,
    device: str | torch.device = "cpu",
    control: Control | None = None,
    mesh: Mesh = ALONE,
) -> list[TrainOutcome]:
    """Train one dictionary, or several on the same batches, on the rows of `stream`.

    The order of batches follows from the stream's seed and the step alone, so that a resumed run sees what the
    uninterrupted one would have seen: on a CPU, with the same number of threads, its weights end bit for bit the same.

    Args:
        stream: float32 batches; `stream.held_out` rows are never trained on.
        members: all with the same batch_size and seed; each starts at its own `resume` step, all the same one.
        mesh: how several processes share the work. All of them call with the same arguments, whatever one is told to
            do in `control` all do, and the first one alone has outcomes and writes checkpoints.

    Raises:
        Interrupted: cancelled; carries the dictionaries so far, and checkpoints were written.
        DictionaryError: the loss became NaN or infinite; names the step, what to try and the last good checkpoint.
        StoreError: a bad value in the activations, with its row; likewise.
        OutOfMemory: a single block does not fit; names a size to try.
    """
    control, place = control or Control(), torch.device(device)
    for member in members:
        mesh.require_even(member.cfg.d_sae, stream.batch_size)
        require_memory(member.cfg, member.config, place, mesh.latent_size)
    fresh = [member for member in members if member.resume is None]
    sample = _sample(stream) if fresh else None
    stream.held_out(SAMPLE_ROWS)  # read at the end: a bad value there is to be found before the work
    try:
        runs = [_begin(member, sample, place, mesh) for member in members]
    except RuntimeError as error:
        if not _memory_ran_out(error):
            raise
        widths = " and ".join(f"d_sae={member.cfg.d_sae:,}" for member in members)
        raise OutOfMemory(
            f"{place} has no room to train {widths} ({str(error).splitlines()[0]})."
            f" Try a smaller d_sae{', or fewer dictionaries at once' if len(members) > 1 else ''}."
        ) from None
    del sample
    start, last = runs[0].step, max(_total(member) for member in members)
    if any(run.step != start for run in runs):
        raise DictionaryError("Dictionaries trained together are resumed at one step; these are at different ones.")
    ahead = prefetch(stream.batches(start), pin=place.type == "cuda")
    try:
        with closing(ahead) as batches:
            for step in range(start + 1, last + 1):
                rows = next(batches).to(place, non_blocking=True)
                for member, run in zip(members, runs, strict=True):
                    if step <= _total(member):
                        _advance(member, run, rows)
                _tick(control, mesh, step, last)
    except Cancelled as cancelled:
        for member, run in zip(members, runs, strict=True):
            _checkpoint(member, run, force=True)
        at = max(run.step for run in runs)
        raise Interrupted(_outcomes(stream, members, runs, complete=False), at, last) from cancelled
    except AquinError as error:
        raise _with_checkpoint(error, members) from error
    try:
        return _outcomes(stream, members, runs, complete=True)
    except Exception:
        if mesh.alone:  # the steps are done, and judging them is not worth doing them again
            for member, run in zip(members, runs, strict=True):
                _checkpoint(member, run, force=True)
        raise


def _tick(control: Control, mesh: Mesh, step: int, last: int) -> None:
    """Report a step; all ranks stop after the same one."""
    asked = False
    try:
        control.tick("train", step, last, "steps")
    except Cancelled:
        asked = True
    if mesh.agree(asked):
        raise Cancelled("Cancelled.")


def require_memory(cfg: SaeConfig, config: TrainConfig, device: torch.device, parts: int = 1) -> None:
    """Refuse at once what cannot fit: weights, gradients, two moments and a block's pre-activations.

    `parts`: devices that share the latents.

    Raises:
        OutOfMemory: with both figures and a width that would fit.
    """
    copies = 5 if config.ema is not None else 4
    a_latent = 4 * (copies * (cfg.d_in + cfg.d_out + 2) + 3 * min(256, config.batch_size))
    if device.type == "cuda":
        available = torch.cuda.mem_get_info(device)[0]
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        return
    needed = a_latent * cfg.d_sae // parts
    if needed > available:
        raise OutOfMemory(
            f"A dictionary of d_sae={cfg.d_sae:,} needs about {human_bytes(needed)} to train and {device} has"
            f" {human_bytes(available)}. At most d_sae={available // a_latent * parts:,} fits."
        )


def _total(member: Member) -> int:
    assert member.config.steps is not None
    return member.config.steps


def _sample(stream: Stream) -> Tensor:
    """Up to `SAMPLE_ROWS` training rows in random order, for scales, bias, variance and threshold."""
    return torch.cat(list(islice(stream.epoch(0), max(1, SAMPLE_ROWS // stream.batch_size))))


def _begin(member: Member, sample: Tensor | None, device: torch.device, mesh: Mesh) -> Run:
    if member.resume is not None:
        return Run.resumed(member.cfg, member.config, member.resume, device, mesh)
    assert sample is not None
    # Whole dictionaries are made where there is room for them when they are to be cut up.
    place = device if mesh.latent_size == 1 else torch.device("cpu")
    x, y = sample[:, member.inputs].to(place), sample[:, member.outputs].to(place)
    scales: Scaling = scaling(x, y, member.config)
    parameters = initial(member.config, x * scales.scale_in, y * scales.scale_out, transcoder=member.cfg.transcoder)
    return Run(member.cfg, member.config, parameters, scales, device, mesh)


def _advance(member: Member, run: Run, rows: Tensor) -> None:
    """One step of one dictionary; on running out of memory the block is halved and the step done again."""
    x, y = rows[:, member.inputs], rows[:, member.outputs]
    while True:
        try:
            point = run.advance(x, y)
            break
        except RuntimeError as error:  # torch.OutOfMemoryError is one; a CPU allocator raises the plain kind
            if not _memory_ran_out(error):
                raise
            problem = str(error).splitlines()[0]
        if not run.mesh.alone:  # the other ranks are in the midst of this step's sums
            raise OutOfMemory(
                f"{run.device} ran out of memory at step {run.step + 1:,} ({problem}). Resume with block_rows set to"
                f" less than {max(2, run.architecture.rows_at_once):,}, or with more latent ranks."
            )
        # Outside the handler: the traceback would keep alive what must be freed for the next try.
        gc.collect()
        if run.device.type == "cuda":
            torch.cuda.empty_cache()
        if not run.shrink():
            raise OutOfMemory(
                f"{run.device} ran out of memory at step {run.step + 1:,}, even for one row at a time ({problem})."
                f" Try d_sae={max(1, member.cfg.d_sae // 2)}."
            )
    if point is not None:
        run.history.append(point)
        run.advice = advise(run.history, member.cfg.d_sae, run.movement(), run.settled)
        if member.on_point is not None:
            member.on_point(point, run.density, run.advice)
    if member.checkpoints is not None and (run.step < _total(member)):
        _checkpoint(member, run)


def _memory_ran_out(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text


def _checkpoint(member: Member, run: Run, *, force: bool = False) -> None:
    if member.checkpoints is None or run.step == 0:
        return
    # The first rank's clock counts: it alone writes, and so knows when it last did.
    if not force and not run.mesh.agree(run.mesh.first and member.checkpoints.due(run.step)):
        return
    run.require_finite()
    state = run.state()  # every rank takes part: the first one writes the whole
    if not run.mesh.first:
        return
    told: Path | str
    try:
        told = member.checkpoints.write(
            run.step, member.about | state | {"config": member.config.model_dump(mode="json")}
        )
    except OutputError as error:
        told = failed(run.step, error)
        run.notes = with_latest(run.notes, told)
    if member.on_checkpoint is not None:
        member.on_checkpoint(run.step, told)


def _with_checkpoint(error: AquinError, members: Sequence[Member]) -> AquinError:
    """The same error with the place of the last good checkpoint."""
    kept = [m.checkpoints.files()[-1] for m in members if m.checkpoints is not None and m.checkpoints.files()]
    if kept:
        error.args = (f"{error} The last good checkpoint is {', '.join(str(path) for path in kept)}.",)
    return error


def _outcomes(
    stream: Stream, members: Sequence[Member], runs: Sequence[Run], *, complete: bool
) -> list[TrainOutcome]:
    """Of the first rank; the others, which have none, need not wait for it."""
    weights = [(run.best(), run.dead_count()) for run in runs]
    if not runs[0].mesh.first:
        return []
    return [
        _outcome(stream, member, run, best, dead, complete=complete)
        for member, run, (best, dead) in zip(members, runs, weights, strict=True)
    ]


def _outcome(
    stream: Stream, member: Member, run: Run, best: Parameters, dead: int, *, complete: bool
) -> TrainOutcome:
    cfg = replace(member.cfg, step=run.step, rows=stream.rows, complete=complete)
    calibration = None
    if member.config.architecture in SELECTED[1:]:
        calibration = _sample(stream)[:, member.inputs].to(best.enc.device) * run.scaling.scale_in
    sae = dictionary(cfg, best, run.scaling, calibration)
    held = stream.held_out(SAMPLE_ROWS)
    held_out = None
    if held.shape[0] >= MIN_HELD_OUT:
        held_out = evaluate(sae, held[:, member.inputs].to(sae.device), held[:, member.outputs].to(sae.device))
    tail = [point.fvu for point in run.history[-max(1, len(run.history) // 10) :]]
    train_fvu = sum(tail) / len(tail) if tail else math.nan
    recon = [point.recon_mse for point in run.history]
    verdict = judge(stream.rows, cfg.d_sae, dead, recon, train_fvu, held_out)
    if not complete:
        verdict = cut_short(verdict, run.step, _total(member))
    notes = [*stream.notes, *run.notes]
    if run.tokens < stream.rows:
        notes.append(f"Training saw {run.tokens:,} of {stream.rows:,} rows; more steps would use the rest.")
    if held_out is None:
        notes.append(f"Too few rows ({stream.rows:,}) to hold any out: the figures are those of training rows.")
    return TrainOutcome(sae.to("cpu"), run.history, run.density, held_out, verdict, dead, run.advice, notes)
