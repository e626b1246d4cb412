"""`session.sae.train` and `.resume`: activations from a corpus, a store or a capture; a dictionary; a verdict."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .. import home
from ..cards import Artifact, CorpusRef, SaeTrainCard
from ..control import Control
from ..engine.activations.collect import collect
from ..engine.activations.corpus import Corpus, open_corpus
from ..engine.activations.store import Store
from ..engine.activations.stream import ShuffledStream, Stream
from ..engine.analysis.fidelity import fidelity, held_out_rows
from ..engine.models import Model
from ..engine.models.sites import Site
from ..engine.sae import SaeConfig, TrainConfig
from ..engine.sae.config import SELECTED
from ..engine.sae.loggers import require_loggers
from ..engine.sae.memory import require_memory
from ..engine.sae.trainer import TrainOutcome
from ..errors import Cancelled, SessionError, StoreError, did_you_mean
from ..files import free_folder
from ..jobs import Job
from ..live import LiveTraining
from ..records import model_ref
from ..results import SaeTrain
from .bare import require_columns
from .devices import beside_model
from .on_the_fly import OnTheFly, require_again, rows_again, rows_on_the_fly
from .resuming import device_again, nothing_to_resume, resume_rows, resumed_card, resumed_config, saved_state
from .sources import Rows, from_store, open_rows, require_model
from .training import (
    Judge,
    Places,
    Training,
    require_free,
    run,
    sae_config,
    stopped,
)

if TYPE_CHECKING:
    from ..session import Session

CONTEXT = 128
"""Tokens a context of a language model."""

CONTEXT_EMBEDDING = 32
"""Tokens a text of an embedding model: about a sentence, which is what such models are asked about; longer documents
are cut, so that a corpus gives more rows."""

TOKENS_CPU, TOKENS_CUDA, TOKENS_QUICK = 100_000, 2_000_000, 20_000
JUDGED_CPU, JUDGED_CUDA, JUDGED_QUICK = 4_096, 65_536, 1_024
"""Tokens that the cross-entropy is measured on at the end: seconds, not minutes, of forward passes."""

STAGES = {"train": 0.9, "evaluate": 0.1}
STAGES_MAKING = {"collect": 0.1, "train": 0.8, "evaluate": 0.1}
STAGES_COLLECTING = {"collect": 0.35, "train": 0.55, "evaluate": 0.1}


def session_train(
    session: Session,
    layer: int | str | None,
    *,
    config: TrainConfig | dict[str, Any] | str | Path | None,
    corpus: Any,
    text_key: str,
    activations: Any,
    checkpoint: str | Path | None,
    tokens: int | None,
    keep_activations: bool,
    quick: bool,
    **choices: Any,
) -> Job[SaeTrain]:
    """See `SaeVerbs.train`. Everything that can be refused at once is refused here, before the job is queued."""
    info = session.model.info
    if activations is not None and (corpus is not None or checkpoint is not None or tokens is not None):
        raise SessionError("activations= are used as they are: corpus=, checkpoint= and tokens= do not go with them.")
    if activations is not None and not keep_activations:
        raise SessionError(
            "keep_activations=False is for activations that are made now; activations= are there already."
        )
    if tokens is not None:
        tokens = _count(tokens)
    asked = _site(session.model, layer) if layer is not None else None
    rows = _given(session.model, activations, layer) if activations is not None else None
    if rows is not None and not rows.hook and asked is not None:
        rows = replace(rows, layer=asked.layer, hook=asked.hook)  # a tensor does not say where it comes from
    site = asked or _site(session.model, info.default_layer)
    at, hook, width = (rows.layer, rows.hook, rows.d_in) if rows is not None else (site.layer, site.hook, site.width)
    default = TOKENS_QUICK if quick else TOKENS_CUDA if session.model.device.type == "cuda" else TOKENS_CPU
    wanted = default if tokens is None else tokens
    settings = session_config(config, info, quick, choices)
    name = settings.name or home.run_name("train")
    usual = home.dictionary_path(info.name, at, user=name, hook=hook)
    path = Path(settings.output).expanduser() if settings.output else usual
    require_free(path, session.jobs.unfinished())
    require_loggers(settings.loggers)
    model = rows.model if rows is not None and rows.model is not None else model_ref(info)
    target = rows.target if rows is not None else None
    cfg = sae_config(settings, name, d_in=width, model=model, layer=at, hook=hook, target=target)
    total = rows.total if rows is not None else wanted
    require_memory([(cfg, settings.resolved(total))], beside_model(session.model.device, settings))
    # The default may ask a hub that does not answer: that is left to the job. A corpus that was named is read now.
    opened = open_corpus(corpus, text_key=text_key) if rows is None and corpus is not None else None
    if opened is not None and not keep_activations:
        require_again(opened)

    card = SaeTrainCard(name=name, layer=at, hook=cfg.hook, model=model)
    plan = _Plan(session, settings, cfg, rows, opened, checkpoint, wanted, quick, path)
    if not keep_activations:
        plan.made = {"given": corpus, "text_key": text_key}
    stages = STAGES if rows is not None else STAGES_COLLECTING if keep_activations else STAGES_MAKING
    job: Job[SaeTrain] = Job(f"train {name}", lambda control: plan.run(control, live), stages, path)
    job.card = card
    live = LiveTraining(job, card)
    live.again = _going_on(session, name, path, cfg) if path == usual else None
    with Places() as places:
        places.take(path)
        require_free(path)  # again: it may have been taken meanwhile
        places.hand_over(job)
    session.jobs.add(job)
    return job


def _site(model: Model, layer: int | str) -> Site:
    """The place that was named; a layer's number needs no look at the model, which `Model.site` would run."""
    if isinstance(layer, str):
        return model.site(layer)
    return Site(model.hook(layer), model.check_layer(layer), model.d_model)


def _given(model: Model, activations: Any, layer: int | str | None) -> Rows:
    rows = open_rows(activations, layer)
    ours = rows.model is not None and rows.model.name == model.info.name
    elsewhere = rows.hook not in ("", f"blocks.{rows.layer}.hook_resid_post")
    return require_model(rows, model.info, model.site(rows.hook).width if ours and elsewhere else None)


def _count(tokens: Any) -> int:
    if isinstance(tokens, float) and tokens.is_integer():
        return _count(int(tokens))
    if isinstance(tokens, bool) or not hasattr(tokens, "__index__") or operator.index(tokens) < 1:
        raise SessionError(f"tokens must be a whole number of at least 1, not {tokens!r}.")
    return operator.index(tokens)


def session_config(
    config: TrainConfig | dict[str, Any] | str | Path | None, info: Any, quick: bool, choices: dict[str, Any]
) -> TrainConfig:
    """What was asked for over what suits the model: its width, fewer latents and rows a batch for pooled vectors.

    One pooled vector a text means few rows, and a strong penalty on few rows leaves dead latents.
    """
    values = TrainConfig.read(config).model_dump(exclude_unset=True) if config is not None else {}
    given = {name: value for name, value in choices.items() if value is not None}
    if {"steps", "epochs"} & set(given):
        values = {name: value for name, value in values.items() if name not in ("steps", "tokens", "epochs")}
    values |= given
    embedding = info.mode == "embedding"
    values.setdefault("d_sae", info.default_d_sae)
    if values.get("architecture", "topk") in SELECTED:
        values.setdefault("k", min(16 if embedding else 32, int(values["d_sae"])) if _whole(values["d_sae"]) else 32)
    values.setdefault("batch_size", 256 if embedding else 1024)
    if not {"steps", "tokens", "epochs"} & set(values):
        values["steps"] = 500 if quick else 3000
    return TrainConfig(**values)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and value >= 1


def session_resume(
    session: Session, name: str, layer: int | str | None, config: Any, corpus: Any = None
) -> Job[SaeTrain]:
    """See `SaeVerbs.resume`."""
    path = _stopped(session, name, layer)
    if any(job.output == path for job in session.jobs.unfinished()):
        raise SessionError(f"{name} is being trained by a job that has not finished.")
    with Places() as places:
        places.take(path)
        state, problems = saved_state(path)
        settings = resumed_config(state, config, path)
        device = beside_model(session.model.device, settings) if settings.device == "auto" else device_again(settings)
        rows, sources = resume_rows(state, rows_again(session, state["data"]["source"], corpus))
        cfg = SaeConfig.from_dict(state["cfg"])
        require_columns(rows, cfg)
        card = resumed_card(state, cfg, rows)
        card.notes += problems

        def work(control: Control) -> SaeTrain:
            return run([training], control, device)[0]

        job: Job[SaeTrain] = Job(f"train {cfg.name}", work, STAGES, path)
        job.card = card
        live = LiveTraining(job, card)
        live.again = _going_on(session, name, path, cfg)
        judge = _judge(session.model, rows, quick=False)
        training = Training(settings, cfg, rows, path, live, resume=state, sources=sources, judge=judge)
        places.hand_over(job)
    session.jobs.add(job)
    return job


def _going_on(session: Session, name: str, path: Path, cfg: SaeConfig) -> Callable[[], LiveTraining]:
    """Resumes the training called `name` as a person would, so that the session's queue and its board know of it."""
    layer = cfg.layer if path.stem == f"sae_layer{cfg.layer}" else cfg.hook
    return lambda: cast("LiveTraining", session.sae.resume(name, layer=layer).face)


def _stopped(session: Session, name: str, layer: int | str | None) -> Path:
    """The `.pt` of the stopped training called `name`."""
    model = session.model.info.name
    if not isinstance(name, str) or name.endswith((".pt", ".checkpoints")):
        raise StoreError(
            f"resume() takes the name of a training, not {str(name)!r}; aquin_nb.sae_resume() takes a path."
        )
    if layer is not None:
        site = _site(session.model, layer)
        return home.dictionary_path(model, site.layer, user=name, hook=site.hook)
    folder = home.dictionary_path(model, 0, user=name).parent
    found = sorted(folder.glob("sae*.checkpoints"))
    if len(found) == 1:
        return found[0].with_suffix(".pt")
    if found:
        raise StoreError(f"{name} holds stopped trainings of several layers; pass layer= to pick one.")
    complete = sorted(folder.glob("sae*.pt"))
    if complete:
        raise StoreError(nothing_to_resume(complete[0]))
    names = sorted({p.parent.name for p in folder.parent.glob("*/sae*.checkpoints")})
    known = did_you_mean(name, names) if names else f"No training of {model} was stopped."
    raise StoreError(f"There is no stopped training {name!r} of {model}. {known}")


@dataclass
class _Plan:
    """A training that was accepted, with everything it needs in the worker thread."""

    session: Session
    config: TrainConfig
    cfg: SaeConfig
    rows: Rows | None
    corpus: Corpus | None
    checkpoint: str | Path | None
    tokens: int
    quick: bool
    path: Path
    made: dict[str, Any] | None = None  # how its corpus was given, where activations are not kept

    def run(self, control: Control, live: LiveTraining) -> SaeTrain:
        live.edit(lambda card: card.start())
        model = self.session.model
        rows = self.rows
        if rows is None:
            try:
                model = self.session.tuned(self.checkpoint)
                rows = self._collect(model, control, live) if self.made is None else self._made(model, live)
            except BaseException as error:
                stopped(live, self.path, error)
                raise
        fingerprint = rows.model.fingerprint if rows.model is not None else ""
        cfg = replace(self.cfg, model_fingerprint=fingerprint, corpus=rows.corpus.name)
        judge = _judge(model, rows, quick=self.quick)
        training = Training(self.config, cfg, rows, self.path, live, judge=judge)
        return run([training], control, beside_model(self.session.model.device, self.config))[0]

    def _made(self, model: Model, live: LiveTraining) -> Rows:
        assert self.made is not None
        corpus, size = self.corpus or open_corpus(), CONTEXT_EMBEDDING if model.mode == "embedding" else CONTEXT
        about = {**self.made, "checkpoint": self.checkpoint, "context_size": size}
        rows = rows_on_the_fly(model, corpus, self.cfg.hook, self.tokens, **about)

        def announce(card: SaeTrainCard) -> None:
            card.model, card.corpus, card.notes = rows.model, rows.corpus, [*rows.notes]

        live.edit(announce)
        return rows

    def _collect(self, model: Model, control: Control, live: LiveTraining) -> Rows:
        corpus = self.corpus or open_corpus()
        name = home.slugify(self.cfg.name)
        # A run that was stopped leaves its folder behind; running the same cell again must not stumble over it.
        folder = free_folder(home.activations_dir() / home.slugify(self.cfg.model) / name / f"layer{self.cfg.layer}")

        def announce(card: SaeTrainCard) -> None:
            card.model = model_ref(model.info)
            card.corpus = CorpusRef(name=corpus.name, tokens=0, why=corpus.why)
            card.artifacts = [Artifact(role="activations", path=str(folder))]

        live.edit(announce)
        try:
            store = collect(
                model,
                corpus,
                self.cfg.hook,
                tokens=self.tokens,
                output=folder,
                context_size=CONTEXT_EMBEDDING if model.mode == "embedding" else CONTEXT,
                minimum=min(self.config.batch_size, self.tokens),
                control=control,
            )
        except Cancelled:
            raise Cancelled(f"Cancelled while collecting. The activations so far are in {folder}.") from None
        return from_store(store)


def _judge(model: Model, rows: Rows, *, quick: bool) -> Judge | None:
    """What measures the dictionary in the model, where that can be done: tokens of a language model's own layer."""
    source, layer = rows.source, rows.layer
    tokens = isinstance(source, OnTheFly) or (isinstance(source, Store) and source.unit == "token")
    if model.mode == "embedding" or rows.target is not None or not tokens:
        return None
    if layer is None or rows.hook != model.hook(layer):
        return lambda *_: {"note": f"Cross-entropy was not measured: it is of a block's output, not of {rows.hook}."}
    budget = JUDGED_QUICK if quick else JUDGED_CUDA if model.device.type == "cuda" else JUDGED_CPU

    def judge(outcome: TrainOutcome, stream: Stream, control: Control) -> dict[str, Any]:
        if rows.model is not None and rows.model.fingerprint != model.info.fingerprint:
            return {"note": "Cross-entropy was not measured: the activations come from other weights than these."}
        if isinstance(source, OnTheFly):
            texts = source.texts(stream, budget)
        else:
            assert isinstance(source, Store)
            assert isinstance(stream, ShuffledStream)
            texts = held_out_rows(model, source, stream, max_tokens=budget)
        if not texts:
            return {}
        found = fidelity(model, outcome.dictionary.to(model.device), layer, texts, max_tokens=None, control=control)
        values = {
            "ce_clean": found.ce_clean,
            "ce_spliced": found.ce_spliced,
            "ce_recovered": found.ce_recovered,
            "kl": found.kl,
        }
        return {name: value for name, value in values.items() if value == value} | {"ce_tokens": found.tokens}

    return judge
