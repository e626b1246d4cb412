"""`session.sae.train`: activations from a corpus, a store or a capture; a dictionary; a verdict."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .. import home
from ..cards import Artifact, CorpusRef, SaeTrainCard, TrainConfig, TrainMetrics
from ..control import Control
from ..engine.activations.collect import collect
from ..engine.activations.corpus import Corpus, open_corpus
from ..engine.activations.stream import ShuffledStream
from ..engine.numerics import fast_dtype
from ..engine.sae import SaeConfig, TrainOptions, default_options
from ..engine.sae.trainer import Interrupted, TrainOutcome, fit, require_memory
from ..errors import Cancelled, OutputError, SessionError
from ..files import free_folder, require_writable, sha256
from ..jobs import Job
from ..live import LiveTraining
from ..records import history_frame, model_ref, write_card, write_frame
from ..results import Capture, SaeTrain
from .sources import Rows, from_store, open_activations

if TYPE_CHECKING:
    from ..session import Session

LOW_NOTE = (
    "Candidates are picked with a bfloat16 product, which is faster on this device; values, gradients and weights are"
    " float32."
)

CONTEXT = 128
"""Tokens a context of a language model."""

CONTEXT_EMBEDDING = 32
"""Tokens a text of an embedding model: about a sentence, which is what such models are asked about; longer documents
are cut, so that a corpus gives more rows."""

TOKENS_CPU, TOKENS_CUDA, TOKENS_QUICK = 100_000, 2_000_000, 20_000


def sae_train(
    session: Session,
    layer: int | None,
    *,
    corpus: Any,
    text_key: str,
    activations: str | Path | Capture | SaeTrain | None,
    checkpoint: str | Path | None,
    tokens: int | None,
    quick: bool,
    name: str | None,
    output: str | Path | None,
    **choices: Any,
) -> Job[SaeTrain]:
    """See `SaeVerbs.train`. Everything that can be refused at once is refused here, before the job is queued."""
    info = session.model.info
    if activations is not None and (corpus is not None or checkpoint is not None or tokens is not None):
        raise SessionError("activations= are used as they are: corpus=, checkpoint= and tokens= do not go with them.")
    if tokens is not None and (not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1):
        raise SessionError(f"tokens must be a whole number of at least 1, not {tokens!r}.")
    if layer is not None:
        session.model.check_layer(layer)
    rows = open_activations(activations, layer, info) if activations is not None else None
    at = rows.layer if rows is not None else info.default_layer if layer is None else layer
    default = TOKENS_QUICK if quick else TOKENS_CUDA if session.model.device.type == "cuda" else TOKENS_CPU
    wanted = default if tokens is None else tokens
    if choices.get("d_sae") is None:
        choices["d_sae"] = info.default_d_sae
    # Built once for its checks; built again with the true row count when the activations are there.
    options = _options(rows.total if rows else wanted, info.mode, quick, choices)
    run = home.run_name("train") if name is None else name
    path = _place(session, at, run, output)
    cfg = SaeConfig(
        architecture=options.architecture,
        d_in=info.d_model,
        d_sae=options.d_sae,
        d_out=info.d_model,
        k=options.k if options.architecture == "topk" else None,
        name=run,
        model=info.name,
        mode="embedding" if info.mode == "embedding" else "llm",
        layer=at,
        hook=session.model.hook(at),
    )
    require_memory(cfg, options, session.model.device)
    # The default may ask a hub that does not answer: that is left to the job. A corpus that was named is read now.
    opened = open_corpus(corpus, text_key=text_key) if rows is None and corpus is not None else None

    card = SaeTrainCard(name=run, layer=at, hook=cfg.hook, model=rows.model if rows else model_ref(info))
    plan = _Plan(session, cfg, rows, opened, checkpoint, wanted, quick, choices, path)
    stages = {"train": 1.0} if rows is not None else {"collect": 0.35, "train": 0.65}
    job: Job[SaeTrain] = Job(f"train {run}", lambda control: plan.run(control, live), stages, path)
    live = LiveTraining(job, card)
    session.jobs.add(job)
    return job


def _options(rows: int, mode: str, quick: bool, choices: dict[str, Any]) -> TrainOptions:
    given = dict(choices)
    return default_options(rows, given.pop("d_sae"), mode, quick=quick, architecture=given.pop("architecture"), **given)


def _place(session: Session, layer: int, run: str, output: str | Path | None) -> Path:
    """Where the dictionary goes; refused now if it could not be written in the end."""
    model = session.model.info.name
    path = Path(output).expanduser() if output is not None else home.dictionary_path(model, layer, user=run)
    if path.suffix != ".pt":
        raise OutputError(f"{path}: output= of a training is a file ending in .pt.")
    if any(job.output == path for job in session.jobs.unfinished()):
        raise OutputError(f"{path} is being written by a job that has not finished. Choose another name= or output=.")
    require_writable(path)
    if path.exists():
        raise OutputError(f"{path} exists already; nothing was written. Choose another name= or output=.")
    return path


@dataclass
class _Plan:
    """A training that was accepted, with everything it needs in the worker thread."""

    session: Session
    cfg: SaeConfig
    rows: Rows | None
    corpus: Corpus | None
    checkpoint: str | Path | None
    tokens: int
    quick: bool
    choices: dict[str, Any]
    path: Path

    def run(self, control: Control, live: LiveTraining) -> SaeTrain:
        live.edit(lambda card: card.start())
        try:
            return self._run(control, live)
        except BaseException as error:
            self._record_failure(live, error)
            raise

    def _run(self, control: Control, live: LiveTraining) -> SaeTrain:
        rows = self.rows or self._collect(control, live)
        device = self.session.model.device
        options = _options(rows.total, self.cfg.mode, self.quick, self.choices)
        notes = list(rows.notes)
        if options.architecture == "topk" and fast_dtype(device, rows.d_in) == torch.bfloat16:
            options = replace(options, matmul_dtype="bfloat16")
            notes.append(LOW_NOTE)
        stream = ShuffledStream(rows.source, options.batch_size, seed=options.seed)
        cfg = replace(self.cfg, model_fingerprint=rows.model.fingerprint, corpus=rows.corpus.name)

        def prepare(card: SaeTrainCard) -> None:
            card.corpus, card.config, card.notes = rows.corpus, train_config(cfg, options), notes

        live.edit(prepare)
        try:
            outcome = fit(stream, cfg, options, device=device, control=control, on_point=live.point)
        except Interrupted as stop:
            cancelled = Cancelled(f"{stop} The dictionary so far is in {self.path}.")
            self._save(stop.outcome, live, cancelled)
            raise cancelled from None
        return self._save(outcome, live)

    def _collect(self, control: Control, live: LiveTraining) -> Rows:
        corpus = self.corpus or open_corpus()
        model = self.session.tuned(self.checkpoint)
        name = home.slugify(self.cfg.name)
        # A run that was stopped leaves its folder behind; running the same cell again must not stumble over it.
        folder = free_folder(home.activations_dir() / home.slugify(self.cfg.model) / name / f"layer{self.cfg.layer}")

        def announce(card: SaeTrainCard) -> None:
            card.model = model_ref(model.info)
            card.corpus = CorpusRef(name=corpus.name, tokens=0, why=corpus.why)
            card.artifacts = [Artifact(role="activations", path=str(folder))]

        live.edit(announce)
        assert self.cfg.layer is not None
        try:
            store = collect(
                model,
                corpus,
                self.cfg.layer,
                tokens=self.tokens,
                output=folder,
                context_size=CONTEXT_EMBEDDING if model.mode == "embedding" else CONTEXT,
                minimum=_options(self.tokens, model.mode, self.quick, self.choices).batch_size,
                control=control,
            )
        except Cancelled:
            raise Cancelled(f"Cancelled while collecting. The activations so far are in {folder}.") from None
        return from_store(store)

    def _record_failure(self, live: LiveTraining, error: BaseException) -> None:
        """A run that ends early leaves a card too, unless the disk is what failed."""

        def close(card: SaeTrainCard) -> None:
            if card.status == "running":
                card.finish("cancelled" if isinstance(error, Cancelled) else "failed", error)

        live.edit(close)
        with contextlib.suppress(OutputError):
            write_card(live.card, self.path.with_suffix(".card.json"))

    def _save(self, outcome: TrainOutcome, live: LiveTraining, cancelled: Cancelled | None = None) -> SaeTrain:
        try:
            outcome.dictionary.save(self.path)
        except OutputError as error:
            error.unsaved = outcome.dictionary
            error.args = (
                f"{error} The dictionary is still in memory: job.error.unsaved.save(PATH) writes it elsewhere.",
            )
            raise
        history = history_frame(outcome.history)
        write_frame(history, self.path.with_suffix(".history.csv"))

        def close(card: SaeTrainCard) -> None:
            card.verdict, card.reasons = outcome.verdict.word, outcome.verdict.reasons
            card.notes = [*card.notes, *outcome.notes]
            card.artifacts = [
                *card.artifacts,
                Artifact(
                    role="dictionary", path=str(self.path), bytes=self.path.stat().st_size, sha256=sha256(self.path)
                ),
            ]
            if (held := outcome.held_out) is not None:
                card.held_out = TrainMetrics(
                    step=outcome.dictionary.cfg.step,
                    tokens=card.latest.tokens,
                    recon_mse=held.recon_mse,
                    fvu=held.fvu if math.isfinite(held.fvu) else None,
                    l0=held.l0,
                    dead=outcome.dead,
                    dead_share=outcome.dead / outcome.dictionary.cfg.d_sae,
                    rows=held.rows,
                )
            card.finish("cancelled" if cancelled else "completed", cancelled)

        live.edit(close)
        write_card(live.card, self.path.with_suffix(".card.json"))
        return SaeTrain(self.path, live.card, history)


def train_config(cfg: SaeConfig, options: TrainOptions) -> TrainConfig:
    """The card's account of a training."""
    topk = options.architecture == "topk"
    return TrainConfig(
        architecture=options.architecture,
        d_in=cfg.d_in,
        d_sae=cfg.d_sae,
        k=options.k if topk else None,
        l1=None if topk else options.l1,
        lr=options.lr,
        batch_size=options.batch_size,
        steps=options.steps,
        warmup_steps=options.warmup_steps,
        decay_steps=options.decay_steps,
        aux_k=options.aux_k if topk else 0,
        dead_after_tokens=options.dead_after_tokens,
        seed=options.seed,
        matmul_dtype=options.matmul_dtype,
    )
