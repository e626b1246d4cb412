"""`session.sae.train` and `.resume`: activations from a corpus, a store or a capture; a dictionary; a verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import home
from ..cards import Artifact, CorpusRef, SaeTrainCard
from ..control import Control
from ..engine.activations.collect import collect
from ..engine.activations.corpus import Corpus, open_corpus
from ..engine.activations.store import Store
from ..engine.activations.stream import ShuffledStream
from ..engine.analysis.fidelity import fidelity, held_out_rows
from ..engine.models import Model
from ..engine.sae import SaeConfig, TrainConfig
from ..engine.sae.config import SELECTED
from ..engine.sae.loggers import require_loggers
from ..engine.sae.trainer import TrainOutcome, require_memory
from ..errors import Cancelled, SessionError, StoreError, did_you_mean
from ..files import free_folder
from ..jobs import Job
from ..live import LiveTraining
from ..records import model_ref
from ..results import SaeTrain
from .bare import require_columns
from .sources import Rows, from_store, open_rows, require_model
from .training import (
    Judge,
    Training,
    compute_device,
    require_free,
    require_same_config,
    resume_rows,
    resumed_card,
    run,
    sae_config,
    saved_state,
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
STAGES_COLLECTING = {"collect": 0.35, "train": 0.55, "evaluate": 0.1}


def session_train(
    session: Session,
    layer: int | None,
    *,
    config: TrainConfig | dict[str, Any] | str | Path | None,
    corpus: Any,
    text_key: str,
    activations: Any,
    checkpoint: str | Path | None,
    tokens: int | None,
    quick: bool,
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
    rows = require_model(open_rows(activations, layer), info) if activations is not None else None
    if rows is not None and rows.layer is None:
        rows = replace(rows, layer=layer)  # a tensor does not say where it comes from
    at = rows.layer if rows is not None else info.default_layer if layer is None else layer
    default = TOKENS_QUICK if quick else TOKENS_CUDA if session.model.device.type == "cuda" else TOKENS_CPU
    wanted = default if tokens is None else tokens
    settings = session_config(config, info, quick, choices)
    name = settings.name or home.run_name("train")
    path = Path(settings.output).expanduser() if settings.output else home.dictionary_path(info.name, at, user=name)
    require_free(path, session.jobs.unfinished())
    require_loggers(settings.loggers)
    hook = session.model.hook(at) if at is not None else ""
    model = rows.model if rows is not None and rows.model is not None else model_ref(info)
    target = rows.target if rows is not None else None
    cfg = sae_config(settings, name, d_in=info.d_model, model=model, layer=at, hook=hook, target=target)
    total = rows.total if rows is not None else wanted
    require_memory(cfg, settings.resolved(total), _device(session, settings))
    # The default may ask a hub that does not answer: that is left to the job. A corpus that was named is read now.
    opened = open_corpus(corpus, text_key=text_key) if rows is None and corpus is not None else None

    card = SaeTrainCard(name=name, layer=at, hook=cfg.hook, model=model)
    plan = _Plan(session, settings, cfg, rows, opened, checkpoint, wanted, quick, path)
    stages = STAGES if rows is not None else STAGES_COLLECTING
    job: Job[SaeTrain] = Job(f"train {name}", lambda control: plan.run(control, live), stages, path)
    live = LiveTraining(job, card)
    session.jobs.add(job)
    return job


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


def _device(session: Session, settings: TrainConfig) -> Any:
    return session.model.device if settings.device == "auto" else compute_device(settings.device)


def session_resume(session: Session, name: str, layer: int | None, config: Any) -> Job[SaeTrain]:
    """See `SaeVerbs.resume`."""
    path = _stopped(session, name, layer)
    if any(job.output == path for job in session.jobs.unfinished()):
        raise SessionError(f"{name} is being trained by a job that has not finished.")
    state, problems = saved_state(path)
    require_same_config(state, config)
    rows, sources = resume_rows(state)
    cfg = SaeConfig.from_dict(state["cfg"])
    require_columns(rows, cfg)
    settings = TrainConfig(**state["config"])
    card = resumed_card(state, cfg, rows)
    card.notes += problems

    def work(control: Control) -> SaeTrain:
        return run([training], control, _device(session, settings))[0]

    job: Job[SaeTrain] = Job(f"train {cfg.name}", work, STAGES, path)
    live = LiveTraining(job, card)
    judge = _judge(session.model, rows, quick=False)
    training = Training(settings, cfg, rows, path, live, resume=state, sources=sources, judge=judge)
    session.jobs.add(job)
    return job


def _stopped(session: Session, name: str, layer: int | None) -> Path:
    """The `.pt` of the stopped training called `name`."""
    model = session.model.info.name
    if not isinstance(name, str) or name.endswith((".pt", ".checkpoints")):
        raise StoreError(
            f"resume() takes the name of a training, not {str(name)!r}; aquin_nb.sae_resume() takes a path."
        )
    if layer is not None:
        return home.dictionary_path(model, layer, user=name)
    folder = home.dictionary_path(model, 0, user=name).parent
    found = sorted(folder.glob("sae*.checkpoints"))
    if len(found) == 1:
        return found[0].with_suffix(".pt")
    if found:
        raise StoreError(f"{name} holds stopped trainings of several layers; pass layer= to pick one.")
    complete = sorted(folder.glob("sae*.pt"))
    if complete:
        raise StoreError(f"{name} is complete: there is nothing to resume ({complete[0]}).")
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

    def run(self, control: Control, live: LiveTraining) -> SaeTrain:
        live.edit(lambda card: card.start())
        model = self.session.model
        rows = self.rows
        if rows is None:
            try:
                model = self.session.tuned(self.checkpoint)
                rows = self._collect(model, control, live)
            except BaseException as error:
                stopped(live, self.path, error)
                raise
        fingerprint = rows.model.fingerprint if rows.model is not None else ""
        cfg = replace(self.cfg, model_fingerprint=fingerprint, corpus=rows.corpus.name)
        judge = _judge(model, rows, quick=self.quick)
        training = Training(self.config, cfg, rows, self.path, live, judge=judge)
        return run([training], control, _device(self.session, self.config))[0]

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
        assert self.cfg.layer is not None
        try:
            store = collect(
                model,
                corpus,
                self.cfg.layer,
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
    store = rows.source
    if model.mode == "embedding" or rows.target is not None or not isinstance(store, Store) or store.unit != "token":
        return None
    layer = store.layer
    if layer is None:
        return None
    budget = JUDGED_QUICK if quick else JUDGED_CUDA if model.device.type == "cuda" else JUDGED_CPU

    def judge(outcome: TrainOutcome, stream: ShuffledStream, control: Control) -> dict[str, Any]:
        if rows.model is not None and rows.model.fingerprint != model.info.fingerprint:
            return {"note": "Cross-entropy was not measured: the activations come from other weights than these."}
        texts = held_out_rows(model, store, stream, max_tokens=budget)
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
