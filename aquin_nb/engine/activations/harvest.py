"""Forward passes over a corpus: the activations of every analysed token, batch by batch, with their origins."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ...errors import StoreError
from .contexts import EXCLUDE, ContextBatch, contexts
from .corpus import Corpus
from .packing import Cursor
from .prefetch import prefetch

if TYPE_CHECKING:
    from ..models import Model
    from ..models.sites import Site

START = Cursor()
TOKENISED_AHEAD = 2  # batches: tokenising runs beside the forward pass


class Harvest(NamedTuple):
    """Activations of the analysed tokens of one forward pass, in reading order.

    Attributes:
        x: {hook: [n, width]} on the CPU.
        token_ids, documents, positions: int32 [n]. For an embedding model n counts texts, token_ids is -1 and positions
            counts the pieces of a document.
        begins: where this forward pass begins in the corpus.
    """

    x: dict[str, Tensor]
    token_ids: Tensor
    documents: Tensor
    positions: Tensor
    begins: Cursor


class Placed(NamedTuple):
    """A batch of context rows and where it begins in the corpus."""

    batch: ContextBatch
    begins: Cursor


@dataclass(frozen=True)
class Reading:
    """What is read of a model and how its corpus is cut: everything that decides which row comes when."""

    model: Model
    corpus: Corpus
    sites: tuple[Site, ...]
    context_size: int = 128
    batch_size: int = 16
    pack: bool | None = None
    bos: bool | None = None
    exclude: Collection[str] = EXCLUDE
    shard: tuple[int, int] = (0, 1)

    @property
    def unit(self) -> str:
        """What a row is of."""
        return "token" if self.model.mode == "llm" else "text"

    def batches(self, start: Cursor = START) -> Iterator[Placed]:
        """The context rows of forward pass after forward pass, from `start` on."""
        begins = start
        for batch in contexts(
            self.model,
            self.corpus,
            self.context_size,
            batch_size=self.batch_size,
            pack=self.pack,
            bos=self.bos,
            exclude=self.exclude,
            start=start,
            shard=self.shard,
        ):
            yield Placed(batch, begins)
            begins = batch.cursor

    def rows(self, placed: Placed) -> int:
        """How many rows the forward pass gives, without running it."""
        tokens = placed.batch.tokens
        return int(tokens.analysed.sum()) if self.unit == "token" else len(tokens)

    def look(self, placed: Placed) -> Harvest:
        """Run one forward pass.

        Raises:
            StoreError: an activation is not finite.
        """
        return _launch(self, placed).land()


def harvest(reading: Reading, start: Cursor = START) -> Iterator[Harvest]:
    """Forward pass after forward pass over the corpus, from `start` on; passes without an analysed token are left out.

    Tokenising runs ahead in a thread. On an accelerator the copy of one batch overlaps with the forward pass of the
    next.

    Raises:
        StoreError: an activation is not finite; site and document are named.
        ModelError, CorpusError, OutOfMemory: from the model and the corpus.
    """
    flying: _Flight | None = None
    ahead = prefetch(reading.batches(start), TOKENISED_AHEAD)
    try:
        for placed in ahead:
            if not reading.rows(placed):
                continue
            previous, flying = flying, None
            try:
                flying = _launch(reading, placed)
            finally:  # also when this pass fails: the one before it succeeded
                if previous is not None:
                    yield previous.land()
        if flying is not None:
            yield flying.land()
    finally:
        ahead.close()


class _Flight(NamedTuple):
    """A forward pass that was started: its results are on their way to the CPU."""

    reading: Reading
    placed: Placed
    x: dict[str, Tensor]
    peaks: Tensor  # the largest magnitude of each site
    arrived: torch.cuda.Event | None

    def land(self) -> Harvest:
        if self.arrived is not None:
            self.arrived.synchronize()
        tokens, documents = self.placed.batch.tokens, self.placed.batch.documents
        if self.reading.unit == "token":
            kept = tokens.analysed
            positions = torch.arange(kept.shape[1], dtype=torch.int32).expand_as(kept)[kept]
            origin = tokens.ids[kept].to(torch.int32), documents[kept], positions
        else:
            origin = torch.full((len(tokens),), -1, dtype=torch.int32), documents[:, 0], self._pieces(documents[:, 0])
        for (hook, x), peak in zip(self.x.items(), self.peaks.tolist(), strict=True):
            if not peak <= torch.finfo(x.dtype).max:
                self._refuse(hook, x, origin[1])
        return Harvest(self.x, *origin, self.placed.begins)

    def _refuse(self, hook: str, x: Tensor, documents: Tensor) -> None:
        row = int((~torch.isfinite(x)).any(dim=1).nonzero()[0])
        where = self.reading.corpus.place(int(documents[row]))
        raise StoreError(
            f"The model gives NaN or infinity at {hook} in {where}; load it with dtype='float32', and check a"
            " fine-tuned checkpoint for damage."
        )

    def _pieces(self, documents: Tensor) -> Tensor:
        """The number of each row among the pieces of its document."""
        reading, begins = self.reading, self.placed.begins
        last = begins.document
        piece = begins.offset // (reading.context_size - reading.model.policy.frame) - 1
        pieces = []
        for document in documents.tolist():
            piece = piece + 1 if document == last else 0
            last = document
            pieces.append(piece)
        return torch.tensor(pieces, dtype=torch.int32)


def _launch(reading: Reading, placed: Placed) -> _Flight:
    model, tokens = reading.model, placed.batch.tokens
    values = model.activations(tokens, reading.sites)
    device = torch.device(model.device)
    if reading.unit == "token":
        kept = tokens.analysed.flatten().nonzero().flatten().to(device, non_blocking=True)
        rows = {hook: x.flatten(0, 1).index_select(0, kept) for hook, x in values.items()}
    else:
        weight = tokens.analysed.to(device, torch.float32).unsqueeze(-1)
        rows = {
            hook: torch.where(weight > 0, x.float(), 0.0).sum(1) / weight.sum(1).clamp(min=1)
            for hook, x in values.items()
        }
    del values
    peaks = torch.stack([x.abs().amax().float() for x in rows.values()])
    if device.type != "cuda":
        return _Flight(reading, placed, {hook: x.cpu() for hook, x in rows.items()}, peaks.cpu(), None)
    there = {hook: _pinned(x) for hook, x in rows.items()}
    peaks, arrived = _pinned(peaks), torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record(torch.cuda.current_stream(device))
    return _Flight(reading, placed, there, peaks, arrived)


def _pinned(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x, non_blocking=True)
