"""The training loop: batches in, a dictionary and its history out."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...control import Control
from ...errors import AquinError, Cancelled, DictionaryError, OutOfMemory, OutputError
from ..activations.prefetch import prefetch
from ..activations.stream import Stream
from .advice import advise
from .checkpoints import Checkpoints, failed, with_latest
from .config import SELECTED, TrainConfig
from .dictionary import SparseAutoencoder
from .export import dictionary
from .history import Point
from .memory import in_words, ran_out, require_memory, unchanged, width_to_try
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
    """What a run leaves: the dictionary on CPU, the logged points, the held-out figures and the verdict.

    `keep` writes a checkpoint of the last step, for when the dictionary cannot be written; it holds on to all of the
    training, so forget it when it is not needed any more. None where other ranks would have to take part.
    """

    dictionary: SparseAutoencoder
    history: list[Point]
    density: list[int]
    held_out: Metrics | None
    verdict: Verdict
    dead: int
    advice: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    keep: Callable[[], Path | None] | None = None


@dataclass
class Member:
    """One dictionary of a training.

    cfg: its shape and provenance. config: a resolved `TrainConfig`. inputs, outputs: columns of a batch.
    resume: the state to continue from; `fit` lets it go. about: plain values that checkpoints carry along.
    on_checkpoint: called with the step and the file, or the sentence that says why there is none. on_failure: called
    with the error of one that is taken out of a pass that others go on with. failed: that error.
    """

    cfg: SaeConfig
    config: TrainConfig
    checkpoints: Checkpoints | None = None
    on_point: OnPoint | None = None
    on_checkpoint: Callable[[int, Path | str], None] | None = None
    on_failure: Callable[[AquinError], None] | None = None
    resume: Snapshot | None = None
    about: dict[str, Any] = field(default_factory=dict)
    inputs: slice = field(default_factory=lambda: slice(None))
    outputs: slice = field(default_factory=lambda: slice(None))
    failed: AquinError | None = None


class Interrupted(Cancelled):
    """A cancelled training; `outcomes` holds each dictionary that had not failed, as it was when the cancel arrived."""

    def __init__(self, outcomes: list[TrainOutcome], step: int, steps: int) -> None:
        super().__init__(f"Cancelled at step {step:,} of {steps:,}.")
        self.outcomes = outcomes


class Diverged(DictionaryError):
    """Dictionaries diverged; `outcomes` holds those of the others that were trained beside them, which are complete."""

    def __init__(self, members: Sequence[Member], outcomes: list[TrainOutcome]) -> None:
        failed = [member for member in members if member.failed is not None]
        if len(members) == 1:
            super().__init__(str(failed[0].failed))
        else:
            told = " ".join(f"{member.cfg.name or 'One'}: {member.failed}" for member in failed)
            super().__init__(f"{len(failed)} of {len(members)} dictionaries diverged. {told}")
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
        Diverged: a loss became NaN or infinite; names the step, what to try and the last good checkpoint, and carries
            the dictionaries of the others.
        StoreError: a bad value in the activations, with its row; likewise.
        OutOfMemory: a single block does not fit; names a size to try.
    """
    control, place = control or Control(), torch.device(device)
    for member in members:
        mesh.require_even(member.cfg.d_sae, stream.batch_size)
    require_memory([(member.cfg, member.config) for member in members], place, mesh.latent_size)
    sample = _sample(stream) if any(member.resume is None for member in members) else None
    stream.held_out(SAMPLE_ROWS)  # read at the end: a bad value there is to be found before the work
    try:
        runs = [_begin(member, sample, place, mesh) for member in members]
    except RuntimeError as error:
        if not ran_out(error):
            raise
        widths = " and ".join(f"d_sae={member.cfg.d_sae:,}" for member in members)
        raise OutOfMemory(
            f"{place} has no room to train {widths} ({in_words(error)})."
            f" Try a smaller d_sae{', or fewer dictionaries at once' if len(members) > 1 else ''}."
        ) from None
    del sample
    step, last = runs[0].step, _last(members)
    if any(run.step != step for run in runs):
        raise DictionaryError("Dictionaries trained together are resumed at one step; these are at different ones.")
    ahead = prefetch(stream.batches(step), pin=place.type == "cuda")
    try:
        with closing(ahead) as batches:
            while step < last:
                step += 1
                rows = _batch(batches, place)
                _each(members, runs, _advance, rows)
                last = _last(members)
                _tick(control, mesh, step, last)
        _each(members, runs, _finish)
    except Cancelled as cancelled:
        _each(members, runs, _checkpoint, True)
        raise Interrupted(_outcomes(stream, members, runs), step, last) from cancelled
    except Diverged:
        raise
    except AquinError as error:
        raise _with_checkpoint(error, members) from error
    outcomes = _outcomes(stream, members, runs)
    if any(member.failed for member in members):
        raise Diverged(members, outcomes)
    return outcomes


def _batch(batches: Iterator[Tensor], place: torch.device) -> Tensor:
    try:
        return next(batches).to(place, non_blocking=True)
    except RuntimeError as error:
        if not ran_out(error):
            raise
        raise OutOfMemory(
            f"There is no memory left for a batch ({in_words(error)}). Free some and resume, or train with a smaller"
            " batch_size."
        ) from None


def _each(members: Sequence[Member], runs: Sequence[Run], work: Callable[..., object], *more: object) -> None:
    """`work(member, run, *more)` for each dictionary that is still in training; one that diverges is taken out.

    Raises:
        Diverged: none is left.
    """
    for member, run in zip(members, runs, strict=True):
        if member.failed is not None:
            continue
        try:
            work(member, run, *more)
        except DictionaryError as error:
            member.failed = _with_checkpoint(error, [member])
            if member.on_failure is not None and len(members) > 1:
                member.on_failure(member.failed)
    if all(member.failed for member in members):
        raise Diverged(members, []) from members[0].failed


def _tick(control: Control, mesh: Mesh, step: int, last: int) -> None:
    """Report a step; all ranks stop after the same one."""
    asked = False
    try:
        control.tick("train", step, last, "steps")
    except Cancelled:
        asked = True
    if mesh.agree(asked):
        raise Cancelled("Cancelled.")


def _total(member: Member) -> int:
    assert member.config.steps is not None
    return member.config.steps


def _last(members: Sequence[Member]) -> int:
    """The step at which the longest training that has not failed ends."""
    return max(_total(member) for member in members if member.failed is None)


def _sample(stream: Stream) -> Tensor:
    """Up to `SAMPLE_ROWS` training rows in random order, for scales, bias, variance and threshold."""
    return torch.cat(list(islice(stream.epoch(0), max(1, SAMPLE_ROWS // stream.batch_size))))


def _begin(member: Member, sample: Tensor | None, device: torch.device, mesh: Mesh) -> Run:
    if member.resume is not None:
        state, member.resume = member.resume, None  # a second copy of everything, once the run has its own
        return Run.resumed(member.cfg, member.config, state, device, mesh)
    assert sample is not None
    # Whole dictionaries are made where there is room for them when they are to be cut up.
    place = device if mesh.latent_size == 1 else torch.device("cpu")
    x, y = sample[:, member.inputs].to(place), sample[:, member.outputs].to(place)
    scales: Scaling = scaling(x, y, member.config)
    parameters = initial(member.config, x * scales.scale_in, y * scales.scale_out, transcoder=member.cfg.transcoder)
    return Run(member.cfg, member.config, parameters, scales, device, mesh)


def _advance(member: Member, run: Run, rows: Tensor) -> None:
    """One step of one dictionary that is not complete; on running out of memory the block is halved and the step done
    again, unless two smaller blocks made no difference."""
    if run.step >= _total(member):
        return
    x, y = rows[:, member.inputs], rows[:, member.outputs]
    problems: list[str] = []
    while True:
        try:
            point = run.advance(x, y)
            break
        except RuntimeError as error:  # torch.OutOfMemoryError is one; a CPU allocator raises the plain kind
            if not ran_out(error):
                raise
            problems.append(in_words(error))
        told = f"{run.device} ran out of memory at step {run.step + 1:,}"
        if not run.mesh.alone:  # the other ranks are in the midst of this step's sums
            raise OutOfMemory(
                f"{told} ({problems[-1]}). Resume with block_rows set to less than"
                f" {max(2, run.architecture.rows_at_once):,}, or with more latent ranks."
            )
        # Outside the handler: the traceback would keep alive what must be freed for the next try.
        gc.collect()
        if run.device.type == "cuda":
            torch.cuda.empty_cache()
        if unchanged(problems) or not run.shrink():
            rest = "and smaller blocks of rows did not help" if unchanged(problems) else "even for one row at a time"
            width = width_to_try(member.cfg, member.config, run.device)
            raise OutOfMemory(f"{told}, {rest} ({problems[-1]}). Try d_sae={width}.")
    if point is not None:
        run.history.append(point)
        run.advice = advise(run.history, member.cfg.d_sae, run.movement(), run.settled)
        if member.on_point is not None:
            member.on_point(point, run.density, run.advice)
    if member.checkpoints is not None and (run.step < _total(member)):
        _checkpoint(member, run)


def _finish(_: Member, run: Run) -> None:
    run.require_finite()


def _checkpoint(member: Member, run: Run, force: bool = False) -> Path | None:
    """Write one where it is due; the file, if there is one."""
    if member.checkpoints is None or run.step == 0:
        return None
    # The first rank's clock counts: it alone writes, and so knows when it last did.
    if not force and not run.mesh.agree(run.mesh.first and member.checkpoints.due(run.step)):
        return None
    run.require_finite()
    state = run.state()  # every rank takes part: the first one writes the whole
    if not run.mesh.first:
        return None
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
    return told if isinstance(told, Path) else None


def _with_checkpoint(error: AquinError, members: Sequence[Member]) -> AquinError:
    """The same error with the place of the last good checkpoint."""
    kept = [m.checkpoints.files()[-1] for m in members if m.checkpoints is not None and m.checkpoints.files()]
    if kept:
        error.args = (f"{error} The last good checkpoint is {', '.join(str(path) for path in kept)}.",)
    return error


def _outcomes(stream: Stream, members: Sequence[Member], runs: Sequence[Run]) -> list[TrainOutcome]:
    """Of the dictionaries that have not failed; of the first rank, for which the others need not wait."""
    going = [(member, run) for member, run in zip(members, runs, strict=True) if member.failed is None]
    for run in runs:
        run.end_steps()
    try:
        weights = [(run.best(), run.dead_count()) for _, run in going]
        if not runs[0].mesh.first:
            return []
        return [
            _outcome(stream, member, run, best, dead)
            for (member, run), (best, dead) in zip(going, weights, strict=True)
        ]
    except Exception as error:
        if runs[0].mesh.alone:  # the steps are done, and judging them is not worth doing them again
            _each(members, runs, _checkpoint, True)
        if not ran_out(error):
            raise
        problem = f"{runs[0].device} ran out of memory after the last step ({in_words(error)}): resume on more of it."
        raise _with_checkpoint(OutOfMemory(problem), members) from None


def _outcome(stream: Stream, member: Member, run: Run, best: Parameters, dead: int) -> TrainOutcome:
    complete = run.step >= _total(member)
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
    l0 = [point.l0 for point in run.history]
    verdict = judge(stream.rows, cfg.d_sae, dead, recon, train_fvu, held_out, l0)
    if not complete:
        verdict = cut_short(verdict, run.step, _total(member))
    notes = [*stream.notes, *run.notes]
    if run.tokens < stream.rows:
        notes.append(f"Training saw {run.tokens:,} of {stream.rows:,} rows; more steps would use the rest.")
    if held_out is None:
        why = f"Too few rows ({stream.rows:,}) to hold any out" if member.config.held_out else "No rows were held out"
        notes.append(f"{why}: the figures are those of training rows.")
    keep = partial(_checkpoint, member, run, True) if run.mesh.alone else None
    return TrainOutcome(sae.to("cpu"), run.history, run.density, held_out, verdict, dead, run.advice, notes, keep)
