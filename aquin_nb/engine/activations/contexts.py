"""Documents cut into rows of tokens for the model, with each token's origin kept and a place to go on from."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...errors import CorpusError, ModelError, did_you_mean
from .columns import Document, Ids
from .packing import Cursor, Cut, Encoded, Texts, batched, packed, padded, separate
from .pretokenised import bare, require_known, require_own, vocabulary

if TYPE_CHECKING:
    from ..models import Model, Tokens
    from .corpus import Corpus

DOCUMENTS_AT_ONCE = 64  # handed to the tokenizer together
TEXT_AT_ONCE = 1 << 20  # characters or ids; ids of one group are held as Python numbers
EXCLUDE = ("bos", "first", "special")


class ContextBatch(NamedTuple):
    """Rows of tokens for one forward pass, right-padded.

    Attributes:
        tokens: ids, mask and analysed, each [b, t].
        documents: int32 [b, t], the number of the document that each token came from; -1 for BOS and padding. An EOS
            belongs to the document that it ends.
        cursor: where the batch after this one begins.
    """

    tokens: Tokens
    documents: Tensor
    cursor: Cursor


def contexts(
    model: Model,
    corpus: Corpus,
    context_size: int = 128,
    *,
    batch_size: int = 16,
    pack: bool | None = None,
    bos: bool | None = None,
    exclude: Collection[str] = EXCLUDE,
    start: Cursor | None = None,
    shard: tuple[int, int] = (0, 1),
) -> Iterator[ContextBatch]:
    """Cut a corpus into batches of rows of at most `context_size` tokens, in the corpus's order.

    Args:
        model: loaded.
        corpus: see `open_corpus`; a pretokenised one gives its ids, without BOS, EOS and padding at the ends of rows.
        context_size: tokens a row, BOS or an embedding model's frame included.
        batch_size: rows a batch.
        pack: True (the default of language models): documents are laid end to end with EOS between them (when the
            tokenizer has one), and only the last row may be shorter. False (the only choice of embedding models): a
            row holds one document; a longer one is cut into several rows. Every token appears exactly once.
        bos: None: every row begins with BOS where the tokenizer has one. False: none does. True: one is required.
            Embedding models keep their own frame ([CLS] ... [SEP]).
        exclude: which tokens of a language model are not `analysed`: "bos" (the one in front of a row), "first"
            (position 0, whatever stands there: giant norms, BOS or not), "special" (EOS and other special tokens in
            the text). Padding never is. In an embedding model all real tokens are: the vector is pooled over the row.
        start: the cursor of an earlier batch with the same arguments; what followed it follows again, bit for bit.
        shard: (rank, world): only documents with number % world == rank; they keep their numbers.

    Raises:
        ModelError: `context_size` is too small, or larger than the model's context; an argument that this kind of
            model does not take, an unknown word in `exclude`, no BOS where one is required; a tokenizer that gives
            ids beyond the model's embeddings.
        CorpusError: an iterator that is to be shared among ranks or gone on with, a cursor that does not belong to
            this corpus or rank, a pretokenised id beyond the vocabulary, and what `Corpus.documents` raises.

    >>> from aquin_nb.engine.models import load_model
    >>> from aquin_nb.engine.activations.corpus import open_corpus
    >>> model, corpus = load_model("tiny", device="cpu", dtype="float32"), open_corpus(["One sea.", "Two ships."])
    >>> first, second, *_ = contexts(model, corpus, 4, batch_size=1)
    >>> again = next(contexts(model, corpus, 4, batch_size=1, start=first.cursor))
    >>> torch.equal(again.tokens.ids, second.tokens.ids)
    True
    """
    prefix, suffix = _frame(model, bos)
    room = _room(model, context_size, batch_size, len(prefix) + len(suffix))
    packs = _packs(model, pack)
    chosen = _chosen(model, exclude)
    rank, world = _shard(shard, corpus)
    begin = Cursor(*start) if start is not None else Cursor()
    if begin.document < 0 or begin.offset < 0:
        raise CorpusError(f"{begin} is no place in a corpus; documents and offsets count from 0.")
    size = vocabulary(model)
    groups = _encoded(model, _own(corpus, begin, rank, world), begin, size)
    if packs:
        cuts = packed(groups, room, model.eos_id, begin.offset)
    else:
        cuts = separate(groups, room, empty=model.mode == "embedding", skip=begin.offset)
    finish = _Finish(model, prefix, suffix, chosen, size)
    return (finish(cut) for cut in batched(cuts, batch_size))


def exclusions(model: Model, exclude: Collection[str] = EXCLUDE, bos: bool | None = None) -> str:
    """The sentence for manifests and cards: which tokens are not analysed.

    Raises:
        ModelError: as `contexts`.
    """
    if model.mode != "llm":
        _chosen(model, exclude)
        return "One vector a text: the mean over all its tokens."
    chosen = _chosen(model, exclude)
    has_bos = bool(_frame(model, bos)[0])
    parts = []
    if has_bos and chosen & {"bos", "first"}:
        parts.append("BOS at position 0")
    elif "first" in chosen:
        why = "rows have no BOS" if model.bos_id is not None else "the tokenizer has no BOS"
        parts.append(f"the first token ({why}) at position 0")
    if "special" in chosen:
        parts.append("other special tokens" if parts else "special tokens in the text")
    parts.append("padding")
    return f"Left out: {', '.join(parts[:-1])}{' and ' if len(parts) > 1 else ''}{parts[-1]}."


class _Finish:
    """Cut rows to a batch of the model: framed, padded, checked, and with the tokens worth analysing marked."""

    def __init__(
        self, model: Model, prefix: tuple[int, ...], suffix: tuple[int, ...], chosen: set[str], size: int
    ) -> None:
        self._model, self._size = model, size
        self._prefix, self._suffix, self._chosen = prefix, suffix, chosen
        require_own(np.array([*prefix, *suffix], dtype=np.int64), size, model)
        self._pad = model.policy.pad_id if model.policy.pad_id < size else 0  # never read: any token will do
        self._special = np.zeros(size, dtype=np.bool_)
        self._special[[index for index in model.policy.special if index < size]] = True

    def __call__(self, cut: Cut) -> ContextBatch:
        from ..models import Tokens

        require_own(cut.ids, self._size, self._model)
        ids, mask, documents = padded(cut, self._prefix, self._suffix, self._pad)
        if self._model.mode == "embedding":
            analysed = mask.copy()
            documents = np.where(mask, cut.owners.astype(np.int32)[:, None], documents)
        else:
            analysed = self._analysed(ids, mask)
        tokens = Tokens(torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(analysed))
        return ContextBatch(tokens, torch.from_numpy(documents), Cursor(*cut.after[-1].tolist()))

    def _analysed(self, ids: Ids, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        analysed = mask.copy()
        text = slice(len(self._prefix), None)
        if "special" in self._chosen:
            analysed[:, text] &= ~self._special[ids[:, text]]
        if "first" in self._chosen or ("bos" in self._chosen and self._prefix):
            analysed[:, 0] = False
        return analysed


class _Placed(NamedTuple):
    number: int
    where: str
    document: Document


def _own(corpus: Corpus, begin: Cursor, rank: int, world: int) -> Iterator[_Placed]:
    """The documents of this rank from the cursor on."""
    if begin.offset and begin.document % world != rank:
        raise CorpusError(f"{begin} is a place of rank {begin.document % world} of {world}, not of rank {rank}.")
    for number, (where, document) in enumerate(corpus.placed(begin.document), begin.document):
        if number % world == rank:
            yield _Placed(number, where, document)


def _encoded(model: Model, documents: Iterator[_Placed], begin: Cursor, size: int) -> Iterator[Encoded]:
    """Documents in groups, as ids below `size`.

    Raises:
        CorpusError: the first document is shorter than the cursor says, or is not there; a pretokenised row has ids
            of `size` or more.
    """
    offset = begin.offset
    for group in _groups(documents):
        texts = [document for _, _, document in group if isinstance(document, str)]
        ids: Texts = model.encode(texts)
        if not texts:
            rows = ((where, bare(row, model)) for _, where, row in group if not isinstance(row, str))
            ids = [require_known(row, where, size, model) for where, row in rows]
        if offset > len(ids[0]):
            break
        offset = 0
        yield [number for number, _, _ in group], ids
    if offset:
        raise CorpusError(f"There is nothing at {begin}: this is not the corpus (or tokenizer) that was begun.")


def _groups(documents: Iterator[_Placed]) -> Iterator[list[_Placed]]:
    group: list[_Placed] = []
    size = 0
    for placed in documents:
        group.append(placed)
        size += len(placed.document)
        if len(group) == DOCUMENTS_AT_ONCE or size >= TEXT_AT_ONCE:
            yield group
            group, size = [], 0
    if group:
        yield group


def _frame(model: Model, bos: bool | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    policy = model.policy
    if model.mode != "llm":
        if bos is not None:
            raise ModelError(f"bos={bos}: {model.info.name} is an embedding model and keeps its tokenizer's own frame.")
        return policy.prefix, policy.suffix
    if bos and policy.bos_id is None:
        raise ModelError(f"bos=True: the tokenizer of {model.info.name} has no BOS; leave bos out.")
    return (() if bos is False else policy.prefix), policy.suffix


def _room(model: Model, context_size: int, batch_size: int, frame: int) -> int:
    """Tokens of the text that a row holds."""
    if context_size > model.context:
        raise ModelError(
            f"context_size={context_size} is more than the {model.context} tokens {model.info.name} reads."
        )
    least = max(1, frame) + 1  # position 0 is not analysed, BOS or not
    if context_size < least:
        raise ModelError(f"context_size={context_size} leaves no room for text; use at least {least}, better 128.")
    if batch_size < 1:
        raise ModelError(f"batch_size={batch_size} is no number of rows; it must be at least 1.")
    return context_size - frame


def _packs(model: Model, pack: bool | None) -> bool:
    if pack and model.mode != "llm":
        raise ModelError(f"pack=True: {model.info.name} is an embedding model, which reads one document a row.")
    return model.mode == "llm" if pack is None else pack


def _chosen(model: Model, exclude: Collection[str]) -> set[str]:
    words = {exclude} if isinstance(exclude, str) else set(exclude)
    for word in sorted(words - {*EXCLUDE, "padding"}, key=str):
        raise ModelError(f"exclude={word!r}: there are no such tokens. {did_you_mean(str(word), EXCLUDE)}")
    if model.mode != "llm" and words - {"padding"} != set(EXCLUDE):
        raise ModelError(f"exclude=: {model.info.name} is an embedding model; its vectors are means over all tokens.")
    return words


def _shard(shard: tuple[int, int], corpus: Corpus) -> tuple[int, int]:
    rank, world = shard
    if not 0 <= rank < world:
        raise CorpusError(f"shard={shard}: the first number is a rank from 0 to {world - 1}, the second the ranks.")
    if world > 1 and corpus.once:
        raise CorpusError(
            f"{corpus.name} can be read only once and cannot be shared among {world} ranks; give a list or a file."
        )
    return rank, world
