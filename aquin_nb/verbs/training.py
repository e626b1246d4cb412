"""A training from activations to a dictionary on disk: what `aquin_nb.sae_train` and `session.sae.train` share."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from .. import home
from ..cards import Artifact, ModelRef, SaeTrainCard, TrainCheckpoint, TrainMetrics, TrainSettings
from ..control import Control
from ..engine.activations.stream import Stream
from ..engine.numerics import fast_dtype
from ..engine.sae import SaeConfig, TrainConfig
from ..engine.sae.checkpoints import Checkpoints, with_latest
from ..engine.sae.config import LOW_NOTE, SELECTED
from ..engine.sae.history import Point
from ..engine.sae.idle import idle
from ..engine.sae.locks import Lock
from ..engine.sae.loggers import Logger, open_loggers
from ..engine.sae.trainer import Diverged, Interrupted, Member, TrainOutcome, fit
from ..errors import AquinError, Cancelled, DictionaryError, OutputError, StoreError
from ..files import require_writable, sha256, write_json
from ..jobs import Job
from ..live import LiveTraining
from ..records import history_frame, write_card, write_frame
from ..results import SaeTrain
from .sources import Rows, Source, distinct, stream_of

Judge = Callable[[TrainOutcome, Stream, Control], dict[str, Any]]
"""Measures a finished dictionary in its model: fields of `TrainMetrics`, and a `note` where it could not."""


@dataclass
class Training:
    """One dictionary to be trained on rows that are there.

    Attributes:
        config: as given, not resolved; of a resumed run the one that it began with. cfg: shape and provenance.
        path: the `.pt` to write.
        resume: the checkpoint to continue from, until the training has begun. sources: of the pass it belongs to, in
            their order, when others were trained beside it.
        judge: measures the result in its model, when there is one.
    """

    config: TrainConfig
    cfg: SaeConfig
    rows: Rows
    path: Path
    live: LiveTraining
    resume: dict[str, Any] | None = None
    sources: list[Source] = field(default_factory=list)
    judge: Judge | None = None
    notes: list[str] = field(default_factory=list)
    loggers: list[Logger] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.live.again is None:  # nobody knows a better way, such as a session that has the model
            self.live.again = self._again

    def _again(self) -> LiveTraining:
        from .bare import resumed  # which trains with this module

        return resumed(self.path)

    def member(self, stream: Stream, places: tuple[int, int], device: torch.device) -> Member:
        """What `fit` needs of it; fills in the card and opens the loggers.

        `places`: which of the stream's sources are its inputs and its targets.
        """
        resume, self.resume = self.resume, None  # the run takes over its tensors
        kept = checkpoints(self.path, self.config)
        if resume is not None:
            resolved = self.config
            kept.set_aside(resume["step"])
        else:
            low = self.config.dtype == "auto" and fast_dtype(device, self.rows.d_in) == torch.bfloat16
            resolved = self.config.resolved(stream.rows, dtype="bfloat16" if low else "float32")
            self.notes += [*([LOW_NOTE] if low else []), *idle(self.config)]
        self.config = resolved
        self.cfg = replace(self.cfg, k=resolved.k, groups=resolved.groups)
        self.loggers = open_loggers(resolved.loggers, self.path.with_suffix(".logs"), self.cfg.name)
        for logger in self.loggers:
            logger.start(resolved.model_dump(mode="json"))

        def prepare(card: SaeTrainCard) -> None:
            card.corpus, card.config = self.rows.corpus, train_settings(self.cfg, resolved)
            card.notes = [*dict.fromkeys([*card.notes, *self.rows.notes, *self.notes])]

        self.live.edit(prepare)
        if resume is not None:
            points = [tuple(row) for row in resume["history"].tolist()]
            self.live.resume(points, resume["step"])
        return Member(
            cfg=self.cfg,
            config=resolved,
            checkpoints=kept,
            on_point=self._point,
            on_checkpoint=self._checkpoint,
            on_failure=self.stop,
            resume=resume,
            about={
                "data": _data(stream) | {"places": list(places)},
                "card": self.live.card.model_dump(mode="json"),
                "versions": _versions(),
            },
            inputs=_columns(stream, places[0]),
            outputs=_columns(stream, places[1]),
        )

    def _point(self, point: Point, density: list[int], advice: list[str]) -> None:
        self.live.point(point, density)
        if advice != self.live.card.advice:
            self.live.edit(lambda card: setattr(card, "advice", advice))
        for logger in self.loggers:
            values = {name: float(value) for name, value in point._asdict().items() if name != "step"}
            logger.log(point.step, values, density)

    def _checkpoint(self, step: int, told: Path | str) -> None:
        def note(card: SaeTrainCard) -> None:
            if isinstance(told, Path):
                card.checkpoint = TrainCheckpoint(path=str(told), step=step, written_at=datetime.now(UTC))
            else:
                card.notes = with_latest(card.notes, told)

        self.live.edit(note)

    def save(self, outcome: TrainOutcome, stream: Stream, cancelled: Cancelled | None = None) -> SaeTrain:
        """Write dictionary, configuration, history and card.

        Raises:
            OutputError: the dictionary is in `.unsaved`, and a checkpoint was written if that was possible.
        """
        try:
            outcome.dictionary.save(self.path)
        except OutputError as error:
            error.unsaved = outcome.dictionary
            kept = outcome.keep() if outcome.keep is not None else None
            again = f" All of the training is in {kept}; {_resuming(self)} writes it again." if kept else ""
            error.args = (f"{error}{again}",)
            raise
        finally:
            outcome.keep = None
        history = history_frame([tuple(point) for point in outcome.history])
        write_frame(history, self.path.with_suffix(".history.csv"))
        write_json(
            self.path.with_suffix(".config.json"),
            {"config": self.config.model_dump(mode="json"), "versions": _versions(), "data": _data(stream)},
        )
        self.live.edit(lambda card: self._close(card, outcome, cancelled))
        write_card(self.live.card, self.path.with_suffix(".card.json"))
        return SaeTrain(self.path, self.live.card, history)

    def _close(self, card: SaeTrainCard, outcome: TrainOutcome, cancelled: Cancelled | None) -> None:
        card.verdict, card.reasons, card.advice = outcome.verdict.word, outcome.verdict.reasons, outcome.advice
        said = [note for logger in self.loggers for note in logger.notes]
        card.notes = [*dict.fromkeys([*card.notes, *outcome.notes, *said])]
        file = Artifact(
            role="dictionary", path=str(self.path), bytes=self.path.stat().st_size, sha256=sha256(self.path)
        )
        card.artifacts = [*(a for a in card.artifacts if a.role != "dictionary"), file]
        if cancelled is None:
            card.checkpoint = None
        if (held := outcome.held_out) is not None:
            fvu = held.fvu if math.isfinite(held.fvu) else None
            card.held_out = TrainMetrics(
                step=outcome.dictionary.cfg.step,
                tokens=card.latest.tokens,
                recon_mse=held.recon_mse,
                fvu=fvu,
                explained_variance=None if fvu is None else 1 - fvu,
                cosine=held.cosine if math.isfinite(held.cosine) else None,
                l0=held.l0,
                dead=outcome.dead,
                dead_share=outcome.dead / outcome.dictionary.cfg.d_sae,
                rows=held.rows,
            )

    def finish(self, result: SaeTrain, outcome: TrainOutcome, stream: Stream, control: Control) -> SaeTrain:
        """Measure the dictionary in its model and close the card; the dictionary is safe already."""
        found: dict[str, Any] = {}
        if self.judge is not None:
            try:
                found = self.judge(outcome, stream, control)
            except Cancelled:
                found = {"note": "The last measurement was cancelled; the dictionary is complete."}
            except AquinError as error:
                found = {"note": f"Cross-entropy was not measured: {error}"}
        note = found.pop("note", None)

        def close(card: SaeTrainCard) -> None:
            if found:
                card.held_out = (card.held_out or TrainMetrics()).model_copy(update=found)
            if note:
                card.notes = [*card.notes, note]
            card.finish("completed")

        self.live.edit(close)
        write_card(self.live.card, self.path.with_suffix(".card.json"))
        checkpoints(self.path, self.config).remove()  # last: whatever a kill leaves unwritten, a resume writes
        self._finish_loggers()
        return result

    def stop(self, error: BaseException) -> None:
        """Close what an error or a cancel leaves open."""
        stopped(self.live, self.path, error)
        self._finish_loggers()

    def _finish_loggers(self) -> None:
        card = self.live.card
        summary = {"status": card.status, "verdict": card.verdict or ""}
        if card.held_out is not None:
            held = card.held_out.model_dump(exclude_none=True, exclude={"density"})
            summary |= {f"held_out/{name}": value for name, value in held.items()}
        loggers, self.loggers = self.loggers, []
        for logger in loggers:
            logger.finish(summary)


def stopped(live: LiveTraining, path: Path, error: BaseException) -> None:
    """A run that ends early leaves a card too, unless the disk is what failed."""

    def close(card: SaeTrainCard) -> None:
        if card.status == "running":
            card.finish("cancelled" if isinstance(error, Cancelled) else "failed", error)

    live.edit(close)
    with contextlib.suppress(OutputError):
        write_card(live.card, path.with_suffix(".card.json"))


def run(trainings: Sequence[Training], control: Control, device: torch.device) -> list[SaeTrain]:
    """Train dictionaries together on one pass over their rows, and save each.

    Raises:
        Cancelled: each dictionary so far was saved, with a checkpoint to continue from.
        DictionaryError: one or more diverged; the others are complete and saved.
        OutputError: one or more could not be saved, which are in `.unsaved`; the others were.
    """
    try:
        return _run(trainings, control, device)
    except BaseException as error:
        for training in trainings:
            training.stop(error)
        raise


def _run(trainings: Sequence[Training], control: Control, device: torch.device) -> list[SaeTrain]:
    first = trainings[0]
    for training in trainings:
        training.live.edit(_start)
    sources = distinct([s for training in trainings for s in training.sources or training.rows.sources])
    settings = first.config
    stream = stream_of(sources, settings, control)
    _require_same_data(first.resume, stream)

    def place(source: Source) -> int:
        return next(i for i, known in enumerate(sources) if known is source)

    members = [t.member(stream, (place(t.rows.sources[0]), place(t.rows.sources[-1])), device) for t in trainings]
    ended: Interrupted | Diverged | None = None
    try:
        outcomes = fit(stream, members, device=device, control=control)
    except (Interrupted, Diverged) as error:
        ended, outcomes = error, error.outcomes
    going = [training for training, member in zip(trainings, members, strict=True) if member.failed is None]
    cancelled = Cancelled(_so_far(ended, going, outcomes)) if isinstance(ended, Interrupted) else None
    complete: list[tuple[Training, TrainOutcome, SaeTrain]] = []
    unsaved: list[OutputError] = []
    for training, outcome in zip(going, outcomes, strict=True):
        stopped_early = cancelled if not outcome.dictionary.cfg.complete else None
        try:
            result = training.save(outcome, stream, stopped_early)
        except OutputError as error:
            unsaved.append(error)
            training.stop(error)
            continue
        if stopped_early is not None:
            training.live.edit(lambda card: card.finish("cancelled", cancelled))
        else:
            complete.append((training, outcome, result))
    results = [training.finish(result, outcome, stream, control) for training, outcome, result in complete]
    if unsaved:
        raise _not_saved(unsaved) from unsaved[0].__cause__
    if cancelled is not None:
        raise cancelled from None
    if ended is not None and results:
        raise DictionaryError(f"{ended} The others are complete: {_places(results)}.") from None
    if ended is not None:
        raise ended
    return results


def _so_far(stop: Interrupted, trainings: Sequence[Training], outcomes: Sequence[TrainOutcome]) -> str:
    """What a cancelled training left, and how to go on."""
    said = [str(stop)]
    parts = [t for t, o in zip(trainings, outcomes, strict=True) if not o.dictionary.cfg.complete]
    if parts:
        also = ", and so for each" if len(parts) > 1 else ""
        said.append(f"The dictionary so far is in {_places(parts)}; {_resuming(parts[0])} goes on from there{also}.")
    if complete := [training for training in trainings if training not in parts]:
        said.append(f"Complete: {_places(complete)}.")
    return " ".join(said)


def _places(found: Sequence[Training | SaeTrain]) -> str:
    return ", ".join(str(one.path) for one in found)


def _not_saved(errors: Sequence[OutputError]) -> OutputError:
    """One error for all dictionaries that could not be written."""
    several = len(errors) > 1
    first = errors[0]
    first.args = (
        f"{' '.join(map(str, errors))} {'The dictionaries are' if several else 'The dictionary is'} still in memory:"
        f" {'each one in error.unsaved' if several else 'error.unsaved'}.save(PATH) writes it elsewhere, where error is"
        " sys.last_value after a cell or at a prompt, or job.error of a job.",
    )
    first.unsaved = [error.unsaved for error in errors] if several else first.unsaved
    return first


def _resuming(training: Training) -> str:
    """The call that goes on with it."""
    path, rows, name = training.path, training.rows, training.cfg.name
    if any(isinstance(source, torch.Tensor) for source in rows.sources):
        return f"aquin_nb.sae_resume({str(path)!r}, activations), with the same activations,"
    if rows.model is not None and path == home.dictionary_path(rows.model.name, rows.layer, user=name):
        return f"session.sae.resume({name!r}) or aquin_nb.sae_resume({str(path)!r})"
    return f"aquin_nb.sae_resume({str(path)!r})"


def _columns(stream: Stream, place: int) -> slice:
    """Those of one source in a batch."""
    start = sum(stream.widths[:place])
    return slice(start, start + stream.widths[place])


def _data(stream: Stream) -> dict[str, Any]:
    return {"fingerprint": stream.fingerprint(), "source": stream.describe(), "rows": stream.rows}


def _start(card: SaeTrainCard) -> None:
    card.start()


def _require_same_data(resume: dict[str, Any] | None, stream: Stream) -> None:
    if resume is not None and resume["data"]["fingerprint"] != stream.fingerprint():
        raise StoreError(
            f"These are not the activations that the run began with ({resume['data']['source']}): their contents"
            " differ. Give the same ones, or train anew under another name."
        )


def checkpoints(path: Path, config: TrainConfig) -> Checkpoints:
    """Those of the dictionary at `path`."""
    return Checkpoints.beside(path, config.checkpoint_every, config.keep_checkpoints)


def require_free(path: Path, unfinished: Sequence[Job[Any]] = ()) -> None:
    """Refuse a place that is taken, now, instead of after a training.

    Raises:
        OutputError: what is there, and what to do.
    """
    if path.suffix != ".pt":
        raise OutputError(f"{path}: output= of a training is a file ending in .pt.")
    if any(job.output == path for job in unfinished):
        raise OutputError(f"{path} is being written by a job that has not finished. Choose another name= or output=.")
    require_writable(path)
    if Checkpoints.beside(path).files():
        raise OutputError(
            f"{path} belongs to a training that was stopped; sae_resume({str(path)!r}) goes on with it."
            " Or choose another name= or output=."
        )
    if path.exists():
        raise OutputError(f"{path} exists already; nothing was written. Choose another name= or output=.")


class Places:
    """The places of one job's dictionaries, kept off every other training until the job has ended.

    Leaving it as a context without `hand_over` lets them go: the training was refused.
    """

    def __init__(self) -> None:
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Places:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def take(self, path: Path) -> None:
        """Keep others off.

        Raises:
            OutputError: another training writes there.
        """
        require_writable(path)  # makes its folder
        lock = Lock(path)
        lock.take()
        self._held.callback(lock.release)

    def hand_over(self, job: Job[Any]) -> None:
        """To a job, with whose end they are free."""
        job.at_end(self._held.pop_all().close)


def sae_config(
    config: TrainConfig,
    name: str,
    *,
    d_in: int,
    model: ModelRef | None,
    layer: int | None,
    hook: str,
    corpus: str = "",
    target: Rows | None = None,
) -> SaeConfig:
    """The shape and provenance of a dictionary of rows of `model` at `hook`; `target` for a transcoder.

    Raises:
        DictionaryError: a skip connection without a target: it would copy the input, and nothing be left to learn.
    """
    if config.skip and target is None:
        raise DictionaryError(
            "skip is for a transcoder: give activations as a pair (inputs, targets), or leave it out."
        )
    return SaeConfig(
        architecture=config.architecture,
        d_in=d_in,
        d_sae=config.d_sae,
        d_out=target.d_in if target is not None else d_in,
        k=(config.k or min(32, config.d_sae)) if config.architecture in SELECTED else None,
        name=name,
        model=model.name if model is not None else "",
        model_fingerprint=model.fingerprint if model is not None else "",
        mode="embedding" if model is not None and model.mode == "embedding" else "llm",
        layer=layer,
        hook=hook,
        hook_out=target.hook if target is not None else hook,
        transcoder=target is not None,
        corpus=corpus,
    )


def default_path(rows: Rows, name: str) -> Path:
    """Where a dictionary goes that nobody gave a place."""
    model = rows.model.name if rows.model is not None else "activations"
    return home.dictionary_path(model, rows.layer, user=name, hook=rows.hook)


def train_settings(cfg: SaeConfig, config: TrainConfig) -> TrainSettings:
    """The card's account of a resolved configuration."""
    penalised = config.architecture not in SELECTED
    assert config.steps is not None
    assert config.dead_after_tokens is not None
    assert config.lr is not None
    return TrainSettings(
        architecture=config.architecture,
        d_in=cfg.d_in,
        d_out=cfg.d_out,
        d_sae=cfg.d_sae,
        k=config.k,
        sparsity_coefficient=config.sparsity_coefficient if penalised else None,
        sparsity_loss=config.sparsity_loss or "",
        lr=config.lr,
        lr_schedule=config.lr_schedule,
        optimizer=config.optimizer,
        batch_size=config.batch_size,
        steps=config.steps,
        seed=config.seed,
        dtype=config.dtype,
        dead_after_tokens=config.dead_after_tokens,
        aux_k=config.aux_k or 0,
        groups=list(config.groups) if config.groups else None,
        full=config.model_dump(mode="json"),
    )


def _versions() -> dict[str, str]:
    found = {}
    for package in ("aquin-nb", "torch"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
