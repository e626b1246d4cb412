"""`session.sae.sweep`: one small dictionary a layer, over one pass of the same tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import home
from ..cards import Artifact, CorpusRef, SaeSweepCard, SaeTrainCard, SweepMember
from ..control import Control
from ..engine.activations.chunks import row_bytes
from ..engine.activations.collect import collect, sites_of
from ..engine.activations.corpus import Corpus, open_corpus
from ..engine.activations.places import place_of
from ..engine.activations.store import Store
from ..engine.sae import TrainConfig
from ..engine.sae.memory import require_memory
from ..errors import AquinError, Cancelled, DictionaryError, SessionError, StoreError
from ..files import free_folder, refuse_taken
from ..jobs import Job
from ..live import LiveTraining, Together
from ..records import model_ref, write_card
from ..sweep import CARD, CAUTION, SaeSweep, measured
from ..widgets.text import plural
from .collect import CONTEXT, CONTEXT_EMBEDDING
from .devices import beside_model
from .sources import Rows, from_store, require_model
from .training import Places, Training, require_free, run, sae_config

if TYPE_CHECKING:
    from ..engine.models.sites import Site
    from ..session import Session

TOKENS, TOKENS_QUICK = 50_000, 10_000
STEPS, STEPS_QUICK = 1000, 300
EXPANSION = 4  # the sweep compares layers: small dictionaries tell them apart as well as large ones
K = 32
SHOWN = 4  # dictionaries whose curves are shown while they learn
STAGES = {"collect": 0.4, "train": 0.6}


def sae_sweep(
    session: Session,
    layers: Any,
    *,
    corpus: Any,
    text_key: str,
    activations: Any,
    tokens: int | None,
    config: TrainConfig | dict[str, Any] | str | Path | None,
    quick: bool,
    name: str | None,
    output: str | Path | None,
    **choices: Any,
) -> Job[SaeSweep]:
    """See `SaeVerbs.sweep`. What can be refused at once is refused here, before the job is queued."""
    if activations is not None and (corpus is not None or tokens is not None):
        raise SessionError("activations= are used as they are: corpus= and tokens= do not go with them.")
    if tokens is not None and (not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1):
        raise SessionError(f"tokens must be a whole number of at least 1, not {tokens!r}.")
    model = session.model
    store = _store(activations) if activations is not None else None
    sites = _sites(session, layers, store)
    wanted = store.rows if store is not None else tokens or (TOKENS_QUICK if quick else TOKENS)
    settings = _settings(config, model.d_model, model.mode, quick, choices)
    run_name = name or home.run_name("sweep")
    folder = (
        Path(output).expanduser()
        if output is not None
        else home.dictionary_path(model.info.name, 0, user=run_name).parent
    )
    refuse_taken(folder, CARD)
    paths = [
        folder / home.dictionary_path(model.info.name, site.layer, user=run_name, hook=site.hook).name for site in sites
    ]
    if store is None:
        widest = row_bytes(sum(site.width for site in sites), "float16")
        place_of(home.activations_dir()).require_space(wanted * widest, f"Activations of {plural(len(sites), 'site')}")
    opened = open_corpus(corpus, text_key=text_key) if store is None and corpus is not None else None
    resolved = settings.resolved(wanted)
    shapes = [sae_config(settings, run_name, d_in=s.width, model=None, layer=s.layer, hook=s.hook) for s in sites]
    require_memory([(shape, resolved) for shape in shapes], beside_model(model.device, settings))
    for path in paths:
        require_free(path, session.jobs.unfinished())

    card = SaeSweepCard(name=run_name, model=model_ref(model.info), caution=CAUTION)
    sweep = _Sweep(session, sites, settings, opened, store, wanted, folder, paths, card)
    job: Job[SaeSweep] = Job(f"sweep {run_name}", sweep.run, STAGES if store is None else None, folder)
    job.card = card
    untyped: Job[Any] = job
    sweep.lives = [
        LiveTraining(untyped, SaeTrainCard(name=f"{run_name} {_short(site)}", layer=site.layer, hook=site.hook))
        for site in sites
    ]
    job.show_as(Together(sweep.lives) if len(sites) <= SHOWN else None)
    with Places() as places:
        for path in paths:
            places.take(path)
            require_free(path)  # again: it may have been taken meanwhile
        places.hand_over(job)
    session.jobs.add(job)
    return job


class _Sweep:
    """A sweep that was accepted, with everything it needs in the worker thread."""

    def __init__(
        self,
        session: Session,
        sites: Sequence[Site],
        config: TrainConfig,
        corpus: Corpus | None,
        store: Store | None,
        tokens: int,
        folder: Path,
        paths: Sequence[Path],
        card: SaeSweepCard,
    ) -> None:
        self.session, self.sites, self.config, self.corpus = session, sites, config, corpus
        self.store, self.tokens, self.folder, self.paths, self.card = store, tokens, folder, paths, card
        self.lives: list[LiveTraining] = []

    def run(self, control: Control) -> SaeSweep:
        self.card.start()
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            store = self.store if self.store is not None else self._collect(control)
            self.card.corpus = CorpusRef(name=store.corpus["name"], tokens=store.rows, why=store.corpus["why"])
            self.card.notes = [store.exclusions, *store.notes]
            self.card.artifacts = [Artifact(role="activations", path=store.address)]
            trainings = self._trainings(store)
            self._tell(trainings)  # now: a sweep that is killed is to be found again
            run(trainings, control, beside_model(self.session.model.device, self.config))
        except BaseException as error:
            self.card.finish("cancelled" if isinstance(error, Cancelled) else "failed", error)
            with contextlib.suppress(AquinError, OSError):
                self._tell()
            raise
        self.card.finish("completed")
        self._tell()
        return SaeSweep(self.folder, self.card)

    def _collect(self, control: Control) -> Store:
        model = self.session.model
        name = home.slugify(self.card.name)
        folder = free_folder(home.activations_dir() / home.slugify(model.info.name) / name)
        return collect(
            model,
            self.corpus or open_corpus(),
            self.sites,
            tokens=self.tokens,
            output=folder,
            context_size=CONTEXT_EMBEDDING if model.mode == "embedding" else CONTEXT,
            minimum=min(self.config.batch_size, self.tokens),
            control=control,
        )

    def _trainings(self, store: Store) -> list[Training]:
        trainings = []
        for site, path, live in zip(self.sites, self.paths, self.lives, strict=True):
            rows = require_model(from_store(store.at(site.hook)), self.session.model.info, site.width)
            name = f"{self.card.name} {_short(site)}"
            cfg = sae_config(
                self.config,
                name,
                d_in=rows.d_in,
                model=rows.model,
                layer=rows.layer,
                hook=rows.hook,
                corpus=rows.corpus.name,
            )
            live.edit(lambda card, rows=rows: _announce(card, rows))  # type: ignore[misc]
            trainings.append(Training(self.config, cfg, rows, path, live))
        return trainings

    def _tell(self, trainings: Sequence[Training] = ()) -> None:
        """The table so far, on the card and on disk; `trainings`: those that begin."""
        if trainings:
            self.card.members = [
                SweepMember(
                    layer=t.rows.layer,
                    hook=t.rows.hook,
                    name=t.cfg.name,
                    path=str(t.path),
                    d_sae=t.cfg.d_sae,
                    k=t.cfg.k,
                    mean_norm=t.rows.source.statistics["mean_norm"] if isinstance(t.rows.source, Store) else None,
                )
                for t in trainings
            ]
        else:
            self.card.members = [
                measured(member, live.card) for member, live in zip(self.card.members, self.lives, strict=False)
            ]
        write_card(self.card, self.folder / CARD)


def _announce(card: SaeTrainCard, rows: Rows) -> None:
    card.model = rows.model
    assert isinstance(rows.source, Store)
    card.artifacts = [Artifact(role="activations", path=rows.source.address)]


def _store(activations: Any) -> Store:
    """The store that was given: itself, its folder, or what `collect_activations` gave."""
    if isinstance(activations, Store):
        return activations
    place = getattr(activations, "path", activations)
    if not isinstance(place, str | Path):
        raise StoreError(f"activations= of a sweep is an activation store with the layers, not {activations!r:.60}.")
    return Store(place)


def _sites(session: Session, layers: Any, store: Store | None) -> Sequence[Site]:
    model = session.model
    if store is not None:
        if layers == "all":
            return tuple(model.site(site.hook) for site in store.sites)
        chosen = [layers] if isinstance(layers, int | str) else layers
        return sites_of(model, [store.at(one).hook for one in chosen])
    return sites_of(model, list(range(model.n_layers)) if layers == "all" else layers)


def _settings(
    config: TrainConfig | dict[str, Any] | str | Path | None,
    d_model: int,
    mode: str,
    quick: bool,
    choices: dict[str, Any],
) -> TrainConfig:
    values = TrainConfig.read(config).model_dump(exclude_unset=True) if config is not None else {}
    given = {key: value for key, value in choices.items() if value is not None}
    if "steps" in given:
        values = {key: value for key, value in values.items() if key not in ("tokens", "epochs")}
    values |= given
    if lost := sorted({"name", "output"} & set(values)):
        raise DictionaryError(f"A sweep names its dictionaries itself: leave {' and '.join(lost)} out of config.")
    values.setdefault("d_sae", EXPANSION * d_model)
    if values.get("architecture", "topk") in ("topk", "batchtopk", "matryoshka"):
        values.setdefault("k", min(K, d_model // 4) or 1)
    values.setdefault("batch_size", 256 if mode == "embedding" else 1024)
    if not {"steps", "tokens", "epochs"} & set(values):
        values["steps"] = STEPS_QUICK if quick else STEPS
    return TrainConfig(**values)


def _short(site: Site) -> str:
    """How a site is called among its like."""
    usual = site.layer is not None and site.hook == f"blocks.{site.layer}.hook_resid_post"
    return f"layer {site.layer}" if usual else site.hook
