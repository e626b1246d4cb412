"""Run a corpus through the model and keep the residual stream at one layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ... import files
from ...control import Control
from ...errors import CorpusError, StoreError
from .contexts import ContextBatch, contexts, exclusions
from .corpus import Corpus
from .store import DTYPES, Store, StoreWriter, chunk_of, dtype_name, row_bytes

if TYPE_CHECKING:
    from ..models import Model

TOKENS_A_BATCH = {"cpu": 2048, "cuda": 16384}
FLUSH_SECONDS = 15.0
CHUNKS = 20  # at least, of a collection of 20,000 rows or more: what a kill may lose is a twentieth
HEADROOM = 8.0  # "auto" takes float16 only if the first batch stays this far below its largest number


class Harvest(NamedTuple):
    """Activations of the analysed tokens of one batch, in reading order.

    x: {layer: [n, d_model]} on the model's device and in its dtype; token_ids, documents, positions: [n] on the CPU.
    For an embedding model n counts rows of text, token_ids is -1 and positions counts the pieces of a document.
    """

    x: dict[int, Tensor]
    token_ids: Tensor
    documents: Tensor
    positions: Tensor


def harvest(
    model: Model, corpus: Corpus, layers: Sequence[int], *, context_size: int = 128, batch_size: int | None = None
) -> Iterator[Harvest]:
    """Forward passes over a corpus, batch by batch: what `collect` stores, without a store.

    Args:
        model: loaded; one pass serves all `layers` and stops after the last.
        corpus: see `open_corpus`.
        layers: block indices.
        context_size: tokens a row, BOS included.
        batch_size: rows a forward pass; the default holds 2,048 tokens on a CPU and 16,384 on an accelerator.

    Raises:
        ModelError: no such layer, or a context size that the model cannot read.
        StoreError: an activation is NaN or infinite (layer and document are named).
        OutOfMemory: from the model: not even one row fits.
    """
    layers = [model.check_layer(layer) for layer in layers]
    budget = TOKENS_A_BATCH.get(torch.device(model.device).type, TOKENS_A_BATCH["cuda"])
    rows = batch_size if batch_size is not None else max(1, budget // context_size)
    take = _of_tokens if model.mode == "llm" else _OfTexts()
    for batch in contexts(model, corpus, context_size, batch_size=rows):
        taken = take(model, batch, layers)
        for layer, x in taken.x.items():
            _require_finite(x, layer, taken.documents)
        if len(taken.documents):
            yield taken


def collect(
    model: Model,
    corpus: Corpus,
    layer: int,
    *,
    tokens: int,
    output: Path,
    context_size: int = 128,
    batch_size: int | None = None,
    dtype: str = "auto",
    minimum: int = 1,
    chunk_rows: int | None = None,
    control: Control | None = None,
) -> Store:
    """Store the activations of `tokens` analysed tokens of a corpus (embedding models: of `tokens` texts).

    Args:
        model: loaded.
        corpus: see `open_corpus`; a shorter one is used up, and `Store.notes` says so.
        layer: block whose output is kept (`hook_resid_post`).
        tokens: rows wanted; exactly so many are stored when the corpus is long enough.
        output: a new or empty folder.
        context_size: tokens a row, BOS included.
        batch_size: rows a forward pass; None chooses by device.
        dtype: on disk: float16, bfloat16, float32, or auto: bfloat16 for a bfloat16 model (exact), else float16 if the
            first batch fits into it with room, else bfloat16.
        minimum: fewer rows than this are an error (the trainer passes one batch); nothing is left behind then.
        chunk_rows: rows a chunk; None keeps chunks below 32 MB and a twentieth of `tokens` (1,000 rows at least). A
            chunk is also written when 15 seconds have passed since the last: a kill loses no more than that.
        control: progress in rows under the stage "collect", and cancelling.

    On `Cancelled`, and on any other error, what was collected so far stays as a readable store with complete=false.

    Raises:
        CorpusError: the corpus is shorter than `minimum`.
        StoreError: an activation is not finite, or does not fit `dtype`.
        NoSpace: the rows would not fit on the disk; known before the first forward pass.
        OutputError: `output` holds something already.
        ModelError, OutOfMemory, Cancelled: see `harvest` and `Control`.

    >>> collect(model, open_corpus(), 2, tokens=1000, output=Path("store"))        # doctest: +SKIP
    Store('store', 1,000 rows of 128, layer 2)
    """
    control, output = control or Control(), Path(output).expanduser()
    layer = model.check_layer(layer)
    if tokens < 1:
        raise CorpusError(f"tokens={tokens} asks for nothing; it must be at least 1.")
    widest = "float32" if dtype_name(dtype) == "float32" else "float16"
    unit = "token" if model.mode == "llm" else "text"
    what = f"Keeping {tokens:,} {unit}s of {model.d_model} {widest} values"
    files.require_space(output, tokens * row_bytes(model.d_model, widest), what)
    control.tick("collect", 0, tokens, f"{unit}s")
    batches = harvest(model, corpus, [layer], context_size=context_size, batch_size=batch_size)
    first = next(batches, None)  # before the folder is claimed: errors of the model and the corpus leave nothing behind
    if first is None:
        raise CorpusError(f"{corpus.name} gives no token to analyse; give a corpus with longer texts.")
    about = _about(model, corpus, layer, unit, context_size)
    chosen = _chosen_dtype(dtype, model, first.x[layer])
    if chunk_rows is None:
        chunk_rows = min(chunk_of(model.d_model, chosen), max(1000, tokens // CHUNKS))
    with StoreWriter(
        output, d_in=model.d_model, dtype=chosen, about=about, chunk_rows=chunk_rows, seconds=FLUSH_SECONDS
    ) as writer:
        taken: Harvest | None = first
        while taken is not None:
            room = tokens - writer.rows
            writer.add(taken.x[layer][:room], taken.token_ids[:room], taken.documents[:room], taken.positions[:room])
            control.tick("collect", writer.rows, tokens, f"{unit}s")
            taken = next(batches, None) if writer.rows < tokens else None
        if writer.rows < min(minimum, tokens):
            writer.discard()
            raise CorpusError(
                f"{corpus.name} gives only {writer.rows:,} {unit}s to analyse and {min(minimum, tokens):,} are needed"
                " for one batch; give a longer corpus or a smaller batch."
            )
        writer.notes += _notes(corpus, writer.rows, tokens, unit)
        return writer.close()


def _of_tokens(model: Model, batch: ContextBatch, layers: Sequence[int]) -> Harvest:
    tokens, kept = batch.tokens, batch.tokens.analysed
    residuals = model.residuals(tokens, layers)
    on_device = kept.to(torch.device(model.device))
    positions = torch.arange(kept.shape[1], dtype=torch.int32).expand_as(kept)
    x = {layer: residuals[layer][on_device] for layer in layers}
    return Harvest(x, tokens.ids[kept], batch.documents[kept], positions[kept])


class _OfTexts:
    """As `_of_tokens`, one vector a row; remembers the last document to number the pieces of a long one."""

    def __init__(self) -> None:
        self._last, self._pieces = -1, 0

    def __call__(self, model: Model, batch: ContextBatch, layers: Sequence[int]) -> Harvest:
        documents = batch.documents[:, 0]
        pieces: list[int] = []
        for document in documents.tolist():
            self._pieces = self._pieces + 1 if document == self._last else 0
            self._last = document
            pieces.append(self._pieces)
        positions = torch.tensor(pieces, dtype=torch.int32)
        return Harvest(model.pooled(batch.tokens, layers), torch.full_like(documents, -1), documents, positions)


def _require_finite(x: Tensor, layer: int, documents: Tensor) -> None:
    if bool(torch.isfinite(x).all()):
        return
    row = int((~torch.isfinite(x)).any(dim=1).nonzero()[0])
    raise StoreError(
        f"The model gives NaN or infinity at layer {layer} in document {int(documents[row])} (counted from 0);"
        " load it with dtype='float32', and check a fine-tuned checkpoint for damage."
    )


def _chosen_dtype(wanted: str, model: Model, first: Tensor) -> str:
    if wanted != "auto":
        return wanted
    if first.dtype == torch.bfloat16:
        return "bfloat16"
    fits = float(first.abs().amax()) * HEADROOM <= torch.finfo(DTYPES["float16"]).max
    return "float16" if fits else "bfloat16"


def _about(model: Model, corpus: Corpus, layer: int, unit: str, context_size: int) -> dict[str, Any]:
    return {
        "model": dataclasses.asdict(model.info),
        "layer": layer,
        "hook": model.hook(layer),
        "unit": unit,
        "context_size": context_size,
        "corpus": {"name": corpus.name, "why": corpus.why},
        "exclusions": exclusions(model),
    }


def _notes(corpus: Corpus, rows: int, wanted: int, unit: str) -> list[str]:
    notes = []
    if rows < wanted:
        notes.append(f"{corpus.name} gave {rows:,} of the {wanted:,} {unit}s asked for.")
    if corpus.blank:
        notes.append(f"{corpus.blank:,} blank documents of {corpus.name} were left out.")
    return notes
