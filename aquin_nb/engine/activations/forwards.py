"""Forward passes of a model over a corpus, each known by its tokens before it is run; see `live`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...errors import CorpusError
from .batching import usual_rows
from .columns import Column, is_blank
from .contexts import EXCLUDE, exclusions
from .corpus import Corpus
from .harvest import Placed, Reading
from .sources import digest
from .texts import Rows, Source

if TYPE_CHECKING:
    from ..models import Model
    from ..models.sites import Site


class Forwards:
    """What a `LiveStream` reads: the activations of a corpus at one site of a model, or at several side by side.

    A row is one analysed token (embedding models: the mean over one row of text), as `collect` stores it; documents
    that are not wanted are left out before the others are cut into contexts.

    Args:
        model: loaded.
        corpus: see `open_corpus`; it is read more than once.
        sites: see `Model.site`; a batch holds them side by side in this order.
        context_size, pack, bos, exclude: see `contexts`.
        batch_size: rows of tokens a forward pass; the default holds 2,048 tokens on a CPU and 16,384 on an accelerator.
            A resumed training needs the same.

    Raises:
        ModelError: no such site, or a context size that the model cannot read.
        CorpusError: a corpus that can be read only once.

    >>> from aquin_nb.engine.models import load_model
    >>> from aquin_nb.engine.activations.corpus import open_corpus
    >>> model = load_model("tiny", device="cpu", dtype="float32")
    >>> forwards = Forwards(model, open_corpus(["Call me Ishmael.", "It was the best of times."]), [2], context_size=8)
    >>> forward = next(forwards.passes(lambda document: True))
    >>> forward.rows().shape == (forward.count, 128)
    True
    """

    def __init__(
        self,
        model: Model,
        corpus: Corpus,
        sites: Sequence[int | str | Site],
        *,
        context_size: int = 128,
        batch_size: int | None = None,
        pack: bool | None = None,
        bos: bool | None = None,
        exclude: Collection[str] = EXCLUDE,
    ) -> None:
        if corpus.once:
            raise CorpusError(
                f"{corpus.name} can be read only once, and without a store it is read several times; give a list or a"
                " file, or collect it first."
            )
        found = tuple(model.site(site) for site in sites)
        rows = usual_rows(model, context_size) if batch_size is None else batch_size
        self._reading = Reading(model, corpus, found, context_size, rows, pack, bos, tuple(exclude))
        self.widths = [site.width for site in found]
        self.dtype = model.dtype if model.mode == "llm" else torch.float32
        self.most = rows * (context_size if model.mode == "llm" else 1)
        self.notes = list[str]()

    def passes(self, wanted: Callable[[int], bool]) -> Iterator[OneForward]:
        """Forward passes over the documents, by their numbers, that are wanted; none where there is no such document.

        Raises:
            CorpusError: see `contexts`.
        """
        whole = self._reading.corpus
        chosen = _Chosen(whole, wanted)
        reading = replace(self._reading, corpus=Corpus(chosen, Column("", tokens=whole.pretokenised), why=whole.why))
        try:
            for placed in reading.batches():
                if count := reading.rows(placed):
                    yield OneForward(reading, placed, count)
        except CorpusError:
            if chosen.given or not chosen.left_out:  # else all documents were left out, which the corpus cannot know
                raise

    def contexts(self, wanted: Callable[[int], bool]) -> Iterator[list[int]]:
        """Token ids of each context row over the wanted documents, with BOS and all else that the model reads."""
        for forward in self.passes(wanted):
            tokens = forward.placed.batch.tokens
            for ids, mask in zip(tokens.ids, tokens.mask, strict=True):
                yield ids[mask].tolist()

    def fingerprint(self) -> str:
        """Hex SHA-256 of the model and its tokenizer, the corpus, the sites and how documents are cut."""
        reading = self._reading
        cut: dict[str, Any] = {"pack": reading.pack in (None, True), "bos": reading.bos, "rows": reading.batch_size}
        cut |= {"exclude": sorted(reading.exclude), "corpus": reading.corpus.fingerprint()}
        return digest(self.describe() | cut)

    def describe(self) -> dict[str, Any]:
        """model, model_fingerprint, dtype, sites (hooks), corpus (name), context_size and exclusions."""
        reading, info = self._reading, self._reading.model.info
        return {
            "model": info.name,
            "model_fingerprint": f"{info.fingerprint} {info.tokenizer_fingerprint}",
            "dtype": str(self.dtype).removeprefix("torch."),
            "sites": [site.hook for site in reading.sites],
            "corpus": reading.corpus.name,
            "context_size": reading.context_size,
            "exclusions": exclusions(reading.model, reading.exclude, reading.bos),
        }


@dataclass
class OneForward:
    """A forward pass over a batch of context rows; see `live.Forward`."""

    reading: Reading
    placed: Placed
    count: int

    def rows(self) -> Tensor:
        """Its activations [count, sum(widths)]."""
        found = self.reading.look(self.placed).x
        return torch.cat([found[site.hook] for site in self.reading.sites], dim=1)


class _Chosen(Source):
    """The wanted documents of a corpus, each where it was found."""

    def __init__(self, corpus: Corpus, wanted: Callable[[int], bool]) -> None:
        super().__init__(corpus.name)
        self._corpus, self._wanted = corpus, wanted
        self.given = self.left_out = 0

    def rows(self) -> Rows:
        self.given = self.left_out = 0
        for where, document in self._corpus.rows():
            if document is None or is_blank(document):
                continue
            if self._wanted(self.given + self.left_out):
                self.given += 1
                yield where, document
            else:
                self.left_out += 1
