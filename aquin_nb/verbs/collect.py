"""`session.collect_activations`: a corpus through the model, its activations kept on disk to train on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import home
from ..cards import ActivationStoreCard, Artifact, CorpusRef, SiteStatistics
from ..collection import CARD, Activations, sites_frame
from ..control import Control
from ..engine.activations.chunks import dtype_name, row_bytes
from ..engine.activations.collect import collect, sites_of
from ..engine.activations.contexts import contexts
from ..engine.activations.corpus import Corpus, open_corpus
from ..engine.activations.places import place_of
from ..engine.activations.store import Store
from ..errors import AquinError, Cancelled, OutputError, SessionError
from ..files import human_bytes
from ..jobs import FINISHED, Job
from ..live import LiveJob
from ..records import model_ref, store_card, write_card

if TYPE_CHECKING:
    from ..session import Session

CONTEXT = 128
"""Tokens a context of a language model."""

CONTEXT_EMBEDDING = 32
"""Tokens a text of an embedding model: about a sentence, which is what such models are asked about; longer documents
are cut, so that a corpus gives more rows."""

TOKENS_CPU, TOKENS_CUDA = 100_000, 2_000_000


def collect_activations(
    session: Session,
    corpus: Any,
    *,
    layers: Any,
    tokens: int | None,
    text_key: str,
    token_key: str | None,
    split: str,
    seed: int | None,
    context_size: int | None,
    batch_size: int | None,
    pack: bool | None,
    bos: bool | None,
    exclude: Collection[str],
    dtype: str,
    checkpoint: str | Path | None,
    name: str | None,
    output: str | Path | None,
    resume: bool,
    part: tuple[int, int] | None = None,
) -> Job[Activations]:
    """See `Session.collect_activations`. What can be refused at once is refused here, before the job is queued."""
    model = session.model
    sites = sites_of(model, model.info.default_layer if layers is None else layers)
    wanted = tokens if tokens is not None else TOKENS_CUDA if model.device.type == "cuda" else TOKENS_CPU
    if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 1:
        raise SessionError(f"tokens must be a whole number of at least 1, not {tokens!r}.")
    if resume and name is None and output is None:
        raise SessionError("resume=True goes on with a collection: say which by name= or output=.")
    run = name or home.run_name("activations")
    folder = (
        output if output is not None else home.activations_dir() / home.slugify(model.info.name) / home.slugify(run)
    )
    place = place_of(folder)
    if any(str(job.output) == place.address for job in session.jobs.unfinished()):
        raise OutputError(f"{place.address} is being written by a job that has not finished.")
    if not resume and part is None and place.sizes():  # of several processes others may have begun
        raise OutputError(
            f"{place.address} holds something already; nothing was written. Choose another name= or output=, or go on"
            " with what it holds: resume=True."
        )
    widest = "float32" if dtype == "float32" else "float16"
    size = wanted * row_bytes(sum(site.width for site in sites), widest)
    if not resume and part is None:  # of several each asks for its own share
        place.require_space(size, f"Keeping {wanted:,} rows of {sum(site.width for site in sites):,} {widest} values")
    dtype_name(dtype)
    opened = open_corpus(corpus, text_key=text_key, token_key=token_key, split=split, seed=seed)
    usual = CONTEXT_EMBEDDING if model.mode == "embedding" else CONTEXT
    cut = usual if context_size is None else context_size
    rows = 1 if batch_size is None else batch_size
    contexts(model, opened, cut, batch_size=rows, pack=pack, bos=bos, exclude=exclude)  # refuses what cannot be; lazy

    if "://" in place.address:
        room = f"are put there; {human_bytes(place.free())} are free in {place.path}, where chunks are written first."
    else:
        room = f"on disk; {human_bytes(place.free())} are free there."
    card = ActivationStoreCard(
        name=run,
        model=model_ref(model.info),
        corpus=CorpusRef(name=opened.name, tokens=wanted, why=opened.why),
        sites=[SiteStatistics(hook=site.hook, layer=site.layer, d_in=site.width) for site in sites],
        unit="token" if model.mode == "llm" else "text",
        wanted=wanted,
        artifacts=[Artifact(role="activations", path=place.address)],
        notes=[f"About {human_bytes(size)} {room}"],
    )
    settings: dict[str, Any] = {
        "tokens": wanted,
        "context_size": cut,
        "batch_size": batch_size,
        "pack": pack,
        "bos": bos,
        "exclude": tuple(exclude),
        "dtype": dtype,
        "resume": resume,
        "part": part,
    }
    collection = _Collection(session, opened, sites, place, checkpoint, settings, card)
    job: Job[Activations] = Job(f"collect {run}", collection.run, None, Path(place.address))
    job.notes += card.notes
    job.card = card
    about = [model.info.name, ", ".join(site.hook for site in sites), opened.name]
    LiveJob(job, about=" · ".join(about), left=collection.html)
    session.jobs.add(job)
    return job


class _Collection:
    """A collection that was accepted, with everything it needs in the worker thread."""

    def __init__(
        self,
        session: Session,
        corpus: Corpus,
        sites: Sequence[Any],
        place: Any,
        checkpoint: str | Path | None,
        settings: dict[str, Any],
        card: ActivationStoreCard,
    ) -> None:
        self.session, self.corpus, self.sites, self.place = session, corpus, list(sites), place
        self.checkpoint, self.settings, self.card = checkpoint, settings, card

    def run(self, control: Control) -> Activations:
        self.card.start()
        began = time.monotonic()
        try:
            model = self.session.tuned(self.checkpoint)
            self.card.model = model_ref(model.info)
            before = self._rows_before()
            store = collect(model, self.corpus, self.sites, output=self.place, control=control, **self.settings)
        except BaseException as error:
            self._stop(error)
            raise
        self._tell(store, before, time.monotonic() - began)
        self.card.finish("completed")
        self._write()
        return Activations(store, self.card)

    def html(self) -> str:
        """What stays in the cell of a collection that is over, also of one that never began."""
        from ..widgets.html import result_html

        card = self.card
        if card.status not in FINISHED:
            card.finish("cancelled", Cancelled("Cancelled before it began."))
        return result_html(card, {"sites": sites_frame(card)})

    def _rows_before(self) -> int:
        if not self.settings["resume"] or not self.place.sizes():
            return 0
        rows = Store(self.place).rows
        self.card.resumed_from.append(rows)
        return rows

    def _tell(self, store: Store, before: int, seconds: float) -> None:
        told = store_card(store, self.card.name)
        for field in ("sites", "rows", "documents", "bytes", "dtype", "context_size", "batch_size", "exclusions"):
            setattr(self.card, field, getattr(told, field))
        self.card.complete = store.complete
        self.card.notes = [*self.card.notes[1:], *store.notes]
        if store.rows > before:
            self.card.tokens_per_second = (store.rows - before) / max(seconds, 1e-9)

    def _stop(self, error: BaseException) -> None:
        """A collection that ends early leaves what it has, and a card that says so."""
        with contextlib.suppress(AquinError):
            self._tell(Store(self.place), 0, 0.0)
            self.card.tokens_per_second = None
        if isinstance(error, Cancelled) and self.card.rows:
            error.args = (
                f"Cancelled after {self.card.rows:,} of {self.card.wanted:,} rows, which are kept in"
                f" {self.place.address}; the same call with resume=True goes on from there.",
            )
        self.card.finish("cancelled" if isinstance(error, Cancelled) else "failed", error)
        self._write()

    def _write(self) -> None:
        # Ranks that are still to come would take a card beside the chunks for someone else's file.
        if self.place.path.is_dir() and (self.settings["part"] is None or self.card.complete):
            with contextlib.suppress(OutputError):
                write_card(self.card, self.place.path / CARD)
