"""Texts cut into rows of tokens for the model, with each token's origin kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

from ...errors import ModelError

if TYPE_CHECKING:
    from ..models import Model, Tokens

DOCUMENTS_AT_ONCE = 64  # texts handed to the tokenizer together


class Documents(Protocol):
    """What `contexts` needs of a corpus."""

    def documents(self) -> Iterator[str]:
        """A pass over the texts."""
        ...


class ContextBatch(NamedTuple):
    """Rows of tokens for one forward pass, right-padded.

    Attributes:
        tokens: ids, mask and analysed, each [b, t].
        documents: int32 [b, t], the index of the document that each token came from; -1 for BOS and padding. An EOS
            belongs to the document that it ends.
    """

    tokens: Tokens
    documents: Tensor


def contexts(
    model: Model, corpus: Documents, context_size: int = 128, *, batch_size: int = 16
) -> Iterator[ContextBatch]:
    """Cut a corpus into batches of rows of at most `context_size` tokens, in the corpus's order.

    Language models: documents are packed end to end with EOS between them (when the tokenizer has one), and cut into
    rows of [BOS] + `context_size - 1` tokens; only the last row may be shorter. Every token appears exactly once.
    `analysed` leaves out BOS, position 0 (where the giant norms are, BOS or not), special tokens and padding.

    Embedding models: each document is a row with the tokenizer's own frame ([CLS] ... [SEP]); one that is longer is
    cut into several rows. `analysed` is the mask: the vector is pooled over the whole row.

    Raises:
        ModelError: `context_size` is too small, or larger than the model's context.
    """
    if context_size > model.context:
        raise ModelError(
            f"context_size={context_size} is more than the {model.context} tokens {model.info.name} reads."
        )
    frame = max(1, model.policy.frame)  # position 0 is never analysed, BOS or not
    if context_size <= frame:
        raise ModelError(f"context_size={context_size} leaves no room for text; use at least {frame + 1}, better 128.")
    if batch_size < 1:
        raise ModelError(f"batch_size={batch_size} is no number of rows; it must be at least 1.")
    rows = _packed(model, corpus, context_size) if model.mode == "llm" else _framed(model, corpus, context_size)
    while batch := list(islice(rows, batch_size)):
        yield _padded(model, batch)


def exclusions(model: Model) -> str:
    """The sentence for manifests and cards: which tokens are not analysed."""
    if model.mode != "llm":
        return "One vector a text: the mean over all its tokens."
    bos = "BOS" if model.bos_id is not None else "the first token (the tokenizer has no BOS)"
    return f"Left out: {bos} at position 0, other special tokens and padding."


Row = tuple[list[int], list[int]]  # ids and document indices


def _packed(model: Model, corpus: Documents, context_size: int) -> Iterator[Row]:
    before = [-1] * model.policy.frame  # a language model's frame is BOS
    room = context_size - len(before)
    ids: list[int] = []
    origin: list[int] = []
    index = -1
    for texts in _groups(corpus.documents()):
        for document in model.encode(texts):
            if index >= 0 and model.eos_id is not None:
                ids.append(model.eos_id)
                origin.append(index)
            index += 1
            ids.extend(document)
            origin.extend([index] * len(document))
        whole = len(ids) // room * room
        for at in range(0, whole, room):
            yield model.framed(ids[at : at + room]), before + origin[at : at + room]
        del ids[:whole], origin[:whole]
    if ids:
        yield model.framed(ids), before + origin


def _framed(model: Model, corpus: Documents, context_size: int) -> Iterator[Row]:
    index = -1
    room = context_size - model.policy.frame
    for texts in _groups(corpus.documents()):
        for document in model.encode(texts):
            index += 1
            for at in range(0, max(1, len(document)), room):
                ids = model.framed(document[at : at + room])
                yield ids, [index] * len(ids)


def _groups(texts: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(texts)
    while group := list(islice(iterator, DOCUMENTS_AT_ONCE)):
        yield group


def _padded(model: Model, rows: list[Row]) -> ContextBatch:
    tokens = model.batch([ids for ids, _ in rows])
    documents = torch.full(tokens.ids.shape, -1, dtype=torch.int32)
    for row, (_, origin) in enumerate(rows):
        documents[row, : len(origin)] = torch.tensor(origin, dtype=torch.int32)
    return ContextBatch(tokens, documents)
