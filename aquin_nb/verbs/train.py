"""`session.sae.train`: activations from a corpus, a store or a capture; a dictionary; a verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .. import home
from ..cards import Artifact, CorpusRef, SaeTrainCard, TrainConfig, TrainMetrics
from ..control import Control
from ..engine.activations.captured import CaptureData
from ..engine.activations.collect import collect
from ..engine.activations.corpus import Corpus, open_corpus
from ..engine.activations.manifest import CAPTURE, read_manifest
from ..engine.activations.store import Store
from ..engine.activations.stream import ShuffledStream
from ..engine.models import Model
from ..engine.numerics import fast_dtype
from ..engine.sae import SaeConfig, TrainOptions, default_options
from ..engine.sae.trainer import Interrupted, TrainOutcome, fit
from ..errors import Cancelled, DictionaryError, OutputError, SessionError, StoreError
from ..files import sha256
from ..jobs import Job
from ..live import LiveTraining
from ..results import SaeTrain, history_frame, model_ref, write_card, write_frame

if TYPE_CHECKING:
    from torch import Tensor

    from ..session import Session

LOW_NOTE = (
    "Candidates are picked with a bfloat16 product, which this machine was measured to do faster; values, gradients and"
    " weights are float32."
)

CONTEXT = 128
"""Tokens a context of a language model."""

CONTEXT_EMBEDDING = 32
"""Tokens a text of an embedding model: about a sentence, which is what such models are asked about; longer documents
are cut, so that a corpus gives more rows."""

TOKENS_CPU, TOKENS_CUDA, TOKENS_QUICK = 100_000, 2_000_000, 20_000


@dataclass(frozen=True)
class _Rows:
    """Activations that are there, and where they come from."""

    source: Store | Tensor
    total: int
    corpus: CorpusRef
    d_in: int
    layer: int
    fingerprint: str
    notes: list[str]


def sae_train(
    session: Session,
    layer: int | None,
    *,
    corpus: Any,
    activations: str | Path | None,
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
    if tokens is not None and tokens < 1:
        raise SessionError(f"tokens must be at least 1, not {tokens}.")
    rows = _existing(activations, layer) if activations is not None else None
    if rows is not None and rows.d_in != info.d_model:
        raise DictionaryError(
            f"{activations} holds vectors of width {rows.d_in}; {info.name} has d_model {info.d_model}. Open a session"
            " on the model they came from."
        )
    asked = rows.layer if rows is not None else info.default_layer if layer is None else layer
    at = session.model.check_layer(asked)
    wanted = tokens or (TOKENS_QUICK if quick else TOKENS_CUDA if session.model.device.type == "cuda" else TOKENS_CPU)
    choices["d_sae"] = choices.get("d_sae") or info.default_d_sae
    # Built once for its checks; built again with the true row count when the activations are there.
    _options(rows.total if rows else wanted, info.mode, quick, choices)
    run = name or home.run_name("train")
    path = _place(info.name, at, run, output)
    opened = open_corpus(corpus) if rows is None else None

    card = SaeTrainCard(name=run, layer=at, hook=session.model.hook(at), model=model_ref(info))
    plan = _Plan(session, at, rows, opened, checkpoint, wanted, quick, choices, run, path)
    stages = {"train": 1.0} if rows is not None else {"collect": 0.35, "train": 0.65}
    job: Job[SaeTrain] = Job(f"train {run}", lambda control: plan.run(control, live), stages)
    live = LiveTraining(job, card)
    session.jobs.add(job)
    return job


def _options(rows: int, mode: str, quick: bool, choices: dict[str, Any]) -> TrainOptions:
    given = dict(choices)
    return default_options(rows, given.pop("d_sae"), mode, quick=quick, architecture=given.pop("architecture"), **given)


def _place(model: str, layer: int, run: str, output: str | Path | None) -> Path:
    path = Path(output).expanduser() if output is not None else home.dictionary_path(model, layer, user=run)
    if path.suffix != ".pt":
        raise OutputError(f"{path}: output= of a training is a file ending in .pt.")
    if path.exists():
        raise OutputError(f"{path} exists already; nothing was written. Choose another name= or output=.")
    return path


def _existing(activations: str | Path, layer: int | None) -> _Rows:
    """Open a store or a capture folder, told apart by the manifest's kind."""
    folder = Path(activations).expanduser()
    manifest = read_manifest(folder)
    if manifest["kind"] == CAPTURE:
        capture = CaptureData(folder, manifest)
        layers = list(capture.layers)
        if layer is None and len(layers) != 1:
            raise StoreError(f"{folder} holds layers {layers}; name the one to train on as layer.")
        at = layers[0] if layer is None else layer
        x = capture.layers[at]
        ref = CorpusRef(name=f"capture {capture.name}", tokens=x.shape[0], why="asked for")
        return _Rows(x, x.shape[0], ref, x.shape[1], at, manifest["model"]["fingerprint"], list(capture.notes))
    store = Store(folder)
    if layer is not None and layer != store.layer:
        raise StoreError(f"{folder} holds layer {store.layer}, not {layer}.")
    return _from_store(store)


def _from_store(store: Store) -> _Rows:
    ref = CorpusRef(name=store.corpus["name"], tokens=store.rows, why=store.corpus["why"])
    notes = [store.exclusions, *store.notes]
    return _Rows(store, store.rows, ref, store.d_in, store.layer, store.model["fingerprint"], notes)


@dataclass
class _Plan:
    """A training that was accepted, with everything it needs in the worker thread."""

    session: Session
    layer: int
    rows: _Rows | None
    corpus: Corpus | None
    checkpoint: str | Path | None
    tokens: int
    quick: bool
    choices: dict[str, Any]
    name: str
    path: Path

    def run(self, control: Control, live: LiveTraining) -> SaeTrain:
        live.edit(lambda card: card.start())
        rows = self.rows or self._collect(control, live)
        mode = self.session.model.mode
        options = _options(rows.total, mode, self.quick, self.choices)
        if options.architecture == "topk" and fast_dtype(self.session.model.device, rows.d_in) == torch.bfloat16:
            options = replace(options, matmul_dtype="bfloat16")
            rows.notes.append(LOW_NOTE)
        stream = ShuffledStream(rows.source, options.batch_size, seed=options.seed)
        cfg = SaeConfig(
            architecture=options.architecture,
            d_in=rows.d_in,
            d_sae=options.d_sae,
            d_out=rows.d_in,
            k=options.k if options.architecture == "topk" else None,
            name=self.name,
            model=self.session.model.info.name,
            model_fingerprint=rows.fingerprint,
            mode="embedding" if mode == "embedding" else "llm",
            layer=self.layer,
            hook=self.session.model.hook(self.layer),
            corpus=rows.corpus.name,
        )

        def prepare(card: SaeTrainCard) -> None:
            card.corpus, card.config, card.notes = rows.corpus, train_config(cfg, options), list(rows.notes)

        live.edit(prepare)
        try:
            outcome = fit(stream, cfg, options, device=self.session.model.device, control=control, on_point=live.point)
        except Interrupted as stop:
            cancelled = Cancelled(f"{stop} The dictionary so far is in {self.path}.")
            self._save(stop.outcome, live, cancelled)
            raise cancelled from None
        return self._save(outcome, live)

    def _collect(self, control: Control, live: LiveTraining) -> _Rows:
        assert self.corpus is not None
        model: Model = self.session.tuned(self.checkpoint)
        folder = home.activations_dir() / home.slugify(self.name)
        corpus = self.corpus

        def announce(card: SaeTrainCard) -> None:
            card.model = model_ref(model.info)
            card.corpus = CorpusRef(name=corpus.name, tokens=0, why=corpus.why)
            card.artifacts = [Artifact(role="activations", path=str(folder))]

        live.edit(announce)
        try:
            store = collect(
                model,
                corpus,
                self.layer,
                tokens=self.tokens,
                output=folder,
                context_size=CONTEXT_EMBEDDING if model.mode == "embedding" else CONTEXT,
                minimum=_options(self.tokens, model.mode, self.quick, self.choices).batch_size,
                control=control,
            )
        except Cancelled:
            raise Cancelled(f"Cancelled while collecting. The activations so far are in {folder}.") from None
        return _from_store(store)

    def _save(self, outcome: TrainOutcome, live: LiveTraining, cancelled: Cancelled | None = None) -> SaeTrain:
        outcome.dictionary.save(self.path)
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
                    fvu=held.fvu,
                    l0=held.l0,
                    dead=outcome.dead,
                    dead_share=outcome.dead / outcome.dictionary.cfg.d_sae,
                    rows=held.rows,
                )
            card.finish("cancelled" if cancelled else "completed", cancelled)

        live.edit(close)
        write_card(live.card, self.path.with_suffix(".card.json"))
        return SaeTrain(self.path, live.card, history, outcome.dictionary)


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
