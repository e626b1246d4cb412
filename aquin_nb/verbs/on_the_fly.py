"""Rows that a training does not find but has made: forward passes beside it, nothing kept on disk."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cards import CorpusRef
from ..control import Control
from ..engine.activations.batching import usual_rows
from ..engine.activations.contexts import exclusions
from ..engine.activations.corpus import PACKAGED, Corpus, open_corpus, packaged_sample
from ..engine.activations.forwards import Forwards
from ..engine.activations.live import LiveStream
from ..engine.activations.stream import Stream
from ..engine.models import Model
from ..errors import CorpusError, SessionError, StoreError
from ..records import model_ref
from .sources import Rows

if TYPE_CHECKING:
    from ..session import Session

NOTE = "Activations were not kept: forward passes made them while the dictionary was trained."


@dataclass(eq=False)
class OnTheFly:
    """Where such rows come from.

    `recipe`: plain values by which a resumed run finds the same again: corpus (what `open_corpus` takes, or None for
    one that was in memory), text_key, checkpoint, hook, context_size and batch_rows (context rows a forward pass).
    """

    model: Model
    corpus: Corpus
    rows: int
    recipe: dict[str, Any] = field(default_factory=dict)

    def stream(self, batch_size: int, *, seed: int, held_out: float, control: Control) -> Stream:
        """See `Streamed`."""
        return _Recorded(self, batch_size, seed, held_out, control)

    def forwards(self) -> Forwards:
        """The forward passes over the corpus."""
        recipe = self.recipe
        size, rows = recipe["context_size"], recipe["batch_rows"]
        return Forwards(self.model, self.corpus, [recipe["hook"]], context_size=size, batch_size=rows)

    def texts(self, stream: Stream, max_tokens: int) -> list[list[int]]:
        """About `max_tokens` token ids of documents that `stream` holds out, a context row each."""
        assert isinstance(stream, LiveStream)
        if not stream.held_out_rows:
            return []
        return list(
            islice(self.forwards().contexts(stream.is_held_out), max(1, max_tokens // self.recipe["context_size"]))
        )


class _Recorded(LiveStream):
    def __init__(self, source: OnTheFly, batch_size: int, seed: int, held_out: float, control: Control) -> None:
        super().__init__(
            source.forwards(), batch_size, rows=source.rows, seed=seed, held_out=held_out, control=_Opening(control)
        )
        self._recipe = source.recipe

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"recipe": self._recipe}


class _Opening(Control):
    """Tells of the first filling of the buffer only: later ones happen beside the training, which tells of itself."""

    def __init__(self, outer: Control) -> None:
        super().__init__()
        self._outer, self._most, self._opened = outer, 0, False

    def tick(self, stage: str, done: int, total: int, unit: str = "") -> None:
        self._opened = self._opened or done < self._most
        self._most = done
        if self._opened:
            self._outer.check()
        else:
            self._outer.tick(stage, done, total, unit)

    @property
    def cancelled(self) -> bool:
        return self._outer.cancelled

    def check(self) -> None:
        self._outer.check()


def rows_on_the_fly(
    model: Model,
    corpus: Corpus,
    hook: str,
    rows: int,
    *,
    given: Any,
    text_key: str,
    checkpoint: str | Path | None,
    context_size: int,
) -> Rows:
    """The first `rows` analysed tokens (embedding models: texts) of a corpus, made when they are read.

    Args:
        given: what the corpus was opened from; None: nothing, which opened the default.

    Raises:
        CorpusError: a corpus that can be read only once. ModelError: no such site, or too long a context.
    """
    recipe = {
        "corpus": _named(given, corpus),
        "text_key": text_key,
        "checkpoint": None if checkpoint is None else str(Path(checkpoint).expanduser().absolute()),
        "hook": hook,
        "context_size": context_size,
        "batch_rows": usual_rows(model, context_size),
    }
    return _rows(OnTheFly(model, corpus, rows, recipe))


def rows_again(session: Session, described: dict[str, Any], corpus: Any) -> list[Rows]:
    """The rows of a stopped run that made its own, as its checkpoint describes them; none if it read what was there.

    Whether they are the same is told by the stream's fingerprint, later.

    Raises:
        SessionError: `corpus` is given and nothing is read from one; or it was in memory and is not given.
        StoreError: the run read another model. CorpusError: the corpus cannot be opened any more.
    """
    if described["kind"] != "live":
        if corpus is not None:
            raise SessionError("corpus= is for a training that kept no activations; this one finds its own again.")
        return []
    recipe = described["recipe"]
    if described["model"] != session.model.info.name:
        raise StoreError(
            f"The run reads {described['model']}, and this session holds {session.model.info.name}:"
            f' open Session("{described["model"]}").'
        )
    if corpus is None and recipe["corpus"] is None:
        raise SessionError(
            f"The run kept no activations and read {described['corpus']}; give the same again:"
            " session.sae.resume(name, corpus=...)."
        )
    source = recipe["corpus"] if corpus is None else corpus
    opened = open_corpus(source, text_key=recipe["text_key"])
    return [_rows(OnTheFly(session.tuned(recipe["checkpoint"]), opened, described["rows"], recipe))]


def _rows(source: OnTheFly) -> Rows:
    model, corpus = source.model, source.corpus
    site = model.site(source.recipe["hook"])
    require_again(corpus)
    return Rows(
        source,
        source.rows,
        site.width,
        site.layer,
        site.hook,
        CorpusRef(name=corpus.name, tokens=source.rows, why=corpus.why),
        model_ref(model.info),
        [NOTE, exclusions(model)],
    )


def require_again(corpus: Corpus) -> None:
    """Refuse a corpus that can be read only once.

    Raises:
        CorpusError: says what to give instead.
    """
    if corpus.once:
        raise CorpusError(
            f"{corpus.name} can be read only once, and without keep_activations it is read several times; give a list"
            " or a file."
        )


def _named(given: Any, corpus: Corpus) -> str | None:
    """What opens the corpus again; None where that cannot be said in a word."""
    if given is None:
        return PACKAGED if corpus.name == packaged_sample().name else corpus.name
    if not isinstance(given, str | os.PathLike):
        return None
    path = Path(given).expanduser()
    return str(path.absolute()) if path.exists() else os.fspath(given)
