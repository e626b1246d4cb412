"""Forward passes of a model over a corpus, each known by its tokens before it is run; see `live`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...errors import CorpusError, ModelError, StoreError
from .batching import usual_rows
from .columns import Column, is_blank
from .contexts import EXCLUDE, ContextBatch, contexts, exclusions
from .corpus import Corpus
from .live import Forward
from .sources import digest
from .texts import Rows, Source

if TYPE_CHECKING:
    from ..models import Model
    from ..models.sites import Site


class Forwards:
    """What a `LiveStream` reads: the activations of a corpus at one site of a model, or at several side by side.

    A row is one analysed token (embedding models: one row of text), as `collect` stores it; documents that are not
    wanted are left out before the others are cut into contexts.

    Args:
        model: loaded. An embedding model gives the mean over each text, at whole layers only.
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
        self._model, self._corpus = model, corpus
        self._sites = [model.site(site) for site in sites]
        for site in self._sites:
            if model.mode != "llm" and (site.layer is None or site.hook != model.hook(site.layer)):
                raise ModelError(f"{site.hook}: {model.info.name} is an embedding model; name a layer by its number.")
        self._rows = batch_size if batch_size is not None else usual_rows(model, context_size)
        self._cut: dict[str, Any] = {"pack": pack, "bos": bos, "exclude": exclude}
        self._context_size = context_size
        self.widths = [site.width for site in self._sites]
        self.dtype = model.dtype if model.mode == "llm" else torch.float32
        self.most = self._rows * (context_size if model.mode == "llm" else 1)
        self.notes = list[str]()

    def passes(self, wanted: Callable[[int], bool]) -> Iterator[Forward]:
        """Forward passes over the documents, by their numbers, that are wanted; none where there is no such document.

        Raises:
            CorpusError: see `contexts`.
        """
        chosen = _Chosen(self._corpus, wanted)
        corpus = Corpus(chosen, Column("", tokens=self._corpus.pretokenised), why=self._corpus.why)
        try:
            for batch in contexts(self._model, corpus, self._context_size, batch_size=self._rows, **self._cut):
                forward = _Forward(self._model, self._sites, batch, corpus)
                if forward.count:
                    yield forward
        except CorpusError:
            if chosen.given or not chosen.left_out:  # else all documents were left out, which the corpus cannot know
                raise

    def fingerprint(self) -> str:
        """Hex SHA-256 of the model and its tokenizer, the corpus, the sites and how documents are cut."""
        cut = self._cut | {"pack": self._cut["pack"] in (None, True), "exclude": sorted(self._cut["exclude"])}
        return digest(self.describe() | {"corpus": self._corpus.fingerprint(), "rows": self._rows, "cut": cut})

    def describe(self) -> dict[str, Any]:
        """model, model_fingerprint, dtype, sites (hooks), corpus (name), context_size and exclusions."""
        model, exclude = self._model, self._cut["exclude"]
        return {
            "model": model.info.name,
            "model_fingerprint": f"{model.info.fingerprint} {model.info.tokenizer_fingerprint}",
            "dtype": str(self.dtype).removeprefix("torch."),
            "sites": [site.hook for site in self._sites],
            "corpus": self._corpus.name,
            "context_size": self._context_size,
            "exclusions": exclusions(model, exclude, self._cut["bos"]),
        }


class _Forward:
    def __init__(self, model: Model, sites: list[Site], batch: ContextBatch, corpus: Corpus) -> None:
        self._model, self._sites, self._batch, self._corpus = model, sites, batch, corpus
        analysed = batch.tokens.analysed
        self.count = int(analysed.sum()) if model.mode == "llm" else len(analysed)

    def rows(self) -> Tensor:
        model, tokens = self._model, self._batch.tokens
        if model.mode == "llm":
            analysed = tokens.analysed.to(torch.device(model.device))
            found = model.activations(tokens, self._sites)
            parts = [found[site.hook][analysed] for site in self._sites]
        else:
            layers = [site.layer for site in self._sites if site.layer is not None]
            pooled = model.pooled(tokens, layers)
            parts = [pooled[layer] for layer in layers]
        for site, x in zip(self._sites, parts, strict=True):
            if not bool(torch.isfinite(x).all()):
                self._refuse(site, x)
        return torch.cat(parts, dim=1)

    def _refuse(self, site: Site, x: Tensor) -> None:
        row = int((~torch.isfinite(x)).any(1).nonzero()[0])
        documents, analysed = self._batch.documents, self._batch.tokens.analysed
        document = documents[analysed][row] if self._model.mode == "llm" else documents[row, 0]
        raise StoreError(
            f"The model gives NaN or infinity at {site.hook} in {self._corpus.place(int(document))}; load it with"
            " dtype='float32', and check a fine-tuned checkpoint for damage."
        )


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
